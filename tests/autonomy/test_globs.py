"""Globs: one star, no surprises, no explosion."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.autonomy.globs import any_matches, matches


@pytest.mark.parametrize(
    ("glob", "name", "covers"),
    [
        ("crm.read", "crm.read", True),
        ("crm.read", "crm.read2", False),
        ("crm.read", "CRM.read", False),
        ("crm.*", "crm.read", True),
        ("crm.*", "crm.", True),
        ("crm.*", "crm", False),
        ("*", "", True),
        ("*", "anything/at.all", True),
        ("", "", True),
        ("", "x", False),
        ("prod/*", "prod/eu/customers", True),
        ("*/secret", "a/b/secret", True),
        ("*secret*", "a secret here", True),
        ("a*b*c", "abc", True),
        ("a*b*c", "a-b-b-c", True),
        ("a*b*c", "a-c-b", False),
        ("ab*ba", "aba", False),
        ("ab*ba", "abba", True),
        ("a**b", "ab", True),
        ("db.[a-z]", "db.x", False),
        ("db.?", "db.x", False),
        ("db.?", "db.?", True),
        ("a.c", "abc", False),
    ],
)
def test_a_glob_covers_whole_names(glob: str, name: str, covers: bool) -> None:
    assert matches(glob, name) is covers


@given(st.text("ab*", max_size=8), st.text("ab\n", max_size=10))
def test_a_glob_means_what_the_regular_expression_means(glob: str, name: str) -> None:
    expression = ".*".join(map(re.escape, glob.split("*")))
    assert matches(glob, name) is bool(re.fullmatch(expression, name, re.DOTALL))


def test_a_glob_of_many_stars_meets_a_long_name_without_exploding() -> None:
    assert not matches("a*" * 120 + "b", "a" * 100_000)


def test_no_globs_cover_nothing() -> None:
    assert not any_matches((), "x")
