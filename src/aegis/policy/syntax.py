"""Rego's syntax tree, as OPA's `rego.parse_module` gives it: what a piece of it refers to, and its text.

Imports are not resolved in that tree. `Names` resolves them, and takes a local variable for the rule or import whose
name it bears: what is found is then more than what is read, never less.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import takewhile
from typing import Any

Node = Any  # JSON of a term, an expression, a rule
Path = tuple[str, ...]

_INFIX = {
    "eq": "=", "assign": ":=", "equal": "==", "neq": "!=", "lt": "<", "lte": "<=", "gt": ">", "gte": ">=",
    "plus": "+", "minus": "-", "mul": "*", "div": "/", "rem": "%", "and": "&", "or": "|",
}  # fmt: skip
_STATEMENTS = ("eq", "assign")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Unprintable(ValueError):
    """This piece of the tree has no text here."""


@dataclass(frozen=True, slots=True)
class Rule:
    path: Path
    """Below `data`: the package and the constant beginning of the head."""
    node: Node

    @property
    def body(self) -> list[Node]:
        body: list[Node] = self.node["body"]
        return body

    @property
    def parts(self) -> Iterator[Node]:
        """All of it but its own name, `else` included."""
        here = self.node
        while here is not None:
            head = here["head"]
            yield [head.get("key"), head.get("value"), head.get("args"), head["ref"][1:], here["body"]]
            here = here.get("else")

    @property
    def is_function(self) -> bool:
        return "args" in self.node["head"]

    @property
    def is_set(self) -> bool:
        return "key" in self.node["head"]


@dataclass(frozen=True, slots=True)
class Module:
    file: str
    package: Path
    imports: Sequence[Node]
    rules: tuple[Rule, ...]


def module(file: str, tree: Node) -> Module:
    package = tuple(str(part["value"]) for part in tree["package"]["path"])[1:]
    rules = tuple(Rule(package + _constant(rule["head"]["ref"]), rule) for rule in tree.get("rules") or ())
    return Module(file, package, tree.get("imports") or (), rules)


@dataclass(frozen=True, slots=True)
class Names:
    """What a name at the head of a reference may stand for in one module."""

    whole: Mapping[str, tuple[Path, ...]]

    @classmethod
    def of(cls, here: Module, modules: Iterable[Module]) -> Names:
        whole: dict[str, set[Path]] = {"input": {("input",)}, "data": {("data",)}}
        for other in modules:
            if other.package == here.package:
                for rule in other.rules:
                    name = rule.path[len(here.package)]
                    whole.setdefault(name, set()).add(("data", *here.package, name))
        for each in here.imports:
            path = _constant(each["path"]["value"])
            if path[0] in ("input", "data"):
                whole.setdefault(each.get("alias") or path[-1], set()).add(path)
        return cls({name: tuple(sorted(paths)) for name, paths in whole.items()})

    def paths(self, node: Node) -> Iterator[Path]:
        """Every path that begins with `input` or `data` and that `node` refers to, as far as it is constant."""
        for ref in references(node):
            if ref[0]["type"] == "var":
                for start in self.whole.get(ref[0]["value"], ()):
                    yield start + _constant_steps(ref[1:])


def references(node: Node) -> Iterator[list[Node]]:
    """The parts of each reference in `node`, a lone variable being one of one part, operators included."""
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, list):
            stack.extend(here)
        elif isinstance(here, dict):
            kind = here.get("type")
            if kind == "ref":
                yield here["value"]
                stack.extend(here["value"][1:])
                if here["value"][0]["type"] != "var":
                    stack.append(here["value"][0])
            elif kind == "var" and isinstance(here["value"], str):
                yield [here]
            else:
                stack.extend(here.values())


def calls(node: Node) -> Iterator[str]:
    """The dotted name of each function that is called in `node`."""
    stack = [node]
    while stack:
        here = stack.pop()
        if isinstance(here, list):
            stack.extend(here)
        elif isinstance(here, dict):
            terms = here["value"] if here.get("type") == "call" else here.get("terms")
            if isinstance(terms, list) and isinstance(terms[0], dict) and terms[0].get("type") == "ref":
                yield dotted(terms[0]["value"])
            stack.extend(here.values())


def has_with(node: Node) -> bool:
    if isinstance(node, list):
        return any(map(has_with, node))
    if isinstance(node, dict):
        return "with" in node or any(map(has_with, node.values()))
    return False


def dotted(ref: Sequence[Node]) -> str:
    """`http.send` of its parts, as far as they are constant."""
    return ".".join(_constant(ref))


def overlaps(one: Path, other: Path) -> bool:
    """Whether one is a beginning of the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _constant(ref: Sequence[Node]) -> Path:
    """The beginning of `ref` that no variable decides; its head counts as a name."""
    return (str(ref[0]["value"]), *_constant_steps(ref[1:])) if ref[0]["type"] == "var" else ()


