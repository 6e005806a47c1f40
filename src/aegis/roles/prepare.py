"""What comes before the first gateway: the schema, the keys, the first tenant. A short child of `aegis up`.

It is a process of its own so that the supervisor never imports what it needs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher

from aegis.audit import keys
from aegis.audit.notes import NoteSigner
from aegis.config import Config
from aegis.db.database import Database
from aegis.db.migrate import migrate
from aegis.tenants.accounts import SQL
from aegis.tenants.bootstrap import bootstrap

CREDENTIALS = "credentials.json"


async def prepare(config: Config, data: Path, url: str) -> bool:
    """Migrates; on the first start makes keys, operator, tenant, administrator and agent, and writes their tokens.

    Answers whether this was the first start. Raises SchemaTooNew, KeyFileError, OSError.
    """
    await migrate(config.owner_url)
    members = await first_credentials(config, Path(config.keys.dir or data / "keys"), url)
    if members is None:
        return False
    write_once(data / CREDENTIALS, members)
    return True


async def first_credentials(config: Config, key_folder: Path, url: str) -> dict[str, Any] | None:
    """Makes keys, operator, tenant, administrator and agent, once: None where there is an installation already, whose
    keys are looked at and never made again."""
    database = await Database.connect(
        config.database_url, direct_url=config.direct_url, max_size=2, pooled=config.database_pooled
    )
    try:
        async with database.unscoped() as connection:
            is_new = await connection.fetchval(SQL.installation) is None
        held = keys.load(key_folder, create=is_new)
        made = await bootstrap(
            database, url=url, hash_password=PasswordHasher().hash, installation_name=config.installation.name or None
        )
    finally:
        await database.close()
    return None if made is None else made.members(NoteSigner(made.tenant.origin, held.log_seed).vkey)


def write_once(path: Path, members: dict[str, Any]) -> None:
    """All of it or nothing, mode 0600 from its first byte, on the disk before it has its name."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(json.dumps(members, indent=2) + "\n")
        file.flush()
        os.fsync(file.fileno())
    draft.rename(path)
