"""One table of routes, and the one way from a request to its handler.

For each request, in this order: the credential's signature, the role, the path's and query's shape, the body, the
handler. A role that may not is refused (and recorded) before anything else is said about the request.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote

import asyncpg
import orjson

from aegis.console_api.services import Services
from aegis.identity.judge import check_standing
from aegis.identity.roles import Permission, may
from aegis.kernel.call import Principal
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.problems import Problem
from aegis.kernel.record import Unavailable
from aegis.kernel.tenancy import TenantView, UnknownTenant, ViewUnavailable
from aegis.surfaces.asgi import (
    DRAINING,
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
from aegis.surfaces.members import Members

log = logging.getLogger("aegis.api")
_SEGMENT = re.compile(r"\{(\w+)\}")
MAX_SEGMENT = 700


@dataclass(frozen=True, slots=True)
class Reply:
    """`body` None sends none; bytes are sent as they are, with the `content-type` in `headers`.

    `stream` instead of a body is sent piece by piece, and closed as soon as the client goes or this process drains.
    """

    status: int = 200
    body: Any = None
    headers: Headers = field(default_factory=list)
    stream: AsyncIterator[bytes] | None = None


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, its caller known and entitled. `params` are the path's segments, decoded."""

    services: Services
    principal: Principal
    view: TenantView
    params: Mapping[str, str]
    query: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    tree: dict[str, JsonTree]
    raw: bytes
    peer: str

    @property
    def tenant(self) -> str:
        return self.principal.tenant

    def members(self, *known: str) -> Members:
        return Members(self.tree, known)


Handler = Callable[[Ask], Awaitable[Reply]]


@dataclass(frozen=True, slots=True)
class Route:
    """`permission` None: anybody with a valid credential; `is_public`: nobody need be known.

    `members` are the body's, for the OpenAPI document; `takes` is `json`, `gzip` or nothing.
    """

    method: str
    path: str
    handler: Handler
    permission: Permission | tuple[Permission, ...] | None = None
    summary: str = ""
    query: tuple[str, ...] = ()
    members: tuple[str, ...] = ()
    takes: str = ""
    status: int = 200
    is_public: bool = False


def unsupported(method: str, path: str, permission: Permission | None, summary: str) -> Route:
    """A path of the contract that this version does not serve: 501 for whoever may ask for it."""

    async def refuse(ask: Ask) -> Reply:
        raise Problem(501, "request.unsupported", "this version of Aegis does not do this yet")

    return Route(method, path, refuse, permission, summary, query=("*",), takes="any")


class Api:
    """The ASGI application over a table of routes. Segments are matched as they stand on the wire, so a
    percent-encoded slash stays within its segment."""

    def __init__(self, routes: tuple[Route, ...], services: Services) -> None:
        self.routes, self._services = routes, services
        self._table = [(re.compile(_pattern(route.path)), route) for route in routes]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: Headers
        identified = (b"x-request-id", request_id(scope))
        try:
            reply = await self._reply(scope, receive)
            if reply.stream is not None:
                return await streamed(scope, receive, send, reply, identified)
            status, headers = reply.status, list(reply.headers)
            body = reply.body if isinstance(reply.body, bytes) else b"" if reply.body is None else dumps(reply.body)
            if not any(name == b"content-type" for name, _ in headers) and reply.body is not None:
                headers.append(JSON)
        except ClientGone:
            return
        except Exception as error:
            problem = told(error)
            status, body, headers = problem.status, problem_body(problem), problem_headers(problem)
        headers.append(identified)
        if scope["method"] == "HEAD":
            body = b""
        await respond(send, status, body, headers)

    async def _reply(self, scope: Scope, receive: Receive) -> Reply:
        raw_path = (scope.get("raw_path") or scope["path"].encode()).split(b"?")[0].decode("latin-1")
        route, params = self._match("GET" if scope["method"] == "HEAD" else scope["method"], raw_path)
        services, headers = self._services, headers_of(scope)
        peer = (scope.get("client") or ("unknown", 0))[0]
        if route.is_public:
            principal, view = None, None
        else:
            principal = await services.authenticator.authenticate(headers)
            await self._entitled(route, principal)
            view = await services.views.get(principal.tenant)
            check_standing(principal, view)
            await services.spent.spend(principal)
        raw = await read_body(scope, receive, services.body_limit) if route.takes else b""
        query = _query(scope, route)
        needs_body = bool(raw) or route.method in ("PUT", "PATCH")
        tree = json_object(raw) if route.takes == "json" and needs_body else {}
        return await route.handler(Ask(services, principal, view, params, query, headers, tree, raw, peer))  # type: ignore[arg-type]

    def _match(self, method: str, path: str) -> tuple[Route, dict[str, str]]:
        allowed = set()
        for pattern, route in self._table:
            found = pattern.fullmatch(path)
            if found is None:
                continue
            if route.method == method:
                return route, {name: _decoded(value) for name, value in found.groupdict().items()}
            allowed.add(route.method)
        if allowed:
            listed = ", ".join(sorted(allowed | ({"HEAD"} if "GET" in allowed else set())))
            raise Problem(405, "request.method", f"expected one of {listed} here", members={"allow": listed})
        raise Problem(404, "request.path", "there is nothing here")

    async def _entitled(self, route: Route, principal: Principal) -> None:
        wanted = route.permission
        if wanted is None:
            return
        any_of = wanted if isinstance(wanted, tuple) else (wanted,)
        if not any(may(principal.role, each) for each in any_of):
            await self._services.refused(principal, f"{route.method} {route.path}")
            raise Problem(403, "auth.role", f"the role {principal.role.value} may not do this")


