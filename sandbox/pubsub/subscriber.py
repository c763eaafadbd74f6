"""google.pubsub.v1.Subscriber over the store, save for StreamingPull (see `streaming`).

Registered by `server`.
"""

import asyncio

import grpc

from sandbox.pubsub.errors import InvalidArgumentError
from sandbox.pubsub.model import Delivery
from sandbox.pubsub.outbox import Outbox
from sandbox.pubsub.rpc import Context, Gateway, Handler, Method, immediate, unary_handlers
from sandbox.pubsub.streaming import StreamingPull
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.wire import (
    Pb,
    add_deliveries,
    from_snapshot,
    from_subscription,
    merge_subscription,
    pb_class,
    to_microseconds,
    to_subscription_settings,
)

SERVICE = "google.pubsub.v1.Subscriber"
CLIENT_MARGIN_SECONDS = 0.5
"""A waiting pull is answered this much before the client's deadline, to answer and not to fail."""

Empty = pb_class("Empty")
PullResponse = pb_class("PullResponse")
SeekResponse = pb_class("SeekResponse")
ListSubscriptionsResponse = pb_class("ListSubscriptionsResponse")
ListSnapshotsResponse = pb_class("ListSnapshotsResponse")


class Subscriber:
    """The methods of the Subscriber service.

    Args:
        gateway: the store and what belongs to it.
        pull_wait_seconds: how long a pull waits for a first message at most.
    """

    def __init__(self, gateway: Gateway, pull_wait_seconds: float) -> None:
        self._gateway = gateway
        self._store = gateway.store
        self._outbox = Outbox(gateway)
        self._pull_wait_seconds = pull_wait_seconds

    def handler(self) -> grpc.GenericRpcHandler:
        """Return the service for registration."""
        handlers = unary_handlers(self._gateway, [*self._management(), *self._consumption()])
        handlers["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            StreamingPull(self._gateway, self._outbox).run,
            request_deserializer=pb_class("StreamingPullRequest").FromString,
            response_serializer=pb_class("StreamingPullResponse").SerializeToString,
        )
        return grpc.method_handlers_generic_handler(SERVICE, handlers)

    def _management(self) -> list[Method]:
        methods = [
            ("CreateSubscription", "Subscription", "Subscription", self._create),
            ("GetSubscription", "GetSubscriptionRequest", "Subscription", self._get),
            ("UpdateSubscription", "UpdateSubscriptionRequest", "Subscription", self._update),
            (
                "ListSubscriptions",
                "ListSubscriptionsRequest",
                "ListSubscriptionsResponse",
                self._list,
            ),
            ("DeleteSubscription", "DeleteSubscriptionRequest", "Empty", self._delete),
            ("Seek", "SeekRequest", "SeekResponse", self._seek),
            ("CreateSnapshot", "CreateSnapshotRequest", "Snapshot", self._create_snapshot),
            ("GetSnapshot", "GetSnapshotRequest", "Snapshot", self._get_snapshot),
            (
                "ListSnapshots",
                "ListSnapshotsRequest",
                "ListSnapshotsResponse",
                self._list_snapshots,
            ),
            ("DeleteSnapshot", "DeleteSnapshotRequest", "Empty", self._delete_snapshot),
        ]
        return [
            Method(name, request, response, immediate(run))
            for name, request, response, run in methods
        ]

    def _consumption(self) -> list[Method]:
        def method(name: str, response: str, run: Handler) -> Method:
            return Method(name, f"{name}Request", response, run, "subscribe")

        return [
            method("Pull", "PullResponse", self._pull),
            method("Acknowledge", "Empty", immediate(self._acknowledge)),
            method("ModifyAckDeadline", "Empty", immediate(self._modify_ack_deadline)),
        ]

    # -- management ----------------------------------------------------------------------------

    def _create(self, request: Pb) -> Pb:
        settings = to_subscription_settings(request)
        return from_subscription(
            self._store.create_subscription(request.name, request.topic, settings)
        )

    def _get(self, request: Pb) -> Pb:
        return from_subscription(self._store.subscription(request.subscription))

    def _update(self, request: Pb) -> Pb:
        name = request.subscription.name
        settings = merge_subscription(self._store.subscription(name).settings, request)
        updated = self._store.update_subscription(name, settings, self._gateway.clock())
        return from_subscription(updated)

    def _list(self, request: Pb) -> Pb:
        page, token = self._store.subscriptions(
            request.project, request.page_size, request.page_token
        )
        return ListSubscriptionsResponse(
            subscriptions=map(from_subscription, page), next_page_token=token
        )

    def _delete(self, request: Pb) -> Pb:
        subscription = self._store.delete_subscription(request.subscription)
        self._outbox.forget(subscription)
        self._gateway.forget(subscription)
        return Empty()

    def _seek(self, request: Pb) -> Pb:
        now = self._gateway.clock()
        target = request.WhichOneof("target")
        if target == "time":
            at = to_microseconds(request.time)
            subscription = self._store.seek_to_time(request.subscription, at, now)
        elif target == "snapshot":
            subscription = self._store.seek_to_snapshot(request.subscription, request.snapshot, now)
        else:
            raise InvalidArgumentError("SeekRequest has no target; set either time or snapshot")
        self._gateway.wake(subscription)
        return SeekResponse()

    def _create_snapshot(self, request: Pb) -> Pb:
        return from_snapshot(
            self._store.create_snapshot(
                request.name, request.subscription, dict(request.labels), self._gateway.clock()
            )
        )

    def _get_snapshot(self, request: Pb) -> Pb:
        return from_snapshot(self._store.snapshot(request.snapshot))

    def _list_snapshots(self, request: Pb) -> Pb:
        page, token = self._store.snapshots(request.project, request.page_size, request.page_token)
        return ListSnapshotsResponse(snapshots=map(from_snapshot, page), next_page_token=token)

    def _delete_snapshot(self, request: Pb) -> Pb:
        self._store.delete_snapshot(request.snapshot)
        return Empty()

    # -- consumption ---------------------------------------------------------------------------

    async def _pull(self, request: Pb, context: Context) -> Pb:
        subscription = self._store.subscription(request.subscription)
        if request.max_messages <= 0:
            raise InvalidArgumentError(
                f"max_messages: expected a number above 0, was {request.max_messages}"
            )
        wait = 0.0 if request.return_immediately else self._wait_seconds(context)
        deliveries = await self._deliveries(subscription, request.max_messages, wait)
        response = PullResponse()
        with_attempts = bool(subscription.settings.dead_letter_topic)
        add_deliveries(response.received_messages, deliveries, with_attempts)
        return response

    def _wait_seconds(self, context: Context) -> float:
        remaining: float | None = context.time_remaining()
        if remaining is None:
            return self._pull_wait_seconds
        return min(self._pull_wait_seconds, max(remaining - CLIENT_MARGIN_SECONDS, 0.0))

    async def _deliveries(
        self, subscription: Subscription, max_messages: int, wait: float
    ) -> list[Delivery]:
        """Take what is there; else wait for something, at most `wait` seconds."""
        try:
            async with asyncio.timeout(wait):
                while True:
                    deliveries = self._outbox.take(subscription, max_messages)
                    if deliveries or not wait or subscription.deleted or self._gateway.stopping:
                        return deliveries
                    signal = self._gateway.signal(subscription)
                    signal.clear()
                    await signal.wait()
        except TimeoutError:
            return []

    def _acknowledge(self, request: Pb) -> Pb:
        subscription = self._store.subscription(request.subscription)
        self._outbox.acknowledge(subscription, request.ack_ids)
        return Empty()

    def _modify_ack_deadline(self, request: Pb) -> Pb:
        subscription = self._store.subscription(request.subscription)
        subscription.modify_ack_deadline(
            request.ack_ids, request.ack_deadline_seconds, self._gateway.clock()
        )
        self._gateway.wake(subscription)
        return Empty()
