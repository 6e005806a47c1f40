"""Makes the pages and tables that repeat what the code says: `.venv/bin/python docs/generate.py`.

Whole pages: configuration.md, codes.md, commands.md. Tables inside written pages stand between
`<!-- made: NAME -->` and `<!-- made end -->`. Made again without a change, nothing differs; a test holds that.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import Field
from importlib.util import find_spec
from math import nan
from pathlib import Path
from typing import Any

import click

from aegis.audit import evidence, rows
from aegis.cli import COMMANDS, aegis
from aegis.config import FILE, NOT_SETTINGS, PREFIX, every_setting
from aegis.console_api.app import ROUTES
from aegis.console_api.openapi import DOORS
from aegis.console_api.routes import Route
from aegis.identity.roles import PERMISSIONS
from aegis.kernel.codes import CODES, Code
from aegis.kernel.decision import STAGES

DOCS = Path(__file__).parent
MADE = "<!-- Made by docs/generate.py. Change the code instead, then make it again. -->\n"
_REGION = re.compile(r"(<!-- made: ([a-z-]+) -->\n).*?(<!-- made end -->)", re.DOTALL)
_METHODS = {"GET": 0, "POST": 1, "PUT": 2, "PATCH": 3, "DELETE": 4}


def pages() -> dict[Path, str]:
    """Every page that is made, or holds something that is made, with its whole text."""
    made = {
        DOCS / "configuration.md": configuration(),
        DOCS / "codes.md": codes(),
        DOCS / "commands.md": commands(),
    }
    for path in sorted(DOCS.glob("*.md")):
        if path not in made and "<!-- made: " in (text := path.read_text("utf-8")):
            made[path] = _REGION.sub(lambda found: found[1] + REGIONS[found[2]]() + found[3], text)
    return made


def main() -> None:
    for path, text in pages().items():
        if not path.exists() or path.read_text("utf-8") != text:
            path.write_text(text, "utf-8")
            sys.stdout.write(f"{path.relative_to(DOCS.parent)}\n")


# ------------------------------------------------------------------ pages


def configuration() -> str:
    """Each setting with its variable, type, default and meaning."""
    lines = [
        "# Configuration",
        MADE,
        f"One file, `{FILE}` in the current directory (or where `AEGIS_CONFIG` points), and `{PREFIX}*` variables over "
        "it. `port` in `[gateway]` is `AEGIS_GATEWAY__PORT`; lists are separated by commas. An unknown key is an error "
        "that names the nearest known one. Nothing here turns judging off.",
        "",
        "```toml",
        "[gateway]",
        "port = 9000",
        "",
        "[networks]",
        'allow = ["10.20.0.0/16"]',
        "```",
        "",
        "Variables with the prefix that are no settings: "
        + ", ".join(f"`{name}`" for name in sorted(NOT_SETTINGS))
        + ", and `AEGIS_SECRET_<TENANT>_<REF>` (credentials of upstreams).",
    ]
    section = None
    for name, field in every_setting():
        *path, _ = name.split(".")
        if path != section:
            section = path
            lines += ["", f"## [{'.'.join(path)}]" if path else "## Top level"]
        lines += _setting(name, field)
    return "\n".join(lines) + "\n"


def _setting(name: str, field: Field[Any]) -> Iterator[str]:
    facts = [f"default {_default(field.default)}", _KINDS[str(field.type)]]
    if field.metadata["unit"]:
        facts.append(field.metadata["unit"])
    if expected := _expected(field):
        facts.append(f"expected: {expected}")
    yield ""
    yield f"### `{name}`"
    yield ""
    yield f"{field.metadata['meaning']} Prevents: {field.metadata['prevents']}."
    yield ""
    yield f"`{PREFIX}{name.upper().replace('.', '__')}` · " + " · ".join(facts)


_KINDS = {"tuple[str, ...]": "list", "str": "text", "int": "integer", "float": "number", "bool": "true or false"}
_WRONG = {"tuple[str, ...]": ("?",), "str": "?" + " " * 300, "int": nan, "float": nan}


def _default(value: Any) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case "" | ():
            return "empty"
        case tuple():
            return f"`{','.join(value)}`"
        case _:
            return f"`{value:g}`" if isinstance(value, float) else f"`{value}`"


def _expected(field: Field[Any]) -> str:
    """What the setting's own check says of a value that is certainly wrong."""
    check = field.metadata["check"]
    said = check(_WRONG[str(field.type)]) if check is not None else None
    return "" if said is None else str(said).partition(", not ")[0]


