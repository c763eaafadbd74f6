"""Verify archive objects against their manifests: `python -m beam_jobs.verify_archive OBJECT…`.

An OBJECT is `gs://BUCKET/raw/….ndjson.zst` or a local file with its manifest beside it. The digest
over the object catches every change of a byte; the frames' own checksums, headers, times and ids
then say where it was. Prints a line an object, and a line for each thing that is wrong.
Exit codes: 0 all are what their manifests say, 1 one is not, 2 one can't be read.

It needs nothing but `market_data` and, for `gs://`, the storage client.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec

from market_data.batches import decode_batch
from market_data.decode import Origin
from market_data.frames import (
    Frame,
    FrameHeader,
    decode_frame,
    encode_frame,
    split_frames,
    split_lines,
)
from market_data.layouts import LAYOUTS
from market_data.rejections import Rejected
from market_data.totals import totals_by_symbol

OBJECT: Final = ".ndjson.zst"
MANIFEST: Final = ".manifest.json"
_DOWNLOAD_SECONDS: Final = 60.0


class _Payload(msgspec.Struct):
    s: str = ""
    t: int = -1  # id of a trade
    a: int = -1  # id of an aggregate trade


class _Line(msgspec.Struct):
    received_at: int
    data: _Payload = msgspec.field(default_factory=_Payload)


_LINE: Final = msgspec.json.Decoder(_Line)


@dataclass(frozen=True, slots=True)
class Finding:
    """What an object is.

    Attributes:
        frames: number of frames that could be read.
        lines: number of lines in them.
        problems: sentences; empty when it is what its manifest says.
    """

    frames: int
    lines: int
    problems: list[str]


def verify_object(data: bytes, manifest: Mapping[str, Any]) -> Finding:
    """Hold an object against its manifest.

    Args:
        data: the object's bytes.
        manifest: as `beam_jobs.archive.object_manifest` makes it.

    Raises:
        KeyError, TypeError, msgspec.ValidationError: the manifest is none.
    """
    headers = msgspec.convert(manifest["frames"], list[FrameHeader], strict=False)
    problems: list[str] = []
    if len(data) != manifest["bytes"]:
        problems.append(f"it has {len(data)} bytes, its manifest says {manifest['bytes']}")
    sha256 = hashlib.sha256(data).hexdigest()
    if sha256 != manifest["sha256"]:
        problems.append(f"its SHA-256 is {sha256}, its manifest says {manifest['sha256']}")
    is_changed = bool(problems)
    frames = lines = start = 0
    unlike: list[str] = []
    parts = split_frames(data)
    for number, header in enumerate(headers, start=1):
        name = f"frame {number} of {len(headers)}, {header.frame_id}"
        try:
            part = next(parts)
        except StopIteration:
            problems.append(f"{name}: it is missing")
            continue
        except Rejected as error:
            problems.append(f"{name}, from byte {start}: {error.detail}; the rest was not read")
            return Finding(frames, lines, problems)
        place = f"{name}, bytes {start} to {start + len(part) - 1}"
        start += len(part)
        try:
            frame = decode_frame(part)
        except Rejected as error:
            problems.append(f"{place}: {error.detail}")
            continue
        frames, lines = frames + 1, lines + len(split_lines(frame.body))
        if frame.header != header:
            problems.append(f"{place}: its header is that of {frame.header.frame_id}, or changed")
        if is_changed:
            problems += [f"{place}: {problem}" for problem in _changes(frame, header)]
            if encode_frame(frame) != part:
                unlike.append(f"{place}: its bytes are not those that its lines compress to")
    if start < len(data):
        problems.append(f"from byte {start}: {len(data) - start} bytes that no frame explains")
    if not any(problem.startswith("frame") for problem in problems):
        problems += unlike  # a byte that no line depends on, such as an unused bit
    return Finding(frames, lines, problems)


def _changes(frame: Frame, expected: FrameHeader) -> Iterator[str]:
    """Say what may have been changed in a frame of an object that was."""
    lines = split_lines(frame.body)
    if len(lines) != expected.lines:
        yield f"it has {len(lines)} lines, its header says {expected.lines}"
    yield from _out_of_order(lines)
    yield from _wrong_totals(frame, expected)


def _out_of_order(lines: Sequence[bytes]) -> Iterator[str]:
    """Name lines that came, or whose ids are, before those of a line above them."""
    before, last_ids = 0, dict[str, int]()
    for number, text in enumerate(lines, start=1):
        try:
            line = _LINE.decode(text)
        except msgspec.MsgspecError as error:
            yield f"line {number}: {error}"
            continue
        item_id, symbol = max(line.data.t, line.data.a), line.data.s
        if line.received_at < before or item_id < last_ids.get(symbol, -1):
            yield f"lines {number - 1} and {number} are not in the order in which they came"
        before, last_ids[symbol] = line.received_at, item_id


def _wrong_totals(frame: Frame, expected: FrameHeader) -> Iterator[str]:
    """Name symbols whose ids are not those of the header, and the id where only one is missing."""
    layout = LAYOUTS.get(expected.channel)
    if layout is None or not expected.symbols:
        return
    origin = Origin(
        expected.market, expected.source, expected.collector, expected.frame_id, datetime.now(UTC)
    )
    batch = decode_batch(frame.body, expected.channel, origin)
    found = {} if batch.rows is None else totals_by_symbol(batch.rows, layout)
    by_symbol = {totals.symbol: totals for totals in found}
    for symbol, said in sorted(expected.symbols.items()):
        totals = by_symbol.get(symbol)
        count, sum_ids = (totals.count, int(totals.sum_ids)) if totals else (0, 0)
        if (count, sum_ids) == (said.count, said.sum_ids):
            continue
        named = f"; {said.sum_ids - sum_ids} is missing" if count == said.count - 1 else ""
        yield (
            f"{symbol} has {count} ids with the sum {sum_ids}, its header says {said.count}"
            f" with {said.sum_ids}{named}"
        )


def read(address: str) -> bytes:
    """Return the bytes of `gs://BUCKET/NAME` or of a local file.

    Raises:
        OSError: there is no such file.
        google.api_core.exceptions.GoogleAPICallError: Cloud Storage refuses.
    """
    if not address.startswith("gs://"):
        return Path(address).read_bytes()
    from google.cloud import storage

    bucket, _, name = address.removeprefix("gs://").partition("/")
    blob = storage.Client().bucket(bucket).blob(name)
    data: bytes = blob.download_as_bytes(timeout=_DOWNLOAD_SECONDS)
    return data


def main(addresses: Sequence[str]) -> int:
    """Verify the objects; return the exit code."""
    if not addresses:
        print("usage: python -m beam_jobs.verify_archive OBJECT…", file=sys.stderr)
        return 2
    code = 0
    for address in addresses:
        code = max(code, _verify(address))
    return code


def _verify(address: str) -> int:
    from google.api_core.exceptions import GoogleAPIError

    if not address.endswith(OBJECT):
        print(f"{address}: expected an object *{OBJECT}", file=sys.stderr)
        return 2
    try:
        manifest = json.loads(read(address.removesuffix(OBJECT) + MANIFEST))
        finding = verify_object(read(address), manifest)
    except (OSError, GoogleAPIError) as error:
        print(f"{address}: it or its manifest can't be read: {error}", file=sys.stderr)
        return 2
    except (ValueError, KeyError, TypeError) as error:
        print(f"{address}: its manifest is none: {error!r}", file=sys.stderr)
        return 2
    verdict = "DIFFERENT from" if finding.problems else "equal to"
    print(f"{address}: {verdict} its manifest, {finding.frames} frames, {finding.lines} lines")
    for problem in finding.problems:
        print(f"    {problem}")
    return 1 if finding.problems else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
