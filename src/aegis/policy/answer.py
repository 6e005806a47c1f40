"""From what a bundle said to findings. The shape is checked strictly; anything else is PolicyFailed("policy.shape").

A bundle's package says findings as the set `findings` of objects:

    code       shipped bundle only: one of the codes of the policy stage
    rule       name of the rule: lower-case words joined by `_`; becomes `aegis.<code>` or `tenant.<package>.<rule>`
    verdict    "kill", "escalate", "throttle" (shipped only) or "monitor"; without it a tenant's finding kills, and a
               shipped one has the force that its code has in the table
    score      0 to 1: how much it weighs at stage 6
    severity   "info" to "critical"; the code's own without it
    path       JSON pointer into the request
    values     for the message of a shipped code: numbers and single words
"""

from __future__ import annotations

import re
import string
from collections.abc import Mapping
from functools import cache
from typing import Any

from aegis.kernel.codes import CODES
from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.verdict import BY_WORD, Severity, Verdict
from aegis.policy.engine import PolicyFailed

MAX_FINDINGS = 64
MAX_PATH_CHARACTERS = 512
MAX_VALUES = 16
MAX_VALUE_CHARACTERS = 256
_RULE = re.compile(r"[a-z][a-z0-9_]{0,63}")
_POINTER = re.compile(r"(/[^/]*)*", re.DOTALL)
_MEMBERS = frozenset({"rule", "verdict", "score", "severity", "path"})
_SHIPPED_MEMBERS = _MEMBERS | {"code", "values"}
_SEVERITIES = {severity.word: severity for severity in Severity}
_TENANT_CODES = {"kill": "policy.denied", "escalate": "policy.escalated", "monitor": "policy.flagged"}


def shipped_findings(said: Mapping[str, JsonTree]) -> tuple[Finding, ...]:
    """The findings of the shipped bundle, in a fixed order."""
    return tuple(_shipped(each) for _, each in _listed(said, _SHIPPED_MEMBERS))


def tenant_findings(said: Mapping[str, JsonTree]) -> tuple[Finding, ...]:
    """The findings of a tenant's bundle, in a fixed order: refusals and marks, whatever it says."""
    return tuple(_tenants(package, each) for package, each in _listed(said, _MEMBERS))


def failure(code: str, *, ms: int = 0, rule: str | None = None) -> Finding:
    """The finding that stands for an answer that didn't come."""
    return finding(code, rule=rule, ms=ms)


def _listed(said: JsonTree, members: frozenset[str]) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(said, dict):
        raise _shape("an object of packages", said)
    listed: list[tuple[str, dict[str, Any]]] = []
    for package in sorted(said):
        if not isinstance(said[package], list):
            raise _shape(f"a set as {package}.findings", said[package])
        for each in said[package]:
            if not isinstance(each, dict) or not each.keys() <= members or "rule" not in each:
                raise _shape(f"objects with members of {sorted(members)}, `rule` among them, in {package}", each)
            listed.append((package, each))
    if len(listed) > MAX_FINDINGS:
        raise _shape(f"at most {MAX_FINDINGS} findings", len(listed))
    return listed


def _shipped(said: dict[str, Any]) -> Finding:
    code = said.get("code")
    row = CODES.get(code) if isinstance(code, str) else None
    if row is None or row.stage != "policy":
        raise _shape("a code of the policy stage", code)
    _checked_rule(said)
    values = said.get("values", {})
    if not isinstance(values, dict) or len(values) > MAX_VALUES or not all(map(_is_value, values.values())):
        raise _shape("`values` of numbers and short words", values)
    missing = _fields(row.template) - values.keys()
    if missing:
        raise _shape(f"the values {sorted(missing)} for {code}", values)
    reserved = {"code", "path", "rule", "score", "force", "severity", "evidence"}
    return finding(
        row.code,
        path=_path(said),
        score=_score(said),
        force=_verdict(said, ("kill", "escalate", "throttle", "monitor")),
        severity=_severity(said),
        **{name: value for name, value in values.items() if name not in reserved},
    )


def _tenants(package: str, said: dict[str, Any]) -> Finding:
    verdict = _verdict(said, tuple(_TENANT_CODES)) or Verdict.KILL
    return finding(
        _TENANT_CODES[verdict.word],
        rule=f"{package}.{_checked_rule(said)}",
        path=_path(said),
        score=_score(said),
        severity=_severity(said),
    )


def _checked_rule(said: dict[str, Any]) -> str:
    rule = said["rule"]
    if not isinstance(rule, str) or not _RULE.fullmatch(rule):
        raise _shape("`rule` as lower-case words joined by `_`", rule)
    return rule


def _verdict(said: dict[str, Any], allowed: tuple[str, ...]) -> Verdict | None:
    if "verdict" not in said:
        return None
    if said["verdict"] not in allowed:
        raise _shape(f"a verdict of {', '.join(allowed)}", said["verdict"])
    return BY_WORD[said["verdict"]]


def _score(said: dict[str, Any]) -> float | None:
    score = said.get("score")
    if score is None and "score" not in said:
        return None
    if isinstance(score, bool) or not isinstance(score, int | float) or not 0 <= score <= 1:
        raise _shape("a score from 0 to 1", score)
    return float(score)


def _severity(said: dict[str, Any]) -> Severity | None:
    if "severity" not in said:
        return None
    word = said["severity"]
    if not isinstance(word, str) or word not in _SEVERITIES:
        raise _shape(f"a severity of {', '.join(_SEVERITIES)}", word)
    return _SEVERITIES[word]


def _path(said: dict[str, Any]) -> str:
    path = said.get("path", "")
    if not isinstance(path, str) or len(path) > MAX_PATH_CHARACTERS or not _POINTER.fullmatch(path):
        raise _shape(f"a JSON pointer of at most {MAX_PATH_CHARACTERS} characters", path)
    return path


def _is_value(value: JsonTree) -> bool:
    return isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= MAX_VALUE_CHARACTERS)


@cache
def _fields(template: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in string.Formatter().parse(template) if name)


def _shape(expected: str, got: object) -> PolicyFailed:
    return PolicyFailed("policy.shape", f"expected {expected}, got {str(got)[:100]!r}")
