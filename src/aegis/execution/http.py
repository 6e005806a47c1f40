"""HTTP targets: sends one request, follows the few redirects that stay in place, takes in a bounded answer."""

from __future__ import annotations

import asyncio
import codecs
import ssl
from base64 import b64encode
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

import aiohttp
from yarl import URL

from aegis.execution.credentials import Secret
from aegis.execution.network import Guard, forbidden_in
from aegis.execution.requests import (
    SAFE_METHODS,
    HttpCredential,
    Origin,
    Request,
    parse_credential,
    parse_origin,
    redirected,
    to_request,
)
from aegis.execution.targets import Answer, Failed, Progress, Run
from aegis.kernel.jsontree import JsonError, JsonTree, parse
from aegis.kernel.tenancy import Upstream

MAX_REDIRECTS = 3
MAX_SESSIONS = 256
CONNECTIONS_PER_UPSTREAM = 32
PARSED_AT_ONCE_BYTES = 256 * 1024
# Python knows encodings that decompress or take quadratic time; a target names only those that are just text.
CHARSETS = frozenset(
    {
        "ascii", "utf-8", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "iso8859-1", "iso8859-2", "iso8859-5",
        "iso8859-7", "iso8859-9", "iso8859-15", "cp1250", "cp1251", "cp1252", "cp1253", "cp1254", "koi8-r", "shift_jis",
        "euc_jp", "gbk", "gb18030", "big5", "euc_kr",
    }
)  # fmt: skip
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
        self._doors: OrderedDict[tuple[str, str, str, str | None], _Door] = OrderedDict()

    async def send(
        self, run: Run, upstream: Upstream, origin: Origin, request: Request, credential: Secret | None
    ) -> Answer:
        """The target's answer, with an error where its status is 400 or more. Raises Failed.

        The effect is `unknown` from the moment a connection is there, `done` when the answer's head has come.
        """
        shown = None if credential is None else parse_credential(credential.reveal())
        door = await self._door((run.tenant, upstream.name, origin.url, shown.ca if shown else None))
        try:
            for _ in range(MAX_REDIRECTS + 1):
                async with await _exchange(door, run.progress, origin, request, shown) as response:
                    run.progress.effect = "done"
                    if response.status not in _REDIRECTS:
                        return await _answer(response, request.method, run.max_bytes)
                    request = redirected(request, response.status, response.headers.get("Location"), origin)
            raise Failed("execute.redirect")
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _failure(error, run.progress) from error

    async def close(self) -> None:
        while self._doors:
            _, door = self._doors.popitem()
            await door.session.close()

    async def _door(self, key: tuple[str, str, str, str | None]) -> _Door:
        door = self._doors.pop(key, None) or self._open(key[3])
        self._doors[key] = door
        if len(self._doors) > MAX_SESSIONS:
            _, oldest = self._doors.popitem(last=False)
            await oldest.session.close()
        return door

    def _open(self, ca: str | None) -> _Door:
        tls: ssl.SSLContext | bool = True if ca is None else _trusting(ca)
        session = self._guard.session(limit=CONNECTIONS_PER_UPSTREAM, traces=(_sent_trace(),))
        session._retry_connection = False  # aiohttp would send a PUT or DELETE twice; a test holds this
        return _Door(session, tls)


@dataclass(frozen=True, slots=True)
class _Door:
    """The connections to one origin of one tenant's upstream, and whom they trust."""

    session: aiohttp.ClientSession
    tls: ssl.SSLContext | bool


async def _exchange(
    door: _Door, progress: Progress, origin: Origin, request: Request, credential: HttpCredential | None
) -> aiohttp.ClientResponse:
    """The answer's head. A GET or HEAD that met a connection which the target was just closing is sent once more."""
    extra = () if credential is None else ((credential.name, credential.text),)
    for left in (1, 0) if request.method in SAFE_METHODS else (0,):
        try:
            return await door.session.request(
                request.method,
                URL(origin.url + request.target, encoded=True),
                headers=[*request.headers, *extra],
                data=request.body,
                allow_redirects=False,
                ssl=door.tls,
                trace_request_ctx=progress,
            )
        except aiohttp.ServerDisconnectedError:
            if not left:
                raise
    raise AssertionError("unreachable")


def _trusting(ca: str) -> ssl.SSLContext:
    """TLS that trusts this authority and no other. Raises Failed(execute.credential) for what is no PEM."""
    try:
        return ssl.create_default_context(cadata=ca)
    except (ssl.SSLError, ValueError) as error:
        raise Failed("execute.credential") from error


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
    codes = {"none": "execute.unreachable", "unknown": "execute.unknown", "done": "execute.incomplete"}
    return Failed(codes[progress.effect])


async def _answer(response: aiohttp.ClientResponse, method: str, max_bytes: int) -> Answer:
    body = b"" if method == "HEAD" else await _take(response, max_bytes)
    kind, charset = response.content_type, response.charset
    if len(body) <= PARSED_AT_ONCE_BYTES:
        tree = _tree(body, kind, charset)
    else:  # a large answer must not hold up the other calls of this process
        tree = await asyncio.to_thread(_tree, body, kind, charset)
    return Answer(tree, response.status >= 400, str(response.status))


async def _take(response: aiohttp.ClientResponse, max_bytes: int) -> bytes:
    """At most `max_bytes`, counted after decompression, which goes chunk by chunk; the rest is never read."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > max_bytes:
            response.close()
            raise Failed("execute.too_large", limit=max_bytes)
    return bytes(body)


def _tree(body: bytes, kind: str, charset: str | None) -> JsonTree:
    """JSON where it says so and is so; text where it is text; else `{"base64", "content_type"}`."""
    if not body:
        return None
    if kind == "application/json" or kind.endswith("+json"):
        try:
            return parse(body)
        except JsonError:
            pass
    text = _text(body, charset)
    if text is None:
        return {"base64": b64encode(body).decode("ascii"), "content_type": kind}
    return text


def _text(body: bytes, charset: str | None) -> str | None:
    if b"\0" in body and charset is None:
        return None
    try:
        if codecs.lookup(charset or "utf-8").name not in CHARSETS:
            return None
        return body.decode(charset or "utf-8")
    except (LookupError, UnicodeError):
        return None
