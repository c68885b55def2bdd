"""A subscriber that was away misses nothing: its subscription is kept under its client id and its name."""

from client import Client

NAME = {"activemq.subscriptionName": "audit"}

subscriber = Client(client_id="auditor")
subscriber.subscribe("/topic/orders", **NAME)
publisher = Client()
publisher.send("/topic/orders", "order 1")
order = subscriber.receive()
print("received:", order.body)
subscriber.ack(order)
subscriber.close()

publisher.send("/topic/orders", "order 2, while the subscriber is away")
publisher.close()

subscriber = Client(client_id="auditor")
subscriber.subscribe("/topic/orders", **NAME)
order = subscriber.receive()
print("received:", order.body)
subscriber.ack(order)

# The end for good; without this the subscription goes on gathering.
subscriber.connection.unsubscribe(id="1")
subscriber.connection.unsubscribe(id="1", **NAME)
subscriber.close()
