"""One subscription: its backlog, leases, redelivery, order and retention.

The store creates it and feeds it; the gRPC layer pulls from it and acknowledges to it. Pure: `now`
(microseconds) is an argument. Cost: a publish, a delivery, an acknowledgement and an expiry each
take O(log backlog); only a seek visits the whole backlog.

Structures, all keyed by the message's sequence number in its topic:

* `_unacked`: everything not acknowledged, in publish order;
* `_ready`: heap of what may be delivered now. With ordering it holds only the *head* of each key
  that has nothing outstanding; the others wait in their `_KeyQueue`;
* `_timers`: heap of lease deadlines and retry times;
* `_acked`: heap of acknowledged messages that are retained for a seek.

Heaps are cleaned lazily: an item that no longer fits its entry is skipped when it comes up.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from sandbox.pubsub.errors import InvalidArgumentError
from sandbox.pubsub.model import (
    MAX_ACK_DEADLINE_SECONDS,
    SECOND,
    Consumer,
    Delivery,
    Entry,
    Message,
    MessagePool,
    State,
    SubscriptionSettings,
    SubscriptionStats,
)
from sandbox.pubsub.names import make_ack_id, parse_ack_id
from sandbox.pubsub.topic import Topic

Forward = Callable[["Subscription", Entry, int], bool]
"""Publishes an entry to the dead letter topic at a time; False when that is not possible."""


@dataclass(slots=True)
class _KeyQueue:
    """The messages of one ordering key: waiting (heap), outstanding, and the head offered."""

    waiting: list[int] = field(default_factory=list)
    busy: set[int] = field(default_factory=set)
    offered: int | None = None


class Subscription:
    """The messages of a topic as one group of subscribers sees them.

    Args:
        name: full resource name.
        topic: where its messages come from; may be deleted while the subscription lives on.
        number: unique, part of every ack id.
        settings: replaced as a whole by an update.
        pool: what its messages are charged to.
        forward: sends a message that failed too often to the dead letter topic.
    """

    def __init__(
        self,
        name: str,
        topic: Topic,
        number: int,
        settings: SubscriptionSettings,
        pool: MessagePool,
        forward: Forward,
    ) -> None:
        self.name = name
        self.topic = topic
        self.number = number
        self.settings = settings
        self.deleted = False
        self._pool = pool
        self._forward = forward
        self._unacked: OrderedDict[int, Entry] = OrderedDict()
        self._ready: list[int] = []
        self._keys: dict[str, _KeyQueue] = {}
        self._leases: dict[int, Entry] = {}
        self._last_lease = 0
        self._timers: list[tuple[int, int]] = []
        self._acked: list[tuple[int, Message]] = []
        self._outstanding = 0
        self._received = 0
        self._delivered = 0
        self._acknowledged = 0
        self._expired = 0
        self._dead_lettered = 0

    def offer(self, message: Message) -> None:
        """Take a newly published message into the backlog."""
        self._received += 1
        self._insert(message)

    def has_ready(self) -> bool:
        """Whether a pull now would deliver something."""
        return self._first_ready(self._ready) is not None

    def pull(
        self,
        now: int,
        max_messages: int,
        max_bytes: int,
        lease_seconds: int | None = None,
        consumer: Consumer | None = None,
    ) -> list[Delivery]:
        """Lease up to `max_messages`, oldest first.

        At most `max_bytes` of charged size are taken, but always one message when there is one.
        With ordering, one pull may take several messages of a key, in order; no other pull gets
        that key until all of them are acknowledged or come back.

        Args:
            now: the time, in microseconds.
            max_messages: how many at most.
            max_bytes: how much at most.
            lease_seconds: ack deadline; the subscription's own by default.
            consumer: the stream that asks, whose flow control is respected and charged.
        """
        self.expire(now)
        seconds = self.settings.ack_deadline_seconds if lease_seconds is None else lease_seconds
        due = now + seconds * SECOND
        deliveries: list[Delivery] = []
        size = 0
        draining: _KeyQueue | None = None
        while len(deliveries) < max_messages and (consumer is None or consumer.has_room()):
            entry = self._next_entry(draining)
            if entry is None or (deliveries and size + entry.message.size > max_bytes):
                break
            size += entry.message.size
            draining = self._lease(entry, due, consumer)
            ack_id = make_ack_id(self.number, entry.lease)
            deliveries.append(Delivery(ack_id, entry.message, entry.attempts))
        return deliveries

    def leased_sequences(self, ack_ids: Sequence[str]) -> list[int]:
        """Return the sequences that ack ids name, each once; ids of the past name none.

        Raises:
            InvalidArgumentError: none given, or one is malformed.
        """
        return [entry.message.sequence for entry in self._leased_entries(ack_ids)]

    def acknowledge(self, sequences: Iterable[int]) -> None:
        """Take messages out of the backlog, and retain them when the settings say so.

        Those that are not in it any more are ignored.
        """
        for sequence in sequences:
            entry = self._unacked.get(sequence)
            if entry is None:
                continue
            self._acknowledged += 1
            self._remove(entry)
            if self.settings.retain_acked:
                self._retain(entry.message)

    def remove(self, sequence: int) -> None:
        """Take a message out of the backlog that has gone to the dead letter topic."""
        if entry := self._unacked.get(sequence):
            self._remove(entry)

    def begin_life(self, first_lease: int) -> None:
        """Forget what only the process before this one knew.

        Its ack ids name no lease of this life, because leases are counted on from `first_lease`;
        the counters begin with the backlog.
        """
        self._last_lease = first_lease
        self._received = len(self._unacked)
        self._delivered = self._acknowledged = self._expired = self._dead_lettered = 0

    def modify_ack_deadline(self, ack_ids: Sequence[str], seconds: int, now: int) -> None:
        """Let the named leases end `seconds` from now; 0 refuses the messages (nack).

        Raises:
            InvalidArgumentError: no ids, a malformed one, or seconds outside 0 to 600.
        """
        if not 0 <= seconds <= MAX_ACK_DEADLINE_SECONDS:
            raise InvalidArgumentError(
                f"ack deadline out of bounds: {seconds} s; expected 0 to {MAX_ACK_DEADLINE_SECONDS}"
            )
        for entry in self._leased_entries(ack_ids):
            if entry.state is not State.LEASED:
                continue
            if seconds == 0:
                self._leases.pop(entry.lease)
                self._give_back(entry, now)
            else:
                self._set_timer(entry, now + seconds * SECOND)

    def expire(self, now: int) -> None:
        """Do what time does: end leases and retry waits, drop what is older than the retention."""
        while self._timers and self._timers[0][0] <= now:
            due, sequence = heappop(self._timers)
            entry = self._unacked.get(sequence)
            if entry is None or entry.due != due:
                continue
            if entry.state is State.LEASED:
                self._give_back(entry, now)
            elif entry.state is State.DELAYED:
                self._leave(entry)
                self._make_ready(entry)
        self._drop_older_than(now - self.settings.retention)

    def seek(self, unacked: Iterable[Message], acked: Iterable[Message]) -> None:
        """Replace the backlog: `unacked`, in order, is to be delivered; `acked` is retained.

        All leases end. `acked` is forgotten unless the subscription retains acknowledged messages.
        """
        old_entries, old_acked = self._unacked, self._acked
        self._unacked, self._acked = OrderedDict(), []
        for entry in old_entries.values():
            self._leave(entry)
        self._ready.clear()
        self._keys.clear()
        self._leases.clear()
        self._timers.clear()
        for message in unacked:
            self._insert(message)
        if self.settings.retain_acked:
            for message in acked:
                self._retain(message)
        for entry in old_entries.values():
            self._pool.release(entry.message)
        for _, message in old_acked:
            self._pool.release(message)

    def unacked_messages(self) -> list[Message]:
        """Return everything not acknowledged, in publish order."""
        return [entry.message for entry in self._unacked.values()]

    def retained_messages(self) -> list[Message]:
        """Return the acknowledged messages that are still here, in no order."""
        return [message for _, message in self._acked]

    def new_ack_id(self) -> str:
        """Return an ack id that belongs to no lease: for a delivery nobody asked for (faults)."""
        self._last_lease += 1
        return make_ack_id(self.number, self._last_lease)

    def release_all(self) -> None:
        """Let go of every message; the subscription is deleted."""
        self.deleted = True
        self.seek((), ())
        self._drop_acked()

    def stats(self, now: int) -> SubscriptionStats:
        """Return the counters and gauges at `now`; O(1)."""
        oldest = next(iter(self._unacked.values()), None)
        age = (now - oldest.message.published_at) / SECOND if oldest else 0.0
        return SubscriptionStats(
            topic=self.topic.shown_name,
            received_messages=self._received,
            delivered_messages=self._delivered,
            acked_messages=self._acknowledged,
            expired_messages=self._expired,
            dead_lettered_messages=self._dead_lettered,
            backlog_messages=len(self._unacked),
            outstanding_messages=self._outstanding,
            retained_acked_messages=len(self._acked),
            oldest_unacked_age_seconds=max(age, 0.0),
        )

    def apply(self, settings: SubscriptionSettings) -> None:
        """Take over changed settings; acknowledged messages go when they are no longer retained."""
        self.settings = settings
        if not settings.retain_acked:
            self._drop_acked()

    # -- becoming ready ------------------------------------------------------------------------

    def _insert(self, message: Message) -> None:
        self._pool.hold(message)
        entry = Entry(message)
        self._unacked[message.sequence] = entry
        self._make_ready(entry)

    def _make_ready(self, entry: Entry) -> None:
        entry.state = State.READY
        sequence = entry.message.sequence
        key = entry.message.draft.ordering_key
        if not (self.settings.ordered and key):
            heappush(self._ready, sequence)
            return
        queue = self._keys.setdefault(key, _KeyQueue())
        heappush(queue.waiting, sequence)
        self._offer_head(key, queue)

    def _offer_head(self, key: str, queue: _KeyQueue) -> None:
        """Make the key's first message deliverable when none of the key is outstanding."""
        if queue.busy:
            return
        head = self._first_ready(queue.waiting)
        if head is None:
            del self._keys[key]
        elif queue.offered != head.message.sequence:
            queue.offered = head.message.sequence
            heappush(self._ready, queue.offered)

    def _first_ready(self, heap: list[int]) -> Entry | None:
        """Return the heap's first entry that is still ready, dropping what is not."""
        while heap:
            entry = self._unacked.get(heap[0])
            if entry is not None and entry.state is State.READY:
                return entry
            heappop(heap)
        return None

    def _next_entry(self, draining: _KeyQueue | None) -> Entry | None:
        """Return what to deliver next: more of the key just begun, else the oldest ready."""
        more = self._first_ready(draining.waiting) if draining else None
        return more or self._first_ready(self._ready)

    # -- leases --------------------------------------------------------------------------------

    def _lease(self, entry: Entry, due: int, consumer: Consumer | None) -> _KeyQueue | None:
        """Hand out a ready entry; return its key's queue when there is one."""
        sequence = entry.message.sequence
        queue = self._queue_of(entry)
        if queue is None or queue.offered == sequence:
            heappop(self._ready)
        if queue is not None:
            heappop(queue.waiting)
            queue.offered = None
            queue.busy.add(sequence)
        self._leases.pop(entry.lease, None)
        self._last_lease += 1
        self._leases[self._last_lease] = entry
        entry.lease = self._last_lease
        entry.state = State.LEASED
        entry.attempts += 1
        entry.consumer = consumer
        if consumer is not None:
            consumer.messages += 1
            consumer.bytes += entry.message.draft.content_bytes
        self._outstanding += 1
        self._delivered += 1
        self._set_timer(entry, due)
        return queue

    def _leave(self, entry: Entry) -> None:
        """Undo what being leased or delayed means for the counters and the key."""
        queue = self._queue_of(entry)
        if queue is not None:
            queue.busy.discard(entry.message.sequence)
        if entry.state is not State.LEASED:
            return
        self._outstanding -= 1
        if entry.consumer is not None:
            entry.consumer.messages -= 1
            entry.consumer.bytes -= entry.message.draft.content_bytes
            entry.consumer = None

    def _give_back(self, entry: Entry, now: int) -> None:
        """A lease ended without acknowledgement: dead letter, wait, or ready again."""
        policy = self.settings
        if (
            policy.dead_letter_topic
            and entry.attempts >= policy.max_delivery_attempts
            and self._forward(self, entry, now)
        ):
            self._dead_lettered += 1
            self._remove(entry)
            return
        queue = self._queue_of(entry)
        self._leave(entry)
        if policy.retry is None:
            self._make_ready(entry)
        else:
            entry.state = State.DELAYED
            self._set_timer(entry, now + policy.retry.delay(entry.attempts))
            if queue is not None:
                queue.busy.add(entry.message.sequence)
        if queue is not None:
            self._recall_after(entry.message.sequence, queue)

    def _recall_after(self, sequence: int, queue: _KeyQueue) -> None:
        """Take back the key's outstanding messages behind `sequence`, to be delivered after it."""
        for later in sorted(number for number in queue.busy if number > sequence):
            entry = self._unacked[later]
            self._leave(entry)
            self._make_ready(entry)

    def _remove(self, entry: Entry) -> None:
        """Take an entry out of the backlog, whatever its state."""
        self._leave(entry)
        key = entry.message.draft.ordering_key
        queue = self._queue_of(entry)
        del self._unacked[entry.message.sequence]
        self._leases.pop(entry.lease, None)
        if queue is not None:
            self._offer_head(key, queue)
        self._pool.release(entry.message)

    def _leased_entries(self, ack_ids: Sequence[str]) -> list[Entry]:
        """Return the entries that `ack_ids` name, each once; ids of the past name none."""
        if not ack_ids:
            raise InvalidArgumentError("No ack ids specified.")
        parsed = dict.fromkeys(parse_ack_id(ack_id) for ack_id in ack_ids)
        found = [self._leases.get(lease) for number, lease in parsed if number == self.number]
        return [entry for entry in found if entry is not None]

    def _queue_of(self, entry: Entry) -> _KeyQueue | None:
        key = entry.message.draft.ordering_key
        return self._keys.get(key) if key else None

    def _set_timer(self, entry: Entry, due: int) -> None:
        entry.due = due
        heappush(self._timers, (due, entry.message.sequence))
        if len(self._timers) > 2 * len(self._unacked) + 64:
            self._timers = [
                (waiting.due, sequence)
                for sequence, waiting in self._unacked.items()
                if waiting.state is not State.READY
            ]
            heapify(self._timers)

    # -- retention -----------------------------------------------------------------------------

    def _retain(self, message: Message) -> None:
        self._pool.hold(message)
        heappush(self._acked, (message.sequence, message))

    def _drop_older_than(self, cutoff: int) -> None:
        while self._unacked:
            entry = next(iter(self._unacked.values()))
            if entry.message.published_at >= cutoff:
                break
            self._expired += 1
            self._remove(entry)
        while self._acked and self._acked[0][1].published_at < cutoff:
            self._pool.release(heappop(self._acked)[1])

    def _drop_acked(self) -> None:
        for _, message in self._acked:
            self._pool.release(message)
        self._acked.clear()
