"""The port to a policy engine: what a bundle's load and evaluation promise, whatever evaluates it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from aegis.kernel.jsontree import JsonTree
from aegis.policy.check import Problem
from aegis.policy.rego_tests import TestOutcome


class PolicyFailed(Exception):
    """No usable answer. `code` is the finding's: policy.undefined, .error, .timeout, .unavailable or .shape.

    `lethal` says that the evaluation cost the engine a process.
    """

    def __init__(self, code: str, why: str, *, lethal: bool = False) -> None:
        super().__init__(why)
        self.code = code
        self.lethal = lethal


class BundleRejected(Exception):
    """The bundle has problems and can't be used."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(f"{p.file}:{p.line}:{p.column}: {p.message}" for p in problems[:5]))
        self.problems = tuple(problems)


@dataclass(frozen=True, slots=True)
class Loaded:
    """`reads`: the paths below the input that its still rules read; `why_not` says why nothing is remembered."""

    digest: str
    packages: tuple[str, ...]
    reads: tuple[tuple[str, ...], ...]
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class Evaluated:
    """`findings` by package, as the bundle gave them; `awake` when a rule that reads history or time may have a say."""

    findings: Mapping[str, JsonTree]
    awake: bool


class PolicyEngine(Protocol):
    """Evaluations are pure: one digest and one input have one answer, on every host and in every year."""

    @property
    def name(self) -> str:
        """Stands in each decision, such as `opa/1.20.2`."""

    async def load(self, archive: bytes, *, tenant: bool = True, pinned: bool = False, key: str = "") -> Loaded:
        """Checks and compiles; raises BundleRejected, or PolicyFailed when the engine is away. Loading again is free.

        A pinned bundle stays ready; others may be loaded again when they are needed.
        """

    async def evaluate(self, digest: str, archive: bytes, given: bytes, *, key: str = "") -> Evaluated:
        """The bundle's answer to the JSON `given`, or PolicyFailed. `archive` is loaded where the digest is not known.

        `key` names whom a lost process is put down to.
        """

    async def unload(self, digest: str) -> None:
        """A pinned bundle needn't stay ready any more."""

    async def test(self, archive: bytes, *, key: str = "") -> tuple[TestOutcome, ...]:
        """Runs the bundle's tests. Raises BundleRejected or PolicyFailed."""


def problems_of(tree: Any) -> list[Problem]:
    return [Problem(**each) for each in tree]
