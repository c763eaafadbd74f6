"""The certificate for people: verdict first, then the evidence."""

from __future__ import annotations

from typing import Any, Final

from rich.console import Console
from rich.table import Table

from sandbox.certificate.stages import STAGES
from sandbox.certificate.verdict import MAY_REPEAT

VERDICTS: Final = ("FINAL", "PROVISIONAL", "INCOMPLETE")
_MAX_ROWS: Final = 12
_MEBIBYTE: Final = 1024 * 1024


def render(certificate: dict[str, Any], console: Console) -> None:
    """Print a certificate."""
    console.rule("certificate")
    is_complete = certificate["verdict"] == "COMPLETE"
    console.print(
        f"[bold {'green' if is_complete else 'red'}]{certificate['verdict']}[/]"
        f"  {certificate['created_at']}"
    )
    for problem in certificate["problems"][:_MAX_ROWS]:
        console.print(f"  - {problem}", style="red", highlight=False)
    if len(certificate["problems"]) > _MAX_ROWS:
        console.print(f"  … and {len(certificate['problems']) - _MAX_ROWS} more (see --json)")
    console.print(_totals(certificate["symbols"]))
    console.print(_candles(certificate["candles"]))
    console.print(_days(certificate["days"]))
    console.print(_latency(certificate["latency"]))
    _print_rest(certificate, console)


def _totals(symbols: list[dict[str, Any]]) -> Table:
    table = Table(title="trades by stage, every symbol and all", title_justify="left")
    for heading in ("symbol", *STAGES, "sum of quote quantity", "equal"):
        table.add_column(heading, justify="left" if heading == "symbol" else "right")
    trades = [row for row in symbols if row["channel"] == "trade"]
    by_count = sorted(trades, key=lambda row: -row["deduplicated"]["count"])
    for row in by_count[:_MAX_ROWS]:
        counts = [str(row[stage]["count"]) if row[stage] else "-" for stage in STAGES]
        table.add_row(row["symbol"], *counts, row["deduplicated"]["sum_quote_quantity"], _mark(row))
    table.add_section()
    for channel in sorted({row["channel"] for row in symbols}, reverse=True):
        rows = [row for row in symbols if row["channel"] == channel]
        sums = [str(sum(row[stage]["count"] for row in rows if row[stage])) for stage in STAGES]
        is_equal = all(map(_is_equal, rows))
        table.add_row(f"all {len(rows)}, {channel}", *sums, "", "yes" if is_equal else "NO")
    return table


def _is_equal(row: dict[str, Any]) -> bool:
    stages = [row[stage] for stage in STAGES if stage not in MAY_REPEAT and row[stage] is not None]
    return all(totals == stages[0] for totals in stages)


def _mark(row: dict[str, Any]) -> str:
    return "yes" if _is_equal(row) else "NO"


def _candles(candles: dict[str, Any]) -> Table:
    table = Table(title="candles against the exchange's, nine fields", title_justify="left")
    for heading in ("source", "known", "compared", "equal"):
        table.add_column(heading, justify="left" if heading == "source" else "right")
    for row in candles["intervals"]:
        table.add_row(
            f"kline_{row['kline_interval']} stream",
            str(row["known"]),
            str(row["compared"]),
            str(row["equal"]),
        )
    for row in candles["references"]:
        table.add_row(row["file"], "", str(row["compared"]), str(row["equal"]))
    return table


def _days(days: list[dict[str, Any]]) -> Table:
    table = Table(title="completeness, symbols by verdict", title_justify="left")
    for heading in ("day", *VERDICTS):
        table.add_column(heading, justify="left" if heading == "day" else "right")
    for day in sorted({row["traded_on"] for row in days}):
        counts = {row["verdict"]: row["symbols"] for row in days if row["traded_on"] == day}
        table.add_row(day, *(str(counts.get(verdict, 0)) for verdict in VERDICTS))
    return table


def _latency(latency: dict[str, Any]) -> Table:
    table = Table(title="latency of the slowest minute, ms", title_justify="left")
    for heading in ("stage", "p50", "p99", "max"):
        table.add_column(heading, justify="left" if heading == "stage" else "right")
    for stage, values in latency.items():
        if values is None:
            table.add_row(stage.replace("_", " "), "-", "-", "-")
        else:
            numbers = (values["p50_ms"], values["p99_ms"], values["max_ms"])
            table.add_row(stage.replace("_", " "), *(f"{number:.1f}" for number in numbers))
    return table


def _print_rest(certificate: dict[str, Any], console: Console) -> None:
    frames = certificate["frames"]
    console.print(
        f"frames: {sum(life['frames'] for life in frames)} loaded,"
        f" {sum(life['loads'] - life['frames'] for life in frames)} of them again;"
        f" holes in the ids: {len(certificate['holes'])}"
    )
    rejected = [f"{row['reason']} {row['count']}" for row in certificate["rejections"]]
    console.print(f"rejections: {', '.join(rejected) or 'none'}")
    if peaks := certificate["peak_memory"]:  # not known of processes that others run
        console.print(
            "peak memory, MiB: "
            + ", ".join(f"{name} {size // _MEBIBYTE}" for name, size in peaks.items())
        )
        console.print(f"ready after {certificate['seconds_to_ready']:.1f} s")
