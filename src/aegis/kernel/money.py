"""Money is an integer of micro-dollars inside and a decimal string outside, never a float."""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal

MICRO = Decimal(1_000_000)
MAX_MICRO_USD = 2**53 - 1
_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,30})?", re.ASCII)


def micro_usd(text: str) -> int:
    """`"12.50"` -> 12500000, fractions of a micro-dollar upwards. Raises ValueError for anything else."""
    if not isinstance(text, str) or _PLAIN.fullmatch(text) is None:
        raise ValueError(f'expected dollars as a decimal string such as "12.50", got {str(text)[:40]!r}')
    value = Decimal(text)
    if value * MICRO > MAX_MICRO_USD:
        raise ValueError(f"expected dollars from 0 to {MAX_MICRO_USD // 1_000_000}, got {text!r}")
    return int((value * MICRO).to_integral_value(rounding=ROUND_CEILING))


def dollars(micro: int) -> str:
    """12500000 -> `"12.50"`: at least two decimals, no more than needed."""
    whole, rest = divmod(micro, 1_000_000)
    return f"{whole}.{f'{rest:06d}'.rstrip('0').ljust(2, '0')}"
