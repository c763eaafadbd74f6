"""Between a subscription and its subscribers: deliveries out, acknowledgements in, both faulty.

Shared by `subscriber` (pull) and `streaming`, so that `duplicate` and `drop_ack` strike both alike.
"""

from collections import defaultdict, deque
from collections.abc import Sequence

from sandbox.pubsub.model import Consumer, Delivery
from sandbox.pubsub.rpc import Gateway
from sandbox.pubsub.subscription import Subscription

MAX_RESPONSE_BYTES = 4_000_000
"""gRPC clients refuse responses above 4 MiB unless told otherwise, as Beam's DirectRunner does.
The charged size of a message exceeds its encoded size, so this leaves room for the envelope."""

MAX_DUPLICATES = 1000
"""Second deliveries that may wait for a pull, per subscription; beyond it no more are made."""


class Outbox:
    """Takes deliveries and carries out acknowledgements, unless a fault says otherwise."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._again: defaultdict[int, deque[Delivery]] = defaultdict(deque)

    def has_something(self, subscription: Subscription) -> bool:
        """Whether `take` would return anything."""
        return bool(self._again.get(subscription.number)) or subscription.has_ready()

    def take(
        self,
        subscription: Subscription,
        max_messages: int,
        lease_seconds: int | None = None,
        consumer: Consumer | None = None,
    ) -> list[Delivery]:
        """Return up to `max_messages` deliveries, second deliveries of earlier messages first."""
        again = self._again.get(subscription.number, deque())
        repeated = [again.popleft() for _ in range(min(len(again), max_messages))]
        fresh = subscription.pull(
            self._gateway.clock(),
            max_messages - len(repeated),
            MAX_RESPONSE_BYTES - sum(delivery.message.size for delivery in repeated),
            lease_seconds,
            consumer,
        )
        self._duplicate(subscription, fresh)
        return repeated + fresh

    def acknowledge(self, subscription: Subscription, ack_ids: Sequence[str]) -> None:
        """Acknowledge, or do nothing and say nothing when a fault drops it."""
        if self._gateway.faults.strikes("drop_ack", self._gateway.clock()):
            return
        self._gateway.store.acknowledge(subscription, ack_ids)
        self._gateway.wake(subscription)

    def forget(self, subscription: Subscription) -> None:
        """Drop what waits for a deleted subscription."""
        self._again.pop(subscription.number, None)

    def _duplicate(self, subscription: Subscription, fresh: list[Delivery]) -> None:
        now = self._gateway.clock()
        for delivery in fresh:
            if not self._gateway.faults.strikes("duplicate", now):
                continue
            again = self._again[subscription.number]
            if len(again) < MAX_DUPLICATES:
                again.append(delivery._replace(ack_id=subscription.new_ack_id()))
                self._gateway.wake(subscription)
