"""`aegis demo`."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from aegis.demo.programme import Running


@click.command(help="Starts Aegis and real targets, plays a hijacked agent against them, verifies the log offline.")
@click.option("--keep", is_flag=True, help="Leave Aegis and the targets running until Ctrl-C.")
def demo(keep: bool) -> None:
    """Exit 0 when every step was as expected, 1 otherwise."""
    from aegis.demo.client import Unexpected
    from aegis.demo.installation import NotRunning
    from aegis.demo.programme import Performed, Watching, perform
    from aegis.demo.table import Progress, console, summary, table

    out = console()

    def show(performed: Performed) -> None:
        out.print(table(performed.lines))
        for sentence in summary(performed):
            out.print(sentence, markup=False)

    with Progress(out) as progress:

        async def stay(performed: Performed, running: Running) -> None:
            progress.__exit__()
            show(performed)
            out.print(_invitation(running), markup=False, soft_wrap=True)
            await _interrupted()

        signal.signal(signal.SIGTERM, _ended)
        try:
            performed = perform(Watching(progress.say, progress.line, stay if keep else None))
        except (Unexpected, NotRunning) as error:
            raise click.ClickException(str(error)) from error
    if not keep:
        show(performed)
    sys.exit(0 if performed.is_as_expected else 1)


def _ended(number: int, _: object) -> None:
    """Lets everything that was begun be ended in its order."""
    sys.exit(128 + number)


async def _interrupted() -> None:
    asked = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, asked.set)
    await asked.wait()


def _invitation(running: Running) -> str:
    body = json.dumps({"tool": "db.query", "arguments": {"query": "SELECT count(*) FROM customers"}})
    return f"""
Aegis stays at {running.url} until Ctrl-C (the console, if there is one, at the same address).
Credentials: {running.credentials}
Ask it something as the agent:

curl -s {running.url}/v1/execute -H 'authorization: Bearer {running.agent_token}' \\
  -H 'content-type: application/json' -d '{body}'
"""
