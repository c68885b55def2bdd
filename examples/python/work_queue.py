"""A worker that fails: the job comes back, later each time, and ends in the dead-letter queue with the reason.

How long it waits and how often it is tried again is the queue's redelivery policy; a subscription may ask for less, as
here, so that the example does not take a minute.
"""

import time

from client import Client

client = Client()
client.subscribe(
    "/queue/jobs",
    **{
        "activemq.maximumRedeliveries": "3",
        "activemq.initialRedeliveryDelay": "100",
        "activemq.useExponentialBackOff": "true",
        "activemq.backOffMultiplier": "2",
    },
)
client.send("/queue/jobs", "a job that cannot be done")

started = time.monotonic()
for _ in range(4):
    job = client.receive()
    after = time.monotonic() - started
    print(f"delivery {job.headers['JMSXDeliveryCount']} after {after:.1f} s: {job.body}")
    client.nack(job)

client.subscribe("/queue/ActiveMQ.DLQ", id="dead")
letter = client.receive()
print("in the dead-letter queue:", letter.body)
print("it failed on:", letter.headers["original-destination"])
print("because:", letter.headers["dlqDeliveryFailureCause"])
client.ack(letter)
client.close()
