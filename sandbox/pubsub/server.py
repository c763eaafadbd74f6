"""The embedded Pub/Sub server: start it, stop it, look into it.

`__main__` runs it as a process; tests and tools run it in their own event loop:

    async with PubSubServer(ServerSettings(port=0)) as server:
        server.faults.add(Fault("unavailable", target="publish", calls=3), server.clock())
        ... PUBSUB_EMULATOR_HOST = server.address ...
"""

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from sandbox.pubsub.durable import DurableStore
from sandbox.pubsub.faults import FaultPlan
from sandbox.pubsub.journal import Journal
from sandbox.pubsub.model import MAX_PUBLISH_BYTES
from sandbox.pubsub.publisher import Publisher
from sandbox.pubsub.rpc import Gateway
from sandbox.pubsub.store import Store
from sandbox.pubsub.subscriber import Subscriber

logger = logging.getLogger(__name__)

TICK_SECONDS = 0.05
"""How late a lease may end when nobody calls; Google's emulator has the same tick."""

STOP_GRACE_SECONDS = 2.0
"""Calls under way get this long to end when the server stops."""

_CHANNEL_OPTIONS = [
    # Without this a second server would share the port silently.
    ("grpc.so_reuseport", 0),
    # Larger than the limit, so that too large a request gets INVALID_ARGUMENT with a reason.
    ("grpc.max_receive_message_length", 3 * MAX_PUBLISH_BYTES),
    ("grpc.max_send_message_length", -1),
]


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """How a server is run.

    Attributes:
        host: address to listen on.
        port: 0 picks a free one.
        max_bytes: limit of the message memory (see `store`).
        pull_wait_seconds: how long a pull waits for a first message at most. The service and
            Google's emulator wait almost until the client's deadline; Beam's DirectRunner, which
            pulls with 30 s, would fire its timers that late on an idle subscription.
        fault_seed: seed of faults that strike by chance.
        journal: file that keeps what is held over restarts and kills; None: in memory only.
    """

    host: str = "127.0.0.1"
    port: int = 8085
    max_bytes: int = 512 * 1024 * 1024
    pull_wait_seconds: float = 2.0
    fault_seed: int = 0
    journal: Path | None = None


class PortTakenError(Exception):
    """The address cannot be listened on."""


def wall_clock() -> int:
    """Return microseconds since 1970 UTC."""
    return time.time_ns() // 1000


class Clock:
    """Microseconds since 1970 UTC that never run backwards, whatever is done to the machine's."""

    def __init__(self, not_before: int = 0) -> None:
        self._latest = not_before

    def __call__(self) -> int:
        """Return the time."""
        self._latest = max(self._latest, wall_clock())
        return self._latest


class PubSubServer:
    """A Pub/Sub in this process, served over gRPC on loopback.

    Raises:
        JournalError: the journal cannot be opened or is damaged.

    Attributes:
        store: its state, to look into; change it only from the server's event loop.
        faults: what goes wrong on purpose.
        clock: microseconds since 1970 UTC, as the server sees it.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self.settings = settings
        self._closing = contextlib.ExitStack()
        self.store = self._open_store()
        self.clock = Clock(self.store.latest if isinstance(self.store, DurableStore) else 0)
        self.faults = FaultPlan(settings.fault_seed)
        self.port = 0
        self._gateway = Gateway(self.store, self.faults, self.clock)
        self._server: grpc.aio.Server | None = None
        self._ticker: asyncio.Task[None] | None = None

    def _open_store(self) -> Store:
        if self.settings.journal is None:
            return Store(self.settings.max_bytes, wall_clock())
        with contextlib.ExitStack() as opened:
            journal = opened.enter_context(contextlib.closing(Journal(self.settings.journal)))
            store = DurableStore(self.settings.max_bytes, wall_clock(), journal)
            self._closing = opened.pop_all()
        return store

    @property
    def address(self) -> str:
        """HOST:PORT, as PUBSUB_EMULATOR_HOST wants it."""
        return f"{self.settings.host}:{self.port}"

    async def start(self) -> None:
        """Listen and serve.

        Raises:
            PortTakenError: somebody else listens there.
        """
        server = grpc.aio.server(options=_CHANNEL_OPTIONS)
        subscriber = Subscriber(self._gateway, self.settings.pull_wait_seconds)
        server.add_generic_rpc_handlers((Publisher(self._gateway).handler(), subscriber.handler()))
        asked = f"{self.settings.host}:{self.settings.port}"
        try:
            self.port = server.add_insecure_port(asked)
        except RuntimeError as error:
            raise PortTakenError(
                f"cannot listen on {asked}: the port is taken or the host is not this machine's; "
                "stop what listens there or choose another --port"
            ) from error
        await server.start()
        self._server = server
        self._ticker = asyncio.create_task(self._tick())

    async def stop(self) -> None:
        """End waiting calls, refuse new ones, and return when port and journal are free."""
        self._gateway.stopping = True
        self._gateway.wake_all()
        with self._closing:
            if self._ticker:
                self._ticker.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._ticker
            if self._server:
                await self._server.stop(STOP_GRACE_SECONDS)

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def _tick(self) -> None:
        """Let time pass for those who wait: leases end, retention applies."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            try:
                ready = self.store.expire(self.clock())
            except Exception:  # who waits for time to pass waits for the next tick, not for ever
                logger.exception("leases and retention: not applied; tried again at the next tick")
                continue
            for subscription in ready:
                self._gateway.wake(subscription)
