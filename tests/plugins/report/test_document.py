import json
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from plugins.market_ops.report.document import CLASSES, INTERVALS
from plugins.market_ops.report.facts import Facts
from plugins.market_ops.report.queries import end_of
from tests.plugins.report.samples import (
    DAY,
    bad_day,
    compared,
    completeness,
    document,
    good_day,
    hole,
    latency,
    volume,
)

GOLDEN = Path(__file__).parent / "golden"


@pytest.mark.parametrize(("name", "facts"), [("good_day", good_day()), ("bad_day", bad_day())])
def test_documents_are_the_golden_ones(name: str, facts: Facts) -> None:
    expected = json.loads((GOLDEN / f"{name}.json").read_text("utf-8"))
    found = document(facts)
    assert {key: found[key] for key in expected} == expected


def test_a_document_is_json_and_does_not_depend_on_the_order_of_rows() -> None:
    facts = bad_day()
    turned = replace(
        facts,
        **{
            name: tuple(reversed(getattr(facts, name)))
            for name in ("completeness", "holes", "latency", "rejections", "checks", "volumes")
        },
    )
    assert json.dumps(document(facts)) == json.dumps(document(turned))


def test_the_worst_symbols_come_first() -> None:
    symbols = [row["symbol"] for row in document(bad_day())["completeness"]]
    assert symbols == ["BTCUSDT", "币安人生USDT", "OLDUSDT", "ETHUSDT"]


def test_exact_numbers_are_strings() -> None:
    large = 2**60 + 1
    facts = replace(
        good_day(),
        completeness=(completeness(first_id=large, last_id=large, expected=1, present=1),),
        volumes=(volume("A", 0, 1, "12345678901234567890123456789.000000001"),) * 2,
    )
    found = document(facts)
    assert found["completeness"][0]["first_id"] == "1152921504606846977"
    asset = found["volumes"]["quote_assets"][0]
    assert asset["quote_volume"] == "24691357802469135780246913578.000000002"


def test_a_share_is_100_only_when_nothing_is_missing() -> None:
    row = completeness(present=9_999_999, missing=1, expected=10_000_000)
    (found,) = document(replace(good_day(), completeness=(row,)))["completeness"]
    assert found["complete_percent"] == "99.9999"


def test_a_silent_symbol_with_a_hole_over_the_day_is_not_called_quiet() -> None:
    (quiet,) = document(bad_day())["silent"]
    facts = replace(bad_day(), holes=(hole("QUIETUSDT"),))
    (found,) = document(facts)["silent"]
    assert (quiet["has_hole"], found["has_hole"]) == (False, True)


def test_unpublished_ids_are_no_loss() -> None:
    row = completeness(present=97, missing=2, missing_before=1, unpublished=3)
    (found,) = document(replace(good_day(), completeness=(row,)))["completeness"]
    assert (found["lost"], found["complete_percent"]) == (0, "100")


def test_all_six_intervals_and_a_class_that_is_new() -> None:
    facts = replace(good_day(), reconciliation=(compared("4h", "moon", 2, is_covered=False),))
    rows = document(facts)["reconciliation"]["intervals"]
    assert [row["interval"] for row in rows] == list(INTERVALS)
    assert all(set(row["classes"]) == {*CLASSES, "moon"} for row in rows)
    assert [row["compared"] for row in rows] == [0, 0, 0, 0, 2, 0]
    assert [row["covered"] for row in rows] == [0] * 6


def test_latency_is_of_the_median_minute_by_trades_and_of_the_worst() -> None:
    rows = (latency(0, 10, 100), replace(latency(1, 30, 300), trades=1), latency(20, 20, 200))
    found = document(replace(good_day(), latency=rows))["latency"]
    (stage,) = found["stages"]
    assert (stage["p50_us"], stage["p99_us"]) == (20, 200)
    assert (stage["worst_p99_us"], stage["worst_minute"]) == (300, "2026-02-02T00:01:00Z")
    assert [(step["from"][11:16], step["p50_us"]) for step in found["steps"]] == [
        ("00:00", 10),
        ("00:15", 20),
    ]


def test_volumes_are_held_against_the_days_that_are_known() -> None:
    found = document(good_day())["volumes"]
    assert [day["day"] for day in found["days"]][::7] == ["2026-01-26", "2026-02-02"]
    assert found["trades_change_percent"] == "25"
    (asset,) = found["quote_assets"]
    assert Decimal(asset["mean_before"]) == Decimal("2000.25")
    first = replace(good_day(), volumes=(volume("BTCUSDT", 0, 100, "1", None),))
    found = document(first)["volumes"]
    assert found["trades_change_percent"] is None
    assert found["quote_assets"][0]["asset"] == "unknown"


def test_every_query_is_told_with_its_parameters() -> None:
    queries = document(good_day())["queries"]
    for name, query in queries.items():
        assert "{project}" not in query["sql"], name
        assert "`crypto-local." in query["sql"], name
        named = {word.strip("(),") for word in query["sql"].split() if word.startswith("@")}
        assert named == {f"@{each}" for each in query["parameters"]}, name
    assert queries["completeness"]["parameters"] == {
        "day": "2026-02-02",
        "day_start": "2026-02-02T00:00:00Z",
        "day_end": "2026-02-03T00:00:00Z",
    }


def test_an_empty_day_has_a_document() -> None:
    found = document(Facts(day=DAY))
    assert found["summary"]["complete_percent"] is None
    assert found["built_at"] is None
    assert found["checks"] is None


def test_so_far_is_said_until_midnight() -> None:
    assert document(good_day(), end_of(DAY) - timedelta(seconds=1))["is_so_far"]
    assert not document(good_day(), end_of(DAY))["is_so_far"]
