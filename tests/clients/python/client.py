"""What stomp.py sees of the broker: client.py ADDRESS SCENARIO VERSION prints one JSON line per result.
An ADDRESS that begins with tls:// is spoken to by TLS; FERRYMQ_CA names the authority.

The same scenarios stand in the other languages beside this directory; what they must print stands in scenarios.rs.
"""

import hashlib
import json
import os
import queue
import sys
import threading
import time

import stomp

DEADLINE_S = 30
SCHEME, _, ADDRESS = sys.argv[1].rpartition("://")
HOST, PORT = ADDRESS.rsplit(":", 1)
VERSION = sys.argv[3]
CONNECTIONS = {
    "1.0": stomp.StompConnection10,
    "1.1": stomp.StompConnection11,
    "1.2": stomp.StompConnection12,
}


def say(**result):
    print(json.dumps(result), flush=True)


class Refused(Exception):
    """An ERROR frame."""


class Inbox(stomp.ConnectionListener):
    """Keeps what the library hands over on its own thread."""

    def __init__(self):
        self.connected = None
        self.messages = queue.Queue()
        self.receipts = queue.Queue()
        self.beats = threading.Semaphore(0)
        self.lost = threading.Event()

    def on_connected(self, frame):
        self.connected = frame

    def on_message(self, frame):
        self.messages.put(frame)

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def on_error(self, frame):
        self.messages.put(Refused(frame.headers["message"]))

    def on_heartbeat(self):
        self.beats.release()

    def on_disconnected(self):
        self.lost.set()


class Client:
    def __init__(self, client_id=None, heartbeats=(0, 0), login=(None, None)):
        # Before 1.1 there are no heart-beats. The scale bears a busy machine.
        more = {} if VERSION == "1.0" else {"heartbeats": heartbeats, "heart_beat_receive_scale": 3}
        self.stomp = CONNECTIONS[VERSION]([(HOST, int(PORT))], auto_decode=False, **more)
        if SCHEME == "tls":
            self.stomp.set_ssl([(HOST, int(PORT))], ca_certs=os.environ["FERRYMQ_CA"])
        self.inbox = Inbox()
        self.stomp.set_listener("inbox", self.inbox)
        try:
            self.stomp.connect(*login, wait=True, headers={"client-id": client_id} if client_id else {})
        except stomp.exception.ConnectFailedException:
            self.receive()  # Raises what was refused.

    def __enter__(self):
        return self

    def __exit__(self, error, *_):
        # stomp.py waits for the RECEIPT of this DISCONNECT.
        if error is None:
            self.stomp.disconnect(receipt="bye")

    def send(self, destination, *bodies, **headers):
        for body in bodies:
            self.stomp.send(destination, body, headers=headers)

    def subscribe(self, destination, ack="auto", **headers):
        self.stomp.subscribe(destination, id="s", ack=ack, headers=headers)

    def receive(self):
        frame = self.inbox.messages.get(timeout=DEADLINE_S)
        if isinstance(frame, Refused):
            raise frame
        return frame

    def show(self):
        """Receives a message and prints it."""
        frame = self.receive()
        say(
            body=frame.body.decode(),
            redelivered=frame.headers.get("redelivered") == "true",
            count=frame.headers["JMSXDeliveryCount"],
        )
        return frame

    def ack(self, frame, transaction=None):
        self._answer(self.stomp.ack, frame, transaction)

    def nack(self, frame, transaction=None):
        self._answer(self.stomp.nack, frame, transaction)

    def _answer(self, answer, frame, transaction):
        if VERSION == "1.0":
            answer(frame.headers["message-id"], transaction)
        elif VERSION == "1.1":
            answer(frame.headers["message-id"], frame.headers["subscription"], transaction)
        else:
            answer(frame.headers["ack"], transaction)


def show_last(destination):
    """Shows that nothing is left: what is sent now comes first."""
    with Client() as client:
        client.send(destination, "last")
        client.subscribe(destination)
        client.show()


def connect():
    with Client() as client:
        say(version=client.inbox.connected.headers["version"])
        client.send("/queue/connect", "hello")
        client.subscribe("/queue/connect")
        client.show()


def ack_auto():
    with Client() as client:
        client.send("/queue/auto", "1", "2", "3")
        client.subscribe("/queue/auto")
        for _ in range(3):
            client.show()
    show_last("/queue/auto")


