from typing import Any

from sandbox.chaos.prove import problems_of
from sandbox.faults.run import Injected


def hole(first: int, last: int, **changes: object) -> dict[str, Any]:
    return {
        "channel": "trade",
        "symbol": "BTCUSDT",
        "first_missing_id": str(first),
        "last_missing_id": str(last),
        "outcome": "healed",
        "closed_us": "1790000000500000",
        **changes,
    }


def problems(**changes: Any) -> list[str]:
    given: dict[str, Any] = {
        "certificate": {"problems": []},
        "holes": [hole(5, 7)],
        "fetched": [("trade", "BTCUSDT", 5), ("trade", "BTCUSDT", 7)],
        "injections": [],
        "memory": {"collector": 100 << 20},
    }
    return problems_of(**{**given, **changes})


def test_all_is_proven() -> None:
    assert problems() == []


def test_what_the_certificate_says_is_kept() -> None:
    assert problems(certificate={"problems": ["a"]}) == ["a"]


def test_an_open_hole_is_named() -> None:
    assert problems(holes=[hole(5, 7, closed_us=None, outcome="failed")]) == [
        "BTCUSDT: the hole 5 to 7 of trade is failed"
    ]


def test_a_healed_id_outside_every_recorded_hole_is_named() -> None:
    fetched = [("trade", "BTCUSDT", 5), ("trade", "BTCUSDT", 8), ("aggTrade", "BTCUSDT", 6)]
    assert problems(fetched=fetched) == [
        "BTCUSDT: 1 ids of trade came from REST alone and are in no recorded hole, first 8, last 8",
        "BTCUSDT: 1 ids of aggTrade came from REST alone and are in no recorded hole,"
        " first 6, last 6",
    ]


def test_a_fault_that_was_not_injected_proves_nothing() -> None:
    failed = Injected("", 1.0, "cut", {}, {}, "nobody answers")
    assert problems(injections=[failed]) == ["cut: nobody answers"]


def test_memory_is_bounded() -> None:
    (problem,) = problems(memory={"collector": 401 << 20})
    assert problem == "collector: 401 MiB at its peak, 400 are allowed"
