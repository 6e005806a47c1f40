from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.kernel.money import MAX_MICRO_USD, dollars, micro_usd


@pytest.mark.parametrize(
    ("text", "micro"),
    [("0", 0), ("12.50", 12_500_000), ("0.000001", 1), ("0.0000001", 1), ("1.0000000", 1_000_000), ("007", 7_000_000)],
)
def test_dollars_are_read_exactly_and_fractions_of_a_micro_dollar_go_up(text: str, micro: int) -> None:
    assert micro_usd(text) == micro


@pytest.mark.parametrize(
    "text",
    ["", " 1", "1 ", "+1", "-1", "-0", "1e3", "1e999999999", "1e-999999999", "NaN", "Infinity", "1_000", "1,000", ".5",
     "5.", "\u0661", "9007199255", "9" * 5000, "0." + "0" * 5000, "1\n"],
    ids=lambda text: repr(text[:14]),
)  # fmt: skip
def test_what_is_no_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected dollars"):
        micro_usd(text)


@given(st.integers(0, MAX_MICRO_USD))
def test_what_is_written_is_read_again(micro: int) -> None:
    assert micro_usd(dollars(micro)) == micro
