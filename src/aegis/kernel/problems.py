"""Errors that a caller may see: one type, rendered once at the edge as RFC 9457.

`detail` is ours, never the text of an inner exception. Findings are not errors: a refusal is a value.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches

MOST_STRANGE = 32


@dataclass(frozen=True, slots=True)
class FieldError:
    path: str
    message: str


@dataclass(eq=False)
class Problem(Exception):
    """Raised by parsers, stores and capabilities for what the caller must be told."""

    status: int
    code: str
    detail: str
    errors: Sequence[FieldError] = ()
    retry_after_s: float | None = None
    members: dict[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


def unknown_members(names: Collection[str], known: Collection[str], path: str) -> list[FieldError]:
    """One error for each of `names` that isn't `known`, with the nearest known one; at most 32 by name."""
    strange = [name for name in names if name not in known]
    errors = []
    if len(strange) > MOST_STRANGE:
        errors.append(FieldError(path, f"{len(strange) - MOST_STRANGE} more unknown members"))
    for name in strange[:MOST_STRANGE]:
        near = get_close_matches(name[:64], known, 1, 0.5)
        hint = f"; did you mean {near[0]!r}?" if near else f"; known are {', '.join(sorted(known))}"
        errors.append(FieldError(f"{path}/{escaped(name[:64])}", f"unknown member{hint}"))
    return errors


def escaped(name: str) -> str:
    """A member's name within a JSON pointer (RFC 6901, section 3)."""
    return name.replace("~", "~0").replace("/", "~1")
