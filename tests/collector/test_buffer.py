import asyncio

from collector.buffer import MessageBuffer


def buffer(taken: list, **limits: float) -> MessageBuffer:
    times = iter(range(1, 1000))
    return MessageBuffer(
        lambda messages, received: taken.append((messages, received)),
        max_messages=int(limits.get("messages", 100)),
        max_bytes=int(limits.get("bytes", 10_000)),
        max_age=limits.get("age", 60.0),
        now_ns=lambda: next(times),
    )


async def test_a_full_buffer_is_handed_over_in_order() -> None:
    taken: list = []
    subject = buffer(taken, messages=3)
    for message in (b"a", b"b", b"c", b"d"):
        subject.append(message)
    assert taken == [([b"a", b"b", b"c"], [1, 2, 3])]
    subject.flush()
    assert taken[1:] == [([b"d"], [4])]


async def test_bytes_fill_it_too() -> None:
    taken: list = []
    subject = buffer(taken, bytes=10)
    subject.append(b"12345")
    subject.append(b"67890")
    assert [messages for messages, _ in taken] == [[b"12345", b"67890"]]


async def test_age_hands_it_over() -> None:
    done = asyncio.Event()
    subject = MessageBuffer(lambda *_: done.set(), max_messages=9, max_bytes=99, max_age=0.001)
    subject.append(b"a")
    await asyncio.wait_for(done.wait(), 5)


async def test_flushing_nothing_does_nothing() -> None:
    taken: list = []
    buffer(taken).flush()
    assert taken == []
