"""An embedded Pub/Sub: the gRPC surface of google.pubsub.v1, for one machine.

`python -m sandbox.pubsub` runs it; the sandbox launcher starts it where Java or Google's emulator
is missing, and tests start it to make Pub/Sub fail on purpose. Read `store` for what it promises,
`durable` for what outlives the process, `server` for how it is served, `faults` for how it can be
made to fail.
"""
