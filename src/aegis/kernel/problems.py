"""Errors that a caller may see: one type, rendered once at the edge as RFC 9457.

`detail` is ours, never the text of an inner exception. Findings are not errors: a refusal is a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field


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
