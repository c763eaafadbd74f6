"""The symbols of the simulated exchange, with realistic prices, tick sizes and lot sizes.

`trading_instruments` gives the first N in order of activity; beyond the named ones it invents
further symbols (benchmarks want 200). `DELISTED` appear in exchangeInfo only, as status BREAK.
"""

from __future__ import annotations

from dataclasses import dataclass

from sandbox.exchange.fixed_point import SCALE, parse_fixed

# What a typical trade is worth in the quote asset.
_TYPICAL_NOTIONAL = {
    "USDT": "150", "USDC": "150", "FDUSD": "150", "EUR": "130", "TRY": "5000",
    "BTC": "0.002", "ETH": "0.05", "BNB": "0.25",
}  # fmt: skip

# base, quote, price, tick size, step size, aggregates per hour (0: by rank, the usual case)
_NAMED: tuple[tuple[str, str, str, str, str, int], ...] = (
    ("BTC", "USDT", "67250.00", "0.01", "0.00001", 0),
    ("ETH", "USDT", "3480.00", "0.01", "0.0001", 0),
    ("SOL", "USDT", "172.40", "0.01", "0.001", 0),
    ("XRP", "USDT", "0.6120", "0.0001", "0.1", 0),
    ("BNB", "USDT", "588.20", "0.01", "0.001", 0),
    ("DOGE", "USDT", "0.16120", "0.00001", "1", 0),
    ("ETH", "BTC", "0.05175", "0.00001", "0.0001", 0),
    ("PAXG", "BTC", "0.03571", "0.00001", "0.0001", 30),
    ("BTC", "FDUSD", "67260.00", "0.01", "0.00001", 0),
    ("1000SATS", "USDT", "0.00027130", "0.00000010", "1", 0),
    ("币安人生", "USDT", "0.7545", "0.0001", "0.1", 0),
    ("PEPE", "USDT", "0.00001175", "0.00000001", "1", 0),
    ("ADA", "USDT", "0.4451", "0.0001", "0.1", 0),
    ("AVAX", "USDT", "35.12", "0.01", "0.01", 0),
    ("LINK", "USDT", "16.93", "0.01", "0.01", 0),
    ("SHIB", "USDT", "0.00002431", "0.00000001", "1", 0),
    ("TRX", "USDT", "0.1194", "0.0001", "0.1", 0),
    ("BTC", "USDC", "67248.00", "0.01", "0.00001", 0),
    ("ETH", "FDUSD", "3481.00", "0.01", "0.0001", 0),
    ("SOL", "BTC", "0.0025640", "0.0000001", "0.001", 0),
    ("LTC", "USDT", "83.40", "0.01", "0.001", 0),
    ("DOT", "USDT", "7.021", "0.001", "0.01", 0),
    ("BCH", "USDT", "471.20", "0.10", "0.001", 0),
    ("NEAR", "USDT", "7.330", "0.001", "0.1", 0),
    ("APT", "USDT", "9.120", "0.001", "0.01", 0),
    ("SUI", "USDT", "1.0342", "0.0001", "0.1", 0),
    ("ARB", "USDT", "1.0110", "0.0001", "0.1", 0),
    ("OP", "USDT", "2.512", "0.001", "0.01", 0),
    ("WIF", "USDT", "2.893", "0.001", "0.01", 0),
    ("FIL", "USDT", "5.921", "0.001", "0.01", 0),
    ("BTC", "EUR", "62110.00", "0.01", "0.00001", 0),
    ("ETH", "EUR", "3212.00", "0.01", "0.0001", 0),
    ("BTC", "TRY", "2171000", "1", "0.00001", 0),
    ("USDT", "TRY", "32.25", "0.01", "1", 0),
    ("1INCH", "USDT", "0.3862", "0.0001", "0.1", 0),
    ("UNI", "USDT", "9.312", "0.001", "0.01", 0),
    ("ATOM", "USDT", "8.301", "0.001", "0.01", 0),
    ("ETC", "USDT", "28.42", "0.01", "0.01", 0),
    ("INJ", "USDT", "24.170", "0.001", "0.01", 0),
    ("XLM", "USDT", "0.1064", "0.0001", "1", 0),
    ("ETH", "USDC", "3479.50", "0.01", "0.0001", 0),
    ("BNB", "BTC", "0.008746", "0.000001", "0.001", 0),
    ("XRP", "BTC", "0.00000909", "0.00000001", "1", 40),
    ("ADA", "BTC", "0.00000661", "0.00000001", "0.1", 25),
    ("LINK", "ETH", "0.004861", "0.000001", "0.01", 15),
    ("LTC", "BTC", "0.001240", "0.000001", "0.001", 12),
    ("XVG", "USDT", "0.004562", "0.000001", "1", 10),
    ("SOL", "BNB", "0.2931", "0.0001", "0.001", 8),
    ("ELF", "BTC", "0.00000792", "0.00000001", "0.1", 5),
    ("ZIL", "BNB", "0.00003710", "0.00000001", "1", 3),
)
_DELISTED: tuple[tuple[str, str, str, str, str, int], ...] = (
    ("BCC", "BTC", "0.07908", "0.00001", "0.0001", 0),
    ("LUNA", "BUSD", "0.00005", "0.00000001", "1", 0),
)
MAX_INSTRUMENTS = 1000


