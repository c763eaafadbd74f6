"""Plots a symbol's hourly candles, so that one sees which of them are final.

`python docs/gallery/plot_candles.py BTCUSDT candles.svg`; the environment names the project and,
for the sandbox, its BigQuery: `eval "$(python -m sandbox env)"`.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final

import altair as alt
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

HOURS: Final = 48
RISES: Final = "#1b7f5c"
FALLS: Final = "#b3402f"
PALE: Final = 0.35

SQL: Final = """
select
    opened_at,
    open,
    high,
    low,
    close,
    volume,
    is_final
from `{project}`.marts.ohlcv_1h
where market = 'spot' and symbol = @symbol
order by opened_at desc
limit @hours
"""


def client_from_environment() -> bigquery.Client:
    """Return a client of `GOOGLE_CLOUD_PROJECT`; the sandbox's BigQuery wants no credentials."""
    is_emulator = "BIGQUERY_EMULATOR_HOST" in os.environ
    return bigquery.Client(credentials=AnonymousCredentials() if is_emulator else None)


def candles(client: bigquery.Client, symbol: str, hours: int = HOURS) -> list[dict[str, Any]]:
    """Return the symbol's last candles, the newest one first.

    Raises:
        LookupError: the mart has none.
    """
    parameters = [
        bigquery.ScalarQueryParameter("symbol", "STRING", symbol),
        bigquery.ScalarQueryParameter("hours", "INT64", hours),
    ]
    rows = client.query_and_wait(
        SQL.format(project=client.project),
        job_config=bigquery.QueryJobConfig(query_parameters=parameters),
    )
    found = [dict(row) for row in rows]
    if not found:
        raise LookupError(
            f"{symbol}: marts.ohlcv_1h of {client.project} has no candle of it; write a symbol as"
            " Binance does (BTCUSDT), or build the marts"
        )
    return found


def plot(symbol: str, rows: Iterable[Mapping[str, Any]]) -> alt.VConcatChart:
    """Return candles above their volumes; what is not final is pale.

    Numbers become floats here and only here: a pixel is coarser than they are.
    """
    values = [
        {
            **{name: float(row[name]) for name in ("open", "high", "low", "close", "volume")},
            "opened_at": row["opened_at"].isoformat(),
            "is_final": row["is_final"],
        }
        for row in rows
    ]
    base = alt.Chart(alt.InlineData(values)).encode(
        x=alt.X(
            "opened_at:T",
            title=None,
            scale=alt.Scale(type="utc"),
            axis=alt.Axis(format="%d %b %H:%M", labelOverlap=True),
        ),
        color=alt.condition("datum.close >= datum.open", alt.value(RISES), alt.value(FALLS)),
        opacity=alt.condition("datum.is_final", alt.value(1), alt.value(PALE)),
    )
    price = alt.Y("low:Q", title="price", scale=alt.Scale(zero=False))
    wicks = base.mark_rule().encode(y=price, y2="high:Q")
    bodies = base.mark_bar(size=9).encode(y="open:Q", y2="close:Q")
    volumes = base.mark_bar(size=9).encode(y=alt.Y("volume:Q", title="volume"))
    heading = f"{symbol}, hourly, UTC"
    return alt.vconcat(
        alt.layer(wicks, bodies).properties(width=720, height=280, title=heading),
        volumes.properties(width=720, height=80),
    )


def main() -> None:
    """Plot what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("symbol")
    parser.add_argument("file", type=Path, help="ends with .svg, .png or .html")
    parser.add_argument("--hours", type=int, default=HOURS)
    arguments = parser.parse_args()
    rows = candles(client_from_environment(), arguments.symbol, arguments.hours)
    plot(arguments.symbol, rows).save(arguments.file)


if __name__ == "__main__":
    main()
