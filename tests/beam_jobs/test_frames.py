import hashlib
from collections import defaultdict
from decimal import Decimal
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.testing.util import assert_that, equal_to
from hypothesis import given
from hypothesis import strategies as st

from beam_jobs.frames import (
    FRAMES,
    REJECTIONS,
    UNREADABLE,
    OpenFrames,
    ReceivedFrame,
    decode_received,
    unreadable_path,
)
from market_data.frames import HeaderTotals, decode_frame, encode_frame
from market_data.records import Rejection
from market_data.tables import KLINES, SYMBOLS, TRADES
from tests.beam_jobs.samples import (
    NOW,
    PUBLISHED_AT,
    exchange_info_line,
    frame,
    line,
    received,
    trade,
)

PUBLISH_TIME = PUBLISHED_AT


def decode(found: ReceivedFrame) -> Any:
    return decode_received(found, NOW)


def reasons(found: Any) -> list[tuple[str, str, str | None]]:
    return [(each.stage, each.reason, each.field) for each in found.rejections]


class TestDecodeReceived:
    def test_good_lines_become_rows_and_totals(self) -> None:
        decoded = decode(received(trade(5), trade(6), trade(9, "币安USDT")))
        assert decoded.table is TRADES
        assert decoded.rows.schema == TRADES.arrow_schema
        assert decoded.rows.column("trade_id").to_pylist() == [5, 6, 9]
        assert set(decoded.rows.column("frame_id").to_pylist()) == {"c1/7/1"}
        assert [(row.symbol, row.count, row.sum_ids) for row in decoded.totals] == [
            ("BTCUSDT", 2, 11),
            ("币安USDT", 1, 9),
        ]
        assert decoded.rejections == []

    def test_the_entry_is_the_frame_s_line_in_the_ledger(self) -> None:
        found = received(trade(5), trade(6), sequence=3)
        entry = decode(found).entry
        assert (entry.frame_id, entry.collector, entry.epoch, entry.sequence) == (
            *("c1/7/3", "c1", 7, 3),
        )
        assert (entry.header_lines, entry.lines, entry.loaded_rows) == (2, 2, 2)
        assert (entry.ignored_lines, entry.rejected_lines) == (0, 0)
        assert (entry.body_bytes, entry.message_bytes) == (
            len(found.frame.body),
            len(found.data),
        )
        assert (entry.published_at, entry.loaded_at) == (PUBLISHED_AT, NOW)
        assert entry.opened_at < entry.closed_at < PUBLISHED_AT
        assert (entry.sum_ids, entry.sum_quantity, entry.sum_quote_quantity) == (
            *(Decimal(11), Decimal("0.4"), Decimal(1)),
        )

    def test_symbols_become_rows_without_totals(self) -> None:
        entry = {
            "symbol": "币安USDT", "status": "TRADING", "baseAsset": "币安", "quoteAsset": "USDT",
            "isSpotTradingAllowed": True, "filters": [], "permissionSets": [["SPOT"]],
        }  # fmt: skip
        lines = (exchange_info_line(entry), exchange_info_line(entry | {"status": 7}))
        decoded = decode(received(*lines, channel="exchangeInfo", source="rest"))
        assert decoded.table is SYMBOLS
        assert decoded.rows.schema == SYMBOLS.arrow_schema
        assert decoded.rows.column("base_asset").to_pylist() == ["币安"]
        assert decoded.rows.column("source").to_pylist() == ["rest"]
        assert decoded.totals == ()
        assert (decoded.entry.sum_ids, decoded.entry.sum_quantity) == (None, None)
        (rejection,) = decoded.rejections
        assert (rejection.reason, rejection.field) == ("wrong_type", "status")
        assert (rejection.payload, rejection.channel) == (lines[1], "exchangeInfo")

    def test_a_bad_line_costs_nobody_else(self) -> None:
        bad = trade(6, p="-1")
        decoded = decode(received(trade(5), bad, trade(7)))
        assert decoded.rows.column("trade_id").to_pylist() == [5, 7]
        (rejection,) = decoded.rejections
        assert (rejection.stage, rejection.reason, rejection.field, rejection.value) == (
            *("line", "not_a_decimal", "p", "-1"),
        )
        assert (rejection.payload, rejection.line_number) == (bad, 2)
        assert (rejection.frame_id, rejection.channel) == ("c1/7/1", "trade")
        assert (decoded.entry.lines, decoded.entry.loaded_rows) == (3, 2)
        assert decoded.entry.rejected_lines == 1

    def test_a_wrong_count_is_reported_and_the_lines_are_loaded(self) -> None:
        found = received(trade(5), trade(6), lines=3)
        decoded = decode(found)
        assert decoded.rows.num_rows == 2
        assert reasons(decoded) == [("frame", "count_mismatch", "lines")]
        assert decoded.rejections[0].payload == found.data
        assert decoded.rejections[0].value == "3"
        assert (decoded.entry.header_lines, decoded.entry.lines) == (3, 2)

    @pytest.mark.parametrize(
        "symbols",
        [
            {},
            {"BTCUSDT": HeaderTotals(5, 6, 2, 12)},
            {"BTCUSDT": HeaderTotals(5, 7, 2, 11)},
            {"BTCUSDT": HeaderTotals(4, 6, 2, 11)},
            {"ETHUSDT": HeaderTotals(5, 6, 2, 11)},
            {"BTCUSDT": HeaderTotals(5, 6, 2, 11), "ETHUSDT": HeaderTotals(1, 1, 1, 1)},
        ],
    )
    def test_wrong_totals_are_reported(self, symbols: dict[str, HeaderTotals]) -> None:
        decoded = decode(received(trade(5), trade(6), symbols=symbols))
        assert reasons(decoded) == [("frame", "totals_mismatch", "symbols")]
        assert decoded.rows.num_rows == 2
        assert decoded.rejections[0].value in {"BTCUSDT", "ETHUSDT"}

    def test_a_rejected_line_is_not_reported_twice(self) -> None:
        decoded = decode(received(trade(5), trade(6, q="0")))
        assert reasons(decoded) == [("line", "out_of_range", "q")]

    def test_a_wrong_count_is_reported_beside_rejected_lines(self) -> None:
        decoded = decode(received(b"garbage", trade(6), lines=1))
        assert reasons(decoded) == [
            *(("line", "not_json", None), ("frame", "count_mismatch", "lines")),
        ]

    def test_channels_that_are_archived_only_are_counted(self) -> None:
        lines = [line("btcusdt@depth@100ms", {"e": "depthUpdate", "s": "BTCUSDT"})] * 3
        decoded = decode(received(*lines, channel="depth"))
        assert (decoded.table, decoded.rows, decoded.totals) == (None, None, ())
        entry = decoded.entry
        assert (entry.lines, entry.ignored_lines, entry.loaded_rows) == (3, 3, 0)
        assert entry.sum_ids is None
        assert decoded.rejections == []

    def test_a_frame_without_lines(self) -> None:
        decoded = decode(received())
        assert decoded.rows.num_rows == 0
        assert (decoded.totals, decoded.rejections) == ((), [])

    def test_klines_have_ids_and_no_quantities(self) -> None:
        payload = {
            "e": "kline", "E": 1770000060005, "s": "A1",
            "k": dict.fromkeys("ochlvqVQ", "1.0") | {
                "t": 1770000000000, "T": 1770000059999, "s": "A1", "i": "1m", "f": 1, "L": 2,
                "n": 2, "x": True, "B": "0",
            },
        }  # fmt: skip
        event = 1770000060005 * 1000
        decoded = decode(
            received(
                line("a1@kline_1m", payload),
                channel="kline",
                symbols={"A1": HeaderTotals(event, event, 1, event)},
            )
        )
        assert (decoded.table, decoded.rejections) == (KLINES, [])
        assert decoded.entry.sum_ids == event
        assert (decoded.entry.sum_quantity, decoded.entry.sum_quote_quantity) == (None, None)

    @given(st.lists(st.binary(max_size=40).filter(lambda b: b"\n" not in b), max_size=4))
    def test_every_line_is_accounted_for(self, lines: list[bytes]) -> None:
        mixed = [trade(1), *lines, trade(2)]
        decoded = decode(received(*mixed, symbols={}))
        entry = decoded.entry
        assert entry.loaded_rows + entry.ignored_lines + entry.rejected_lines == len(mixed)
        payloads = [each.payload for each in decoded.rejections if each.stage == "line"]
        assert len(payloads) == entry.rejected_lines
        assert set(payloads) <= set(lines)


