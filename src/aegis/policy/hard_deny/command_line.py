"""Command lines and programs as the findings they earn: the shell's walk joined with the table of commands."""

from __future__ import annotations

from collections.abc import Callable

from aegis.policy.hard_deny.commands import code, table
from aegis.policy.hard_deny.places import Places
from aegis.policy.hard_deny.shell.session import HOME, Reading, Surroundings
from aegis.policy.hard_deny.shell.walk import Shell
from aegis.policy.hard_deny.shell.words import without_marks

NOW_DAYS = 20820.0


def read(
    text: str,
    workspace: str | None = None,
    branches: frozenset[str] = frozenset(),
    namespaces: frozenset[str] = frozenset(),
    now: float = NOW_DAYS,
) -> Reading:
    """The findings of a command line; never raises. `now` in days since 1970."""
    around = Places(workspace)
    variables = {
        "HOME": HOME,
        "PWD": around.workspace,
        "OLDPWD": around.workspace,
        "IFS": " \t\n",
        "TMPDIR": "/tmp",  # noqa: S108
        "USER": "agent",
        "LOGNAME": "agent",
        "SHELL": "/bin/bash",
        "0": "bash",
        "PATH": "/usr/bin:/bin",
        "UID": "1000",
    }
    script = without_marks(text).replace("\r\n", "\n").replace("\\\n", "")
    return _read(lambda shell: shell.script(script), around, variables, branches, namespaces, now)


def read_program(
    language: str,
    text: str,
    workspace: str | None = None,
    branches: frozenset[str] = frozenset(),
    namespaces: frozenset[str] = frozenset(),
    now: float = NOW_DAYS,
) -> Reading:
    """The findings of a program in `language` (`python`, `node`, ...; empty if it isn't known); never raises."""
    around = Places(workspace)
    variables = {"HOME": HOME, "PWD": around.workspace}
    return _read(lambda shell: code.judge(shell, language, text), around, variables, branches, namespaces, now)


def _read(
    walk: Callable[[Shell], object],
    around: Places,
    variables: dict[str, str],
    branches: frozenset[str],
    namespaces: frozenset[str],
    now: float,
) -> Reading:
    shell = Shell(
        Surroundings(around, around.workspace, variables, branches, namespaces, now=now), Reading(), table.judge
    )
    try:
        walk(shell)
    except RecursionError:
        shell.reading.add("shell.unparseable")
    return shell.reading
