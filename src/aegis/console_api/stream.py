"""GET /v1/stream: what happens in the tenant's log, as server-sent events whose ids are its sequence numbers.

The log has no gaps and grows at its end only, so following it by sequence misses nothing and repeats nothing: a client
that comes back with `Last-Event-ID` goes on where it left off, at whichever gateway.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

from aegis.console_api.decisions_sql import SQL
from aegis.console_api.routes import Ask, Reply, Route
from aegis.identity.judge import check_standing
from aegis.identity.roles import Permission
from aegis.kernel.clock import iso
from aegis.kernel.jsontree import dumps
from aegis.kernel.problems import Problem

P = Permission
POLL_S = 0.4
KEEP_ALIVE_S = 10.0
LIFETIME_S = 900.0
"""The client comes back with its last id: a credential, a process and a connection get old."""
MOST_STREAMS = 64
"""Each costs a query a poll; more are told to come back."""
BATCH = 200
RETRY_MS = 1000

QUOTA = frozenset({"quota.warning", "quota.daily", "quota.monthly", "quota.daily_usd", "quota.monthly_usd"})
"""Findings that are an event of their own: 80 % of a cap are used, or all of it is."""

EVENTS = {
    "decision": "decision",
    "throttled": "decision",
    "outcome": "outcome",
    "late": "outcome",
    "kill": "kill_switch",
    "approval": "approval",
    "seal": "seal",
}
"""What a row of the log is called here, by its kind."""

_open: set[int] = set()


async def stream(ask: Ask) -> Reply:
    """From `Last-Event-ID` on, or from now on. Raises Problem 422, or 503 when this process has too many streams."""
    last = _last_id(ask.headers.get(b"last-event-id"))
    if len(_open) >= MOST_STREAMS:
        raise Problem(503, "stream.full", f"expected fewer than {MOST_STREAMS} streams", retry_after_s=2)
    async with ask.services.database.scope(ask.tenant) as connection:
        head = await connection.fetchrow(SQL.head, ask.tenant)
    newest = head["size"] - 1
    headers = [
        (b"content-type", b"text/event-stream; charset=utf-8"),
        (b"cache-control", b"no-store"),
        (b"x-accel-buffering", b"no"),
    ]
    return Reply(200, headers=headers, stream=_counted(ask, newest if last is None else min(last, newest)))


async def _counted(ask: Ask, after: int) -> AsyncIterator[bytes]:
    mark = id(ask)
    _open.add(mark)
    try:
        async for chunk in events(ask, after):
            yield chunk
    finally:
        _open.discard(mark)


async def events(ask: Ask, after: int) -> AsyncIterator[bytes]:
    """Events of rows behind `after` as they come, comments while nothing comes; ends with its lifetime, and as soon
    as its credential would not be let in any more."""
    loop = asyncio.get_running_loop()
    begun = quiet_since = loop.time()
    yield f"retry: {RETRY_MS}\nid: {after}\n: following\n\n".encode()
    while loop.time() - begun < LIFETIME_S and await _is_welcome(ask):
        try:
            async with ask.services.database.scope(ask.tenant) as connection:
                rows = await connection.fetch(SQL.news, ask.tenant, after, BATCH)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return  # the client comes back, to whoever can read
        if rows:
            after, quiet_since = rows[-1]["seq"], loop.time()
            yield b"".join(event(row) for row in rows)
        elif loop.time() - quiet_since >= KEEP_ALIVE_S:
            quiet_since = loop.time()
            yield b": still here\n\n"
        if len(rows) < BATCH:
            await asyncio.sleep(POLL_S)


async def _is_welcome(ask: Ask) -> bool:
    expires = ask.principal.expires_at
    if expires is not None and expires <= ask.services.clock():
        return False
    try:
        check_standing(ask.principal, await ask.services.views.get(ask.tenant))
    except Problem:
        return False
    return True


def event(row: Any) -> bytes:
    """One event, or two where a cap was met. Data is one line: JSON escapes line ends."""
    kind, before = row["kind"], b""
    said: dict[str, Any] = {
        "seq": row["seq"],
        "kind": kind,
        "time": iso(row["ts"]),
        "agent": row["agent"],
        "tool": row["tool"],
    }
    match EVENTS[kind]:
        case "decision":
            risk = None if row["risk"] is None else row["risk"] / 1_000_000
            caps = [code for code in row["codes"] or () if code in QUOTA]
            if caps:  # without an id: who hears only this much hears it again
                quota = {**said, "decision_id": row["rid"], "codes": caps}
                before = b"event: quota\ndata: %s\n\n" % dumps(quota)
            said |= {"decision_id": row["rid"], "verdict": row["verdict"], "rule": row["rule"] or "", "risk": risk}
        case "outcome":
            entry = _entry(row)
            said |= {"decision_id": entry.get("eid"), "of": row["of_seq"], "status": entry.get("status")}
        case "approval":
            entry = _entry(row)
            status = entry.get("detail", {}).get("status")
            said |= {"approval": entry.get("approval"), "of": row["of_seq"], "status": status}
        case "kill_switch":
            entry = _entry(row)
            order = entry.get("detail", {}).get("order")
            said |= {"scope": entry.get("scope"), "epoch": entry.get("epoch"), "order": order}
    return before + b"id: %d\nevent: %s\ndata: %s\n\n" % (row["seq"], EVENTS[kind].encode(), dumps(said))


def _entry(row: Any) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(bytes(row["entry"]).partition(b"\n")[0])
    return said


def _last_id(given: bytes | None) -> int | None:
    if given is None or given == b"":
        return None
    if not given.isdigit() or len(given) > 18:
        raise Problem(422, "request.invalid", "Last-Event-ID: expected the id of an event of this stream")
    return int(given)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/stream", stream, P.READ_DASHBOARDS, "what happens, as server-sent events"),
)
