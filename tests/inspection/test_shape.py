"""The shape of arguments: limits, characters and randomness, each once and within bounds."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.inspection.shape import DEPTH, entropy_bits, shape


def nested(depth: int) -> Any:
    tree: Any = "x"
    for _ in range(depth):
        tree = [tree]
    return tree


RANDOM = "q8Zr1Kx0Tn5Vw3Bd7Mj2Hs9Lc4Gf6YpXaUeIoRtNqWbDvCkJzPhSgFlEmAyOuTi" * 2

CASES: dict[str, tuple[Any, int, list[str]]] = {
    "a plain call": ({"query": "SELECT 1", "limit": 10}, 40, []),
    "accents and emoji": ({"body": "Zürich, Łódź, 東京 👩\u200d💻 ☀\ufe0f\nnext\tline"}, 60, []),
    "a large one": ({"a": 1}, 70_000, ["shape.oversized"]),
    "a deep one": (nested(DEPTH + 1), 60, ["shape.deep"]),
    "one at the limit of depth": (nested(DEPTH), 60, []),
    "a wide object": ({f"k{i}": i for i in range(1001)}, 9_000, ["shape.wide"]),
    "a wide list": (list(range(1001)), 4_000, ["shape.wide"]),
    "a control character": ({"cmd": "ls\x1b[2J"}, 20, ["shape.control_characters"]),
    "a tag character": ({"cmd": "ls\U000e0041"}, 20, ["shape.control_characters"]),
    "a bidirectional override in a key": ({"a\u202eb": 1}, 20, ["shape.control_characters"]),
    "random-looking text": ({"data": RANDOM}, 150, ["shape.high_entropy"]),
    "a long sentence": ({"text": "the quick brown fox jumps over the lazy dog " * 20}, 900, []),
    "a digest": ({"sha": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"}, 90, []),
}


@pytest.mark.parametrize(("arguments", "size", "codes"), CASES.values(), ids=CASES)
def test_the_shape_of(arguments: Any, size: int, codes: list[str]) -> None:
    assert [f.code for f in shape(arguments, size)] == codes


def test_the_path_is_the_strings() -> None:
    found = shape({"a": [{"b/c": "x\x00"}]}, 20)
    assert found[0].path == "/arguments/a/0/b~1c"
    assert found[0].evidence == {"offset": 1, "code_point": "U+0000"}


def test_a_larger_excess_weighs_more() -> None:
    small, large = shape({}, 70_000)[0].score, shape({}, 1_000_000)[0].score
    assert small < large <= 0.8


def test_bounds_hold_for_huge_arguments() -> None:
    assert "shape.wide" in {f.code for f in shape({f"k{i}": ["x"] * 10 for i in range(10_000)}, 1_000_000)}
    shape({"a": "x" * 5_000_000, "b": "\x00" * 1_000_000}, 6_000_000)


@given(
    st.recursive(
        st.none() | st.integers() | st.text(st.characters(codec=None)),
        lambda t: st.lists(t) | st.dictionaries(st.text(st.characters(codec=None)), t),
        max_leaves=30,
    )
)
def test_no_tree_makes_it_fail_and_no_code_comes_twice(tree: Any) -> None:
    codes = [f.code for f in shape(tree, 100)]
    assert len(codes) == len(set(codes))


@given(st.text(min_size=1))
def test_entropy_is_between_none_and_that_of_all_different(text: str) -> None:
    assert -1e-9 <= entropy_bits(text) <= len(text).bit_length()
