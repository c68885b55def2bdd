"""What the examples share: a connection whose messages come out of a queue."""

import queue
import sys
import uuid

import stomp


class Client(stomp.ConnectionListener):
    """A STOMP 1.2 connection."""

    def __init__(self, client_id=None):
        host, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:61613").rsplit(":", 1)
        self.inbox = queue.Queue()
        self.receipts = queue.Queue()
        self.connection = stomp.Connection12([(host, int(port))])
        self.connection.set_listener("", self)
        headers = {"client-id": client_id} if client_id else {}
        self.connection.connect(wait=True, headers=headers)

    def on_message(self, frame):
        self.inbox.put(frame)

    def on_error(self, frame):
        print("refused:", frame.headers.get("message"))

    def on_receipt(self, frame):
        self.receipts.put(frame.headers["receipt-id"])

    def send(self, destination, body, **headers):
        """Sends a persistent message and waits until it is on disk."""
        receipt = str(uuid.uuid4())
        headers = {name if name.startswith("AMQ_") else name.replace("_", "-"): value for name, value in headers.items()}
        headers.update({"persistent": "true", "receipt": receipt})
        self.connection.send(destination, body, headers=headers)
        while self.receipts.get(timeout=10) != receipt:
            pass

    def subscribe(self, destination, id="1", ack="client-individual", **headers):
        self.connection.subscribe(destination, id=id, ack=ack, headers=headers)

    def receive(self, timeout=10):
        """The next message; None if none comes in time."""
        try:
            return self.inbox.get(timeout=timeout)
        except queue.Empty:
            return None

    def ack(self, frame):
        self.connection.ack(frame.headers["ack"])

    def nack(self, frame):
        self.connection.nack(frame.headers["ack"])

    def close(self):
        self.connection.disconnect()
