"""What a bundle reads of its input, and so when its answer may be remembered.

A bundle without clock, network and chance is a function of its data and of the input paths that it reads. Two
members of the input change with every call: `input.history` and `input.now`. A rule that reads them, itself or
through others, is *restless*. A bundle may be remembered in spite of restless `findings` rules: such a rule's *guard*
is the run of conjuncts before the first one that is restless. OPA evaluates a body in its order, so while the guard
is false nothing restless is evaluated, and the rule adds nothing, not even an error. The guard is a function of the
other paths, is evaluated together with the findings and remembered with them; a remembered answer with a guard that
held (the rule is *awake*) is not used.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegis.policy.syntax import (
    Module,
    Names,
    Path,
    Rule,
    Unprintable,
    body_text,
    has_with,
    import_text,
    overlaps,
    package_text,
    reference_text,
)

RESTLESS = (("input", "history"), ("input", "now"))
FINDINGS = "findings"
ENTRY = "aegis_entry"
AWAKE = "aegis_awake_"


@dataclass(frozen=True, slots=True)
class Guard:
    """A module that defines the rule `name`: it holds whenever the restless rule that it guards may add something."""

    name: Path
    text: str
    conjuncts: Sequence[object]


@dataclass(frozen=True, slots=True)
class Reads:
    """`paths` are below the input, none a beginning of another. `why_not` says why nothing may be remembered."""

    paths: tuple[Path, ...]
    guards: tuple[Guard, ...]
    why_not: str = ""


def entries(modules: Sequence[Module]) -> tuple[Path, ...]:
    """The packages that define `findings`, sorted."""
    return tuple(sorted({m.package for m in modules for r in m.rules if r.path[: len(m.package) + 1][-1] == FINDINGS}))


def entry_text(packages: Sequence[Path], guards: Sequence[Guard]) -> str:
    """The module whose rule `answer` is asked: findings by package, and which guards held. `ready` reads nothing."""
    found = ", ".join(f'"{".".join(package)}": {reference_text((*package, FINDINGS))}' for package in packages)
    awake = [f"awake contains {number} if {reference_text(guard.name)}" for number, guard in enumerate(guards)]
    return "\n".join(
        [
            f"package {ENTRY}",
            f'answer := {{"findings": {{{found}}}, "awake": awake}}',
            "ready := true",
            *(awake or ["awake := []"]),
        ]
    )


def reads(modules: Sequence[Module]) -> Reads:
    """Of `modules`, tests left out."""
    names = {id(here): Names.of(here, modules) for here in modules}
    found = {id(rule): set(names[id(here)].paths(list(rule.parts))) for here in modules for rule in here.rules}
    every = set().union(*found.values()) if found else set()
    restless = _restless([(rule, found[id(rule)]) for here in modules for rule in here.rules])
    still = {path[1:] for path in every if path[0] == "input" and not _is_restless(path, ())}
    if any(has_with(rule.node) for here in modules for rule in here.rules):
        return Reads((), (), "a rule uses `with`")
    if () in still:
        return Reads((), (), "a rule reads the whole input, or a member that is known only when it runs")
    paths = tuple(sorted(path for path in still if not any(path[:cut] in still for cut in range(1, len(path)))))
    if not restless:
        return Reads(paths, ())
    packages = {here.package for here in modules}
    if any(path[0] == "data" and len(path) <= len(p) + 1 and overlaps(path[1:], p) for path in every for p in packages):
        return Reads((), (), "a rule reads a whole package, and another reads history or the time")
    guards: list[Guard] = []
    for here in modules:
        for rule in here.rules:
            if rule.path[len(here.package)] != FINDINGS:
                continue
            if not any(_is_restless(path, restless) for path in found[id(rule)]):
                continue
            guard = _guard(here, names[id(here)], rule, restless, len(guards))
            if isinstance(guard, str):
                return Reads((), (), guard)
            guards.append(guard)
    return Reads(paths, tuple(guards))


def _restless(rules: Sequence[tuple[Rule, set[Path]]]) -> frozenset[Path]:
    """The paths below `data` of all rules that read history or the time, themselves or through others."""
    restless: set[Path] = set()
    while True:
        more = {rule.path for rule, paths in rules if any(_is_restless(path, restless) for path in paths)}
        if more <= restless:
            return frozenset(restless)
        restless |= more


def _is_restless(path: Path, restless: frozenset[Path] | set[Path] | tuple[()]) -> bool:
    if path[0] == "input":
        return len(path) > 1 and path[:2] in RESTLESS
    return any(overlaps(path[1:], other) for other in restless)


def _guard(here: Module, names: Names, rule: Rule, restless: frozenset[Path], number: int) -> Guard | str:
    where = ".".join(rule.path)
    if not rule.is_set or rule.is_function or "else" in rule.node or rule.node.get("default"):
        return f"{where} reads history or the time and is not a plain `contains` rule"
    first = next(
        (n for n, each in enumerate(rule.body) if any(_is_restless(path, restless) for path in names.paths(each))),
        len(rule.body),
    )
    if first == 0:
        return f"a rule of {where} reads history or the time before anything else"
    try:
        conjuncts = body_text(rule.body[:first])
    except Unprintable as error:
        return f"a rule of {where} has {error} before it reads history or the time"
    name = f"{AWAKE}{number}"
    imports = map(import_text, here.imports)
    text = "\n".join([package_text(here.package), *imports, f"{name} if {{ {conjuncts} }}"])
    return Guard((*here.package, name), text, rule.body[:first])