async def streamed(scope: Scope, receive: Receive, send: Send, reply: Reply, identified: tuple[bytes, bytes]) -> None:
    """Sends the pieces of `reply.stream` until it ends, the client goes, or the process drains."""
    assert reply.stream is not None
    await send({"type": "http.response.start", "status": reply.status, "headers": [*reply.headers, identified]})
    if scope["method"] == "HEAD":
        return await send({"type": "http.response.body", "body": b""})
    draining = scope.get("state", {}).get(DRAINING)
    tasks = [asyncio.create_task(_pump(reply.stream, send)), asyncio.create_task(_gone(receive))]
    if draining is not None:
        tasks.append(asyncio.create_task(draining.wait()))
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        is_gone = tasks[1].done()
    finally:
        for task in tasks:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
    if isinstance(ended[0], Exception):
        log.warning("a stream broke off", exc_info=ended[0])
    if not is_gone:
        await send({"type": "http.response.body", "body": b""})


async def _pump(stream: AsyncIterator[bytes], send: Send) -> None:
    async with aclosing(stream) as pieces:  # type: ignore[type-var]  # every stream here is a generator
        async for piece in pieces:
            await send({"type": "http.response.body", "body": piece, "more_body": True})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def told(error: Exception) -> Problem:
    """What the caller is told of any exception; inner text never leaves."""
    match error:
        case Problem():
            return error
        case UnknownTenant():
            return Problem(401, "auth.tenant", "the credential names no tenant of this installation")
        case Unavailable() | ViewUnavailable() | TimeoutError() | OSError() | asyncpg.InterfaceError():
            return Problem(503, "store.unavailable", "the record store is away", retry_after_s=1)
        case asyncpg.PostgresConnectionError() | asyncpg.CannotConnectNowError() | asyncpg.AdminShutdownError():
            return Problem(503, "store.unavailable", "the record store is away", retry_after_s=1)
        case asyncpg.CharacterNotInRepertoireError() | asyncpg.UntranslatableCharacterError():
            return Problem(422, "request.invalid", "expected text without NUL characters")
        case asyncpg.DataError():
            return Problem(422, "request.invalid", "a value doesn't fit")
        case _:
            log.exception("a request failed", exc_info=error)
            return Problem(500, "internal", "Aegis failed")


def _pattern(path: str) -> str:
    if path.endswith("{rest}"):
        return _SEGMENT.sub(lambda m: f"(?P<{m[1]}>[^/]{{1,{MAX_SEGMENT}}})", path[:-6]) + "(?P<rest>.{1,200})"
    return _SEGMENT.sub(lambda m: f"(?P<{m[1]}>[^/]{{1,{MAX_SEGMENT}}})", path)


def _decoded(segment: str) -> str:
    try:
        text = unquote(segment, errors="strict")
    except UnicodeDecodeError:
        raise Problem(422, "request.path", "expected percent-encoded UTF-8 in the path") from None
    if "\x00" in text:
        raise Problem(422, "request.path", "expected a path without NUL characters")
    return text


def _query(scope: Scope, route: Route) -> dict[str, str]:
    given = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if route.query == ("*",):
        return dict(given)
    members = Members(dict(given), route.query, "?")
    members.finish()
    if len(dict(given)) != len(given):
        raise Problem(422, "request.invalid", "expected each query parameter once")
    if any("\x00" in value for _, value in given):
        raise Problem(422, "request.invalid", "expected query parameters without NUL characters")
    return dict(given)


def json_bytes(value: Any) -> bytes:
    return orjson.dumps(value)
