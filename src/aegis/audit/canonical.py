"""The one byte form of a row: RFC 8785 over objects, arrays, strings, booleans and safe integers only.

Under this profile (ASCII keys, no null, no fractions) any compact JSON with sorted keys and the shortest escapes is
RFC 8785, byte for byte; the tests hold orjson to it.
"""

from __future__ import annotations

from typing import Any

import orjson

MAX_SAFE = 2**53 - 1
MAX_DEPTH = 32
MAX_BYTES = 1 << 20


class CanonError(ValueError):
    """The bytes or the tree are not in canonical form; the message names the place as a JSON pointer."""


def encode(row: dict[str, Any]) -> bytes:
    """The canonical UTF-8 of `row`. Raises CanonError, a ValueError, that names the first place out of profile."""
    if type(row) is not dict:
        raise CanonError(f"couldn't encode the row: expected an object, got {type(row).__name__}")
    _check(row, "", 0)
    try:
        return orjson.dumps(row, option=orjson.OPT_SORT_KEYS)
    except orjson.JSONEncodeError:
        place = _surrogate_place(row, "")
        raise CanonError(f"couldn't encode {place}: expected Unicode text, got a lone surrogate") from None


def decode(data: bytes, *, max_bytes: int = MAX_BYTES) -> dict[str, Any]:
    """The one object whose canonical form is `data`; raises CanonError for any other bytes.

    Duplicate keys, another order, spaces, escapes that need not be, `1.0`, `-0` and NaN all fail the comparison.
    """
    if len(data) > max_bytes:
        raise CanonError(f"couldn't decode the row: expected at most {max_bytes} bytes, got {len(data)}")
    try:
        row = orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise CanonError(f"couldn't decode the row: expected JSON ({error.msg} at {error.pos})") from None
    if encode(row) != data:
        raise CanonError("couldn't decode the row: the bytes are not the canonical form of what they say")
    return row  # type: ignore[no-any-return]


def _check(node: dict[str, Any] | list[Any], place: str, depth: int) -> None:
    if depth >= MAX_DEPTH:
        raise CanonError(f"couldn't encode {place}: expected nesting of at most {MAX_DEPTH} levels")
    if type(node) is dict:
        for key in node:
            if type(key) is not str or not key.isascii():
                raise CanonError(f"couldn't encode {place or '/'}: expected ASCII text as key, got {_shown(key)}")
        members: Any = node.items()
    else:
        members = enumerate(node)
    for key, value in members:
        kind = type(value)
        if kind is str or kind is bool:
            continue
        if kind is int:
            if not -MAX_SAFE <= value <= MAX_SAFE:
                raise CanonError(f"couldn't encode {place}/{key}: expected an integer within 2^53-1, got a larger one")
        elif kind is dict or kind is list:
            _check(value, f"{place}/{key}", depth + 1)
        else:
            raise CanonError(
                f"couldn't encode {place}/{key}: expected object, array, text, boolean or integer, got {kind.__name__}"
            )


def _surrogate_place(node: Any, place: str) -> str:
    members = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in members:
        found = _surrogate_place(value, f"{place}/{key}")
        if found:
            return found
    return place if isinstance(node, str) and any("\ud800" <= c <= "\udfff" for c in node) else ""


def _shown(key: object) -> str:
    return ascii(key[:32]) if isinstance(key, str) else type(key).__name__
