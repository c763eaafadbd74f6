import json
from pathlib import Path
from typing import Any

import pytest

from beam_jobs.archive import ArchivedFrame, object_manifest
from beam_jobs.verify_archive import main, verify_object
from market_data.frames import Frame, decode_frame, encode_frame, join_lines, split_frames
from tests.beam_jobs.samples import frame, trade

NAME = "raw/market=spot/channel=trade/dt=2026-02-02/hour=02/a.ndjson.zst"
FRAMES = [
    frame(*(trade(10 * sequence + number) for number in range(5)), sequence=sequence)
    for sequence in (1, 2, 3)
]


def parts_of(frames: list[Frame]) -> list[ArchivedFrame]:
    return [ArchivedFrame(each.header, encode_frame(each)) for each in frames]


def packed(frames: list[Frame]) -> bytes:
    return b"".join(part.data for part in parts_of(frames))


DATA = packed(FRAMES)
MANIFEST = json.loads(json.dumps(object_manifest(NAME, DATA, parts_of(FRAMES))))


def changed(lines: list[int]) -> bytes:
    """Return the object with the second frame's lines chosen anew, as a careful forger would."""
    old = FRAMES[1].body.split(b"\n")
    body = join_lines(old[number] for number in lines)
    return packed([FRAMES[0], Frame(FRAMES[1].header, body), FRAMES[2]])


def problems(data: bytes) -> str:
    found = verify_object(data, MANIFEST).problems
    assert found
    return "\n".join(found)


def test_an_object_that_is_what_its_manifest_says() -> None:
    finding = verify_object(DATA, MANIFEST)
    assert (finding.frames, finding.lines, finding.problems) == (3, 15, [])


@pytest.mark.parametrize("place", range(0, len(DATA), 11))
def test_a_flipped_byte_is_named_with_its_frame(place: int) -> None:
    data = DATA[:place] + bytes([DATA[place] ^ 0x10]) + DATA[place + 1 :]
    sizes = [len(part) for part in split_frames(DATA)]
    number = 1 + sum(place >= sum(sizes[:n]) for n in (1, 2))
    text = problems(data)
    assert "its SHA-256 is" in text
    assert f"frame {number} of 3, c1/7/{number}" in text


def test_two_swapped_lines_are_named() -> None:
    text = problems(changed([0, 1, 3, 2, 4]))
    assert "its SHA-256 is" in text
    assert "frame 2 of 3, c1/7/2" in text
    assert "lines 3 and 4 are not in the order in which they came" in text
    assert "frame 1" not in text


def test_a_dropped_line_is_named_with_its_id() -> None:
    text = problems(changed([0, 1, 3, 4]))
    assert "frame 2 of 3, c1/7/2" in text
    assert "it has 4 lines, its header says 5" in text
    assert "BTCUSDT has 4 ids with the sum 88, its header says 5 with 110; 22 is missing" in text


def test_a_line_in_another_lines_place_is_named() -> None:
    assert "BTCUSDT has 5 ids with the sum 109" in problems(changed([0, 1, 1, 3, 4]))


def test_frames_that_are_missing_too_many_or_cut_are_named() -> None:
    assert "frame 3 of 3, c1/7/3: it is missing" in problems(packed(FRAMES[:2]))
    assert "bytes that no frame explains" in problems(DATA + packed(FRAMES[:1]))
    assert "frame 3 of 3, c1/7/3, from byte" in problems(DATA[:-3])
    text = problems(packed([FRAMES[1], FRAMES[0], FRAMES[2]]))
    assert "frame 1 of 3, c1/7/1" in text
    assert "its header is that of c1/7/2, or changed" in text


def write(folder: Path, data: bytes, manifest: Any = MANIFEST) -> str:
    (folder / "a.manifest.json").write_text(json.dumps(manifest))
    (folder / "a.ndjson.zst").write_bytes(data)
    return str(folder / "a.ndjson.zst")


def test_it_runs_on_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address = write(tmp_path, DATA)
    assert main([address]) == 0
    equal = f"{address}: equal to its manifest, 3 frames, 15 lines\n"
    assert capsys.readouterr().out == equal
    assert main([write(tmp_path, DATA[:-1]), address]) == 1
    assert "DIFFERENT from its manifest" in capsys.readouterr().out


def test_what_cannot_be_read_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([]) == 2
    assert main([str(tmp_path / "no.ndjson.zst")]) == 2
    assert main([str(tmp_path / "a.json")]) == 2
    for manifest in ({}, [], {**MANIFEST, "frames": [{"lines": 1}]}):
        assert main([write(tmp_path, DATA, manifest)]) == 2
    assert "its manifest is none" in capsys.readouterr().err


def test_frames_are_as_the_collector_made_them() -> None:
    assert [decode_frame(part) for part in split_frames(DATA)] == FRAMES
