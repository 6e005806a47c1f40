"""The tenant's log as others verify it: checkpoint, tiles, consistency, keys, verification, health."""

from __future__ import annotations

import json
import re
from typing import Any

from aegis.audit import evidence, notes, receipts, tiles
from aegis.console_api.decisions_sql import SQL
from aegis.console_api.routes import Ask, Reply, Route, unsupported
from aegis.console_api.tree import WIDTH, StoredTree
from aegis.identity.roles import Permission
from aegis.kernel.problems import Problem

P = Permission
TEXT = [(b"content-type", b"text/plain; charset=utf-8")]
BYTES = [(b"content-type", b"application/octet-stream")]
CONSISTENCY = "c2sp.org/tlog-consistency@v1"
MAX_SIZE_DIGITS = 15


async def get_checkpoint(ask: Ask) -> Reply:
    """The signed checkpoint of the log as it is now."""
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
        note = await signed(ask, connection, head)
    return Reply(body=note.encode(), headers=list(TEXT))


async def signed(ask: Ask, connection: Any, head: Any) -> str:
    if head is None or head["size"] == 0:
        raise Problem(404, "audit.empty", "this log has no rows yet")
    root = await StoredTree(connection, ask.tenant, head["size"]).root(head["size"])
    return ask.services.sign_note(head["origin"], notes.checkpoint(head["origin"], head["size"], root))


async def get_tile(ask: Ask) -> Reply:
    """A tile or an entry bundle (C2SP tlog-tiles), partial ones too."""
    path = f"tile/{ask.params['rest']}"
    try:
        wanted = tiles.parse_path(path)
    except tiles.TileError:
        raise Problem(404, "audit.tile", "expected the path of a tile as C2SP tlog-tiles writes it") from None
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
        size = head["size"]
        units = size if wanted.level is None else size >> (8 * wanted.level)
        if wanted.index * WIDTH + wanted.width > units:
            raise Problem(404, "audit.tile", "the log is not that long yet")
        if wanted.level is None:
            first = wanted.index * WIDTH
            rows = await connection.fetch(SQL.entries, ask.tenant, first, first + wanted.width)
            data = tiles.encode_bundle([bytes(row["entry"]) for row in rows])
        else:
            tree = StoredTree(connection, ask.tenant, size)
            data = b"".join(await tree.tile(wanted.level, wanted.index, wanted.width))
    return Reply(body=data, headers=list(BYTES))


async def get_consistency(ask: Ask) -> Reply:
    """The proof that the log of one size is the beginning of the log of a larger one, with the newer checkpoint."""
    old, new = (_size(ask.query.get(name), name) for name in ("from", "to"))
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
        new = head["size"] if new is None else new
        if old is None or not 0 < old <= new <= head["size"]:
            raise Problem(422, "request.invalid", f"expected 0 < from <= to <= {head['size']}")
        tree = StoredTree(connection, ask.tenant, new)
        path = await tree.consistency(old)
        roots = [await tree.root(old), await tree.root(new)]
        note = ask.services.sign_note(head["origin"], notes.checkpoint(head["origin"], new, roots[1]))
    body = {
        "from": old,
        "to": new,
        "proof": [each.hex() for each in path],
        "from_root": roots[0].hex(),
        "to_root": roots[1].hex(),
        "checkpoint": note,
    }
    return Reply(body=body)


def _size(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(rf"[0-9]{{1,{MAX_SIZE_DIGITS}}}", text, re.ASCII):
        raise Problem(422, "request.invalid", f"{name}: expected a size of the log")
    return int(text)


async def get_keys(ask: Ask) -> Reply:
    """What a verifier needs: the log's verifier key, and the key rows that certify the writers."""
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
        rows = await connection.fetch(SQL.key_rows, ask.tenant)
    said = [json.loads(bytes(row["entry"]).partition(b"\n")[0]) for row in rows]
    genesis = next((row for row in said if row["kind"] == "genesis"), None)
    body = {
        "origin": head["origin"],
        "log": ask.services.vkey(head["origin"]),
        "root": None if genesis is None else genesis["params"]["root"],
        "writers": [{**row["key"], "seq": row["seq"]} for row in said if row["kind"] == "key.add"],
        "revoked": [{**row["key"], "seq": row["seq"]} for row in said if row["kind"] == "key.revoke"],
        "permit": ask.services.permit_vkey,
    }
    return Reply(body=body)


async def verify(ask: Ask) -> Reply:
    """Checks a receipt against this log's key, and says what it did not check."""
    members = ask.members("receipt")
    receipt = members.object("receipt", required=True)
    members.finish()
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
    verifier = notes.Verifier.from_vkey(ask.services.vkey(head["origin"]))
    found = receipts.verify_receipt(receipt, [verifier])
    body = {
        "verified": evidence.exit_code(found) == 0,
        "exit": evidence.exit_code(found),
        "findings": [each.public() for each in found],
        "unchecked": ["witnesses", "whether rows before or after this one are missing"],
    }
    return Reply(body=body)


async def health(ask: Ask) -> Reply:
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
        kept = await connection.fetchval(SQL.newest_checkpoint, ask.tenant)
        overdue = await connection.fetchval(SQL.open_intents, ask.tenant, ask.services.clock())
    body = {
        "size": head["size"],
        "last_checkpoint": kept,
        "overdue_outcomes": overdue,
        "witness_age_s": None,
        "gaps": 0,
        "unchecked": ["witnesses", "gateways' own sequence numbers"],
    }
    return Reply(body=body)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/audit/checkpoint", get_checkpoint, P.READ_AUDIT, "the signed checkpoint"),
    Route("GET", "/v1/audit/tile/{rest}", get_tile, P.READ_AUDIT, "a tile or an entry bundle"),
    Route("GET", "/v1/audit/consistency", get_consistency, P.READ_AUDIT, "a consistency proof", query=("from", "to")),
    Route("GET", "/v1/audit/keys", get_keys, P.READ_AUDIT, "the keys that verify the log"),
    Route("POST", "/v1/audit/verify", verify, None, "checks a receipt", members=("receipt",), takes="json"),
    Route("GET", "/v1/audit/health", health, P.READ_AUDIT, "how the log is doing"),
    unsupported("GET", "/v1/audit/daily/{date}", P.READ_AUDIT, "a day's seal"),
    unsupported("POST", "/v1/audit/exports", P.EXPORT_AUDIT, "a bundle for an auditor"),
    unsupported("POST", "/v1/audit/erasures", P.ERASE, "erases a person's payloads"),
)
