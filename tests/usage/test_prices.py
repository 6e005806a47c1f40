from __future__ import annotations

import subprocess
import sys

import pytest

from aegis.kernel.money import MAX_MICRO_USD
from aegis.usage.prices import estimate_micro_usd, price_micro_usd


def test_a_known_model_has_a_price_in_whole_micro_dollars() -> None:
    price = price_micro_usd("gpt-4o", 1_000, 100)
    assert isinstance(price, int)
    assert price > 0
    assert price_micro_usd("gpt-4o", 2_000, 200) == 2 * price


def test_a_fraction_of_a_micro_dollar_counts_as_one() -> None:
    assert price_micro_usd("gpt-4o-mini", 1, 0) == 1
    assert price_micro_usd("gpt-4o", 0, 0) == 0


def test_cached_tokens_are_cheaper_and_never_more_than_the_input() -> None:
    plain, cached = price_micro_usd("gpt-4o", 10_000, 0), price_micro_usd("gpt-4o", 10_000, 0, 10_000)
    assert plain is not None and cached is not None
    assert cached < plain
    assert price_micro_usd("gpt-4o", 10_000, 0, 10**9) == cached


@pytest.mark.parametrize("model", ["", "no-such-model-of-anybody", "x" * 10_000])
def test_an_unknown_model_has_no_price(model: str) -> None:
    assert price_micro_usd(model, 10, 10) is None


def test_counts_out_of_bounds_are_held_within() -> None:
    assert price_micro_usd("gpt-4o", -5, -5) == 0
    huge = price_micro_usd("gpt-4o", 10**30, 10**30)
    assert huge is not None
    assert huge <= MAX_MICRO_USD


@pytest.mark.parametrize(
    ("given", "tool_price", "model", "expected"),
    [
        pytest.param(0, 0, None, 0, id="nothing known, nothing reserved"),
        pytest.param(5, 0, None, 5, id="the caller's estimate"),
        pytest.param(5, 70, None, 70, id="the tool's price is a floor"),
        pytest.param(1, 0, "gpt-4o", price_micro_usd("gpt-4o", 1_000, 100), id="so is the model table"),
        pytest.param(1, 2, "no-such-model-of-anybody", 2, id="an unknown model adds nothing"),
        pytest.param(2**70, 0, None, MAX_MICRO_USD, id="bounded"),
    ],
)
def test_estimates(given: int, tool_price: int, model: str | None, expected: int) -> None:
    assert estimate_micro_usd(given, tool_price, model, 1_000, 100) == expected


def test_the_table_is_not_loaded_before_it_is_asked() -> None:
    code = "import sys, aegis.usage.prices; raise SystemExit('genai_prices' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=30, check=False).returncode == 0
