import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from collector.splicing import join_messages, stamp

received = st.integers(10**15, 10**16 - 1)
messages = st.binary(max_size=40).map(lambda rest: b"{" + rest.replace(b"\n", b""))


@given(st.lists(st.tuples(messages, received), min_size=1, max_size=30))
def test_lines_are_the_times_and_the_bytes_of_the_messages(pairs: list[tuple[bytes, int]]) -> None:
    body = join_messages([message for message, _ in pairs])
    assert stamp(body, np.array([time for _, time in pairs])) == b"".join(
        b'{"received_at":%d,%b\n' % (time, message[1:]) for message, time in pairs
    )
