"""Idempotency keys: what was asked once with a key runs at most once, whatever crashes and however often it is asked.

A key belongs to one agent and endpoint for 24 h. What a second call with it gets:

| what is known                             | the answer                                                      |
| ----------------------------------------- | --------------------------------------------------------------- |
| another body                              | 409 `idempotency.mismatch`                                      |
| its call is being judged or runs          | 409 `idempotency.in_flight` with `retry_after`                  |
| judged by a process that died             | judged again: nothing ran                                       |
| ran in a process that died                | 409 `execute.unknown`, and never runs again                     |
| ran, and its answer was lost              | 409 `execute.unknown`, and never runs again                     |
| answered, an allow that has no outcome    | judged again: a caller that got it may not have run it          |
| answered                                  | the stored answer                                               |

A process is dead when its lease in control.processes has lapsed. One that was taken for dead but lives finds that the
key is no longer its own when it comes to `running`, and does not run.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import asyncpg

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.call import Call
from aegis.kernel.jsontree import JsonTree, canonical
from aegis.kernel.problems import Problem

KEPT_S = 24 * 3600
RETRY_AFTER_S = 1.0
SWEPT_AT_ONCE = 1000
MAX_OWED = 1000
PAID_EACH_S = 0.25
_STORE_ERRORS = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)
_SQL = statements("aegis.pipeline", "idempotency.sql")
_Write = tuple[str, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Fresh:
    """The call is to be judged, and is this process's until `finish` or `abandon`."""


@dataclass(frozen=True, slots=True)
class Stored:
    """The answer that the same call got before: HTTP status and body."""

    status: int
    answer: bytes
    decision_id: str


class Idempotency:
    """The store. `process` is this process's id in control.processes; without a lease there its keys count as dead."""

    def __init__(self, database: Database, process: UUID) -> None:
        self._database = database
        self._process = process
        self._owed: deque[tuple[str, tuple[_Write, ...]]] = deque(maxlen=MAX_OWED)
        self._paying: asyncio.Task[None] | None = None

    async def begin(self, call: Call, body: JsonTree) -> Fresh | Stored:
        """Takes the call's key, atomically: of any number of callers one gets Fresh. `body` is the whole request as
        it was parsed. Raises Problem 409 as the table above says, and Problem 503 when the store is away."""
        try:
            return await self._begin(call, request_digest(body))
        except Problem as problem:
            if problem.status == 503:  # the key may have been taken all the same
                self._owe(call.tenant, *self._abandoning(call))
            raise

    async def _begin(self, call: Call, digest: bytes) -> Fresh | Stored:
        async with self._scope(call.tenant) as connection:
            key = _key(call)
            given = (*key, digest, self._process, call.decision_id, KEPT_S)
            if await connection.fetchval(_SQL.insert, *given) is not None:
                return Fresh()
            known = await connection.fetchrow(_SQL.lock, *key)
            if known is None:  # abandoned or swept between the two statements
                raise _in_flight(call.decision_id)
            stored = _answer(known, digest)
            if stored is None:
                await connection.execute(_SQL.take_over, *given)
                return Fresh()
            return stored

    async def running(self, call: Call) -> None:
        """Durably says that the action is about to run. To be called after the decision row and before the action.

        Raises Problem 409 when the key is not this process's any more, and Problem 503 when the store is away: then
        nothing may run.
        """
        if call.idempotency_key is None:
            return
        async with self._scope(call.tenant) as connection:
            if await connection.fetchval(_SQL.run, *self._own(call)) is None:
                raise _in_flight(call.decision_id)

    async def finish(self, call: Call, status: int, answer: bytes) -> bool:
        """Keeps the answer for whoever asks again. False when the store is away: the answer stands all the same, and
        the key is told to be in flight until the store is back (or, of 1,000 such keys and more, until this process
        ends)."""
        return await self._write(call.tenant, (_SQL.finish, (*self._own(call), status, answer)))

    async def abandon(self, call: Call) -> bool:
        """The call ended without an answer. What had not begun to run may be asked anew, what had never runs again.
        False when the store is away, as with `finish`."""
        return await self._write(call.tenant, *self._abandoning(call))

    async def sweep(self, tenant: str) -> None:
        """Forgets expired keys, at most 1,000."""
        async with self._database.scope(tenant) as connection:
            await connection.execute(_SQL.sweep, tenant, SWEPT_AT_ONCE)

    @asynccontextmanager
    async def _scope(self, tenant: str) -> AsyncIterator[Connection]:
        try:
            async with self._database.scope(tenant) as connection:
                yield connection
        except _STORE_ERRORS as error:
            detail = "the idempotency key couldn't be kept; nothing ran"
            raise Problem(503, "audit.unavailable", detail, retry_after_s=RETRY_AFTER_S) from error

    def _abandoning(self, call: Call) -> tuple[_Write, ...]:
        return (_SQL.abandon, self._own(call)), (_SQL.give_up, self._own(call))

    async def _write(self, tenant: str, *writes: _Write) -> bool:
        try:
            await self._execute(tenant, writes)
        except _STORE_ERRORS:
            self._owe(tenant, *writes)
            return False
        return True

    def _owe(self, tenant: str, *writes: _Write) -> None:
        """Without this, a key would be told to be in flight for as long as this process lives."""
        self._owed.append((tenant, writes))
        if self._paying is None or self._paying.done():
            self._paying = asyncio.get_running_loop().create_task(self._pay(), name="idempotency.pay")

    async def _pay(self) -> None:
        while self._owed:
            tenant, writes = self._owed[0]
            try:
                await self._execute(tenant, writes)
            except _STORE_ERRORS:
                await asyncio.sleep(PAID_EACH_S)
                continue
            if self._owed and self._owed[0][1] is writes:
                self._owed.popleft()

    async def _execute(self, tenant: str, writes: tuple[_Write, ...]) -> None:
        async with self._database.scope(tenant) as connection:
            for statement, values in writes:
                await connection.execute(statement, *values)

    def _own(self, call: Call) -> tuple[Any, ...]:
        return (*_key(call), self._process, call.decision_id)


