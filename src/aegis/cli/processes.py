"""`aegis gateway`, `aegis worker`, `aegis migrate`, and the hidden `aegis prepare`: one process each."""

from __future__ import annotations

import dataclasses
import socket
from pathlib import Path

import click

from aegis.config import Config, ConfigError, load_config

_channel = click.option("--channel", type=int, hidden=True, help="Descriptor of the socket to `aegis up`.")


@click.command(help="Runs one gateway process on the configured addresses.")
@click.option("--port", type=click.IntRange(0, 65_535), help="TCP port. [default: 8080]")
@click.option("--no-api", is_flag=True, help="Doors only: neither the API nor the console.")
@_channel
def gateway(port: int | None, no_api: bool, channel: int | None) -> None:
    from aegis.roles.front import open_listeners
    from aegis.roles.gateway import main

    config = load_config()
    if no_api:
        config = dataclasses.replace(config, api=False, console=False)
    _need_stores(config)
    if channel is not None:
        main(config, channel=socket.socket(fileno=channel))
    else:
        main(config, sockets=open_listeners(config.gateway.listen, config.gateway.port if port is None else port))


@click.command(help="Runs one worker process: it follows the log.")
@_channel
def worker(channel: int | None) -> None:
    from aegis.roles.worker import main

    config = load_config()
    _need_stores(config)
    main(config, channel=None if channel is None else socket.socket(fileno=channel))


@click.command(help="Brings the database schema up to date; run it before the other roles.")
def migrate() -> None:
    from aegis.roles.migrate import main

    click.echo(f"the schema is at revision {main(load_config())}")


@click.command(help="Makes the operator, the first tenant and the keys, once, and prints their credentials as JSON.")
@click.option("--url", default="http://127.0.0.1:8080", help="Where gateways will be reached; stands in the output.")
def bootstrap(url: str) -> None:
    import asyncio
    import json

    from aegis.roles.prepare import first_credentials

    config = load_config()
    if not config.database_url:
        raise ConfigError("couldn't bootstrap: expected AEGIS_DATABASE_URL, got nothing; `aegis up` does all by itself")
    if not config.keys.dir:
        raise ConfigError("couldn't bootstrap: expected AEGIS_KEYS__DIR, a folder that all gateways read, got nothing")
    made = asyncio.run(first_credentials(config, Path(config.keys.dir), url))
    if made is None:
        raise ConfigError("couldn't bootstrap: this database has its operator and first tenant already")
    click.echo(json.dumps(made, indent=2))


@click.command(hidden=True)
@click.option("--url", required=True)
def prepare(url: str) -> None:
    import asyncio

    from aegis.roles.prepare import prepare as run

    config = load_config()
    asyncio.run(run(config, Path(config.data_dir), url))


def _need_stores(config: Config) -> None:
    for name, value in (("AEGIS_DATABASE_URL", config.database_url), ("AEGIS_REDIS_URL", config.redis_url)):
        if not value:
            raise ConfigError(f"couldn't start: expected {name}, got nothing; `aegis up` brings both servers itself")
