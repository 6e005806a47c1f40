"""The REST door of agents: decide, execute, outcome, scan, sessions. Plain ASGI: no framework on the hot path.

Everything else goes to `rest`, the application of the control API.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import parse_qs

import asyncpg
import orjson

from aegis.identity.judge import check_standing
from aegis.identity.roles import Permission, may
from aegis.identity.verify import Authenticator
from aegis.kernel.call import Call, Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.problems import Problem
from aegis.kernel.record import Usage
from aegis.kernel.tenancy import TenantView, ViewUnavailable
from aegis.pipeline.idempotency import Idempotency, Stored
from aegis.pipeline.outcomes import Outcomes, Report
from aegis.pipeline.pipeline import Answer, Pipeline, ViewSource
from aegis.surfaces import asks, render
from aegis.surfaces.asgi import (
    JSON,
    ClientGone,
    Headers,
    Receive,
    Scope,
    Send,
    headers_of,
    json_object,
    problem_body,
    problem_headers,
    read_body,
    request_id,
    respond,
)
from aegis.surfaces.probes import Probes
from aegis.surfaces.session_desk import SessionDesk

App = Callable[[Scope, Receive, Send], Awaitable[None]]
Door = Callable[[Scope, Principal, TenantView, dict[str, JsonTree], int], Awaitable[tuple[int, bytes, Headers]]]

DOOR = "rest"
log = logging.getLogger("aegis.rest")
_STORE_AWAY = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.TooManyConnectionsError,
)
_OUTCOME = re.compile(r"/v1/decisions/([^/]{1,64})/outcome")


class Rest:
    """One object, called for each request. `access` records the attempt of a role that may not; `spend` raises Problem
    for a single-use credential that was used before."""

    def __init__(
        self,
        *,
        pipeline: Pipeline,
        authenticator: Authenticator,
        views: ViewSource,
        idempotency: Idempotency,
        outcomes: Outcomes,
        probes: Probes,
        sessions: SessionDesk,
        access: Callable[[Principal, str], Awaitable[None]],
        spend: Callable[[Principal], Awaitable[None]],
        permit: Callable[[Call], str],
        price: Callable[[asks.Reported], Usage],
        clock: Callable[[], MicroSeconds],
        body_limit: int,
        rest: App,
    ) -> None:
        self._pipeline, self._authenticator, self._views = pipeline, authenticator, views
        self._idempotency, self._outcomes, self._probes, self._sessions = idempotency, outcomes, probes, sessions
        self._access, self._spend, self._permit, self._price = access, spend, permit, price
        self._clock = clock
        self._body_limit, self._rest = body_limit, rest
        self._judged: tuple[Door, ...] = (self._decide, self._execute)
        """Stage 1 looks at the caller's standing there, and its answer is a verdict."""
        self._doors: dict[str, tuple[Door, Permission]] = {
            "/v1/decide": (self._decide, Permission.DECIDE),
            "/v1/execute": (self._execute, Permission.DECIDE),
            "/v1/scan": (self._scan, Permission.SCAN),
            "/v1/sessions": (self._open_session, Permission.OPEN_SESSION),
        }

    @property
    def pipeline(self) -> Pipeline:
        return self._pipeline

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "POST":
            return await self._rest(scope, receive, send)
        path = scope["path"]
        known = self._doors.get(path)
        if known is None:
            outcome = _OUTCOME.fullmatch(path)
            if outcome is None:
                return await self._rest(scope, receive, send)
            scope["aegis.decision_id"] = outcome[1]
            known = (self._outcome, Permission.DECIDE)
        identified = (b"x-request-id", request_id(scope))
        try:
            status, body, answered = await self._answer(scope, receive, headers_of(scope), *known)
        except ClientGone:
            return
        except Exception as error:
            told = error if isinstance(error, Problem) else fault(error)
            status, body, answered = told.status, problem_body(told), problem_headers(told)
            decision_id = told.members.get("decision_id")
            if isinstance(decision_id, str):
                answered.append((b"x-aegis-decision-id", decision_id.encode()))
        answered.append(identified)
        await respond(send, status, body, answered)

    async def _answer(
        self, scope: Scope, receive: Receive, headers: dict[bytes, bytes], door: Door, permission: Permission
    ) -> tuple[int, bytes, Headers]:
        principal = await self._authenticator.authenticate(headers)
        body = await read_body(scope, receive, self._body_limit)
        if not self._may(principal.role, permission):
            await self._access(principal, f"{permission.value}")
            raise Problem(403, "auth.role", f"the role {principal.role.value} may not do this")
        view = await self._views.get(principal.tenant)
        if door not in self._judged:
            check_standing(principal, view)
            await self._spend(principal)
        needs_body = bool(body) or permission is not Permission.OPEN_SESSION  # no member of a session is required
        tree = json_object(body) if needs_body else {}
        return await door(scope, principal, view, tree, len(body))

    @staticmethod
    def _may(role: Any, permission: Permission) -> bool:
        if permission is Permission.OPEN_SESSION:
            return may(role, Permission.OPEN_SESSION) or may(role, Permission.OPEN_SESSION_FOR)
        return may(role, permission)

    # ------------------------------------------------------------------ the doors

    async def _decide(
        self, scope: Scope, principal: Principal, view: TenantView, tree: dict[str, JsonTree], size: int
    ) -> tuple[int, bytes, Headers]:
        call = self._call(tree, principal, view, "decide", size)
        with_receipt = wants_receipt(scope)

        async def answered() -> tuple[int, bytes, Headers]:
            judged = (await self._pipeline.handle(call)).judged
            permit = self._permit(call) if judged.decision.verdict.may_run else None
            body = render.decision(judged, with_receipt=with_receipt, permit=permit)
            return 200, dumps(body), [JSON, *render.overhead_headers(judged.call, judged.took_us)]

        return await self._once(call, view, tree, answered)

    async def _execute(
        self, scope: Scope, principal: Principal, view: TenantView, tree: dict[str, JsonTree], size: int
    ) -> tuple[int, bytes, Headers]:
        call = self._call(tree, principal, view, "execute", size)
        with_receipt = wants_receipt(scope)

        async def answered() -> tuple[int, bytes, Headers]:
            answer: Answer = await self._pipeline.handle(call)
            headers = render.overhead_headers(answer.judged.call, answer.judged.took_us)
            try:
                return 200, dumps(render.executed(answer, with_receipt=with_receipt)), [JSON, *headers]
            except Problem as problem:
                return problem.status, problem_body(problem), [*problem_headers(problem), *headers]

        return await self._once(call, view, tree, answered)

    async def _outcome(
        self, scope: Scope, principal: Principal, view: TenantView, tree: dict[str, JsonTree], size: int
    ) -> tuple[int, bytes, Headers]:
        decision_id, with_receipt = scope["aegis.decision_id"], wants_receipt(scope)
        reported = asks.reported(tree)
        report = Report(reported.status, reported.output, reported.executed_digest, self._price(reported))
        said, appended = await self._pipeline.own(self._outcomes.report(principal, view, decision_id, report))
        body = render.outcome(said, appended, decision_id, render.explained(principal, view), with_receipt=with_receipt)
        return 200, dumps(body), [JSON, (b"x-aegis-decision-id", decision_id.encode())]

    async def _scan(
        self, scope: Scope, principal: Principal, view: TenantView, tree: dict[str, JsonTree], size: int
    ) -> tuple[int, bytes, Headers]:
        takes_no_query(scope)
        return 200, orjson.dumps(await self._probes.scan(principal, view, tree)), [JSON]

    async def _open_session(
        self, scope: Scope, principal: Principal, view: TenantView, tree: dict[str, JsonTree], size: int
    ) -> tuple[int, bytes, Headers]:
        takes_no_query(scope)
        return 201, orjson.dumps(await self._sessions.open(principal, tree)), [JSON]

    # ------------------------------------------------------------------ parts

    def _call(
        self, tree: dict[str, JsonTree], principal: Principal, view: TenantView, endpoint: str, size: int
    ) -> Call:
        return asks.ask(
            tree,
            principal,
            view,
            endpoint=endpoint,
            door=DOOR,
            decision_id=uuid7(),
            now=self._clock(),
            size_bytes=size,
        )

    async def _once(
        self,
        call: Call,
        view: TenantView,
        tree: dict[str, JsonTree],
        answered: Callable[[], Awaitable[tuple[int, bytes, Headers]]],
    ) -> tuple[int, bytes, Headers]:
        """The stored answer of an idempotency key, or a new one that is stored. Who may not ask any more gets no
        stored answer, but a judgement."""
        if call.idempotency_key is None or not _stands(call.principal, view):
            return await answered()
        begun = await self._idempotency.begin(call, tree)
        if isinstance(begun, Stored):
            await self._spend(call.principal)
            return begun.status, begun.answer, stored_headers(begun)
        return await self._pipeline.own(self._keep(call, answered))

    async def _keep(
        self, call: Call, answered: Callable[[], Awaitable[tuple[int, bytes, Headers]]]
    ) -> tuple[int, bytes, Headers]:
        try:
            status, body, headers = await answered()
        except BaseException:
            await self._idempotency.abandon(call)
            raise
        await self._idempotency.finish(call, status, body)
        return status, body, headers


