"""The verdict: sentences about everything that keeps a certificate from being complete. Pure."""

from __future__ import annotations

from typing import Any, Final

# A trade may be received twice (connections overlap, holes are healed) and a redelivered frame
# loaded twice; the other stages count each trade once.
MAY_REPEAT: Final = ("received", "loaded")


def judge(certificate: dict[str, Any]) -> list[str]:
    """Return what is wrong, one sentence each; nothing when the certificate is complete."""
    return [
        *_unequal_totals(certificate["symbols"]),
        *_frame_holes(certificate["frames"]),
        *_trade_holes(certificate["holes"]),
        *_incomplete_days(certificate["days"]),
        *_different_candles(certificate["candles"]),
    ]


def _unequal_totals(symbols: list[dict[str, Any]]) -> list[str]:
    if not symbols:
        return ["no trade and no aggregate trade was seen at any stage"]
    problems = []
    for row in symbols:
        stages = {
            name: totals
            for name, totals in row.items()
            if name not in ("market", "channel", "symbol", *MAY_REPEAT) and totals is not None
        }
        first = next(iter(stages))
        problems += [
            f"{row['symbol']}: {name} has {totals}, {first} has {stages[first]}"
            for name, totals in stages.items()
            if totals != stages[first]
        ]
        unique = row["deduplicated"]
        for name in MAY_REPEAT:
            totals = row[name]
            if totals["count"] < unique["count"]:
                problems.append(f"{row['symbol']}: fewer rows {name} than there are trades")
            elif totals["count"] == unique["count"] and totals != unique:
                problems.append(f"{row['symbol']}: {name} has {totals}, deduplicated has {unique}")
    return problems


def _frame_holes(lives: list[dict[str, Any]]) -> list[str]:
    return [
        f"{life['collector']}, epoch {life['epoch']}: {life['frames']} frames loaded,"
        f" the last has the sequence {life['last_sequence']}"
        for life in lives
        if life["frames"] != life["last_sequence"]
    ]


def _trade_holes(holes: list[dict[str, Any]]) -> list[str]:
    return [
        f"{hole['symbol']}: trades {hole['first_missing_id']} to {hole['last_missing_id']} are"
        " missing"
        for hole in holes
    ]


def _incomplete_days(days: list[dict[str, Any]]) -> list[str]:
    return [
        f"{row['traded_on']}: {row['symbols']} symbols are {row['verdict']}"
        for row in days
        if row["verdict"] == "INCOMPLETE"
    ]


def _different_candles(candles: dict[str, Any]) -> list[str]:
    problems = [
        f"{row['kline_interval']}: {row['compared'] - row['equal']} of {row['compared']} candles"
        " differ from the exchange's"
        for row in candles["intervals"]
        if row["compared"] != row["equal"]
    ]
    problems += [
        f"{row['file']}: {row['compared'] - row['equal']} of {row['compared']} candles differ"
        for row in candles["references"]
        if row["compared"] != row["equal"]
    ]
    problems += [
        f"{row['file']}: none of its candles is covered by our trades"
        for row in candles["references"]
        if not row["compared"]
    ]
    return problems
