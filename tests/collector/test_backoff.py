import random

from collector.backoff import backoff


def test_waits_grow_are_capped_and_jittered() -> None:
    waits = backoff(random.Random(1), first=1.0, factor=2.0, cap=8.0)
    found = [next(waits) for _ in range(8)]
    limits = [1, 2, 4, 8, 8, 8, 8, 8]
    assert all(limit / 2 <= wait <= limit for wait, limit in zip(found, limits, strict=True))
    assert len(set(found)) == len(found)
