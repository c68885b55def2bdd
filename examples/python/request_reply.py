"""A request and its answer over a temporary queue, which lives as long as the connection that asks."""

import threading

from client import Client

REQUESTS = "/queue/squares"


def serve(server):
    while True:
        request = server.receive()
        if request is None:
            return
        answer = str(int(request.body) ** 2)
        server.connection.send(
            request.headers["reply-to"],
            answer,
            headers={"correlation-id": request.headers["correlation-id"]},
        )
        server.ack(request)


server = Client()
server.subscribe(REQUESTS)
threading.Thread(target=serve, args=(server,), daemon=True).start()

client = Client()
client.subscribe("/temp-queue/answers", id="answers")
for number in range(1, 6):
    client.send(REQUESTS, str(number), reply_to="/temp-queue/answers", correlation_id=f"request-{number}")
for _ in range(5):
    answer = client.receive()
    print(answer.headers["correlation-id"], "->", answer.body)
    client.ack(answer)
client.close()
server.close()
