import json
import random
from decimal import Decimal
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from beam_jobs import proof
from beam_jobs.archive import ArchiveKey
from beam_jobs.proof import HourProof, Sums, proof_document, sums_by_symbol
from market_data.totals import SymbolTotals

KEY = ArchiveKey("spot", "trade", "2026-02-02T02", 0)
ONE = Sums(2, Decimal(3), Decimal("0.40"), Decimal(1))

sums = st.builds(
    Sums,
    st.integers(0, 2**40),
    st.decimals(0, 10**20, places=0),
    st.decimals(0, 10**20, places=8),
    st.decimals(0, 10**20, places=8),
)


def hour(**changes: Any) -> HourProof:
    fields: dict[str, Any] = {
        "key": KEY,
        "frames": 1,
        "archive": {"BTCUSDT": ONE},
        "before": {},
        "table": {"BTCUSDT": ONE},
        "differences": [],
        "unarchived": [],
    }
    return HourProof(**fields | changes)


def document(*hours: HourProof, problems: tuple[str, ...] = ()) -> dict[str, Any]:
    return proof_document({"first_hour": "2026-02-02T02"}, hours, problems, [2, 0])


def test_equal_totals_are_a_proof() -> None:
    found = document(hour(), hour(key=ArchiveKey("spot", "trade", "2026-02-02T03", 0)))
    assert found["is_proven"]
    assert (found["frames"], found["rows"]) == (2, 4)
    assert (found["replayed_frames"], found["replayed_rows"]) == (2, 2)
    (symbol,) = found["symbols"]
    assert symbol == {
        "channel": "trade",
        "symbol": "BTCUSDT",
        "is_equal": True,
        "archive": {"count": 4, "sum_ids": "6", "sum_quantity": "0.8", "sum_quote_quantity": "2"},
        "before": {"count": 0, "sum_ids": "0", "sum_quantity": None, "sum_quote_quantity": None},
        "table": {"count": 4, "sum_ids": "6", "sum_quantity": "0.8", "sum_quote_quantity": "2"},
    }
    assert json.loads(json.dumps(found)) == found


def test_whatever_spoils_it() -> None:
    assert not document(hour(table={}))["is_proven"]
    assert not document(hour(differences=["BTCUSDT of frame f: ..."]))["is_proven"]
    assert not document(hour(unarchived=["c1/7/1"]))["is_proven"]
    assert not document(hour(), problems=("x: its SHA-256 is",))["is_proven"]


def test_an_empty_range_is_proven() -> None:
    empty = document(hour(frames=0, archive={}, table={}))
    assert empty["is_proven"]
    assert empty["symbols"] == []


def test_a_loss_that_another_hour_makes_good_is_none() -> None:
    """Sums may agree by chance; frames do not."""
    few, many = Sums(1, Decimal(1)), Sums(3, Decimal(5))
    both = document(
        hour(table={"BTCUSDT": few}, differences=["BTCUSDT of frame f"]),
        hour(table={"BTCUSDT": many}, differences=["BTCUSDT of frame g"]),
    )
    assert not both["is_proven"]
    assert both["different_frames"] == 2


def test_examples_are_limited_and_counted(monkeypatch: Any) -> None:
    monkeypatch.setattr(proof, "MAX_EXAMPLES", 2)
    found = document(hour(differences=["a", "b", "c"], unarchived=["d", "e", "f"]))
    assert (found["differences"], found["different_frames"]) == (["a", "b"], 3)
    assert (found["unarchived"], found["unarchived_frames"]) == (["d", "e"], 3)


def test_channels_are_kept_apart() -> None:
    klines = Sums(1, Decimal(9))
    found = document(
        hour(),
        hour(
            key=ArchiveKey("spot", "kline", "2026-02-02T02", 0),
            archive={"BTCUSDT": klines},
            table={"BTCUSDT": klines},
        ),
    )
    assert [(each["channel"], each["archive"]["count"]) for each in found["symbols"]] == [
        ("kline", 1),
        ("trade", 2),
    ]


@given(st.lists(sums, min_size=1, max_size=6), st.randoms())
def test_sums_do_not_depend_on_the_order(parts: list[Sums], chance: random.Random) -> None:
    shuffled = parts[:]
    chance.shuffle(shuffled)
    assert sum(parts, Sums()).as_json() == sum(shuffled, Sums()).as_json()


def test_sums_by_symbol() -> None:
    def totals(symbol: str, count: int) -> SymbolTotals:
        return SymbolTotals(
            symbol=symbol, first_id=1, last_id=1, count=count, sum_ids=Decimal(count),
            sum_quantity=None, sum_quote_quantity=None,
        )  # fmt: skip

    found = sums_by_symbol([totals("A", 1), totals("B", 5), totals("A", 2)])
    assert found == {"A": Sums(3, Decimal(3)), "B": Sums(5, Decimal(5))}
