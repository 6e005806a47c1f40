"""PostgreSQL targets: one statement in one transaction of its own.

Arguments: `query`, one statement with `$1` .. `$n`, and `params`?, a list. A tool whose effect is `read` runs in a
read-only transaction. The answer is `{"columns", "rows", "row_count"}`; an error of the server is
`{"sqlstate", "message"}`, and undid the transaction.

The effect is `none` until the commit is sent, for the transaction can't be made durable by anybody else, and `done`
when the server has confirmed it. What a function does outside its transaction is beyond that promise.
"""

from __future__ import annotations

from typing import Any

import asyncpg

from aegis.execution.credentials import Secret
from aegis.execution.network import Guard
from aegis.execution.sql_connections import Connections, Leased, parse_address
from aegis.execution.sql_values import MAX_PARAMETERS, NotFitting, check_statement, to_parameter, to_tree
from aegis.execution.targets import Answer, Failed, Run
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.tenancy import Upstream

MAX_ROWS = 50_000
ROWS_A_FETCH = 200
WIRE_FACTOR, WIRE_FLOOR_BYTES = 8, 1024 * 1024
"""A value needs at most eight times its JSON text on the wire; what comes beyond can't fit the cap any more."""
QUERY_CANCELED = "57014"
_UNRESOLVED = frozenset({"08007", "40003"})  # transaction_resolution_unknown, statement_completion_unknown
_BEGIN = """BEGIN READ {mode}; SET LOCAL statement_timeout = {ms}; SET LOCAL lock_timeout = {ms};
            SET LOCAL idle_in_transaction_session_timeout = {ms}"""


class SqlTarget:
    def __init__(self, guard: Guard) -> None:
        self._connections = Connections(guard)

    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        query, params = _arguments(run.arguments)
        address = parse_address(upstream.url, credential)
        fingerprint = None if credential is None else credential.fingerprint()
        async with self._connections.lease((run.tenant, upstream.name, upstream.url, fingerprint), address) as leased:
            leased.meter.allow(WIRE_FACTOR * run.max_bytes + WIRE_FLOOR_BYTES)
            try:
                return await _transact(leased, run, query, params)
            except (asyncpg.PostgresConnectionError, asyncpg.InterfaceError, OSError) as error:
                raise _broken(leased, run) from error
            except asyncpg.PostgresError as error:
                return _refused(error, run)

    async def close(self) -> None:
        await self._connections.close()


async def _transact(leased: Leased, run: Run, query: str, params: list[JsonTree]) -> Answer:
    connection = leased.connection
    mode = "ONLY" if run.tool.effect == "read" else "WRITE"
    await connection.execute(_BEGIN.format(mode=mode, ms=int(run.deadline_ms)))
    try:
        output = await _execute(connection, query, params, run.max_bytes)
    except (asyncpg.PostgresError, Failed):
        await connection.execute("ROLLBACK")
        raise
    run.progress.effect = "unknown"
    await connection.execute("COMMIT")
    run.progress.effect = "done"
    return Answer(output)


async def _execute(connection: Any, query: str, params: list[JsonTree], max_bytes: int) -> JsonTree:
    statement = await connection.prepare(query)
    bound = _bound(params, statement.get_parameters())
    columns = statement.get_attributes()
    try:
        if not columns:
            await statement.fetch(*bound)
            return {"columns": [], "rows": [], "row_count": _count(statement.get_statusmsg())}
        rows = await _rows(await statement.cursor(*bound), columns, max_bytes)
    except asyncpg.DataError as error:
        if getattr(error, "severity", None) is not None:  # the server's word; asyncpg's own has no severity
            raise
        raise Failed("execute.arguments", reason="params") from error
    return {"columns": [column.name for column in columns], "rows": rows, "row_count": len(rows)}


async def _rows(cursor: Any, columns: Any, max_bytes: int) -> list[JsonTree]:
    """All rows, fetched some hundred at a time. Raises Failed over 50,000 rows or `max_bytes` of JSON."""
    kinds = [column.type.name for column in columns]
    rows: list[JsonTree] = []
    size_bytes = 0
    while fetched := await cursor.fetch(ROWS_A_FETCH):
        for record in fetched:
            row = [to_tree(value, kind) for value, kind in zip(record.values(), kinds, strict=True)]
            size_bytes += len(dumps(row)) + 1
            if size_bytes > max_bytes:
                raise Failed("execute.too_large", limit=max_bytes)
            rows.append(row)
        if len(rows) > MAX_ROWS:
            raise Failed("execute.too_many_rows", limit=MAX_ROWS)
        if len(fetched) < ROWS_A_FETCH:
            break
    return rows


def _arguments(arguments: JsonTree) -> tuple[str, list[JsonTree]]:
    if not isinstance(arguments, dict) or not isinstance(arguments.get("query"), str):
        raise Failed("execute.arguments", reason="query")
    if set(arguments) - {"query", "params"}:
        raise Failed("execute.arguments", reason="unknown-member")
    params = arguments.get("params")
    params = [] if params is None else params
    if not isinstance(params, list) or len(params) > MAX_PARAMETERS:
        raise Failed("execute.arguments", reason="params")
    try:
        check_statement(arguments["query"])
    except NotFitting as error:
        raise Failed("execute.arguments", reason=str(error)) from None
    return arguments["query"], params


def _bound(params: list[JsonTree], wanted: Any) -> list[object]:
    if len(params) != len(wanted):
        raise Failed("execute.arguments", reason="params")
    try:
        return [to_parameter(value, kind.name) for value, kind in zip(params, wanted, strict=True)]
    except NotFitting as error:
        raise Failed("execute.arguments", reason=str(error)) from None


def _count(status: str | None) -> int:
    last = (status or "").rpartition(" ")[2]
    return int(last) if last.isdigit() else 0


def _refused(error: asyncpg.PostgresError, run: Run) -> Answer:
    """The server's error: its word that the transaction was undone, unless it went away while committing."""
    is_going = getattr(error, "severity_en", None) in {"FATAL", "PANIC"} or error.sqlstate in _UNRESOLVED
    if run.progress.effect == "unknown" and is_going:
        raise Failed("execute.unknown") from error
    run.progress.effect = "none"
    if error.sqlstate == QUERY_CANCELED:
        raise Failed("execute.timeout", ms=run.deadline_ms) from error
    output = {"sqlstate": error.sqlstate, "message": error.args[0] if error.args else ""}
    return Answer(output, is_error=True, code=error.sqlstate)


def _broken(leased: Leased, run: Run) -> Failed:
    if leased.meter.is_exceeded:
        return Failed("execute.too_large", limit=run.max_bytes)
    return Failed("execute.unknown" if run.progress.effect == "unknown" else "execute.unreachable")
