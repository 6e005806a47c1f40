from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
import rfc8785
from audit_vectors import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit import canonical
from aegis.audit.canonical import CanonError, decode, encode

ascii_keys = st.text(st.characters(max_codepoint=127), max_size=8)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
scalars = st.one_of(texts, st.booleans(), st.integers(-canonical.MAX_SAFE, canonical.MAX_SAFE))
trees = st.recursive(
    scalars, lambda t: st.one_of(st.lists(t, max_size=4), st.dictionaries(ascii_keys, t, max_size=4)), max_leaves=20
)
rows = st.dictionaries(ascii_keys, trees, max_size=6)


@settings(deadline=None)
@given(rows)
def test_encoding_is_rfc_8785_and_decodes_to_the_same(row: dict[str, Any]) -> None:
    data = encode(row)
    assert data == rfc8785.dumps(row)
    assert decode(data) == row


@pytest.mark.parametrize("character", [*map(chr, range(0x250)), "\u2028", "\ufeff", "\uffff", "\U0001f389"], ids=ascii)
def test_each_character_is_escaped_as_rfc_8785_says(character: str) -> None:
    assert encode({"a": character}) == rfc8785.dumps({"a": character})


@pytest.mark.parametrize(
    ("row", "place"),
    [
        pytest.param({"a": {"b": None}}, "/a/b", id="null"),
        pytest.param({"a": [1, 0.5]}, "/a/1", id="a fraction"),
        pytest.param({"a": float("nan")}, "/a", id="not a number"),
        pytest.param({"a": 2**53}, "/a", id="an integer beyond 2^53-1"),
        pytest.param({"a": -(2**53)}, "/a", id="an integer below -(2^53-1)"),
        pytest.param({"a": {"\u00e9": 1}}, "/a", id="a key that is not ASCII"),
        pytest.param({"a": {1: 1}}, "/a", id="a key that is no text"),
        pytest.param({"a": ["x", "\ud800"]}, "/a/1", id="a lone surrogate"),
        pytest.param({"a": (1, 2)}, "/a", id="a tuple"),
        pytest.param({"a": b"x"}, "/a", id="bytes"),
    ],
)
def test_what_is_out_of_profile_is_refused_with_its_place(row: dict[str, Any], place: str) -> None:
    with pytest.raises(CanonError, match=f"couldn't encode {place}:"):
        encode(row)


def test_nesting_is_bounded() -> None:
    tree: dict[str, Any] = {}
    for _ in range(canonical.MAX_DEPTH):
        tree = {"a": tree}
    with pytest.raises(CanonError, match="nesting"):
        encode(tree)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b'{"decision":"deny","decision":"allow"}', id="a key twice"),
        pytest.param(b'{"a":1,"a":1}', id="a key twice with one value"),
        pytest.param(b'{"b":1,"a":1}', id="another order"),
        pytest.param(b'{"a": 1}', id="a space"),
        pytest.param(b'{"a":1}\n', id="a line feed behind"),
        pytest.param(b'{"a":1.0}', id="a fraction"),
        pytest.param(b'{"a":1e2}', id="an exponent"),
        pytest.param(b'{"a":-0}', id="minus zero"),
        pytest.param(b'{"a":01}', id="a leading zero"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"a":Infinity}', id="infinity"),
        pytest.param(b'{"a":null}', id="null"),
        pytest.param(b'{"a":9007199254740992}', id="2^53"),
        pytest.param(b'{"a":123456789012345678901234567890}', id="a very large integer"),
        pytest.param(rb'{"a":"\u0041"}', id="an escape that need not be"),
        pytest.param(rb'{"a":"\/"}', id="an escaped slash"),
        pytest.param(rb'{"a":"\u000A"}', id="a long escape for a line feed"),
        pytest.param(rb'{"a":"\ud800"}', id="a lone surrogate"),
        pytest.param(b'{"a":"\xff"}', id="invalid UTF-8"),
        pytest.param(b'\xef\xbb\xbf{"a":1}', id="a byte order mark"),
        pytest.param('{"e\u0301":1}'.encode(), id="a key that is not NFC"),
        pytest.param(b"[1]", id="no object"),
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"a":' * 5000 + b"1" + b"}" * 5000, id="deep nesting"),
        pytest.param(b"[" * 100_000, id="deeper nesting without end"),
    ],
)
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CanonError):
        decode(data)


def test_size_is_bounded_before_parsing() -> None:
    with pytest.raises(CanonError, match="at most 4 bytes"):
        decode(b'{"a":1}', max_bytes=4)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_bytes_decode_to_what_encodes_to_them_or_not_at_all(data: bytes) -> None:
    try:
        row = decode(data)
    except CanonError:
        return
    assert encode(row) == data


def is_in_profile(tree: Any) -> bool:
    match tree:
        case dict():
            return all(key.isascii() and is_in_profile(value) for key, value in tree.items())
        case list():
            return all(map(is_in_profile, tree))
        case int():
            return abs(tree) < 2**53
        case _:
            return isinstance(tree, str)


@pytest.mark.parametrize("vector", shared("40_jcs_rfc8785.json"))
def test_shared_vectors_give_their_bytes_or_are_out_of_profile(vector: dict[str, Any]) -> None:
    if "ieee754_hex" in vector:
        tree: Any = struct.unpack(">d", bytes.fromhex(vector["ieee754_hex"]))[0]
        wanted = vector["want"].encode()
    else:
        tree, wanted = json.loads(base64.b64decode(vector["input_b64"])), base64.b64decode(vector["want_b64"])
    if is_in_profile(tree):
        assert encode({"a": tree}) == b'{"a":' + wanted + b"}"
        assert decode(b'{"a":' + wanted + b"}") == {"a": tree}
    else:
        with pytest.raises(CanonError):
            encode({"a": tree})
