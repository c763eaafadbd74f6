"""Stream payloads and REST rows as Binance writes them (binance-protocol sections 2 and 4).

Pure formatting: called by `feed.py` for the streams and by `rest.py` for the answers. A time
unit is the number of microseconds in it: MILLISECOND for the default, MICROSECOND on request.
"""

from __future__ import annotations

from typing import Any

from sandbox.exchange.catalogue import Instrument
from sandbox.exchange.fixed_point import format_fixed, multiply_truncated
from sandbox.exchange.klines import INTERVALS, MINUTE_US, Bar
from sandbox.exchange.market import Aggregate
from sandbox.exchange.noise import mix

MILLISECOND = 1000
MICROSECOND = 1
_JSON_BOOL = ("false", "true")


def envelope(stream: str, payload: bytes) -> bytes:
    """Return the combined-stream message of a payload."""
    return b'{"stream":"%b","data":%b}' % (stream.encode(), payload)


def trade_payloads(aggregate: Aggregate, symbol: str, now_us: int, unit: int) -> list[bytes]:
    """Return one `trade` payload per fill; the event time is now, never before the trade."""
    head = f'{{"e":"trade","E":{max(now_us, aggregate.time_us) // unit},"s":"{symbol}","t":'
    price = format_fixed(aggregate.price)
    maker = _JSON_BOOL[aggregate.is_buyer_maker]
    tail = f'","T":{aggregate.time_us // unit},"m":{maker},"M":true}}'
    return [
        f'{head}{trade_id},"p":"{price}","q":"{format_fixed(quantity)}{tail}'.encode()
        for trade_id, quantity in enumerate(aggregate.fills, aggregate.first_id)
    ]


def agg_trade_payload(aggregate: Aggregate, symbol: str, now_us: int, unit: int) -> bytes:
    """Return the `aggTrade` payload."""
    return (
        f'{{"e":"aggTrade","E":{max(now_us, aggregate.time_us) // unit},"s":"{symbol}",'
        f'"a":{aggregate.aggregate_id},"p":"{format_fixed(aggregate.price)}",'
        f'"q":"{format_fixed(aggregate.quantity)}","f":{aggregate.first_id},'
        f'"l":{aggregate.last_id},"T":{aggregate.time_us // unit},'
        f'"m":{_JSON_BOOL[aggregate.is_buyer_maker]},"M":true}}'
    ).encode()


def book_ticker_payload(aggregate: Aggregate, instrument: Instrument) -> bytes:
    """Return the `bookTicker` payload after an aggregate: the price it traded at and one tick on.

    The update id grows with the aggregate id, with gaps, as on the real exchange.
    """
    noise = mix(21, aggregate.symbol, aggregate.aggregate_id)
    bid = aggregate.price if aggregate.is_buyer_maker else aggregate.price - instrument.tick
    bid = max(bid, instrument.tick)
    bid_quantity = (1 + noise % (instrument.typical_steps * 4)) * instrument.step
    ask_quantity = (1 + (noise >> 32) % (instrument.typical_steps * 4)) * instrument.step
    return (
        f'{{"u":{aggregate.aggregate_id * 7 + noise % 7},"s":"{instrument.symbol}",'
        f'"b":"{format_fixed(bid)}","B":"{format_fixed(bid_quantity)}",'
        f'"a":"{format_fixed(bid + instrument.tick)}","A":"{format_fixed(ask_quantity)}"}}'
    ).encode()


def kline_payload(
    bar: Bar, symbol: str, interval: str, closed: bool, now_us: int, unit: int
) -> bytes:
    """Return the `kline` payload of a bar."""
    return (
        f'{{"e":"kline","E":{now_us // unit},"s":"{symbol}","k":{{'
        f'"t":{bar.opened_at_us // unit},"T":{_closes(bar, interval, unit)},"s":"{symbol}",'
        f'"i":"{interval}","f":{bar.first_id},"L":{bar.last_id},'
        f'"o":"{format_fixed(bar.open)}","c":"{format_fixed(bar.close)}",'
        f'"h":"{format_fixed(bar.high)}","l":"{format_fixed(bar.low)}",'
        f'"v":"{format_fixed(bar.volume)}","n":{bar.trades},"x":{_JSON_BOOL[closed]},'
        f'"q":"{format_fixed(bar.quote_volume)}","V":"{format_fixed(bar.taker_volume)}",'
        f'"Q":"{format_fixed(bar.taker_quote_volume)}","B":"0"}}}}'
    ).encode()


def server_shutdown_payload(now_us: int, unit: int) -> bytes:
    """Return the `serverShutdown` notice."""
    return b'{"e":"serverShutdown","E":%d}' % (now_us // unit)


def trade_rows(aggregate: Aggregate, unit: int) -> list[dict[str, Any]]:
    """Return the rows of /api/v3/trades and /api/v3/historicalTrades, one per fill."""
    price = format_fixed(aggregate.price)
    return [
        {
            "id": trade_id,
            "price": price,
            "qty": format_fixed(quantity),
            "quoteQty": format_fixed(multiply_truncated(aggregate.price, quantity)),
            "time": aggregate.time_us // unit,
            "isBuyerMaker": aggregate.is_buyer_maker,
            "isBestMatch": True,
        }
        for trade_id, quantity in enumerate(aggregate.fills, aggregate.first_id)
    ]


def agg_trade_row(aggregate: Aggregate, unit: int) -> dict[str, Any]:
    """Return the row of /api/v3/aggTrades."""
    return {
        "a": aggregate.aggregate_id,
        "p": format_fixed(aggregate.price),
        "q": format_fixed(aggregate.quantity),
        "f": aggregate.first_id,
        "l": aggregate.last_id,
        "T": aggregate.time_us // unit,
        "m": aggregate.is_buyer_maker,
        "M": True,
    }


def kline_row(bar: Bar, interval: str, unit: int) -> list[Any]:
    """Return the row of /api/v3/klines: 12 fields."""
    return [
        bar.opened_at_us // unit,
        format_fixed(bar.open),
        format_fixed(bar.high),
        format_fixed(bar.low),
        format_fixed(bar.close),
        format_fixed(bar.volume),
        _closes(bar, interval, unit),
        format_fixed(bar.quote_volume),
        bar.trades,
        format_fixed(bar.taker_volume),
        format_fixed(bar.taker_quote_volume),
        "0",
    ]


def _closes(bar: Bar, interval: str, unit: int) -> int:
    return (bar.opened_at_us + INTERVALS[interval] * MINUTE_US) // unit - 1
