"""What a model call costs, from the price table that ships with genai-prices. Offline; loaded at the first question."""

from __future__ import annotations

from collections.abc import Callable
from decimal import ROUND_CEILING, Decimal
from functools import cache, lru_cache
from typing import Any

from aegis.kernel.money import MAX_MICRO_USD, MICRO

MAX_TOKENS = 10**9


def price_micro_usd(model: str, input_tokens: int, output_tokens: int, cached_tokens: int = 0) -> int | None:
    """Micro-dollars, fractions upwards; `cached_tokens` are those of `input_tokens` that came from a cache.

    None for a model that the table doesn't know. Counts are held within 0 and a thousand million.
    """
    if not 0 < len(model) <= 200:
        return None
    given = _held(input_tokens)
    return _price(model, given, _held(output_tokens), min(_held(cached_tokens), given))


def estimate_micro_usd(given: int, tool_price: int, model: str | None, input_tokens: int, output_tokens: int) -> int:
    """What to reserve: the caller's own estimate, floored by the tool's price and by the model table."""
    priced = price_micro_usd(model, input_tokens, output_tokens) if model and (input_tokens or output_tokens) else None
    return min(max(given, tool_price, priced or 0, 0), MAX_MICRO_USD)


@lru_cache(maxsize=1_024)
def _price(model: str, input_tokens: int, output_tokens: int, cached_tokens: int) -> int | None:
    usage, calculate = _table()
    tokens = usage(input_tokens=input_tokens, output_tokens=output_tokens, cache_read_tokens=cached_tokens or None)
    try:
        total: Decimal = calculate(tokens, model_ref=model).total_price
    except (LookupError, ValueError):
        return None
    return min(int((total * MICRO).to_integral_value(rounding=ROUND_CEILING)), MAX_MICRO_USD)


@cache
def _table() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Imported here: the table takes tens of megabytes, and most processes never price anything."""
    from genai_prices import Usage, calc_price

    return Usage, calc_price


def _held(tokens: int) -> int:
    return min(max(tokens, 0), MAX_TOKENS)
