from decimal import ROUND_DOWN, Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandbox.exchange.fixed_point import SCALE, format_fixed, multiply_truncated, parse_fixed

scaled = st.integers(min_value=0, max_value=10**25)


@given(scaled)
def test_format_and_parse_are_inverse(value: int) -> None:
    assert parse_fixed(format_fixed(value)) == value
    assert Decimal(format_fixed(value)) * SCALE == value


@given(scaled, scaled)
def test_products_are_truncated_like_decimal(price: int, quantity: int) -> None:
    with localcontext() as context:
        context.prec = 100
        product = Decimal(format_fixed(price)) * Decimal(format_fixed(quantity))
        expected = product.quantize(Decimal("1E-8"), rounding=ROUND_DOWN)
        assert Decimal(format_fixed(multiply_truncated(price, quantity))) == expected


@pytest.mark.parametrize("text", ["", "-1", "1e5", "NaN", "1.000000001", " 1", "1_0", "١"])
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        parse_fixed(text)


def test_unpadded_decimals_are_read() -> None:
    assert parse_fixed("1123473760214.0") == 1123473760214 * SCALE
    assert parse_fixed(".5") == SCALE // 2
