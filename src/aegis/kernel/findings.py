"""A finding: one reason, with a code that never changes its meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aegis.kernel.codes import CODES
from aegis.kernel.verdict import Severity, Verdict

_WORD = re.compile(r"[A-Za-z0-9_.:/\-]{1,64}")


@dataclass(frozen=True, slots=True)
class Finding:
    """`force` is a verdict that can't be outvoted; None means that `score` (0..1) is weighed at stage 6.

    `message` is a template over typed values. `evidence` (offsets and escaped text) goes to people's roles only.
    """

    code: str
    stage: str
    severity: Severity
    message: str
    rule: str
    path: str = ""
    score: float = 0.0
    force: Verdict | None = None
    guidance: str = ""
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def public(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "stage": self.stage,
            "severity": self.severity.word,
            "message": self.message,
            "rule": self.rule,
            "path": self.path,
        }


class Phrase(str):
    """Several words that are ours and nobody else's: the caller of `finding` vouches for it."""

    __slots__ = ()


def typed(value: object) -> str:
    """A value as it may stand in a message: numbers, and words without room for a sentence in them."""
    text = str(value)
    if isinstance(value, Phrase):
        return text
    return text if _WORD.fullmatch(text) else "(text)"


def finding(
    code: str,
    *,
    path: str = "",
    rule: str | None = None,
    score: float | None = None,
    force: Verdict | None = None,
    severity: Severity | None = None,
    evidence: Mapping[str, Any] | None = None,
    **values: object,
) -> Finding:
    """The finding of the table's row `code`; raises KeyError for a code that is not in the table."""
    row = CODES[code]
    return Finding(
        code=code,
        stage=row.stage,
        severity=row.severity if severity is None else severity,
        message=row.template.format_map({k: typed(v) for k, v in values.items()}),
        rule=rule or f"aegis.{code}",
        path=path,
        score=row.score if score is None else min(1.0, max(0.0, score)),
        force=row.force if force is None else force,
        guidance=row.guidance,
        evidence=evidence or {},
    )
