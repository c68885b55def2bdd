"""Messages for later: one after a delay, and one that is cancelled in time."""

import time

from client import Client

client = Client()
client.subscribe("/queue/later")
started = time.monotonic()
client.send("/queue/later", "half a second later", AMQ_SCHEDULED_DELAY="500")
client.send("/queue/later", "never", AMQ_SCHEDULED_DELAY="700", AMQ_SCHEDULED_KEY="reminder")
client.send("/queue/later", "", AMQ_SCHEDULER_ACTION="REMOVE", AMQ_SCHEDULED_KEY="reminder")

message = client.receive()
print(f"after {time.monotonic() - started:.1f} s: {message.body}")
client.ack(message)
print("the other one was cancelled:", client.receive(timeout=1) is None)
client.close()
