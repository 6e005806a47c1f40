"""JSON's way in and out, and the digest that binds an action."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given
from hypothesis import strategies as st

from aegis.kernel import jsontree
from aegis.kernel.jsontree import JsonError, action_digest, canonical, dumps, es6_number, has_num_member, parse

VECTORS = Path(__file__).parent.parent / "vectors"
DIGESTS = json.loads((VECTORS / "action_digests.json").read_text("utf-8"))


@pytest.mark.parametrize("vector", DIGESTS, ids=lambda v: v["name"])
def test_the_digest_of_an_action(vector: dict[str, str]) -> None:
    request = parse(vector["request"].encode())
    assert canonical(request) == vector["canonical"]
    assert action_digest(request["tool"], request["arguments"], request.get("resource")) == vector["digest"]


def test_the_vectors_are_what_their_generator_writes() -> None:
    spec = importlib.util.spec_from_file_location("make", VECTORS / "make_action_digests.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    assert module.vectors() == DIGESTS


@pytest.mark.parametrize(
    ("body", "code"),
    [
        pytest.param(b'{"a":1,"a":1}', "json.duplicate_key", id="a key twice"),
        pytest.param(b'{"a":{"b":1,"b":2}}', "json.duplicate_key", id="a key twice further in"),
        pytest.param(b"[NaN]", "json.nan", id="NaN"),
        pytest.param(b"[-Infinity]", "json.nan", id="infinity"),
        pytest.param(b"[1e400]", "json.number", id="a number beyond doubles"),
        pytest.param(b"[" + b"1" * 500 + b"]", "json.number", id="a number of 500 digits"),
        pytest.param(b"[0." + b"1" * 500 + b"]", "json.number", id="a fraction of 500 digits"),
        pytest.param(b'["\\ud800"]', "json.surrogate", id="a lone surrogate"),
        pytest.param(b'{"\\udc00x":1}', "json.surrogate", id="a lone surrogate in a key"),
        pytest.param(b'["\xff"]', "json.utf8", id="a byte that is not UTF-8"),
        pytest.param(b"[" * 65 + b"]" * 65, "json.depth", id="65 levels"),
        pytest.param(b"[" * 100_000, "json.depth", id="100,000 levels"),
        pytest.param(b'{"a":' * 70 + b"1" + b"}" * 70, "json.depth", id="70 levels of objects"),
        pytest.param(b'{"a":1', "json.syntax", id="cut off"),
        pytest.param(b"{'a':1}", "json.syntax", id="single quotes"),
        pytest.param(b"", "json.syntax", id="nothing"),
        pytest.param(b"[1] [2]", "json.syntax", id="two texts"),
        pytest.param(b"\xef\xbb\xbf[1]", "json.syntax", id="a byte order mark"),
    ],
)
def test_what_is_not_strict_json_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(JsonError) as refused:
        parse(body)
    assert refused.value.code == code


def test_brackets_in_strings_are_not_levels() -> None:
    assert parse(json.dumps({"a": "[" * 1000 + '"{\\'}).encode())["a"].startswith("[[")


def test_64_levels_are_taken() -> None:
    parse(b"[" * 64 + b"]" * 64)


def test_numbers_travel_on_as_they_came() -> None:
    body = b'{"a":0.1000000000000000055511151231257827,"b":123456789012345678901234567890,"c":1.5}'
    assert dumps(parse(body)) == body


def test_an_object_with_the_reserved_member_is_found_anywhere() -> None:
    assert has_num_member({"a": [{"b": {"$num": "1"}}]})
    assert not has_num_member({"a": ["$num"]})


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_written_as_ecmascript_does(value: float) -> None:
    assert es6_number(value).encode() == rfc8785.dumps(value)


TREES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=20,
)


@given(TREES)
def test_canonical_text_agrees_with_rfc_8785(tree: jsontree.JsonTree) -> None:
    try:
        expected = rfc8785.dumps(tree)
    except (rfc8785.CanonicalizationError, UnicodeError):
        return
    assert canonical(tree).encode("utf-8") == expected


@given(TREES)
def test_what_was_read_and_written_is_read_as_the_same(tree: jsontree.JsonTree) -> None:
    try:
        first = parse(dumps(tree))
    except UnicodeError:
        return
    assert canonical(parse(dumps(first))) == canonical(first)


@given(TREES)
def test_the_short_way_to_canonical_text_says_what_the_long_one_says(tree: jsontree.JsonTree) -> None:
    assert canonical(tree) == jsontree._canonical(tree)


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        pytest.param({"b": 1, "a": [True, None]}, '{"a":[true,null],"b":1}', id="plain members are sorted"),
        pytest.param({"\U0001f600": 1, "\ue000": 2}, '{"\U0001f600":1,"\ue000":2}', id="other keys by UTF-16"),
        pytest.param([1.0, 1e21, -0.0], "[1,1e+21,0]", id="fractions as ECMAScript writes them"),
        pytest.param(2**53 + 1, '{"$num":"9007199254740993"}', id="integers that no double holds"),
        pytest.param('\x00\x1f\x7f\b"\\\u2028', '"\\u0000\\u001f\x7f\\b\\"\\\\\u2028"', id="the shortest escapes"),
    ],
)
def test_canonical_text(tree: jsontree.JsonTree, text: str) -> None:
    assert canonical(tree) == text
