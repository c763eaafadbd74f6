"""What every RPC shares: the gateway to the store, and the step from store errors to statuses.

Used by `publisher`, `subscriber` and `streaming`, which hold the methods, and by `server`, which
registers them. Everything runs in one event loop; the store needs no lock.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple, TypeAlias

import grpc

from sandbox.pubsub.errors import StoreError
from sandbox.pubsub.faults import Calls, FaultPlan
from sandbox.pubsub.store import Store
from sandbox.pubsub.subscription import Subscription
from sandbox.pubsub.wire import Pb, pb_class

Context: TypeAlias = Any
"""`grpc.aio.ServicerContext`; grpc carries no type information."""

Handler: TypeAlias = Callable[[Pb, Context], Awaitable[Pb]]
INJECTED = "injected fault; see GET /faults on the admin port"


class Gateway:
    """The store with what the live side needs around it.

    Attributes:
        store: the pure state.
        faults: asked before and after the work of a call.
        clock: microseconds since 1970 UTC.
        stopping: set when the server is going away; waiting calls end then.
    """

    def __init__(self, store: Store, faults: FaultPlan, clock: Callable[[], int]) -> None:
        self.store = store
        self.faults = faults
        self.clock = clock
        self.stopping = False
        self._signals: defaultdict[int, asyncio.Event] = defaultdict(asyncio.Event)

    def signal(self, subscription: Subscription) -> asyncio.Event:
        """Return the event that is set when `subscription` may have something to deliver.

        Who waits must try first, then clear, then wait, with no await between the first two.
        """
        return self._signals[subscription.number]

    def wake(self, subscription: Subscription) -> None:
        """Let everybody who waits on `subscription` look again."""
        if subscription.number in self._signals:
            self._signals[subscription.number].set()

    def forget(self, subscription: Subscription) -> None:
        """Wake who waits on a deleted subscription for the last time."""
        self.wake(subscription)
        self._signals.pop(subscription.number, None)

    def wake_all(self) -> None:
        """Let everybody look again, because the server stops."""
        for event in self._signals.values():
            event.set()


def immediate(handler: Callable[[Pb], Pb]) -> Handler:
    """Adapt a method that needs no waiting and no call context."""

    async def run(request: Pb, _: Context) -> Pb:
        return handler(request)

    return run


def guarded(gateway: Gateway, calls: Calls | None, handler: Handler) -> Handler:
    """Wrap a unary method: faults first, then store errors become statuses.

    Args:
        gateway: where the faults are.
        calls: which faults apply; None for the methods that manage resources, which never fail
            on purpose.
        handler: the method.
    """

    async def run(request: Pb, context: Context) -> Pb:
        if calls:
            await inject(gateway, calls, context)
        try:
            reply = await handler(request, context)
        except StoreError as error:
            await context.abort(grpc.StatusCode[error.code], str(error))
        if calls == "publish" and gateway.faults.strikes("lost_reply", gateway.clock()):
            await context.abort(grpc.StatusCode.UNAVAILABLE, INJECTED)
        return reply

    return run


async def inject(
    gateway: Gateway, calls: Calls, context: Context, failing_seconds: float = 0.0
) -> None:
    """Hold the call up, or end it with UNAVAILABLE, when a fault says so.

    Args:
        gateway: where the faults are.
        calls: which of them apply.
        context: of the call.
        failing_seconds: how long failing takes.
    """
    if delay := gateway.faults.delay_seconds(calls, gateway.clock()):
        await asyncio.sleep(delay)
    if gateway.faults.unavailable(calls, gateway.clock()):
        await asyncio.sleep(failing_seconds)
        await context.abort(grpc.StatusCode.UNAVAILABLE, INJECTED)


class Method(NamedTuple):
    """One unary method: its name, protobuf class names, what it does, which faults strike it."""

    name: str
    request: str
    response: str
    run: Handler
    calls: Calls | None = None


def unary_handlers(gateway: Gateway, methods: Iterable[Method]) -> dict[str, Any]:
    """Return gRPC's handlers by method name."""
    return {
        method.name: grpc.unary_unary_rpc_method_handler(
            guarded(gateway, method.calls, method.run),
            request_deserializer=pb_class(method.request).FromString,
            response_serializer=pb_class(method.response).SerializeToString,
        )
        for method in methods
    }
