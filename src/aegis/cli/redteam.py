"""`aegis redteam`."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from aegis.demo.redteam import Outcome
    from aegis.demo.scenarios import Scenario

DEFAULT = Path("tests/scenarios")


@click.command(help="Plays scenario files against a running Aegis, each in a tenant of its own.")
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="What `aegis up` wrote; its operator makes the tenants. [default: credentials.json in up's data directory]",
)
@click.option(
    "--scenarios",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    default=DEFAULT,
    show_default=True,
    help="Directory of YAML files.",
)
@click.option("--only", default="", help="Only scenarios whose file or name contains this.")
def redteam(credentials: Path | None, scenarios: Path, only: str) -> None:
    """Exit 0 when everything was as expected, 1 otherwise."""
    from rich.markup import escape

    from aegis.demo.scenarios import BadScenario, load
    from aegis.demo.table import console, outcomes_table
    from aegis.embedded.places import default_data_dir

    try:
        chosen = [each for each in load(scenarios) if only in each.file or only in each.name]
        credentials = credentials or default_data_dir() / "credentials.json"
        given = json.loads(credentials.read_text("utf-8"))
        url, token = given["url"], given["operator"]["token"]
    except BadScenario as error:
        raise click.ClickException(str(error)) from None
    except (OSError, ValueError, KeyError, TypeError):
        raise click.ClickException(f"couldn't read {credentials}: expected what `aegis up` writes") from None
    if not chosen:
        raise click.ClickException(f"couldn't find a scenario in {scenarios}")
    out = console()
    outcomes = asyncio.run(_all(chosen, url, token, lambda name: out.print(f"... {escape(name)}")))
    out.print(outcomes_table(outcomes))
    wrong = sum(bool(each.wrong) for each in outcomes)
    out.print(f"{len(chosen)} scenarios, {len(outcomes)} expectations, {wrong} not met")
    sys.exit(1 if wrong else 0)


async def _all(chosen: list[Scenario], url: str, token: str, say: Any) -> list[Outcome]:
    return [outcome async for each in _played(chosen, url, token, say) for outcome in each]


async def _played(chosen: list[Scenario], url: str, token: str, say: Any) -> AsyncIterator[list[Outcome]]:
    from aegis.demo.client import Client, Unexpected
    from aegis.demo.redteam import Range, play

    async with Range() as target, Client(url, token) as operator:
        for scenario in chosen:
            say(scenario.name)
            try:
                yield await play(scenario, url, operator, target)
            except Unexpected as error:
                raise click.ClickException(str(error)) from None
