"""What is wrong with a bundle, from its syntax trees: read before anything in it is evaluated.

A policy is a function of its input and data, so what could reach the network, a clock, chance or the machine is
refused by name, and so is every function that is not known to be pure. A tenant's rules live below `tenant`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from aegis.policy.bundle import is_test
from aegis.policy.purity import IMPURE, PURE
from aegis.policy.reads import AWAKE, ENTRY, entries
from aegis.policy.syntax import Module, Names, Path, calls, dotted, overlaps, references

INPUT_MEMBERS = ("action", "tool", "analysis", "context", "agent", "user", "session", "history", "now")
MAX_PROBLEMS = 100
_ERROR_LINE = re.compile(r"(?:^|[:\s])(?P<file>[^\s:]+\.rego):(?P<line>\d+): (?P<code>rego_\w+): (?P<text>.*)")
_NOT_CODE = re.compile(r'`[^`]*`|"(?:[^"\\\n]|\\.)*"|#[^\n]*')


@dataclass(frozen=True, slots=True)
class Problem:
    """`line` and `column` count from 1; 0 where the place is not known."""

    file: str
    line: int
    column: int
    code: str
    message: str

    def as_tree(self) -> dict[str, Any]:
        return asdict(self)


def check(
    modules: Sequence[Module], sources: Mapping[str, str], document: Mapping[str, Any], *, tenant: bool
) -> list[Problem]:
    """All problems of the parsed `modules`, at most 100, in the order of files."""
    found = [
        problem
        for here in modules
        for problem in (
            *_of_package(here, sources[here.file], tenant),
            *_of_functions(here, modules, sources[here.file]),
            *_of_names(here, modules, sources[here.file], document),
        )
    ]
    if not entries([here for here in modules if not is_test(here.file)]):
        found.append(Problem("", 0, 0, "policy.entry", "no package defines `findings`: the bundle could say nothing"))
    return found[:MAX_PROBLEMS]


def compile_problems(message: str, sources: Mapping[str, str]) -> list[Problem]:
    """The problems in an error text of OPA's parser or compiler; one without a place when it names none."""
    lines = message.splitlines()
    found = []
    for number, line in enumerate(lines):
        if match := _ERROR_LINE.search(line):
            file, at = match["file"], int(match["line"])
            column = _caret(lines[number + 1 :]) or _column(sources.get(file, ""), at, match["text"])
            found.append(Problem(file, at, column, match["code"].replace("_", ".", 1), match["text"][:300]))
    return found[:MAX_PROBLEMS] or [Problem("", 0, 0, "rego.error", lines[0][:300] if lines else "")]


def _of_package(here: Module, source: str, tenant: bool) -> Iterator[Problem]:
    if tenant and (len(here.package) < 2 or here.package[0] != "tenant"):
        yield _at(here.file, source, "package", "policy.package",
                  f"expected a package below `tenant`, got `{'.'.join(here.package)}`")  # fmt: skip
    if here.package and here.package[0] == ENTRY:
        yield _at(here.file, source, "package", "policy.package", f"the package `{ENTRY}` is taken")
    for rule in here.rules:
        name = rule.path[len(here.package)]
        if name.startswith(AWAKE):
            yield _at(here.file, source, name, "policy.reserved", f"names that begin with `{AWAKE}` are taken")


def _of_functions(here: Module, modules: Sequence[Module], source: str) -> Iterator[Problem]:
    """References are looked at too: `with http.send as ...` names a function that it doesn't call."""
    own = Names.of(here, modules).whole
    nodes = [list(rule.parts) for rule in here.rules]
    named = {dotted(ref) for ref in references(nodes)}
    called = set(calls(nodes))
    for name in sorted(named | called):
        impure = next((each for each in IMPURE if name == each or name.startswith(f"{each}.")), None)
        if impure is not None and (name in called or "." in impure or name in _replaced(nodes)):
            yield _at(here.file, source, impure, "policy.impure", f"`{impure}` {IMPURE[impure]}")
        elif name in called and name not in PURE and name.partition(".")[0] not in own:
            yield _at(here.file, source, name, "policy.function", f"`{name}` is not a function that a policy may call")


def _replaced(node: Any) -> set[str]:
    """The names on either side of `with`."""
    if isinstance(node, list):
        return set().union(*map(_replaced, node))
    if isinstance(node, dict):
        here = {dotted(ref) for ref in references(node.get("with", []))}
        return here.union(*map(_replaced, node.values()))
    return set()


def _of_names(here: Module, modules: Sequence[Module], source: str, document: Mapping[str, Any]) -> Iterator[Problem]:
    """A reference to nothing is a rule that never fires: most often a slip of the pen."""
    rules = {rule.path for module in modules for rule in module.rules}
    packages = {module.package for module in modules}
    names = Names.of(here, modules)
    for path in sorted(set(names.paths([list(rule.parts) for rule in here.rules]))):
        if path[0] == "input":
            if len(path) > 1 and path[1] not in INPUT_MEMBERS:
                known = ", ".join(INPUT_MEMBERS)
                message = f"the input has no member `{path[1]}`: expected one of {known}"
                yield _at(here.file, source, f"input.{path[1]}", "policy.input", message)
        elif not _exists(path[1:], rules, packages, document):
            name = ".".join(path)
            yield _at(here.file, source, name, "policy.name", f"`{name}` is neither a rule nor in the bundle's data")


def _exists(path: Path, rules: set[Path], packages: set[Path], document: Mapping[str, Any]) -> bool:
    if any(overlaps(path, rule) for rule in rules) or any(path == package[: len(path)] for package in packages):
        return True
    place: Any = document
    for segment in path:
        if not isinstance(place, dict):
            return True
        if segment not in place:
            return False
        place = place[segment]
    return True


def _at(file: str, source: str, name: str, code: str, message: str) -> Problem:
    """Where `name` first stands in the code of `source`, or as much of it as does."""
    code_only = _NOT_CODE.sub(lambda match: re.sub(r"[^\n]", " ", match[0]), source)
    parts = name.split(".")
    while parts:
        pattern = r"\s*\.\s*".join(map(re.escape, parts))
        if match := re.search(rf"(?<![\w.]){pattern}(?!\w)", code_only):
            line = code_only.count("\n", 0, match.start()) + 1
            return Problem(file, line, match.start() - code_only.rfind("\n", 0, match.start()), code, message)
        parts.pop()
    return Problem(file, 0, 0, code, message)


def _caret(lines: Sequence[str]) -> int:
    """The column of the `^` below a quoted line, 0 without one."""
    for line in lines[:3]:
        if line.strip() == "^":
            return line.removeprefix("\t").index("^") + 1
    return 0


def _column(source: str, line: int, text: str) -> int:
    lines = source.splitlines()
    if not 0 < line <= len(lines):
        return 0
    for word in re.findall(r"[\w.]+", text):
        at = re.search(rf"(?<![\w.]){re.escape(word)}(?!\w)", lines[line - 1])
        if at and word not in ("var", "is", "function", "rule", "undefined", "unsafe"):
            return at.start() + 1
    return len(lines[line - 1]) - len(lines[line - 1].lstrip()) + 1
