"""JSON as a security boundary: one strict way in, one way out, one digest.

A tree is dict, list, str, bool, None, int, float or `ExactNumber`. What is judged is this tree, and what is
executed is this tree serialised again: no byte of the caller's text travels on.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from decimal import Decimal
from typing import Any

import orjson

JsonTree = Any  # dict[str, JsonTree] | list[JsonTree] | str | bool | None | int | float | ExactNumber

MAX_DEPTH = 64
MAX_NUMBER_CHARACTERS = 400
MAX_SAFE = 2**53 - 1
_SKIP_STRINGS = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)


class JsonError(ValueError):
    """The text is not JSON as Aegis takes it. `code` is stable; the message names the place."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class ExactNumber(float):
    """A number that a double can't hold: compares as the nearest double, keeps its source text."""

    source: str

    def __new__(cls, source: str) -> ExactNumber:
        number = super().__new__(cls, source)
        number.source = source
        return number

    def __repr__(self) -> str:
        return self.source

    def __reduce__(self) -> tuple[type[ExactNumber], tuple[str]]:
        return ExactNumber, (self.source,)


def parse(body: bytes, *, most_levels: int = MAX_DEPTH) -> JsonTree:
    """The tree of `body`. Raises JsonError for duplicate keys, NaN, infinite numbers, lone surrogates,
    invalid UTF-8 and nesting over `most_levels`."""
    if body.count(b"[") + body.count(b"{") > most_levels:
        _check_depth(body, most_levels)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError as error:
        raise JsonError(
            "json.utf8", f"expected UTF-8, got the byte {body[error.start]:#04x} at {error.start}"
        ) from None
    try:
        tree = _DECODER.decode(text)
    except JsonError:
        raise
    except json.JSONDecodeError as error:
        raise JsonError("json.syntax", f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise JsonError("json.syntax", f"expected JSON: {type(error).__name__}") from None
    if "\\u" in text:
        _check_surrogates(tree)
    return tree


def read(own: bytes | str) -> JsonTree:
    """The tree of a text that Aegis wrote itself: exact numbers as in `parse`, no bound on its depth."""
    return _DECODER.decode(own if isinstance(own, str) else own.decode("utf-8"))


def dumps(tree: JsonTree) -> bytes:
    """Compact UTF-8 of `tree`, numbers as they came in."""
    try:
        return orjson.dumps(tree, default=_refuse)
    except (TypeError, orjson.JSONEncodeError):
        return _write(tree).encode("utf-8")


def action_digest(tool: str, arguments: JsonTree, resource: str | None) -> str:
    """`sha256:` and the hex SHA-256 over the RFC 8785 form of `{tool, arguments, resource if given}`.

    A number that a double can't hold stands as `{"$num": "<source>"}`, and a request object with the
    member `$num` is refused, so no two different actions share a digest.
    """
    action: dict[str, JsonTree] = {"tool": tool, "arguments": arguments}
    if resource is not None:
        action["resource"] = resource
    return "sha256:" + hashlib.sha256(canonical(action).encode("utf-8")).hexdigest()


def canonical(tree: JsonTree) -> str:
    """RFC 8785 text of `tree`, with the `$num` rule of `action_digest`."""
    if _is_plain(tree):
        try:
            return orjson.dumps(tree, option=orjson.OPT_SORT_KEYS).decode("utf-8")
        except orjson.JSONEncodeError:  # a lone surrogate, nesting beyond what orjson follows
            pass
    return _canonical(tree)


def _is_plain(tree: JsonTree) -> bool:
    """Whether sorted compact JSON is the canonical form: ASCII keys, text, safe integers, no fractions."""
    kind = type(tree)
    if kind is str or tree is None or kind is bool:
        return True
    if kind is int:
        return bool(-MAX_SAFE <= tree <= MAX_SAFE)
    if kind is dict:
        for key, value in tree.items():
            if type(key) is not str or not key.isascii():
                return False
            if type(value) is not str and not _is_plain(value):
                return False
        return True
    return kind is list and all(map(_is_plain, tree))


def _canonical(tree: JsonTree) -> str:
    match tree:
        case None:
            return "null"
        case bool():
            return "true" if tree else "false"
        case str():
            return json.dumps(tree, ensure_ascii=False)
        case ExactNumber():
            return f'{{"$num":{json.dumps(tree.source)}}}'
        case int():
            return str(tree) if -(2**53) <= tree <= 2**53 else _large_integer(tree)
        case float():
            return es6_number(tree)
        case dict():
            members = sorted(tree.items(), key=_utf16) if not all(map(str.isascii, tree)) else sorted(tree.items())
            return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_canonical(v)}" for k, v in members) + "}"
        case _:
            return "[" + ",".join(map(_canonical, tree)) + "]"