def stored_headers(stored: Stored) -> Headers:
    """The headers of the first answer, as far as they don't speak of its making."""
    headers: Headers = [(b"x-aegis-decision-id", stored.decision_id.encode())]
    if stored.status < 400:
        return [JSON, *headers]
    retry_after = orjson.loads(stored.answer).get("retry_after") if stored.status == 429 else None
    return [*problem_headers(Problem(stored.status, "", "", retry_after_s=retry_after)), *headers]


def _stands(principal: Principal, view: TenantView) -> bool:
    try:
        check_standing(principal, view)
    except Problem:
        return False
    return True


def fault(error: Exception) -> Problem:
    """What the caller is told of an exception that nothing else answers for; the log has its text."""
    if isinstance(error, ViewUnavailable):
        return Problem(503, "tenant.unavailable", "the tenant's set-up couldn't be read", retry_after_s=1)
    if isinstance(error, (OSError, TimeoutError, asyncpg.InterfaceError, *_STORE_AWAY)):
        return Problem(503, "store.unavailable", "the record store is away", retry_after_s=1)
    log.exception("a request failed", exc_info=error)
    return Problem(500, "internal", "Aegis failed; nothing more than the recorded ran")


def takes_no_query(scope: Scope) -> None:
    """Raises Problem 422 for a query where none has a meaning."""
    given = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if given:
        raise Problem(422, "request.invalid", f"unknown query parameter {sorted(given)[0][:64]!r}; none is known here")


def wants_receipt(scope: Scope) -> bool:
    """`?receipt=none` leaves it out; `full` is the default. Raises Problem 422 for another word."""
    query = scope.get("query_string", b"")
    if not query:
        return True
    given = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    unknown = given.keys() - {"receipt"}
    if unknown:
        raise Problem(
            422, "request.invalid", f"unknown query parameter {sorted(unknown)[0][:64]!r}; known is 'receipt'"
        )
    word = given["receipt"][-1]
    if word not in ("none", "full"):
        raise Problem(422, "request.invalid", "receipt: expected none or full")
    return bool(word == "full")