def ack_client():
    with Client() as client:
        client.send("/queue/client", "1", "2", "3", "4", "5")
        client.subscribe("/queue/client", "client")
        frames = [client.receive() for _ in range(5)]
        client.ack(frames[2])
    with Client() as client:
        client.subscribe("/queue/client", "client")
        client.show()
        client.ack(client.show())
    show_last("/queue/client")


def ack_individual():
    with Client() as client:
        client.send("/queue/individual", "1", "2", "3", "4")
        client.subscribe("/queue/individual", "client-individual")
        frames = [client.receive() for _ in range(4)]
        client.ack(frames[1])
        client.ack(frames[3])
    with Client() as client:
        client.subscribe("/queue/individual", "client-individual")
        for _ in range(2):
            client.ack(client.show())
    show_last("/queue/individual")


def nack():
    with Client() as client:
        client.send("/queue/nack", "bad", "good")
        client.subscribe("/queue/nack", "client-individual")
        client.nack(client.show())
        for _ in range(2):
            client.ack(client.show())
    show_last("/queue/nack")


def commit():
    with Client() as client:
        client.stomp.begin("t1")
        client.send("/queue/commit", "1", "2", transaction="t1")
        client.send("/queue/commit", "outside")
        client.subscribe("/queue/commit", "client-individual")
        frames = [client.show()]
        client.stomp.commit("t1")
        frames += [client.show(), client.show()]
        client.stomp.begin("t2")
        for frame in frames:
            client.ack(frame, "t2")
        client.stomp.commit("t2")
    show_last("/queue/commit")


def abort():
    with Client() as client:
        client.send("/queue/abort", "kept")
        client.subscribe("/queue/abort", "client-individual")
        client.stomp.begin("t")
        client.send("/queue/abort", "dropped", transaction="t")
        client.ack(client.show(), "t")
        client.stomp.abort("t")
    with Client() as client:
        client.subscribe("/queue/abort", "client-individual")
        client.ack(client.show())
    show_last("/queue/abort")


DURABLE = {"activemq.subscriptionName": "news"}


def durable():
    with Client("durable") as client:
        client.subscribe("/topic/news", "client-individual", **DURABLE)
        client.send("/topic/news", "online")
        client.ack(client.show())
    with Client() as other:
        other.send("/topic/news", "offline 1", "offline 2", persistent="true")
    with Client("durable") as client:
        client.subscribe("/topic/news", "client-individual", **DURABLE)
        for _ in range(2):
            client.ack(client.show())


def durable_removed():
    with Client("durable") as client:
        client.subscribe("/topic/old", **DURABLE)
        client.stomp.unsubscribe(id="s")
        client.stomp.unsubscribe(id="s", headers=dict(DURABLE))
        client.send("/topic/old", "unheard", persistent="true")
    with Client("durable") as client:
        client.subscribe("/topic/old", **DURABLE)
        client.send("/topic/old", "heard")
        client.show()


def heart_beats():
    with Client(heartbeats=(300, 300)) as client:
        for _ in range(5):
            if not client.inbox.beats.acquire(timeout=DEADLINE_S):
                raise TimeoutError("no heart-beat")
        say(beats=5)
        client.send("/queue/beats", "still here")
        client.subscribe("/queue/beats")
        client.show()


def utf8():
    with Client() as client:
        client.send("/queue/utf8", "тело 𝄞 😀 本文", **{"заголовок-𝄞": "значение 😀 値"})
        client.subscribe("/queue/utf8")
        frame = client.receive()
        say(header=frame.headers["заголовок-𝄞"], body=frame.body.decode())


def escapes():
    with Client() as client:
        client.send("/queue/escapes", "body", note="a colon: back\\slash\nline")
        client.subscribe("/queue/escapes")
        say(header=client.receive().headers["note"])


def binary():
    with Client() as client:
        client.send("/queue/binary", bytes(range(256)) + b"\0\0")
        client.subscribe("/queue/binary")
        say(hex=client.receive().body.hex())


def big():
    with Client() as client:
        client.send("/queue/big", b"".join(b"%010d" % number for number in range(1 << 20)))
        client.subscribe("/queue/big")
        body = client.receive().body
        say(octets=len(body), sha256=hashlib.sha256(body).hexdigest())


def receipts():
    with Client() as client:
        for number in range(100):
            client.send("/queue/receipts", str(number), receipt=str(number), persistent="true")
        say(receipts=[int(client.inbox.receipts.get(timeout=DEADLINE_S)) for _ in range(100)])
        client.subscribe("/queue/receipts")
        say(bodies=[client.receive().body.decode() for _ in range(100)])