def request_digest(body: JsonTree) -> bytes:
    """SHA-256 over the canonical form: the same body, however it was written."""
    return hashlib.sha256(canonical(body).encode("utf-8")).digest()


def _key(call: Call) -> tuple[str, str, str, str]:
    """Whose key it is: the agent's, or the subject's where the credential names no agent."""
    principal = call.principal
    owner = principal.agent or f"subject:{principal.subject}"
    return call.tenant, owner, call.endpoint, call.idempotency_key or ""


def _answer(known: Any, digest: bytes) -> Stored | None:
    """What a known key answers; None where the call is to be judged. Raises Problem 409."""
    if known["is_over"]:
        return None
    if known["request_digest"] != digest:
        raise Problem(409, "idempotency.mismatch", "this key was used with another body; use a new key")
    match known["state"]:
        case "done" if known["answer"] is None:
            raise _unknown(known)
        case "done" if known["may_run"] and not known["has_outcome"]:
            return None
        case "done":
            return Stored(known["status"], bytes(known["answer"]), known["decision_id"])
        case _ if known["is_owned"]:
            raise _in_flight(known["decision_id"])
        case "running":
            raise _unknown(known)
        case _:
            return None


def _in_flight(decision_id: str) -> Problem:
    return Problem(
        409,
        "idempotency.in_flight",
        "a call with this key is in flight",
        retry_after_s=RETRY_AFTER_S,
        members={"decision_id": decision_id},
    )


def _unknown(known: Any) -> Problem:
    effect = "done" if known["has_outcome"] else "unknown"
    detail = "a call with this key began to run and its answer was lost; it is not run again"
    return Problem(409, "execute.unknown", detail, members={"effect": effect, "decision_id": known["decision_id"]})
