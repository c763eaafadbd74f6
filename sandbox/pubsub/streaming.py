"""StreamingPull: one task writes deliveries, one reads acknowledgements and deadlines.

Registered by `subscriber`. Rules from the reference of StreamingPullRequest, checked against
Google's emulator; unlike that emulator, flow control is held to here, as the service does.

A stream that ends with an error may take its last response with it: gRPC drops what the client has
not read. Those messages come back when their ack deadline ends, as they do with the service.
"""

import asyncio
from collections.abc import AsyncIterator

import grpc

from sandbox.pubsub.errors import InvalidArgumentError, NotFoundError, StoreError
from sandbox.pubsub.model import (
    MAX_ACK_DEADLINE_SECONDS,
    MIN_ACK_DEADLINE_SECONDS,
    Consumer,
    Delivery,
)
from sandbox.pubsub.outbox import Outbox
from sandbox.pubsub.rpc import Context, Gateway, inject
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.wire import Pb, add_deliveries, pb_class

MAX_MESSAGES_PER_RESPONSE = 1000
KEEP_ALIVE_SECONDS = 30.0
"""An idle stream gets an empty response this often, so that a vanished client is noticed."""

FAILING_SECONDS = 0.05
"""An injected failure takes as long as it would over a network. A stream that fails before
`google.api_core.bidi.BidiRpc.open` has registered its callback is opened twice by the client, and
the forgotten one swallows messages until their ack deadlines end."""

StreamingPullResponse = pb_class("StreamingPullResponse")


class _Stream:
    """One open stream: its subscription, flow control and current ack deadline."""

    def __init__(self, subscription: Subscription, first: Pb) -> None:
        self.subscription = subscription
        self.consumer = Consumer(first.max_outstanding_messages, first.max_outstanding_bytes)
        self.ack_deadline_seconds = _check_ack_deadline(first.stream_ack_deadline_seconds)


class StreamingPull:
    """The StreamingPull method."""

    def __init__(self, gateway: Gateway, outbox: Outbox) -> None:
        self._gateway = gateway
        self._outbox = outbox

    async def run(self, requests: AsyncIterator[Pb], context: Context) -> None:
        """Serve one stream until the client closes it or an error ends it."""
        await inject(self._gateway, "subscribe", context, FAILING_SECONDS)
        try:
            await self._serve(requests, context)
        except StoreError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))

    async def _serve(self, requests: AsyncIterator[Pb], context: Context) -> None:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        if not first.subscription:
            raise InvalidArgumentError("first message must set subscription")
        stream = _Stream(self._gateway.store.subscription(first.subscription), first)
        self._settle(stream, first)
        reader = asyncio.create_task(self._read(stream, requests))
        signal = self._gateway.signal(stream.subscription)
        reader.add_done_callback(lambda _: signal.set())
        try:
            await self._write(stream, reader, context)
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _read(self, stream: _Stream, requests: AsyncIterator[Pb]) -> None:
        async for request in requests:
            _check_later_request(request)
            if request.stream_ack_deadline_seconds:
                stream.ack_deadline_seconds = _check_ack_deadline(
                    request.stream_ack_deadline_seconds
                )
            self._settle(stream, request)

    def _settle(self, stream: _Stream, request: Pb) -> None:
        """Carry out the acknowledgements and deadlines of one request."""
        seconds, ids = request.modify_deadline_seconds, request.modify_deadline_ack_ids
        if len(seconds) != len(ids):
            raise InvalidArgumentError("ack IDs and deadlines must have the same size")
        if request.ack_ids:
            self._outbox.acknowledge(stream.subscription, request.ack_ids)
        now = self._gateway.clock()
        for ack_id, deadline in zip(ids, seconds, strict=True):
            stream.subscription.modify_ack_deadline([ack_id], deadline, now)
        if ids:
            self._gateway.wake(stream.subscription)

    async def _write(self, stream: _Stream, reader: asyncio.Task[None], context: Context) -> None:
        signal = self._gateway.signal(stream.subscription)
        while not reader.done():
            if self._gateway.stopping:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is stopping")
            if stream.subscription.deleted:
                raise NotFoundError(
                    f"Subscription does not exist (resource={stream.subscription.name})"
                )
            if stream.consumer.has_room() and self._outbox.has_something(stream.subscription):
                await inject(self._gateway, "subscribe", context, FAILING_SECONDS)
                await context.write(_response(stream, self._take(stream)))
                continue
            signal.clear()
            try:
                async with asyncio.timeout(KEEP_ALIVE_SECONDS):
                    await signal.wait()
            except TimeoutError:
                await context.write(_response(stream, []))
        reader.result()

    def _take(self, stream: _Stream) -> list[Delivery]:
        return self._outbox.take(
            stream.subscription,
            MAX_MESSAGES_PER_RESPONSE,
            stream.ack_deadline_seconds,
            stream.consumer,
        )


def _response(stream: _Stream, deliveries: list[Delivery]) -> Pb:
    settings = stream.subscription.settings
    response = StreamingPullResponse()
    response.subscription_properties.message_ordering_enabled = settings.ordered
    add_deliveries(response.received_messages, deliveries, bool(settings.dead_letter_topic))
    return response


def _check_ack_deadline(seconds: int) -> int:
    if not MIN_ACK_DEADLINE_SECONDS <= seconds <= MAX_ACK_DEADLINE_SECONDS:
        raise InvalidArgumentError(
            f"stream_ack_deadline_seconds must be between {MIN_ACK_DEADLINE_SECONDS} and "
            f"{MAX_ACK_DEADLINE_SECONDS} seconds, was {seconds}"
        )
    return seconds


def _check_later_request(request: Pb) -> None:
    for name in ("subscription", "max_outstanding_messages", "max_outstanding_bytes"):
        if getattr(request, name):
            raise InvalidArgumentError(f"{name} may only be set in first message")
