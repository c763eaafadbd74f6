"""Collector: websocket to spooled frame, on one core, for both transports.

What looking for holes costs is the difference to the totals `untracked`: the same way without it.

`python -m benchmarks.receive TRANSPORT MESSAGES TOTALS` is the measured process; `measure` starts
it pinned to one core, beside a firehose pinned to another.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import uvloop

from benchmarks.tools import firehose, peak_mib, run_json
from collector.buffer import MessageBuffer
from collector.continuity import Continuity
from collector.intake import Intake
from collector.outbox import Outbox
from collector.sealing import Sealer, warm_up
from collector.settings import Settings
from collector.spool import Spool, SpooledFrame
from collector.subscriptions import Subscriptions
from collector.transports import Link, load_transport
from market_data.memory import keep_freed_memory


class _Sink:
    """Acknowledges at once: the measured way ends in the spool."""

    def publish(self, frame: SpooledFrame) -> Future[str]:
        future: Future[str] = Future()
        future.set_result(frame.frame_id)
        return future

    def close(self) -> None:
        pass


async def _receive(url: str, transport: str, messages: int, totals: str) -> dict[str, float]:
    """Receive, seal and spool so many messages and return how long it took."""
    settings = Settings()
    keep_freed_memory()
    warm_up()
    gc.freeze()
    with tempfile.TemporaryDirectory() as folder:
        outbox = Outbox(Spool(Path(folder)), _Sink(), max_spool_bytes=settings.spool_max_bytes)
        outbox.start()
        market = "nowhere" if totals == "untracked" else "spot"
        sealer = Sealer(market=market, collector="bench", epoch=1, with_quantities=totals == "full")
        continuity = Continuity(market)
        intake = Intake(
            sealer,
            continuity,
            outbox,
            run_id="bench/1",
            frame_bytes=settings.frame_bytes,
            heal_max_ids=settings.heal_max_ids,
            grace=settings.heal_after_ms / 1000,
        )
        first: list[float] = []
        done = asyncio.Event()

        def on_full(batch: list[bytes], times: list[int]) -> None:
            if not first:
                first.append(time.perf_counter())
            intake.take("trade-0#1", batch, times, overlaps=False)
            if intake.messages["trade"] >= messages:
                done.set()

        buffer = MessageBuffer(
            on_full,
            max_messages=settings.frame_lines,
            max_bytes=settings.frame_bytes,
            max_age=settings.frame_age_ms / 1000,
        )
        streams = tuple(json.loads(os.environ["BENCH_STREAMS"]))
        link = await load_transport(transport).connect(f"{url}/stream", buffer.append)
        reading = asyncio.create_task(link.read())
        cpu = time.process_time()
        await subscribe(link, streams)
        await asyncio.wait_for(done.wait(), 300)
        while outbox.counts.spooled_lines < messages:  # noqa: ASYNC110 # it counts in a thread
            await asyncio.sleep(0.001)
        seconds = time.perf_counter() - first[0]
        cpu = time.process_time() - cpu
        await link.close()
        await reading
        await asyncio.to_thread(outbox.stop, 30.0)
    received = intake.messages["trade"]
    assert (continuity.missing_ids, intake.dropped.total()) == (0, 0)
    return {
        "messages": received,
        "seconds": seconds,
        "per_second": received / seconds,
        "cpu_us_per_message": cpu / received * 1e6,
        "peak_mb": peak_mib(),
    }


async def subscribe(link: Link, streams: Sequence[str]) -> None:
    """Subscribe streams of an exchange that does not count messages."""
    subscriptions = Subscriptions(reply_seconds=10.0)
    subscriptions.want(streams)
    while subscriptions.has_next:
        await link.send(subscriptions.next_message(now=0.0))


async def _receive_bare(url: str, transport: str, messages: int) -> dict[str, float]:
    """Only receive so many messages: what the transport alone costs on this machine."""
    started, count, done = 0.0, 0, asyncio.Event()

    def on_message(_: bytes) -> None:
        nonlocal started, count
        started = started or time.perf_counter()
        count += 1
        if count >= messages:
            done.set()

    streams = tuple(json.loads(os.environ["BENCH_STREAMS"]))
    link = await load_transport(transport).connect(f"{url}/stream", on_message)
    reading = asyncio.create_task(link.read())
    cpu = time.process_time()
    await subscribe(link, streams)
    await asyncio.wait_for(done.wait(), 300)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    await link.close()
    await reading
    return {
        "messages": count,
        "seconds": seconds,
        "per_second": count / seconds,
        "cpu_us_per_message": cpu / count * 1e6,
        "peak_mb": peak_mib(),
    }


def measure(messages: int) -> list[dict[str, object]]:
    """Measure both transports bare and with everything, and what full control totals cost."""
    rows = []
    for transport, totals, count in (
        ("websockets", "bare", messages // 3),
        ("websockets", "untracked", messages // 3),
        ("websockets", "ids", messages // 3),
        ("picows", "bare", messages),
        ("picows", "untracked", messages),
        ("picows", "ids", messages),
        ("picows", "full", messages // 3),
    ):
        with firehose(count, core=1) as (url, streams):
            result = run_json(
                ["-m", "benchmarks.receive", url, transport, str(count), totals],
                core=0,
                environment={"BENCH_STREAMS": json.dumps(streams)},
            )
        rows.append({"transport": transport, "totals": totals, **result})
    return rows


if __name__ == "__main__":
    _url, _transport, _messages, _totals = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
    if _totals == "bare":
        print(json.dumps(uvloop.run(_receive_bare(_url, _transport, _messages))))
    else:
        print(json.dumps(uvloop.run(_receive(_url, _transport, _messages, _totals))))
