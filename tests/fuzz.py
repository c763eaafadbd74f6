"""Fuzzing of the decoders: `python -m tests.fuzz --cases 1000000`.

Cases are golden lines and frames made of them, broken by a seeded mutator; `--engine atheris` lets
libFuzzer break them instead, guided by coverage, where atheris is installed. A case fails when a
decoder raises anything but `Rejected`, takes more than a second of processor time, or breaks what
`check_line` and `check_frame` demand. A failure prints the case: make a golden file of it.
"""

from __future__ import annotations

import argparse
import contextlib
import inspect
import json
import re
import signal
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from market_data.batches import decode_batch
from market_data.channels import CHANNELS
from market_data.decode import Ignored, Origin, decode_line
from market_data.frames import (
    MAGIC,
    Frame,
    FrameHeader,
    HeaderTotals,
    decode_frame,
    encode_frame,
    join_lines,
    split_frames,
    split_lines,
)
from market_data.rejections import Rejected

GOLDEN = Path(__file__).parent / "market_data" / "golden"
ORIGIN = Origin("spot", "stream", "c1", "c1/1/1", datetime(2026, 1, 1, tzinfo=UTC))
CASE_SECONDS = 1.0
TOKENS = (
    b"null", b"true", b"NaN", b"-0", b"1e400", b"9" * 40, b"-1", b"0.00000001", b'"', b"\\", b"{}",
    b"[]", b"[[[[", b'\\u0000', b"\xff", b"\xed\xa0\x80", "币".encode(), b'"base64":"',
    b'"stream":', b'"e":', b"\n", b"\r\n", b"\x00", b",", b":", b"received_at",
    b"18446744073709551616",
)  # fmt: skip
_NUMBER = re.compile(rb"-?[0-9]+")

Check = Callable[[bytes], None]


class TooSlow(Exception):
    """A case took longer than it may."""


def golden_lines() -> list[tuple[str, bytes]]:
    """Return the channel and the line of every golden file."""
    documents = [json.loads(path.read_text("utf-8")) for path in sorted(GOLDEN.glob("*.json"))]
    return [(each["channel"], each["line"].encode()) for each in documents]


def check_line(data: bytes, channel: str) -> None:
    """One line: a record, an ignored line or a rejection; and a frame of it agrees.

    The batch decoder has a fast way for usual lines and must come to the same number of rows.
    """
    rows = ignored = rejected = 0
    lines = split_lines(join_lines([data]))  # a newline in it makes two
    for line in lines:
        try:
            decoded = decode_line(line, channel, ORIGIN)
        except Rejected:
            rejected += 1
        else:
            is_ignored = isinstance(decoded, Ignored)
            ignored, rows = ignored + is_ignored, rows + (not is_ignored)
    batch = decode_batch(join_lines(lines), channel, ORIGIN)
    found = 0 if batch.rows is None else batch.rows.num_rows
    counts = (found, sum(batch.ignored.values()), len(batch.rejected))
    assert counts == (rows, ignored, rejected), f"a frame of it has {counts}"


def check_frame(data: bytes) -> None:
    """A message of Pub/Sub, or an archive object: frames or a rejection; each frame decodes."""
    with contextlib.suppress(Rejected):
        for part in split_frames(data):
            assert part, "a part of an object has bytes"
    try:
        frame = decode_frame(data)
    except Rejected:
        return
    batch = decode_batch(frame.body, frame.header.channel, ORIGIN)
    rows = 0 if batch.rows is None else batch.rows.num_rows
    lines = rows + sum(batch.ignored.values()) + len(batch.rejected)
    assert lines == len(split_lines(frame.body)), "every line became something"


def corpus() -> list[tuple[Check, bytes]]:
    """Return what is broken: each golden line by itself, frames, the content of frames."""
    found: list[tuple[Check, bytes]] = []
    for channel, line in golden_lines():
        found.append((lambda data, channel=channel: check_line(data, channel), line))  # type: ignore[misc]
    by_channel: dict[str, list[bytes]] = {}
    for channel, line in golden_lines():
        by_channel.setdefault(channel, []).append(line)
    for channel, lines in by_channel.items():
        found.append((check_frame, encode_frame(frame_of(channel, lines))))
        found.append((_check_content, content_of(frame_of(channel, lines))))
    return found


