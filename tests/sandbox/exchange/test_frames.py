import pytest
from websockets.frames import Opcode
from websockets.streams import StreamReader

from sandbox.exchange.frames import BINARY, PING, TEXT, frame, frame_header


@pytest.mark.parametrize("length", [0, 1, 125, 126, 65_535, 65_536])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
def test_frames_are_what_a_client_reads(length: int, opcode: int) -> None:
    from websockets.frames import Frame

    reader = StreamReader()
    reader.feed_data(frame(b"x" * length, opcode))
    parser = Frame.parse(reader.read_exact, mask=False, max_size=None)
    with pytest.raises(StopIteration) as parsed:
        next(parser)
    assert parsed.value.value.data == b"x" * length
    assert parsed.value.value.opcode == Opcode(opcode)


def test_a_ping_has_its_opcode() -> None:
    assert frame_header(PING, 3) == b"\x89\x03"