def codes() -> str:
    lines = [
        "# Finding codes",
        MADE,
        "A finding is one reason. A code never changes its meaning; new ones may be added. *Alone* is the verdict that "
        "the finding imposes by itself; where it is a number, that is the score which stage 6 weighs with the others; "
        "where it is empty, the finding informs. `{...}` in a message are typed values, never a stranger's text. The "
        "rule of a shipped finding is `aegis.` and its code; a tenant's own rules are `tenant.<package>.<rule>`.",
    ]
    for number, stage in enumerate(STAGES):
        mine = [code for code in CODES.values() if code.stage == stage]
        if mine:
            lines += ["", f"## {number} {stage}", ""]
            lines += _table(("code", "severity", "alone", "message", "guidance"), map(_code, mine))
    return "\n".join(lines) + "\n"


def _code(code: Code) -> tuple[str, ...]:
    alone = code.force.word if code.force is not None else f"{code.score:g}" if code.score else ""
    return f"`{code.code}`", code.severity.word, alone, code.template, code.guidance


def commands() -> str:
    lines = ["# Commands", MADE, "`aegis COMMAND --help` says the same."]
    context = click.Context(aegis, info_name="aegis")
    for name in aegis.list_commands(context):
        command = aegis.get_command(context, name)
        assert command is not None
        lines += _command(command, click.Context(command, info_name=name, parent=context))
    if missing := [name for name, (module, _, _) in COMMANDS.items() if find_spec(module) is None]:
        lines += ["", "Planned, not there yet: " + ", ".join(f"`aegis {name}`" for name in missing) + "."]
    return "\n".join(lines) + "\n"


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    usage = " ".join(command.collect_usage_pieces(context))
    yield from ("", f"## `{context.command_path}`", "", f"`{context.command_path} {usage}`", "")
    yield "\n\n".join(re.sub(r"\s+", " ", each) for each in inspect.cleandoc(command.help or "").split("\n\n"))
    options = [p for p in command.params if isinstance(p, click.Option) and not p.hidden]
    records = [record for option in options if (record := option.get_help_record(context)) is not None]
    if records:
        yield ""
        yield from _table(("option", "meaning"), [(f"`{names}`", re.sub(r"\s+", " ", text)) for names, text in records])
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from _command(inner, click.Context(inner, info_name=name, parent=context))


# ------------------------------------------------------------------ tables in written pages


def routes() -> str:
    """The paths that answer."""
    served = [route for route in (*DOORS, *ROUTES) if route.takes != "any"]
    rows_ = [(f"`{r.method} {r.path}`", _may(r), r.summary) for r in sorted(served, key=_by_path)]
    return "\n".join(_table(("request", "who", "what"), rows_)) + "\n"


def routes_to_come() -> str:
    later = sorted((route for route in ROUTES if route.takes == "any"), key=_by_path)
    return "".join(f"- `{route.method} {route.path}`: {route.summary}\n" for route in later)


def _by_path(route: Route) -> tuple[str, int]:
    return route.path, _METHODS[route.method]


def _may(route: Route) -> str:
    if route.is_public:
        return "anybody"
    wanted = route.permission
    if wanted is None:
        return "every credential"
    any_of = wanted if isinstance(wanted, tuple) else (wanted,)
    return ", ".join(role.value for role, held in PERMISSIONS.items() if any(each in held for each in any_of))


def roles() -> str:
    return (
        "\n".join(
            _table(
                ("role", "may"),
                [(role.value, ", ".join(sorted(each.value for each in held))) for role, held in PERMISSIONS.items()],
            )
        )
        + "\n"
    )


def kinds() -> str:
    return (
        "\n".join(
            _table(
                ("kind", "members that it must have"),
                [(f"`{kind}`", ", ".join(f"`{name}`" for name in needed)) for kind, needed in rows.KINDS.items()],
            )
        )
        + "\n"
    )


def verification() -> str:
    return (
        "\n".join(
            _table(
                ("code", "exit", "meaning"),
                [(f"`{code}`", str(number), meaning) for code, (number, meaning) in evidence.CODES.items()],
            )
        )
        + "\n"
    )


REGIONS = {
    "routes": routes,
    "routes-to-come": routes_to_come,
    "roles": roles,
    "row-kinds": kinds,
    "verification-codes": verification,
}


def _table(head: tuple[str, ...], body: Iterable[tuple[str, ...]]) -> list[str]:
    escaped = [tuple(cell.replace("|", "\\|") for cell in row) for row in body]
    return [_row(head), _row(("---",) * len(head)), *map(_row, escaped)]


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    main()