def frame_of(channel: str, lines: list[bytes]) -> Frame:
    """Return a frame of lines whose header is plausible."""
    header = FrameHeader(
        frame_id="c1/1/1", market="spot", channel=channel, collector="c1", epoch=1, sequence=1,
        source="stream", lines=len(lines), opened_at=1, closed_at=2,
        symbols={"BTCUSDT": HeaderTotals(1, 2, 2, 3)},
    )  # fmt: skip
    return Frame(header, join_lines(lines))


def content_of(frame: Frame) -> bytes:
    """Return a frame's content before compression."""
    import msgspec

    return msgspec.json.encode(frame.header) + b"\n" + frame.body


def _check_content(data: bytes) -> None:
    """Content that was broken before it was compressed: the checksum is right."""
    import zstandard

    check_frame(zstandard.ZstdCompressor(write_checksum=True).compress(data))


def mutated(random: Random, data: bytes, others: list[bytes]) -> bytes:
    """Return `data` broken in one to four places."""
    for _ in range(random.choice((1, 1, 1, 2, 2, 4))):
        data = _broken(random, data, others)
    return data


def _broken(random: Random, data: bytes, others: list[bytes]) -> bytes:
    place, length = random.randrange(len(data) + 1), random.choice((1, 1, 2, 4, 8, 32))
    choice = random.randrange(9)
    if choice == 0 and data:
        place %= len(data)
        return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]
    if choice == 1:
        return data[:place] + random.randbytes(length) + data[place:]
    if choice == 2:
        return data[:place] + data[place + length :]
    if choice == 3:
        return data[:place] + data[place : place + length] * random.randrange(2, 5) + data[place:]
    if choice == 4:
        return data[:place]
    if choice == 5:
        other = random.choice(others)
        start = random.randrange(len(other) + 1)
        return data[:place] + other[start : start + 8 * length] + data[place:]
    if choice == 6 and (numbers := list(_NUMBER.finditer(data))):
        one = random.choice(numbers)
        value = str(int(one[0]) + random.choice((-1, 1, 10**6, -(10**18), 2**63, 2**64)))
        return data[: one.start()] + value.encode() + data[one.end() :]
    token = random.choice(TOKENS)
    return data[:place] + token + data[place + random.choice((0, len(token))) :]


@contextlib.contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TooSlow when the block takes more processor time than that; main thread only."""

    def stop(number: int, frame: object) -> None:
        raise TooSlow(f"longer than {seconds} s")

    previous = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, previous)


def fuzz(cases: int, seed: int, tell: Callable[[str], None] = print) -> int:
    """Run so many cases; return how many failed."""
    random, found = Random(seed), corpus()
    others = [data for _, data in found]
    failed, began, told = 0, time.monotonic(), time.monotonic()
    for number in range(cases):
        check, data = found[random.randrange(len(found))]
        case = mutated(random, data, others)
        try:
            with limited(CASE_SECONDS):
                check(case)
        except Exception as error:
            failed += 1
            tell(f"case {number} of seed {seed}: {type(error).__name__}: {error}\n  {case!r}")
        if time.monotonic() - told > 60:
            told = time.monotonic()
            tell(f"{number + 1:,} cases, {failed} failed, {told - began:.0f} s")
    seconds = time.monotonic() - began
    tell(f"{cases:,} cases of seed {seed}: {failed} failed; {seconds:.0f} s")
    return failed


def fuzz_by_coverage(arguments: list[str]) -> None:
    """Let libFuzzer choose; `arguments` are its own. Does not return."""
    import atheris  # type: ignore[import-not-found]

    ours = [module for name, module in sys.modules.items() if name.startswith("market_data")]
    for module in ours:
        for function in vars(module).values():
            if inspect.isfunction(function) and function.__module__ == module.__name__:
                atheris.instrument_func(function)
    channels = [*CHANNELS]

    def one(data: bytes) -> None:
        if data.startswith(MAGIC):
            check_frame(data)
        elif data:
            check_line(data[1:], channels[data[0] % len(channels)])

    folder = Path(arguments.pop()) if arguments and not arguments[-1].startswith("-") else None
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, (channel, line) in enumerate(golden_lines()):
            (folder / f"golden-{number}").write_bytes(bytes([channels.index(channel)]) + line)
        arguments.append(str(folder))
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()


def main(arguments: list[str]) -> int:
    """Run the fuzzer; return 1 when a case failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--engine", choices=("mutator", "atheris"), default="mutator")
    options, rest = parser.parse_known_args(arguments)
    if options.engine == "atheris":
        fuzz_by_coverage([f"-runs={options.cases}", f"-seed={options.seed}", *rest])
    return 1 if fuzz(options.cases, options.seed) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