@dataclass(frozen=True, slots=True)
class Instrument:
    """One symbol. Prices and quantities are scaled by 10^8.

    `quiet_per_hour` above 0 fixes the mean number of aggregates an hour whatever the market's
    rate, so that the symbol keeps minutes without trades.
    """

    base: str
    quote: str
    price: int
    tick: int
    step: int
    typical_steps: int
    quiet_per_hour: int = 0
    status: str = "TRADING"

    @property
    def symbol(self) -> str:
        """The name as payloads have it, for example BTCUSDT."""
        return self.base + self.quote


def trading_instruments(count: int) -> list[Instrument]:
    """Return `count` trading instruments, most active first.

    Raises:
        ValueError: `count` is not between 1 and MAX_INSTRUMENTS.
    """
    if not 1 <= count <= MAX_INSTRUMENTS:
        raise ValueError(f"symbols: expected 1 to {MAX_INSTRUMENTS}, was {count}")
    named = [_instrument(*row) for row in _NAMED[:count]]
    return named + [_invented(number) for number in range(len(named) + 1, count + 1)]


def delisted_instruments() -> list[Instrument]:
    """Return symbols that exchangeInfo lists as BREAK and that never trade."""
    return [_instrument(*row, status="BREAK") for row in _DELISTED]


def recorded_instrument(symbol: str) -> Instrument:
    """Return an instrument for a symbol of a recording, of which only the name is known."""
    quotes = ("FDUSD", "USDT", "USDC", "BUSD", "TUSD", "EUR", "TRY", "BTC", "ETH", "BNB", "USD")
    quote = next((q for q in quotes if symbol.endswith(q) and len(symbol) > len(q)), "")
    base = symbol.removesuffix(quote)
    return Instrument(base, quote, price=SCALE, tick=1, step=1, typical_steps=1)


def _instrument(
    base: str, quote: str, price: str, tick: str, step: str, quiet: int, status: str = "TRADING"
) -> Instrument:
    scaled_price, scaled_step = parse_fixed(price), parse_fixed(step)
    notional = parse_fixed(_TYPICAL_NOTIONAL.get(quote, "150"))
    steps = max(1, notional * SCALE // scaled_price // scaled_step)
    return Instrument(
        base, quote, scaled_price, parse_fixed(tick), scaled_step, steps, quiet, status
    )


def _invented(number: int) -> Instrument:
    cents = 100 + (number * 7919) % 40_000
    price = f"{cents // 100}.{cents % 100:02d}00"
    return _instrument(f"SIM{number:03d}", "USDT", price, "0.0001", "0.01", 0)