def test_unreadable_path_is_the_digest() -> None:
    digest = hashlib.sha256(b"x").hexdigest()
    assert unreadable_path(b"x") == f"raw/unreadable/{digest}.bin"


class TestOpenFrames:
    def outputs(self, *messages: PubsubMessage) -> dict[str, list[Any]]:
        """Return what the DoFn yields, by output."""
        found: dict[str, list[Any]] = defaultdict(list)
        for message in messages:
            for output in OpenFrames("bucket").process(message):
                if isinstance(output, beam.pvalue.TaggedOutput):
                    found[output.tag].append(output.value)
                else:
                    found[FRAMES].append(output)
        return found

    def test_a_frame(self) -> None:
        good = frame(trade(1))
        data = encode_frame(good)
        outputs = self.outputs(PubsubMessage(data, {}, "1", PUBLISH_TIME))
        assert outputs == {FRAMES: [ReceivedFrame(good, data, PUBLISHED_AT)]}

    @pytest.mark.parametrize(
        ("data", "reason"),
        [
            (b"garbage", "not_a_frame"),
            (b"", "not_a_frame"),
            (encode_frame(frame(trade(1)))[:-3], "corrupt_frame"),
            (encode_frame(frame(trade(1))) + b"x", "corrupt_frame"),
        ],
    )
    def test_what_is_none(self, data: bytes, reason: str) -> None:
        attributes = {"collector": "c1", "frame_id": "c1/7/1", "odd": "x"}
        outputs = self.outputs(PubsubMessage(data, attributes, "1", PUBLISH_TIME))
        assert outputs.keys() == {REJECTIONS, UNREADABLE}
        assert outputs[UNREADABLE] == [data]
        (rejection,) = outputs[REJECTIONS]
        assert isinstance(rejection, Rejection)
        assert (rejection.stage, rejection.reason) == ("frame", reason)
        assert (rejection.payload, rejection.payload_bytes) == (data, len(data))
        assert (rejection.collector, rejection.frame_id, rejection.market) == (
            *("c1", "c1/7/1", None),
        )
        assert rejection.archived_in == f"gs://bucket/{unreadable_path(data)}"

    @pytest.mark.parametrize(
        "changes",
        [
            {"closed_at": 10**18},
            {"epoch": -1},
            {"sequence": 2**63},
            {"lines": -1},
            {"channel": "a/../b"},
            {"market": "spot\n"},
            {"collector": "x" * 65},
        ],
        ids=str,
    )
    def test_a_header_that_no_table_or_path_can_hold(self, changes: dict[str, Any]) -> None:
        """It would end the job, at every start again."""
        data = encode_frame(frame(trade(1), **changes))
        outputs = self.outputs(PubsubMessage(data, {}, "1", PUBLISH_TIME))
        assert [each.reason for each in outputs[REJECTIONS]] == ["header_invalid"]
        assert outputs[UNREADABLE] == [data]

    @pytest.mark.integration
    def test_in_a_pipeline(self) -> None:
        good = encode_frame(frame(trade(1)))
        messages = [PubsubMessage(data, None, "1", PUBLISH_TIME) for data in (good, b"garbage")]
        with beam.Pipeline(runner="BundleBasedDirectRunner") as pipeline:
            opened = (
                pipeline
                | beam.Create(messages)
                | beam.ParDo(OpenFrames("bucket")).with_outputs(REJECTIONS, UNREADABLE, main=FRAMES)
            )
            assert_that(
                opened[FRAMES] | "ids" >> beam.Map(lambda r: r.frame.header.frame_id),
                equal_to([decode_frame(good).header.frame_id]),
                label="frames",
            )
            assert_that(
                opened[REJECTIONS] | "reasons" >> beam.Map(lambda r: str(r.reason)),
                equal_to(["not_a_frame"]),
                label="rejections",
            )
            assert_that(opened[UNREADABLE], equal_to([b"garbage"]), label="unreadable")