def es6_number(value: float) -> str:
    """ECMAScript's Number::toString, as RFC 8785 3.2.2.3 asks. `value` is finite."""
    if value == 0:
        return "0"
    if value < 0:
        return "-" + es6_number(-value)
    digits, exponent = _shortest(value)
    point = exponent + len(digits)
    if 0 < point <= 21:
        return digits.ljust(point, "0") if len(digits) <= point else f"{digits[:point]}.{digits[point:]}"
    if -6 < point <= 0:
        return "0." + "0" * -point + digits
    mantissa = digits[0] + ("." + digits[1:] if len(digits) > 1 else "")
    return f"{mantissa}e{'+' if point > 0 else '-'}{abs(point - 1)}"


def has_num_member(tree: JsonTree) -> bool:
    """Whether some object in `tree` has the member `$num`, which is reserved."""
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if "$num" in node:
                return True
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return False


def _object(pairs: list[tuple[str, JsonTree]]) -> dict[str, JsonTree]:
    tree = dict(pairs)
    if len(tree) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise JsonError("json.duplicate_key", f"expected each key once, got {twice[:64]!r} twice in one object")
    return tree


def _integer(source: str) -> int:
    if len(source) > MAX_NUMBER_CHARACTERS:
        raise JsonError("json.number", f"expected numbers of at most {MAX_NUMBER_CHARACTERS} characters")
    return int(source)


def _fraction(source: str) -> float:
    if len(source) > MAX_NUMBER_CHARACTERS:
        raise JsonError("json.number", f"expected numbers of at most {MAX_NUMBER_CHARACTERS} characters")
    value = float(source)
    if math.isinf(value):
        raise JsonError("json.number", "expected numbers within the range of a double")
    exact = Decimal(source)
    held = Decimal(value) if value.is_integer() else Decimal(repr(value))
    return value if exact == held else ExactNumber(source)


def _constant(word: str) -> float:
    raise JsonError("json.nan", f"expected a JSON number, got {word}")


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_int=_integer, parse_float=_fraction, parse_constant=_constant
)


def _check_depth(body: bytes, most_levels: int) -> None:
    depth = 0
    for byte in _SKIP_STRINGS.sub(b"", body):
        if byte in b"[{":
            depth += 1
            if depth > most_levels:
                raise JsonError("json.depth", f"expected nesting of at most {most_levels} levels")
        elif byte in b"]}":
            depth -= 1


def _check_surrogates(tree: JsonTree) -> None:
    stack = [tree]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            try:
                node.encode("utf-8")
            except UnicodeEncodeError:
                raise JsonError("json.surrogate", "expected Unicode text, got a lone surrogate") from None
        elif isinstance(node, dict):
            stack.extend(node.keys())
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)


def _large_integer(value: int) -> str:
    try:
        nearest = float(value)
    except OverflowError:
        return f'{{"$num":"{value}"}}'
    return es6_number(nearest) if int(nearest) == value else f'{{"$num":"{value}"}}'


def _shortest(value: float) -> tuple[str, int]:
    _, digits, exponent = Decimal(repr(value)).as_tuple()
    text = "".join(map(str, digits)).rstrip("0")
    return text, int(exponent) + len(digits) - len(text)


def _utf16(item: tuple[str, JsonTree]) -> bytes:
    return item[0].encode("utf-16-be")


def _refuse(value: object) -> None:
    raise TypeError(type(value).__name__)


def _write(tree: JsonTree) -> str:
    match tree:
        case ExactNumber():
            return tree.source
        case bool() | None | float():
            return json.dumps(tree)
        case int():
            return str(tree)
        case str():
            return json.dumps(tree, ensure_ascii=False)
        case dict():
            return "{" + ",".join(f"{json.dumps(k, ensure_ascii=False)}:{_write(v)}" for k, v in tree.items()) + "}"
        case _:
            return "[" + ",".join(map(_write, tree)) + "]"