def selector():
    with Client() as client:
        for colour, weight in [("red", 3), ("red", 7), ("blue", 9), ("red", 9)]:
            client.send("/queue/paint", f"{colour} {weight}", colour=colour, weight=weight)
        client.subscribe("/queue/paint", "client-individual", selector="colour = 'red' AND weight > 5")
        for _ in range(2):
            client.ack(client.show())
    with Client() as client:
        client.subscribe("/queue/paint")
        for _ in range(2):
            client.show()


def delayed():
    with Client() as client:
        begun = time.monotonic()
        client.send("/queue/later", "later", AMQ_SCHEDULED_DELAY="300", persistent="true")
        client.send("/queue/later", "at once")
        client.subscribe("/queue/later")
        for _ in range(2):
            client.show()
        say(waited=time.monotonic() - begun > 0.29)


def request_reply():
    with Client() as requester, Client() as service:
        requester.subscribe("/temp-queue/replies")
        headers = {"reply-to": "/temp-queue/replies", "correlation-id": "c-1"}
        requester.send("/queue/service", "6 * 7", **headers)
        service.subscribe("/queue/service")
        request = service.receive()
        correlation = request.headers["correlation-id"]
        say(request=request.body.decode(), correlation=correlation)
        service.send(request.headers["reply-to"], "42", **{"correlation-id": correlation})
        reply = requester.receive()
        say(reply=reply.body.decode(), correlation=reply.headers["correlation-id"])


def virtual_topic():
    def show_copies(client):
        for _ in range(2):
            frame = client.receive()
            say(body=frame.body.decode(), origin=frame.headers["original-destination"])

    billing, stock = [f"/queue/Consumer.{name}.VirtualTopic.orders" for name in ("billing", "stock")]
    with Client() as client:
        client.subscribe(billing)  # From now on it collects.
    with Client() as client:
        client.subscribe(stock)
        client.send("/topic/VirtualTopic.orders", "order 1", "order 2", persistent="true")
        show_copies(client)
    with Client() as client:
        client.subscribe(billing)
        show_copies(client)


def login():
    try:
        Client(login=("orders", "a guess"))
    except Refused as refused:
        say(refused=str(refused))
    with Client(login=("orders", "the secret of orders")) as client:
        client.send("/queue/orders.new", "allowed")
        client.subscribe("/queue/orders.new")
        client.show()
        client.send("/queue/billing", "forbidden")
        try:
            client.receive()
        except Refused as refused:
            say(denied=str(refused))


IMPATIENT = {
    "activemq.maximumRedeliveries": "2",
    "activemq.initialRedeliveryDelay": "50",
    "activemq.useExponentialBackOff": "true",
    "activemq.backOffMultiplier": "4",
}


def retry():
    with Client() as client:
        client.send("/queue/poison", "bad", persistent="true")
        client.subscribe("/queue/poison", "client-individual", **IMPATIENT)
        begun = time.monotonic()
        for _ in range(2):
            client.nack(client.show())
        last = client.show()
        say(**{"backed-off": time.monotonic() - begun > 0.24})
        client.nack(last)
        with Client() as undertaker:
            undertaker.subscribe("/queue/ActiveMQ.DLQ", "client-individual")
            dead = undertaker.receive()
            headers = dead.headers
            say(dead=dead.body.decode(), origin=headers["original-destination"], failures=headers["dlqDeliveryCount"])
        client.ack(client.show())


def produce():
    """Sends 10,000 persistent messages and says which are receipted, until done or the broker is gone."""
    client = Client()
    # Bounded, so that the sending is still under way when the first receipts are in.
    window = threading.Semaphore(500)

    def send():
        try:
            for number in range(10_000):
                window.acquire()
                client.send("/queue/crash", str(number), receipt=str(number), persistent="true")
        except stomp.exception.StompException:
            pass  # The broker is gone, which the other thread reports.

    threading.Thread(target=send, daemon=True).start()
    received = 0
    while received < 10_000:
        try:
            say(receipt=int(client.inbox.receipts.get(timeout=0.1)))
            received += 1
            window.release()
        except queue.Empty:
            if client.inbox.lost.is_set() and client.inbox.receipts.empty():
                break
    say(lost=client.inbox.lost.is_set())
    sys.stdout.flush()
    os._exit(0)  # The library's threads may still try to reach the broker.


globals()[sys.argv[2].replace("-", "_")]()