def _constant_steps(parts: Sequence[Node]) -> Path:
    return tuple(str(part["value"]) for part in takewhile(lambda part: part["type"] == "string", parts))


def same(one: Node, other: Node) -> bool:
    """Whether two trees say the same; the numbers of wildcards don't count."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, str) and isinstance(other, str) and one[:1] == "$" == other[:1]:
        return one[1:].isdigit() == other[1:].isdigit() and (one[1:].isdigit() or one == other)
    return type(one) is type(other) and bool(one == other)


# -- text


def import_text(node: Node) -> str:
    alias = f" as {node['alias']}" if "alias" in node else ""
    return f"import {_term(node['path'])}{alias}"


def package_text(package: Path) -> str:
    return "package " + _term({"type": "ref", "value": [_part(package[0], "var"), *map(_part, package[1:])]})


def body_text(body: Sequence[Node]) -> str:
    """Raises Unprintable; whoever uses the text parses it again and compares."""
    return "; ".join(map(_expression, body))


def reference_text(path: Path) -> str:
    return _term({"type": "ref", "value": [_part("data", "var"), *map(_part, path)]})


def _part(name: str, kind: str = "string") -> Node:
    return {"type": kind, "value": name}


def _expression(node: Node) -> str:
    if "with" in node:
        raise Unprintable("with")
    text = _statement(node["terms"])
    return f"not {text}" if node.get("negated") else text


def _statement(terms: Node) -> str:
    if isinstance(terms, list):
        return _call(terms, statement=True)
    if "symbols" in terms:
        return "some " + ", ".join(_symbol(each) for each in terms["symbols"])
    if "domain" in terms:
        key = "" if terms.get("key") is None else f"{_term(terms['key'])}, "
        return f"every {key}{_term(terms['value'])} in {_term(terms['domain'])} {{ {body_text(terms['body'])} }}"
    return _term(terms)


def _symbol(node: Node) -> str:
    if node["type"] != "call":
        return _term(node)
    *symbols, domain = node["value"][1:]
    return f"{', '.join(map(_term, symbols))} in {_term(domain)}"


def _call(terms: Sequence[Node], *, statement: bool = False) -> str:
    name = dotted(terms[0]["value"])
    arguments = [_term(each) for each in terms[1:]]
    if name in _INFIX and len(arguments) == 2:
        text = f" {_INFIX[name]} ".join(arguments)
        return text if statement else f"({text})"
    if name in ("internal.member_2", "internal.member_3"):
        text = f"{', '.join(arguments[:-1])} in {arguments[-1]}"
        return text if statement else f"({text})"
    if name in _STATEMENTS or name.startswith("internal."):
        raise Unprintable(name)
    return f"{_term(terms[0])}({', '.join(arguments)})"


def _term(node: Node) -> str:
    value = node["value"]
    match node["type"]:
        case "null":
            return "null"
        case "boolean":
            return "true" if value else "false"
        case "number" if isinstance(value, int | Decimal):
            return str(value)
        case "string":
            return json.dumps(value, ensure_ascii=False)
        case "var":
            return "_" if value.startswith("$") else str(value)
        case "ref":
            return _term(value[0]) + "".join(map(_step, value[1:]))
        case "call":
            return _call(value)
        case "array":
            return f"[{', '.join(map(_term, value))}]"
        case "set":
            return f"{{{', '.join(map(_term, value))}}}" if value else "set()"
        case "object":
            return "{" + ", ".join(f"{_term(k)}: {_term(v)}" for k, v in value) + "}"
        case "arraycomprehension":
            return f"[{_term(value['term'])} | {body_text(value['body'])}]"
        case "setcomprehension":
            return f"{{{_term(value['term'])} | {body_text(value['body'])}}}"
        case "objectcomprehension":
            return f"{{{_term(value['key'])}: {_term(value['value'])} | {body_text(value['body'])}}}"
        case other:
            raise Unprintable(str(other))


def _step(part: Node) -> str:
    if part["type"] == "string" and _NAME.fullmatch(part["value"]):
        return f".{part['value']}"
    return f"[{_term(part)}]"
