"""An exchange at the border of the transports: the test speaks for it, on a clock that jumps."""

import asyncio
import itertools
import json
from collections import Counter
from collections.abc import Callable
from typing import Any

from collector.transports import Closed, ConnectError, OnMessage


def now() -> float:
    return asyncio.get_running_loop().time()


async def until(condition: Callable[[], bool], seconds: float = 3600) -> None:
    end = now() + seconds
    while not condition():
        assert now() < end, f"waited {seconds} s of the loop's time in vain"
        await asyncio.sleep(0.1)


def trade(stream: str, number: int) -> bytes:
    return b'{"stream":"%s","data":{"e":"trade","E":1,"s":"X","t":%d,"p":"1"}}' % (
        stream.encode(),
        number,
    )


class FakeLink:
    """An open connection; control messages are answered at once unless the test says otherwise."""

    def __init__(self, exchange: "FakeExchange", on_message: OnMessage) -> None:
        self.deliver = on_message
        self.sent: list[tuple[float, dict[str, Any]]] = []
        self.streams: set[str] = set()
        self._exchange = exchange
        self._ended = asyncio.get_running_loop().create_future()

    async def send(self, text: str) -> None:
        message = json.loads(text)
        self.sent.append((now(), message))
        self._exchange.on_message(self, message)

    async def read(self) -> Closed:
        return await asyncio.shield(self._ended)  # type: ignore[no-any-return]

    async def close(self) -> None:
        if not self.is_ended:
            await asyncio.sleep(self._exchange.close_seconds)
        self.end(Closed(1000, ""))

    def end(self, closed: Closed) -> None:
        if not self.is_ended:
            self._ended.set_result(closed)

    def fail(self, error: Exception) -> None:
        self._ended.set_exception(error)

    def tell(self, control: dict[str, Any]) -> None:
        self.deliver(json.dumps(control).encode())

    @property
    def is_ended(self) -> bool:
        return self._ended.done()

    @property
    def asked(self) -> list[tuple[str, list[str]]]:
        return [(message["method"], message["params"]) for _, message in self.sent]


class FakeExchange:
    """A transport that connects as the script says: True for a link, False for a refusal.

    When the script is over every attempt succeeds.

    Attributes:
        on_message: what happens to a control message; acknowledged when it is not changed.
        close_seconds: how long a closing handshake takes.
    """

    def __init__(self, *script: bool) -> None:
        self._script = list(script)
        self.attempts: list[float] = []
        self.urls: list[str] = []
        self.links: list[FakeLink] = []
        self.on_message: Callable[[FakeLink, dict[str, Any]], None] = acknowledge
        self.close_seconds = 0.0
        self.ids: Counter[str] = Counter()

    def refuse(self, times: int) -> None:
        self._script += [False] * times

    async def connect(self, url: str, on_message: OnMessage) -> FakeLink:
        self.attempts.append(now())
        self.urls.append(url)
        if self._script and not self._script.pop(0):
            raise ConnectError("OSError: nobody listens")
        self.links.append(FakeLink(self, on_message))
        return self.links[-1]

    @property
    def open_links(self) -> list[FakeLink]:
        return [link for link in self.links if not link.is_ended]

    @property
    def waits(self) -> list[float]:
        return [later - earlier for earlier, later in itertools.pairwise(self.attempts)]

    def emit(self, stream: str) -> None:
        """Let a trade happen: the next id goes to every link that has subscribed the stream."""
        self.ids[stream] += 1
        for link in self.open_links:
            if stream in link.streams:
                link.deliver(trade(stream, self.ids[stream]))

    async def link(self, number: int = 1) -> FakeLink:
        """Return the n-th connection that was made, once it is there."""
        await until(lambda: len(self.links) >= number)
        await asyncio.sleep(0.001)  # it has begun to read
        return self.links[number - 1]


def acknowledge(link: FakeLink, message: dict[str, Any]) -> None:
    if message["method"] == "SUBSCRIBE":
        link.streams.update(message["params"])
    else:
        link.streams.difference_update(message["params"])
    link.tell({"result": None, "id": message["id"]})


def ignore(_link: FakeLink, _message: dict[str, Any]) -> None:
    """Never answer."""
