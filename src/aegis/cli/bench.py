"""`aegis bench`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from aegis.config import load_config

PARTS = ("latency", "throughput", "memo-off", "in-process", "start", "memory")


@click.command(help="Measures this machine: what a decision costs, beside the floor that the machine has.")
@click.option("--json", "file", type=click.Path(dir_okay=False, path_type=Path), help="Write the figures there too.")
@click.option("--quick", is_flag=True, help="Seconds instead of minutes: whether it works, not how fast it is.")
@click.option("--only", multiple=True, type=click.Choice(PARTS), help="Measure this part alone; repeats.")
@click.option("--strict", is_flag=True, help="Exit with 1 when a mark is missed.")
@click.option(
    "--folder", type=click.Path(file_okay=False, exists=True, path_type=Path), help="Where the data lies meanwhile."
)
def bench(file: Path | None, quick: bool, only: tuple[str, ...], strict: bool, folder: Path | None) -> None:
    from rich.console import Console

    from aegis.bench.figures import table
    from aegis.bench.run import QUICK, Extent, run

    with Console(stderr=True).status("aegis bench") as status:
        report = run(
            load_config(), extent=QUICK if quick else Extent(), parts=only or PARTS, say=status.update, folder=folder
        )
    Console().print(table(report.figures, busy=report.busy))
    if file is not None:
        file.write_text(json.dumps(report.document(), indent=2) + "\n", "utf-8")
    if strict and report.missed:
        click.echo(f"{report.missed} figures miss their marks", err=True)
        sys.exit(1)
