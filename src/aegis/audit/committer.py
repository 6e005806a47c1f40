"""The log's writer: group commit, then a signed checkpoint, then everybody is answered.

Calls that arrive while a transaction is in flight go into the next one. What `append` returns is durable, stands in
the tree under a signed checkpoint, and was compared with the leaf hash that the database computed.

Fast path: this process still holds the heads that it left behind last time, signs upon them and asks for everything
in one statement, which the database refuses (NULL, nothing written) when a head has moved meanwhile. Then the heads
are locked, read and built upon in one transaction. A comparison that loses is never tried twice: it would starve, and
a log that several processes write is locked first for a while.

The committer is the one place beside `Database.scope` that touches rows of several tenants.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import orjson

from aegis.audit import heads, merkle, notes
from aegis.audit.heads import AgentLink, Extension, Head, Placed
from aegis.audit.keys import LogKeys
from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.record import Appended, Conflict, Draft, Stale, Unavailable

SQL = statements("aegis.audit", "committer.sql")

QUEUE_LIMIT = 4096
BATCH_LIMIT = 256
KNOWN_TENANTS = 4096
KNOWN_AGENTS = 10_000
WAIT_S = 5.0
CALM = 8
"""So many times in a row a log must be found as this process left it before it writes without locking first."""
CHECKPOINT_EVERY_S = 1.0
PASSING = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.InsufficientResourcesError,
)
"""The store is away, or took the transaction back: asking again may help, and nothing was written."""


@dataclass(eq=False, slots=True)
class _Waiting:
    draft: Draft
    gseq: int
    answer: asyncio.Future[Appended]


class Committer:
    """One a process. `instance` names the process in its rows; `clock` gives microseconds."""

    def __init__(self, database: Database, keys: LogKeys, *, instance: str, clock: Callable[[], MicroSeconds]) -> None:
        self._database, self._keys, self._instance, self._clock = database, keys, instance, clock
        self._gseq = 0
        self._queue: list[_Waiting] = []
        self._news = asyncio.Event()
        self._heads: dict[str, Head] = {}
        self._signers: dict[str, notes.NoteSigner] = {}
        self._signed: dict[str, tuple[int, bytes, str]] = {}
        self._unkept: dict[str, tuple[int, bytes, str]] = {}
        self._contended: dict[str, int] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self.fast, self.slow = 0, 0
        """Batches by path, for the metrics."""

    async def start(self) -> None:
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._keep_checkpoints())]

    async def close(self) -> None:
        """Ends after what is in flight; what still waits gets Unavailable."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for waiting in self._queue:
            _fail(waiting, Unavailable("this process is stopping"))
        await self._keep()

    def vkey(self, origin: str) -> str:
        """The verifier key of a tenant's log, as C2SP signed-note writes it."""
        return self._signer(origin).vkey

    def sign_note(self, origin: str, text: str) -> str:
        """A checkpoint of the log as the store has it. No size is signed with two roots by this process."""
        parsed = notes.parse_checkpoint(text)
        size, signed_root, note = self._signed.get(origin, (-1, b"", ""))
        if size == parsed.size and signed_root != parsed.root:
            raise RuntimeError(f"refused to sign a second root of {origin} at {size}")
        return note if size == parsed.size else self._signer(origin).sign(text)

    async def append(self, draft: Draft) -> Appended:
        if len(self._queue) >= QUEUE_LIMIT:
            raise Unavailable(f"expected fewer than {QUEUE_LIMIT} rows waiting")
        waiting = _Waiting(draft, self._next_gseq(), asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self._news.set()
        try:
            return await asyncio.wait_for(waiting.answer, WAIT_S)
        except TimeoutError:
            raise Unavailable(f"the row was not durable within {WAIT_S} s") from None

    @asynccontextmanager
    async def transaction(self, tenant: str) -> AsyncIterator[Transaction]:
        """A transaction in the tenant's scope whose rows and other changes commit together.

        One at a time a tenant: changes lock documents, the tenant's version and the head in orders of their own.
        """
        try:
            async with self._database.scope(tenant) as connection:
                await connection.execute(SQL.one_change_at_a_time, tenant)
                change = Transaction(connection, self, tenant)
                yield change
                extension = await change.write()
        except PASSING as error:
            self._heads.pop(tenant, None)
            raise Unavailable(f"couldn't commit: {type(error).__name__}") from error
        if extension is not None:
            change.appended = self._finish(extension)[-len(change.drafts) :]

    # ------------------------------------------------------------------ group commit

    async def _run(self) -> None:
        while True:
            await self._news.wait()
            self._news.clear()
            while self._queue:
                batch, self._queue = self._queue[:BATCH_LIMIT], self._queue[BATCH_LIMIT:]
                await self._commit([waiting for waiting in batch if not waiting.answer.done()])

    async def _commit(self, batch: list[_Waiting]) -> None:
        if not batch:
            return
        try:
            async with self._database.pool.acquire(timeout=WAIT_S) as connection:
                await self._write(connection, batch)
        except asyncio.CancelledError:
            for waiting in batch:
                _fail(waiting, Unavailable("this process is stopping"))
            raise
        except (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError, orjson.JSONEncodeError) as error:
            self._forget(batch)
            await self._split(batch, error)
        except Exception as error:  # whatever it was, these rows are not known to be durable
            self._forget(batch)
            for waiting in batch:
                _fail(waiting, Unavailable(f"couldn't append: {type(error).__name__}: {error}"))

    async def _split(self, batch: list[_Waiting], error: Exception) -> None:
        """One bad row must not fail its neighbours: halves are tried apart until it stands alone."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._commit(batch[:middle])
            await self._commit(batch[middle:])
        elif isinstance(error, asyncpg.UniqueViolationError) and error.constraint_name == "entries_one_outcome":
            _fail(batch[0], Conflict("the decision already has its outcome"))
        else:
            _fail(batch[0], Unavailable(f"the row was refused: {type(error).__name__}"))

    async def _write(self, connection: Connection, batch: list[_Waiting]) -> None:
        by_tenant: dict[str, list[_Waiting]] = defaultdict(list)
        for waiting in batch:
            by_tenant[waiting.draft.tenant].append(waiting)
        tenants = sorted(by_tenant)
        if all(tenant in self._heads and not self._contended.get(tenant) for tenant in tenants):
            await self._read_links(connection, by_tenant)
            live, extensions = self._extend({tenant: self._heads[tenant] for tenant in tenants}, by_tenant)
            if not extensions:
                return
            leaves = await connection.fetchval(SQL.append, *_arguments(extensions, self._keys.writer.kid))
            if leaves is not None:
                self.fast += 1
                self._answer(live, extensions, leaves)
                return
            self._contended.update(dict.fromkeys(tenants, CALM))
        self.slow += 1
        batch = [waiting for waiting in batch if not waiting.answer.done()]
        async with connection.transaction():
            locked = await self._lock(connection, tenants, batch)
            self._note_contention(locked)
            for waiting in batch:
                if waiting.draft.tenant not in locked:
                    _fail(waiting, Unavailable("the tenant has no log"))
            live, extensions = self._extend(locked, by_tenant)
            if not extensions:
                return
            leaves = await connection.fetchval(SQL.append, *_arguments(extensions, self._keys.writer.kid))
        self._answer(live, extensions, leaves)

    def _extend(
        self, known: dict[str, Head], by_tenant: dict[str, list[_Waiting]]
    ) -> tuple[list[_Waiting], list[Extension]]:
        """Places every draft that is still waited for; an allow that was judged before a kill is sent back."""
        live, extensions = [], []
        for tenant, head in known.items():
            mine = []
            for waiting in by_tenant[tenant]:
                if waiting.answer.done():
                    continue
                judged = waiting.draft.judged_epoch
                if judged is not None and judged < head.kill_epoch:
                    _fail(waiting, Stale(head.kill_epoch))
                else:
                    mine.append(waiting)
            try:
                placed = self._placed(head, mine)
            except (ValueError, TypeError):  # a row that the format refuses must not fail its neighbours either
                mine = [waiting for waiting in mine if self._fits(head, waiting)]
                placed = self._placed(head, mine)
            live += mine
            extensions += placed
        return live, extensions

    def _placed(self, head: Head, mine: list[_Waiting]) -> list[Extension]:
        return [self.extend(head, [(waiting.draft, waiting.gseq) for waiting in mine])] if mine else []

    def _fits(self, head: Head, waiting: _Waiting) -> bool:
        try:
            self._placed(head, [waiting])
        except (ValueError, TypeError) as error:
            _fail(waiting, Unavailable(f"the row was refused: {type(error).__name__}"))
            return False
        return True

    def extend(self, head: Head, drafts: Sequence[tuple[Draft, int]]) -> Extension:
        return heads.extend(head, drafts, self._keys, self.vkey(head.origin), self._instance, self._clock())

    async def write(self, connection: Connection, extension: Extension) -> None:
        leaves = await connection.fetchval(SQL.append, *_arguments([extension], self._keys.writer.kid))
        _check_leaves([extension], leaves)

    async def lock(self, connection: Connection, tenant: str, drafts: Sequence[Draft]) -> Head:
        agents = sorted({draft.agent for draft in drafts if draft.agent is not None})
        record = await connection.fetchrow(SQL.lock_heads, [tenant], [tenant] * len(agents), agents)
        if record is None:
            raise Unavailable("the tenant has no log")
        return heads.from_record(record)

    def next_gseq(self) -> int:
        return self._next_gseq()

    def _note_contention(self, locked: dict[str, Head]) -> None:
        """A log that others write too is locked first until it was found as it was left several times in a row: a
        comparison that loses costs the signatures of its whole batch."""
        for tenant, head in locked.items():
            mine = self._heads.get(tenant)
            is_calm = mine is not None and mine.size == head.size
            left = self._contended.get(tenant, 0)
            self._contended[tenant] = max(0, left - 1) if is_calm else (CALM if mine is not None else left)
            if not self._contended[tenant]:
                del self._contended[tenant]

    async def _lock(self, connection: Connection, tenants: list[str], batch: list[_Waiting]) -> dict[str, Head]:
        pairs = sorted({(w.draft.tenant, w.draft.agent) for w in batch if w.draft.agent is not None})
        records = await connection.fetch(
            SQL.lock_heads, tenants, [tenant for tenant, _ in pairs], [agent for _, agent in pairs]
        )
        return {record["tenant"]: heads.from_record(record) for record in records}

    async def _read_links(self, connection: Connection, by_tenant: dict[str, list[_Waiting]]) -> None:
        """Reads the links of agents that this process has not seen yet. The head is compared under the lock
        afterwards, so what was read before a foreign row is never built upon."""
        for tenant, waiting in by_tenant.items():
            known = self._heads[tenant].agents
            unknown = sorted({w.draft.agent for w in waiting if w.draft.agent is not None} - known.keys())
            if not unknown:
                continue
            if len(known) > KNOWN_AGENTS:
                known.clear()
                unknown = sorted({w.draft.agent for w in waiting if w.draft.agent is not None})
            async with connection.transaction():
                await connection.execute("SELECT set_config('aegis.tenant', $1, true)", tenant)
                records = await connection.fetch(SQL.links, tenant, unknown)
            known.update(dict.fromkeys(unknown))
            known.update({r["agent"]: AgentLink(r["last_seq"], r["ordinal"]) for r in records})

    def _answer(self, live: list[_Waiting], extensions: list[Extension], leaves: list[bytes]) -> None:
        _check_leaves(extensions, leaves)
        by_draft = {id(waiting.draft): waiting for waiting in live}
        for extension in extensions:
            for placed, appended in zip(extension.rows, self._finish(extension), strict=True):
                waiting = by_draft.get(id(placed.draft))
                if waiting is not None and not waiting.answer.done():
                    waiting.answer.set_result(appended)

    def _finish(self, extension: Extension) -> list[Appended]:
        """After the commit: the head is remembered, the checkpoint signed, the proofs bound to it."""
        after = extension.after
        after.agents.update(extension.links)
        if len(self._heads) >= KNOWN_TENANTS:
            self._heads.clear()
        self._heads[after.tenant] = after
        note = self._sign(extension)
        return [
            Appended(row.seq, row.ts, row.entry, row.leaf, after.size, path, note, after.origin, after.kill_epoch)
            for row, path in zip(extension.rows, extension.paths, strict=True)
        ]

    def _sign(self, extension: Extension) -> str:
        """The checkpoint of the new size. Its root was computed twice, and no size is signed with two roots."""
        after, last = extension.after, extension.rows[-1]
        root = after.frontier.root()
        if merkle.root_from_path(last.leaf, last.seq, after.size, extension.paths[-1]) != root:
            raise RuntimeError(f"two computations of the root of {after.origin} at {after.size} differ")
        size, signed_root, note = self._signed.get(after.origin, (-1, b"", ""))
        if size == after.size:
            if signed_root != root:
                raise RuntimeError(f"refused to sign a second root of {after.origin} at {size}")
            return note
        note = self._signer(after.origin).sign(notes.checkpoint(after.origin, after.size, root))
        self._signed[after.origin] = self._unkept[after.tenant] = (after.size, root, note)
        return note

    def _signer(self, origin: str) -> notes.NoteSigner:
        signer = self._signers.get(origin)
        if signer is None:
            if len(self._signers) >= KNOWN_TENANTS:
                self._signers.clear()
            signer = self._signers[origin] = notes.NoteSigner(origin, self._keys.log_seed)
        return signer

    # ------------------------------------------------------------------ the rest

    async def _keep_checkpoints(self) -> None:
        while True:
            await asyncio.sleep(CHECKPOINT_EVERY_S)
            await self._keep()

    async def _keep(self) -> None:
        unkept, self._unkept = self._unkept, {}
        for tenant, checkpoint in unkept.items():
            try:
                async with self._database.scope(tenant) as connection:
                    await connection.execute(SQL.keep_checkpoint, tenant, *checkpoint)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
                self._unkept.setdefault(tenant, checkpoint)  # kept next time; any process can sign it again

    def _forget(self, batch: list[_Waiting]) -> None:
        for waiting in batch:
            self._heads.pop(waiting.draft.tenant, None)

    def _next_gseq(self) -> int:
        self._gseq += 1
        return self._gseq


@dataclass(eq=False)
class Transaction:
    """`kernel.record.LedgerTransaction` over PostgreSQL."""

    connection: Connection
    committer: Committer
    tenant: str
    drafts: list[Draft] = field(default_factory=list)
    appended: list[Appended] = field(default_factory=list)

    async def lock(self) -> int:
        return (await self.committer.lock(self.connection, self.tenant, ())).kill_epoch

    async def append(self, *drafts: Draft) -> None:
        self.drafts.extend(drafts)

    async def write(self) -> Extension | None:
        if not self.drafts:
            return None
        head = await self.committer.lock(self.connection, self.tenant, self.drafts)
        extension = self.committer.extend(head, [(draft, self.committer.next_gseq()) for draft in self.drafts])
        await self.committer.write(self.connection, extension)
        return extension


def _fail(waiting: _Waiting, error: Exception) -> None:
    if not waiting.answer.done():
        waiting.answer.set_exception(error)


def _check_leaves(extensions: Sequence[Extension], leaves: list[bytes] | None) -> None:
    ours = [row.leaf for extension in extensions for row in extension.rows]
    if leaves is None or [bytes(leaf) for leaf in leaves] != ours:
        raise RuntimeError("the database computed other leaf hashes than this process")


def _arguments(extensions: Sequence[Extension], writer: str) -> list[Any]:
    """The arguments of `log.append`."""
    placed = [(extension.after.tenant, row) for extension in extensions for row in extension.rows]
    links = [
        {"tenant": e.after.tenant, "agent": agent, "last_seq": link.seq, "ordinal": link.ordinal}
        for e in extensions
        for agent, link in e.links.items()
    ]
    return [
        orjson.dumps([_head(extension) for extension in extensions]).decode(),
        orjson.dumps([_columns(n, tenant, row) for n, (tenant, row) in enumerate(placed, 1)]).decode(),
        [row.entry for _, row in placed],
        [row.draft.body for _, row in placed],
        orjson.dumps(links).decode(),
        writer,
    ]


def _head(extension: Extension) -> dict[str, Any]:
    before, after = extension.before, extension.after
    return {
        "tenant": after.tenant,
        "size": before.size,
        "epoch": before.kill_epoch,
        "new_size": after.size,
        "prev": after.prev.hex(),
        "frontier": after.frontier.to_bytes().hex(),
        "ts": after.last_ts,
        "cum": after.cum,
        "new_epoch": after.kill_epoch,
    }


def _columns(n: int, tenant: str, placed: Placed) -> dict[str, Any]:
    """The look-up columns; absent ones are null. Text loses what PostgreSQL doesn't take (NUL, lone surrogates): the
    evidence is the entry, where it stands escaped."""
    draft = placed.draft
    made: dict[str, Any] = {
        "n": n,
        "tenant": tenant,
        "seq": placed.seq,
        "kind": draft.kind,
        "ts": placed.ts,
        "rid": draft.rid,
        "agent": _text(draft.agent),
        "team": _text(draft.team),
        "user_id": _text(draft.user),
        "session": _text(draft.session),
        "tool": _text(draft.tool),
        "verdict": draft.verdict,
        "rule": _text(draft.rule),
        "risk": draft.risk_ppm,
        "codes": ",".join(draft.codes) if draft.codes else None,
        "of_seq": draft.of_seq,
        "due": draft.outcome_due,
    }
    if draft.usage is not None:
        usage = draft.usage
        made["requests"], made["micro_usd"] = usage.requests, usage.micro_usd
        made["input_tokens"], made["output_tokens"] = usage.input_tokens, usage.output_tokens
    return made


def _text(value: str | None) -> str | None:
    if value is None or (value.isascii() and "\x00" not in value):
        return value
    return value.replace("\x00", "").encode("utf-8", "replace").decode("utf-8")
