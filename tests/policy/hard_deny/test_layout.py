"""Imports among the readers of command lines go one way: the shell knows no command, no command knows the table."""

from __future__ import annotations

import ast
from pathlib import Path

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
