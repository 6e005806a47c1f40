"""Commands for people; each works offline or talks to the API.

A command is imported when it is called: `aegis --help` reads only this table.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

import click

COMMANDS = {
    # name: (module, attribute, one line)
    "up": ("aegis.cli.up", "up", "Runs all of Aegis on this machine, with its own PostgreSQL and Valkey."),
    "bootstrap": ("aegis.cli.processes", "bootstrap", "Makes the operator and the first tenant, once."),
    "gateway": ("aegis.cli.processes", "gateway", "Runs one gateway process."),
    "worker": ("aegis.cli.processes", "worker", "Runs one worker process."),
    "migrate": ("aegis.cli.processes", "migrate", "Brings the database schema up to date."),
    "verify": ("aegis.cli.verify", "verify", "Verifies receipts, bundles, reports and logs offline."),
    "log": ("aegis.cli.log", "log", "Exports the log as a tlog-tiles directory."),
    "redteam": ("aegis.cli.redteam", "redteam", "Plays scenario files against a running Aegis."),
    "demo": ("aegis.cli.demo", "demo", "Starts Aegis and real targets, and plays a hijacked agent against them."),
    "bench": ("aegis.cli.bench", "bench", "Measures this machine."),
}
HIDDEN = {"prepare": ("aegis.cli.processes", "prepare", "Part of `aegis up`.")}


class _Lazy(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for name, (module, _, _) in COMMANDS.items() if find_spec(module) is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        known = (COMMANDS | HIDDEN).get(cmd_name)
        if known is None or find_spec(known[0]) is None:
            return None
        command = getattr(import_module(known[0]), known[1])
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, COMMANDS[name][2]) for name in self.list_commands(ctx)])


@click.group(cls=_Lazy, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.version_option(package_name="aegis-control-plane", prog_name="aegis")
def aegis() -> None:
    """Runtime governance and security control plane for AI agents."""
