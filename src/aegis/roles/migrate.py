"""Brings the schema up to date, once, before the other roles."""

from __future__ import annotations

import asyncio

from aegis.config import Config, ConfigError
from aegis.db.migrate import migrate


def main(config: Config) -> str:
    """Answers the schema's revision. Raises ConfigError without a URL, PoolerInTheWay, SchemaTooNew."""
    if not config.owner_url:
        raise ConfigError("couldn't migrate: expected AEGIS_DATABASE_OWNER_URL or AEGIS_DATABASE_URL, got neither")
    return asyncio.run(migrate(config.owner_url))
