"""Imports among the readers of command lines go one way: the shell knows no command, no command knows the table."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from re import _constants, _parser  # type: ignore[attr-defined]
from typing import Any

import pytest

from aegis.policy import hard_deny

ROOT = Path(hard_deny.__file__).parent
PACKAGE = "aegis.policy.hard_deny"


def imported(file: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
        elif isinstance(node, ast.Import):
            names |= {a.name for a in node.names}
    return names


@pytest.mark.parametrize("file", sorted((ROOT / "shell").glob("*.py")), ids=lambda f: f.stem)
def test_the_shell_knows_no_command(file: Path) -> None:
    assert not [n for n in imported(file) if n.startswith((f"{PACKAGE}.commands", f"{PACKAGE}.command_line"))]


@pytest.mark.parametrize("file", sorted((ROOT / "commands").glob("*.py")), ids=lambda f: f.stem)
def test_no_command_knows_the_table_or_the_entrance(file: Path) -> None:
    above = (f"{PACKAGE}.commands.table", f"{PACKAGE}.command_line", f"{PACKAGE}.analyse")
    assert not [n for n in imported(file) if n.startswith(above)]


# ------------------------------------------------------------------ patterns


def patterns() -> Iterator[tuple[str, re.Pattern[str]]]:
    for module in pkgutil.walk_packages([str(ROOT)], f"{PACKAGE}."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if isinstance(value, re.Pattern) and isinstance(value.pattern, str):
                yield f"{module.name}.{name}", value


def possessive(tree: Any) -> Iterator[Any]:
    """What stands under possessive quantifiers and in atomic groups, anywhere in a parsed pattern."""
    for op, value in tree:
        if op in (_constants.POSSESSIVE_REPEAT, _constants.ATOMIC_GROUP):
            yield value[-1] if isinstance(value, tuple) else value
        for part in value if isinstance(value, tuple) else [value]:
            for inner in part if isinstance(part, list) else [part]:
                if isinstance(inner, _parser.SubPattern):
                    yield from possessive(inner)


def test_nothing_but_single_characters_is_possessive() -> None:
    """Pythons before 3.11.5 match a possessive group whose inside can go back wrongly (CPython issue 106052)."""
    seen = 0
    for name, pattern in patterns():
        for inner in possessive(_parser.parse(pattern.pattern, pattern.flags)):
            seen += 1
            assert len(inner) == 1 and inner[0][0] in (_constants.IN, _constants.LITERAL), f"{name}: {pattern.pattern}"
    assert seen > 20
