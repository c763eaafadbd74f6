from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market_data.numbers import fits_numeric, parse_decimal, quote_quantity


@pytest.mark.parametrize("text", ["0.00068000", "1171000000.00", "1123473760214.0", "5", "0", ".5"])
def test_binance_decimals_are_exact(text: str) -> None:
    assert parse_decimal(text) == Decimal(text)


@pytest.mark.parametrize(
    "text", ["", "-1", "+1", "1e5", "NaN", "Infinity", " 1", "1_0", "0x1", "1,0", ".", "1" * 101]
)
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="plain decimal"):
        parse_decimal(text)


@pytest.mark.parametrize("text", ["1" * 40, "1" + "0" * 29, "0.0000000001"])
def test_what_numeric_cannot_hold_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="29 integer digits or 9 decimals"):
        parse_decimal(text)


def test_trailing_zeros_do_not_count() -> None:
    assert parse_decimal("1.10000000000000") == Decimal("1.1")
    long = parse_decimal("18446744073709551616." + "0" * 24)
    assert (long, long.as_tuple().exponent) == (2**64, -9)


def test_the_largest_numeric_fits() -> None:
    largest = "9" * 29 + "." + "9" * 9
    assert str(parse_decimal(largest)) == str(parse_decimal(largest + "000")) == largest


@given(
    st.integers(1, 10**18).map(lambda units: Decimal(units).scaleb(-8)),
    st.integers(1, 10**18).map(lambda units: Decimal(units).scaleb(-8)),
)
def test_quote_quantity_is_the_floor_of_the_exact_product(price: Decimal, size: Decimal) -> None:
    units = int(price.scaleb(8)) * int(size.scaleb(8)) // 10**8
    assert quote_quantity(price, size) == Decimal(units).scaleb(-8)


def test_quote_quantity_truncates_where_rounding_would_differ() -> None:
    assert quote_quantity(Decimal("0.05000001"), Decimal("0.9")) == Decimal("0.04500000")


def test_infinite_and_undefined_values_do_not_fit() -> None:
    assert not fits_numeric(Decimal("NaN"))
    assert not fits_numeric(Decimal("Infinity"))
