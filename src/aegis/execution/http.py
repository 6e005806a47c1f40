"""HTTP targets: sends one request, follows the few redirects that stay in place, takes in a bounded answer."""

from __future__ import annotations

import codecs
from base64 import b64encode
from collections import OrderedDict
from typing import Any

import aiohttp
from yarl import URL

from aegis.execution.credentials import Secret
from aegis.execution.network import Guard, forbidden_in
from aegis.execution.requests import Origin, Request, credential_header, parse_origin, redirected, to_request
from aegis.execution.targets import Answer, Failed, Progress, Run
from aegis.kernel.jsontree import JsonError, JsonTree, parse
from aegis.kernel.tenancy import Upstream

MAX_REDIRECTS = 3
MAX_SESSIONS = 256
CONNECTIONS_PER_UPSTREAM = 32
_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class HttpTarget:
    """Requests as `requests.py` maps them. Connections are kept per tenant and upstream, at most 32 each."""

    def __init__(self, guard: Guard) -> None:
        self._wire = HttpWire(guard)

    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        origin = parse_origin(upstream.url)
        request = to_request(run.tool, run.arguments, origin)
        return await self._wire.send(run, upstream, origin, request, credential)

    async def close(self) -> None:
        await self._wire.close()


class HttpWire:
    """What HTTP and the Kubernetes API share: one exchange with one origin, credential included."""

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._sessions: OrderedDict[tuple[str, str, str], aiohttp.ClientSession] = OrderedDict()

    async def send(
        self, run: Run, upstream: Upstream, origin: Origin, request: Request, credential: Secret | None
    ) -> Answer:
        """The target's answer, with an error where its status is 400 or more. Raises Failed.

        The effect is `unknown` from the moment a connection is there, `done` when the answer's head has come.
        """
        session = await self._session(run.tenant, upstream.name, origin.url)
        extra = () if credential is None else (credential_header(credential.reveal()),)
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with self._exchange(session, run.progress, origin, request, extra) as response:
                    run.progress.effect = "done"
                    if response.status not in _REDIRECTS:
                        return await _answer(response, request.method, run.max_bytes)
                    request = redirected(request, response.status, response.headers.get("Location"), origin)
            raise Failed("execute.redirect")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error, run.progress) from error

    async def close(self) -> None:
        while self._sessions:
            _, session = self._sessions.popitem()
            await session.close()

    def _exchange(
        self,
        session: aiohttp.ClientSession,
        progress: Progress,
        origin: Origin,
        request: Request,
        extra: tuple[tuple[str, str], ...],
    ) -> Any:
        return session.request(
            request.method,
            URL(origin.url + request.target, encoded=True),
            headers=[*request.headers, *extra],
            data=request.body,
            allow_redirects=False,
            trace_request_ctx=progress,
        )

    async def _session(self, tenant: str, upstream: str, origin: str) -> aiohttp.ClientSession:
        key = (tenant, upstream, origin)
        session = self._sessions.pop(key, None) or self._open()
        self._sessions[key] = session
        if len(self._sessions) > MAX_SESSIONS:
            _, oldest = self._sessions.popitem(last=False)
            await oldest.close()
        return session

    def _open(self) -> aiohttp.ClientSession:
        return self._guard.session(limit=CONNECTIONS_PER_UPSTREAM, traces=(_sent_trace(),))


def _sent_trace() -> aiohttp.TraceConfig:
    """Marks the run's progress the moment a connection is there: from then on bytes may reach the target."""

    async def connected(_: aiohttp.ClientSession, context: Any, __: Any) -> None:
        progress: Progress = context.trace_request_ctx
        if progress.effect == "none":
            progress.effect = "unknown"

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(connected)
    trace.on_connection_reuseconn.append(connected)
    return trace


def _failure(error: Exception, progress: Progress) -> Failed:
    if forbidden_in(error):
        return Failed("execute.forbidden_address")
    return Failed("execute.unreachable" if progress.effect == "none" else "execute.unknown")


async def _answer(response: aiohttp.ClientResponse, method: str, max_bytes: int) -> Answer:
    body = b"" if method == "HEAD" else await _take(response, max_bytes)
    return Answer(_tree(body, response), response.status >= 400, str(response.status))


async def _take(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """At most `max_bytes`, counted after decompression, which goes chunk by chunk; the rest is never read."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            response.close()
            raise Failed("execute.too_large", limit=max_bytes)
    return bytes(body)


def _tree(body: bytes, response: aiohttp.ClientResponse) -> JsonTree:
    """JSON where it says so and is so; text where it is text; else `{"base64", "content_type"}`."""
    if not body:
        return None
    kind = response.content_type
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return parse(body)
        except JsonError:
            pass
    text = _text(body, response.charset)
    if text is None:
        return {"base64": b64encode(body).decode("ascii"), "content_type": kind}
    return text


def _text(body: bytes, charset: str | None) -> str | None:
    if b"\0" in body:
        return None
    try:
        decoder = codecs.lookup(charset or "utf-8")
        text, _ = decoder.decode(body)
    except (LookupError, UnicodeError):
        return None
    return text if isinstance(text, str) else None
