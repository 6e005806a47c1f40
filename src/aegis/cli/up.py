"""`aegis up`."""

from __future__ import annotations

import click

from aegis.config import load_config


@click.command(help="Runs all of Aegis on this machine, with its own PostgreSQL and Valkey in the data directory.")
@click.option("--data-dir", type=click.Path(file_okay=False), help="Where everything is kept.")
@click.option("--port", type=click.IntRange(0, 65_535), help="TCP port; 0 takes any free one. [default: 8080]")
@click.option("--workers", type=click.IntRange(1, 64), help="Gateway processes. [default: 2]")
@click.option("--no-console", is_flag=True, help="Don't serve the console.")
def up(data_dir: str | None, port: int | None, workers: int | None, no_console: bool) -> None:
    from aegis.roles.up import main, with_options

    main(with_options(load_config(), data_dir=data_dir, port=port, workers=workers, no_console=no_console))
