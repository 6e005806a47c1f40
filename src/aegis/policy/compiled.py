"""From a bundle to something that answers: parsed, checked, guarded, compiled. Runs inside a child only."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from aegis.policy.bundle import Bundle, is_test
from aegis.policy.check import Problem, check, compile_problems
from aegis.policy.opa_native import Engine, OpaRefused
from aegis.policy.reads import ENTRY, Guard, Reads, entries, entry_text, reads
from aegis.policy.syntax import Module, Path, module, same

ANSWER = f"{ENTRY}.answer".encode()
READY = f"{ENTRY}.ready"
MAX_DEPTH = 128
_BRACKET = re.compile(r"[\[\](){}]")
_PARSER = {"parse.rego": "package parse\ntree := rego.parse_module(input.file, input.source)"}


class BundleRefused(Exception):
    """The bundle has `problems` and is not used."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems[:3]))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Compiled:
    engine: Engine
    packages: tuple[Path, ...]
    reads: Reads


class Parser:
    """OPA's own parser, through the function that gives a module's tree as JSON."""

    def __init__(self) -> None:
        self._engine = Engine(_PARSER, {})

    def modules(self, sources: Mapping[str, str]) -> list[Module]:
        """Raises BundleRefused with the problems of every file that doesn't parse."""
        found, problems = [], []
        for file in sorted(sources):
            try:
                found.append(self._module(file, sources[file]))
            except OpaRefused as error:
                problems += compile_problems(error.message, sources)
            except (RecursionError, IndexError, KeyError, TypeError, AttributeError):
                problems.append(Problem(file, 0, 0, "policy.parse", "couldn't read its tree: it is nested too deeply"))
        if problems:
            raise BundleRefused(problems)
        return found

    def _module(self, file: str, source: str) -> Module:
        if _is_deep(source):
            raise RecursionError
        given = json.dumps({"file": file, "source": source}).encode()
        return module(file, self._engine.value("parse.tree", given))


def _is_deep(source: str) -> bool:
    """OPA's parser needs memory that grows with the square of the depth. Brackets in strings count too."""
    depth = 0
    for bracket in _BRACKET.finditer(source):
        depth += 1 if bracket[0] in "([{" else -1
        if depth > MAX_DEPTH:
            return True
    return False


def compiled(bundle: Bundle, parser: Parser, *, tenant: bool) -> Compiled:
    """Raises BundleRefused. Tests are parsed and checked like the rest, but are no part of what answers."""
    modules = parser.modules(bundle.modules)
    try:
        problems = check(modules, bundle.modules, bundle.document, tenant=tenant)
        used = [here for here in modules if not is_test(here.file)]
        plan = _verified(reads(used), parser)
    except RecursionError:
        problems = [Problem("", 0, 0, "policy.parse", "couldn't read the trees: they are nested too deeply")]
    if problems:
        raise BundleRefused(problems)
    sources = {here.file: bundle.modules[here.file] for here in used}
    packages = entries(used)
    if plan.guards:
        try:
            return Compiled(_engine(sources, bundle, packages, plan.guards), packages, plan)
        except OpaRefused:
            plan = Reads((), (), "what stands before history or the time doesn't stand alone")
    try:
        return Compiled(_engine(sources, bundle, packages, ()), packages, plan)
    except OpaRefused as error:
        raise BundleRefused(compile_problems(error.message, sources)) from None


def _verified(plan: Reads, parser: Parser) -> Reads:
    """`plan`, if the text of each guard has the tree that it was written from."""
    for guard in plan.guards:
        try:
            (again,) = parser.modules({"guard.rego": guard.text})
        except BundleRefused:
            return Reads((), (), f"{'.'.join(guard.name)} couldn't be written out")
        if len(again.rules) != 1 or not same(again.rules[0].body, guard.conjuncts):
            return Reads((), (), f"{'.'.join(guard.name)} couldn't be written out")
    return plan


def _engine(
    sources: Mapping[str, str], bundle: Bundle, packages: tuple[Path, ...], guards: tuple[Guard, ...]
) -> Engine:
    """Compiled: asked once, because OPA compiles at the first question. No rule is evaluated. Raises OpaRefused."""
    added = {f"{guard.name[-1]}.rego": guard.text for guard in guards}
    engine = Engine({**sources, **added, f"{ENTRY}.rego": entry_text(packages, guards)}, bundle.document)
    try:
        engine.value(READY, b"{}")
    except OpaRefused:
        engine.close()
        raise
    return engine
