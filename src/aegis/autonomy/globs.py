"""Globs of contracts. `*` stands for any run of characters, also none, also with `/` and `.` in it; every other
character stands for itself. A glob covers the whole name, and upper and lower case differ.

One star covers separators on purpose: `prod/*` in a deny list must not be escaped by one more level.
"""

from __future__ import annotations

from collections.abc import Iterable


def matches(glob: str, name: str) -> bool:
    """Whether `glob` covers `name`. The pieces between the stars are looked for once each, from left to right: taking
    the leftmost place leaves the most room for the rest, so nothing is ever tried again."""
    first, *rest = glob.split("*")
    if not rest:
        return name == glob
    last = rest.pop()
    if not name.startswith(first) or len(name) < len(first) + len(last) or not name.endswith(last):
        return False
    at, end = len(first), len(name) - len(last)
    for piece in rest:
        found = name.find(piece, at, end)
        if found < 0:
            return False
        at = found + len(piece)
    return True


def any_matches(globs: Iterable[str], name: str) -> bool:
    return any(matches(glob, name) for glob in globs)
