"""The report as a document: facts and verdict laid out as what becomes report.json.

Rule of the numbers: prices, quantities and volumes (NUMERIC), shares and trade ids are strings,
exact; counts and microseconds are integers; times are ISO 8601 in UTC. docs/report.md describes
each key.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import date, datetime, timedelta
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, Context, Decimal, localcontext
from typing import Any, Final

from .facts import Completeness, Facts, Healed, Hole, Latency
from .outcomes import Outcome, absences, lost, outcome_of, outcomes
from .queries import DAYS_BEFORE, Query, end_of, start_of
from .verdict import INCOMPLETE, PROVISIONAL, Verdict

VERSION: Final = 1
INTERVALS: Final = ("1m", "5m", "15m", "1h", "4h", "1d")
CLASSES: Final = (
    *("equal", "ours", "missing trades"),
    *("boundary", "exchange revised", "excluded from stream"),
)
WHOLE_WAY: Final = "exchange_to_loaded"
STAGES: Final = (
    *("exchange_to_received", "received_to_published", "published_to_loaded", WHOLE_WAY),
)
STEP: Final = timedelta(minutes=15)
# Sums of NUMERIC (38 digits) stay exact, and so do their means' 8 decimals.
_PRECISION: Final = 76

Json = dict[str, Any]


def make_document(
    facts: Facts, verdict: Verdict, queries: Mapping[str, Query], project: str, now: datetime
) -> Json:
    """Lay out a report.

    Args:
        facts: of the day.
        verdict: over them.
        queries: those that were asked, by name.
        project: that they were asked in.
        now: when the report is made.
    """
    with localcontext(Context(prec=_PRECISION)):
        volumes = _volumes(facts)
    found = outcomes(facts)
    by_symbol: dict[tuple[str, str], list[Outcome]] = defaultdict(list)
    for each in found:
        by_symbol[each.market, each.symbol].append(each)
    return {
        "version": VERSION,
        "day": facts.day.isoformat(),
        "is_so_far": now < end_of(facts.day),
        "made_at": _json(now),
        "built_at": _json(
            max((row.built_at for row in facts.volumes if row.traded_on == facts.day), default=None)
        ),
        "verdict": asdict(verdict) | {"reasons": [asdict(each) for each in verdict.reasons]},
        "summary": _summary(facts),
        "completeness": _completeness(facts),
        "silent": _silent(facts),
        "holes": [
            _hole(row, by_symbol[row.market, row.symbol])
            for row in sorted(facts.holes, key=_by_loss)
        ],
        "outcomes": [_outcome(row) for row in found],
        "healed": [_healed(row) for row in sorted(facts.healed, key=_by_trades)],
        "reconciliation": _reconciliation(facts),
        "latency": _latency(facts.latency, facts.day),
        "rejections": [
            _row(row) for row in sorted(facts.rejections, key=lambda row: (-row.items, row.reason))
        ],
        "checks": _checks(facts),
        "volumes": volumes,
        "queries": {
            name: {
                "title": query.title,
                "sql": query.of(project),
                "parameters": {key: _json(value) for key, value in query.parameters.items()},
            }
            for name, query in queries.items()
        },
    }


def _summary(facts: Facts) -> Json:
    rows = facts.completeness
    missed = lost(facts)
    present = sum(row.present for row in rows)
    missing = sum(hole.missing for hole in missed)
    compared = [row for row in facts.reconciliation if row.is_covered]
    open_checks = [check.severity for check in facts.checks or () if not check.is_over]
    whole_way = [row for row in facts.latency if row.stage == WHOLE_WAY]
    return {
        "symbols": len(rows),
        "symbols_complete": sum(row.is_proven and not row.lost for row in rows),
        "symbols_incomplete": len({(hole.market, hole.symbol) for hole in missed}),
        "trades": present,
        "missing": missing,
        "absent": sum(row.missing for row in absences(facts)),
        "complete_percent": _percent(present, present + missing),
        "healed": sum(row.healed for row in rows),
        "duplicates_removed": sum(row.duplicates_removed for row in rows),
        "candles_covered": sum(row.candles for row in compared),
        "candles_equal": sum(row.candles for row in compared if row.difference_class == "equal"),
        "p50_us": _nearest_rank([(row.p50_us, row.trades) for row in whole_way], 50),
        "p99_us": _nearest_rank([(row.p99_us, row.trades) for row in whole_way], 50),
        "rejected": sum(row.items for row in facts.rejections),
        "checks_failed": sum(severity == "fail" for severity in open_checks),
        "checks_warned": sum(severity != "fail" for severity in open_checks),
    }


def _completeness(facts: Facts) -> list[Json]:
    """Return the symbols, the worst first."""
    order = {INCOMPLETE: 0, PROVISIONAL: 1}

    def badness(row: Completeness) -> tuple[int, bool, int, int, str]:
        return (order.get(row.verdict, 2), row.is_proven, -row.lost, -row.conflicts, row.symbol)

    return [
        _row(
            row,
            first_id=str(row.first_id),
            last_id=str(row.last_id),
            lost=row.lost,
            is_proven=row.is_proven,
            complete_percent=_percent(row.present, row.present + row.lost),
        )
        for row in sorted(facts.completeness, key=badness)
    ]


def _silent(facts: Facts) -> list[Json]:
    """Return symbols without a trade; one with a hole over the day may have traded."""
    missed = {(hole.market, hole.symbol) for hole in lost(facts)}
    return [
        _row(row, is_proven=row.is_proven, has_hole=(row.market, row.symbol) in missed)
        for row in sorted(facts.silent, key=lambda row: (row.is_proven, row.symbol))
    ]


def _by_loss(hole: Hole) -> tuple[bool, int, str, int]:
    return (hole.is_unpublished, -hole.missing, hole.symbol, hole.first_missing_id)


def _hole(hole: Hole, found: Sequence[Outcome]) -> Json:
    ids = {name: str(getattr(hole, name)) for name in ("first_missing_id", "last_missing_id")}
    return _row(hole, **ids, outcome=outcome_of(hole, found))


def _outcome(row: Outcome) -> Json:
    return _row(row, first_id=str(row.first_id), last_id=str(row.last_id), missing=row.missing)


def _by_trades(row: Healed) -> tuple[int, str, str, str]:
    return (-row.trades, row.symbol, row.source, row.collector)


def _healed(row: Healed) -> Json:
    return _row(row, first_id=str(row.first_id), last_id=str(row.last_id))


def _reconciliation(facts: Facts) -> Json:
    """Return a row an interval, with the number of candles of each class."""
    known = {row.difference_class for row in facts.reconciliation}
    classes = [*CLASSES, *sorted(known - {*CLASSES})]

    def count(interval: str, name: str | None = None, covered: bool = False) -> int:
        return sum(
            row.candles
            for row in facts.reconciliation
            if row.kline_interval == interval
            and name in (None, row.difference_class)
            and (row.is_covered or not covered)
        )

    return {
        "intervals": [
            {
                "interval": interval,
                "compared": count(interval),
                "covered": count(interval, covered=True),
                "covered_equal": count(interval, "equal", covered=True),
                "classes": {name: count(interval, name) for name in classes},
            }
            for interval in INTERVALS
        ],
        "differences": [_row(row) for row in facts.differences],
    }


def _latency(rows: Sequence[Latency], day: date) -> Json:
    """Return each stage over the day, and the whole way in steps of a quarter of an hour.

    Percentiles of a day don't follow from those of its minutes. `p50_us` and `p99_us` are those
    of the median minute (each minute weighs as its trades do), `worst_p99_us` is the p99 of the
    worst minute, `max_us` the slowest trade: exact, and named for what they are.
    """
    stages = {row.stage for row in rows}
    by_step: dict[datetime, list[Latency]] = defaultdict(list)
    start = start_of(day)
    for row in rows:
        if row.stage == WHOLE_WAY:
            by_step[start + (row.opened_at - start) // STEP * STEP].append(row)
    return {
        "stages": [
            {
                "stage": stage,
                "p50_us": _nearest_rank([(row.p50_us, row.trades) for row in found], 50),
                "p99_us": _nearest_rank([(row.p99_us, row.trades) for row in found], 50),
                "worst_p99_us": max(row.p99_us for row in found),
                "worst_minute": _json(
                    min(found, key=lambda row: (-row.p99_us, row.opened_at)).opened_at
                ),
                "max_us": max(row.max_us for row in found),
                "trades": sum(row.trades for row in found),
                "negative": sum(row.negative for row in found),
            }
            for stage in (*STAGES, *sorted(stages - {*STAGES}))
            if (found := [row for row in rows if row.stage == stage])
        ],
        "step_seconds": int(STEP.total_seconds()),
        "steps": [
            {
                "from": _json(opened_at),
                "p50_us": _nearest_rank([(row.p50_us, row.trades) for row in found], 50),
                "worst_p99_us": max(row.p99_us for row in found),
                "trades": sum(row.trades for row in found),
            }
            for opened_at, found in sorted(by_step.items())
        ],
    }


def _nearest_rank(weighted: Iterable[tuple[int, int]], percent: int) -> int | None:
    """Return the smallest value that at least `percent` of the weight does not exceed."""
    ordered = sorted(weighted)
    total, reached = sum(weight for _, weight in ordered), 0
    for value, weight in ordered:
        reached += weight
        if 100 * reached >= percent * total:
            return value
    return None


def _checks(facts: Facts) -> list[Json] | None:
    if facts.checks is None:
        return None
    return [
        _row(check)
        for check in sorted(
            facts.checks,
            key=lambda check: (
                *(check.is_over, check.severity != "fail", check.suite, check.expectation),
            ),
        )
    ]


def _volumes(facts: Facts) -> Json:
    """Return trades by day, volume by quote asset, and the symbols that changed most."""
    days = [facts.day - timedelta(days=back) for back in range(DAYS_BEFORE, -1, -1)]
    trades: dict[date, int] = defaultdict(int)
    symbols: dict[date, int] = defaultdict(int)
    by_asset: dict[str, dict[date, Decimal]] = defaultdict(lambda: defaultdict(Decimal))
    by_symbol: dict[tuple[str, str], dict[date, int]] = defaultdict(dict)
    for row in facts.volumes:
        trades[row.traded_on] += row.trades
        symbols[row.traded_on] += 1
        by_asset[row.quote_asset or "unknown"][row.traded_on] += row.quote_volume
        by_symbol[row.market, row.symbol][row.traded_on] = row.trades
    before = days[:-1]
    known = [day for day in before if day in trades]
    changes = [
        {
            "market": market,
            "symbol": symbol,
            "trades": found.get(facts.day, 0),
            "mean_before": _mean([Decimal(found.get(day, 0)) for day in known]),
            "change_percent": _change(
                Decimal(found.get(facts.day, 0)), [Decimal(found.get(day, 0)) for day in known]
            ),
        }
        for (market, symbol), found in by_symbol.items()
    ]
    return {
        "days": [
            {"day": day.isoformat(), "trades": trades[day], "symbols": symbols[day]} for day in days
        ],
        "trades_change_percent": _change(
            Decimal(trades[facts.day]), [Decimal(trades[day]) for day in known]
        ),
        "quote_assets": [
            {
                "asset": asset,
                "quote_volume": _text(found[facts.day]),
                "mean_before": _mean([found[day] for day in known]),
                "change_percent": _change(found[facts.day], [found[day] for day in known]),
            }
            for asset, found in sorted(by_asset.items())
        ],
        "symbols": sorted(
            changes,
            key=lambda row: (
                -abs(row["trades"] - Decimal(row["mean_before"] or row["trades"])),
                row["symbol"],
            ),
        ),
    }


def _mean(values: Sequence[Decimal]) -> str | None:
    if not values:
        return None
    mean = sum(values, Decimal(0)) / len(values)
    return _text(mean.quantize(Decimal("0.00000001"), ROUND_HALF_EVEN))


def _change(value: Decimal, before: Sequence[Decimal]) -> str | None:
    """Return the change against the mean in percent with one decimal; None without a mean."""
    total = sum(before, Decimal(0))
    if not total:
        return None
    change = (value * len(before) / total - 1) * 100
    # Adding 0 makes a rounded -0.0 a 0.0.
    return _text(change.quantize(Decimal("0.1"), ROUND_HALF_EVEN) + 0)


def _percent(part: int, whole: int) -> str | None:
    """Return a share in percent, rounded down: 100 is said of what is whole only."""
    if not whole:
        return None
    share = Decimal(part) * 100 / Decimal(whole)
    return "100" if part == whole else _text(share.quantize(Decimal("0.0001"), ROUND_DOWN))


def _row(row: Any, **others: Any) -> Json:
    return {name: _json(value) for name, value in vars(row).items()} | others


def _json(value: Any) -> Any:
    """Return a value as JSON holds it."""
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return _text(value) if isinstance(value, Decimal) else value


def _text(value: Decimal) -> str:
    """Return a decimal without exponent and without zeros at its end."""
    text = f"{value:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
