"""The marts find what was backfilled: a hole of the stream is seen, then closed, by dbt."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from market_data.tables import TRADES
from plugins.market_ops.backfill.load import load
from plugins.market_ops.repair import run
from plugins.market_ops.repair.ledger import open_holes
from tests.integration.conftest import Gcs, new_project
from tests.integration.test_backfill_history import staged
from tests.integration.test_dbt_models import Warehouse, made_up_trade, start_warehouse
from tests.plugins.backfill.test_stage import TRADED

pytestmark = [pytest.mark.integration, pytest.mark.timeout(420)]

MIDNIGHT = datetime(2026, 3, 1, tzinfo=UTC)
MODELS = ("--select", "+int_id_holes", "+ohlcv_1m")


def minutes(warehouse: Warehouse) -> list[tuple[int, int, Decimal, int, str]]:
    return [
        tuple(row.values())  # type: ignore[misc]
        for row in warehouse.rows(
            "select extract(minute from opened_at) as minute, trades, volume, missing_trades,"  # noqa: S608
            f" sources from `{warehouse.project}.marts.ohlcv_1m`"
            " where symbol = 'BTCUSDT' and opened_at >= timestamp '2026-03-01' and trades > 0"
            " order by opened_at"
        )
    ]


def test_a_hole_is_seen_then_closed(
    request: pytest.FixtureRequest, gcs: Gcs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gcs.rest_url)
    warehouse = start_warehouse(request, tmp_path, new_project())
    streamed = [
        made_up_trade("BTCUSDT", number, 0, price, quantity)
        | {"traded_at": MIDNIGHT + timedelta(microseconds=at), "is_buyer_maker": is_maker}
        for number, price, quantity, at, is_maker in (TRADED[0], TRADED[2])
    ]
    warehouse.load(TRADES, streamed)
    warehouse.dbt("run", *MODELS)
    now = datetime.now(UTC)
    (hole,) = open_holes(warehouse.client, now)
    assert (hole.symbol, hole.first_id, hole.last_id) == ("BTCUSDT", 8, 8)
    assert (hole.before, hole.after) == (MIDNIGHT + timedelta(microseconds=5), hole.after)
    plan = run.find(warehouse.client, now)
    assert plan is not None
    assert [each["first_id"] for each in plan["holes"]] == [8]
    assert [row[:2] for row in minutes(warehouse)] == [(0, 1), (3, 1)]

    bucket = storage.Client(warehouse.project, credentials=AnonymousCredentials()).create_bucket(
        "backfill-marts", retry=None, timeout=15
    )
    (tmp_path / "day").mkdir()
    for each in staged(tmp_path / "day", TRADED, "trades"):
        load(warehouse.client, bucket, each)
    warehouse.dbt("run", *MODELS)
    assert open_holes(warehouse.client, now) == []
    assert run.find(warehouse.client, now) is None
    assert minutes(warehouse) == [
        (0, 2, Decimal("0.4"), 0, "archive,stream"),
        (3, 1, Decimal("0.00000003"), 0, "stream"),
    ]
