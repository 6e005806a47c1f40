"""Connections to the databases of upstreams: through the guard, with a meter, never shared between tenants.

An upstream's URL is `postgresql://[user[:password]@]host[:port]/database[?host=&port=&sslmode=]`. A host that begins
with `/` is the folder of a Unix socket and needs the operator's `allow_unix`. Without `sslmode`, a public host is
spoken to over verified TLS only, one on an opened network over TLS where the server has it. No variable, service or
password file of our own environment is ever used.
"""

from __future__ import annotations

import asyncio
import os
import ssl
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

import asyncpg

from aegis.execution.credentials import Secret
from aegis.execution.network import Guard, forbidden_in
from aegis.execution.targets import Failed

CONNECT_S = 10.0
CLOSE_S = 1.5
IDLE_S = 30.0
MAX_IDLE = 4
MAX_AT_ONCE = 16
MAX_UPSTREAMS = 256
_MODES = frozenset({"disable", "prefer", "require", "verify-ca", "verify-full"})


@dataclass(frozen=True, slots=True)
class Address:
    """Where a database is and who signs on. `password` is kept out of what is printed."""

    host: str
    port: int
    database: str
    user: str
    password: str = field(repr=False)
    sslmode: str | None

    @property
    def is_unix(self) -> bool:
        return self.host.startswith("/")


def parse_address(url: str, credential: Secret | None) -> Address:
    """The address of an upstream's URL with its credential, `user:password` or a URL that holds both.

    Raises Failed(execute.arguments) for another URL and Failed(execute.credential) where nobody signs on.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
        options = parse_qsl(parts.query, strict_parsing=bool(parts.query))
    except ValueError:
        raise Failed("execute.arguments", reason="upstream.url") from None
    given = dict(options)
    host = given.pop("host", None) or unquote(parts.hostname or "")
    port_text, sslmode = given.pop("port", None), given.pop("sslmode", None)
    fits = parts.scheme in {"postgresql", "postgres"} and host and "," not in host and not given
    if not fits or len(options) != len(dict(options)) or parts.fragment or sslmode not in {None, *_MODES}:
        raise Failed("execute.arguments", reason="upstream.url")
    if port_text is not None and not (port_text.isascii() and port_text.isdigit() and len(port_text) < 6):
        raise Failed("execute.arguments", reason="upstream.url")
    user, password = _sign_on(parts.username, parts.password, credential)
    database = unquote(parts.path.removeprefix("/")) or user
    return Address(host, int(port_text or port or 5432), database, user, password, sslmode)


class Meter(asyncio.Protocol):
    """Stands between a transport and a driver's protocol, and cuts the connection when too much has come in.

    A driver buffers whole rows, so a single huge value can't be refused any later than here.
    """

    def __init__(self, transport: asyncio.Transport, inner: Any) -> None:
        self._transport = transport
        self._inner = inner
        self._left: int | None = None
        self.is_exceeded = False

    def allow(self, size_bytes: int | None) -> None:
        """From now on at most `size_bytes` may come in; None: whatever comes."""
        self._left = size_bytes

    def data_received(self, data: bytes) -> None:
        if self._left is not None:
            self._left -= len(data)
            if self._left < 0:
                self.is_exceeded = True
                self._transport.abort()
                return
        self._inner.data_received(data)

    def connection_lost(self, error: Exception | None) -> None:
        self._inner.connection_lost(error)

    def eof_received(self) -> bool | None:
        result: bool | None = self._inner.eof_received()
        return result

    def pause_writing(self) -> None:
        self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._inner.resume_writing()


@dataclass(eq=False, slots=True)
class Leased:
    """A connection that one call has for itself. `spoiled`: not to be used again."""

    connection: Any
    meter: Meter
    idle_since: float = 0.0
    spoiled: bool = True


@dataclass(eq=False, slots=True)
class _Upstream:
    idle: list[Leased] = field(default_factory=list)
    places: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(MAX_AT_ONCE))


class Connections:
    """At most 16 connections per tenant, upstream and credential, of which 4 wait for the next call for 30 s.

    What a call left behind in its session (settings, temporary tables, locks, statements) is discarded before the
    connection is used again; a connection whose call failed is closed.
    """

    def __init__(self, guard: Guard) -> None:
        self._guard = guard
        self._upstreams: OrderedDict[tuple[Any, ...], _Upstream] = OrderedDict()

    @asynccontextmanager
    async def lease(self, key: tuple[Any, ...], address: Address) -> AsyncIterator[Leased]:
        """Raises Failed when the database can't be reached or doesn't take the credential."""
        upstream = self._upstream(key)
        async with upstream.places:
            leased = _take(upstream) or await self._open(address)
            try:
                yield leased
                await _clean(leased)
            finally:
                leased.meter.allow(None)
                if leased.spoiled or leased.connection.is_closed() or len(upstream.idle) >= MAX_IDLE:
                    await _close(leased)
                else:
                    leased.idle_since = time.monotonic()
                    upstream.idle.append(leased)
                    asyncio.get_running_loop().call_later(IDLE_S, _drop_idle, upstream)

    async def close(self) -> None:
        while self._upstreams:
            _, upstream = self._upstreams.popitem()
            for leased in upstream.idle:
                await _close(leased)

    def _upstream(self, key: tuple[Any, ...]) -> _Upstream:
        upstream = self._upstreams.pop(key, None) or _Upstream()
        self._upstreams[key] = upstream
        if len(self._upstreams) > MAX_UPSTREAMS:
            _, oldest = self._upstreams.popitem(last=False)
            for leased in oldest.idle:
                leased.connection.terminate()
        return upstream

    async def _open(self, address: Address) -> Leased:
        hosts = [address.host] if address.is_unix else await self._resolve(address)
        trouble: Failed | None = None
        for host in hosts:
            try:
                return await self._connect(host, address)
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                trouble = _connect_failure(error)
                trouble.__cause__ = error
        raise trouble or Failed("execute.unreachable")

    async def _resolve(self, address: Address) -> list[str]:
        try:
            return [found for _, found in await self._guard.resolve(address.host, address.port)]
        except OSError as error:
            raise _connect_failure(error) from error

    async def _connect(self, host: str, address: Address) -> Leased:
        if address.is_unix and not self._guard.allow_unix:
            raise Failed("execute.forbidden_address")
        connection = await asyncpg.connect(
            host=host,
            port=address.port,
            user=address.user,
            password=address.password,  # also when empty: None would send asyncpg to our own environment
            database=address.database,
            ssl=_tls(address, self._guard.permits(host) and not _is_opened(self._guard, host)),
            passfile=os.devnull,
            timeout=CONNECT_S,
            statement_cache_size=0,
            target_session_attrs="any",
            server_settings={"application_name": "aegis"},
        )
        transport, protocol = connection._transport, connection._protocol
        if not address.is_unix:
            self._guard.check(transport.get_extra_info("peername")[0])
        meter = Meter(transport, protocol)
        transport.set_protocol(meter)
        return Leased(connection, meter)


class _NamedTls(ssl.SSLContext):
    """Verifies the certificate for the upstream's name although the connection is made to a checked address."""

    name: str

    def wrap_bio(self, *given: Any, **named: Any) -> ssl.SSLObject:
        return super().wrap_bio(*given, **{**named, "server_hostname": self.name})


def _tls(address: Address, is_public: bool) -> Any:
    if address.is_unix:
        return False
    mode = address.sslmode or ("verify-full" if is_public else "prefer")
    if mode == "disable":
        return False
    if mode in {"prefer", "require"}:
        return mode
    context = _NamedTls(ssl.PROTOCOL_TLS_CLIENT)
    context.name = address.host
    context.check_hostname = mode == "verify-full"
    context.load_default_certs()
    return context


def _is_opened(guard: Guard, host: str) -> bool:
    return Guard(guard.allowed, public=False).permits(host)


def _sign_on(user: str | None, password: str | None, credential: Secret | None) -> tuple[str, str]:
    if credential is not None:
        value = credential.reveal()
        if value.startswith(("postgresql://", "postgres://")):
            try:
                parts = urlsplit(value)
            except ValueError:
                raise Failed("execute.credential") from None
            user, password = parts.username, parts.password
        else:
            name, mark, rest = value.removeprefix("basic:").partition(":")
            if not mark:  # a password alone, for the user of the URL
                return _named(user, value)
            return _named(name, rest, quoted=False)
    return _named(user, password or "")


def _named(user: str | None, password: str | None, *, quoted: bool = True) -> tuple[str, str]:
    if not user:
        raise Failed("execute.credential")
    return (unquote(user), unquote(password or "")) if quoted else (user, password or "")


def _connect_failure(error: BaseException) -> Failed:
    if forbidden_in(error):
        return Failed("execute.forbidden_address")
    refused = asyncpg.InvalidAuthorizationSpecificationError  # class 28: the password, the user, the host's rules
    return Failed("execute.credential_refused" if isinstance(error, refused) else "execute.unreachable")


def _take(upstream: _Upstream) -> Leased | None:
    _drop_idle(upstream)
    if not upstream.idle:
        return None
    leased = upstream.idle.pop()
    leased.spoiled = True
    return leased


def _drop_idle(upstream: _Upstream) -> None:
    """Cuts the connections that have waited for 30 s or were closed by the server."""
    oldest = time.monotonic() - IDLE_S
    for leased in tuple(upstream.idle):
        if leased.connection.is_closed() or leased.idle_since <= oldest:
            upstream.idle.remove(leased)
            leased.connection.terminate()


async def _clean(leased: Leased) -> None:
    leased.meter.allow(None)
    with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        await leased.connection.execute("DISCARD ALL", timeout=CLOSE_S)
        leased.spoiled = False


async def _close(leased: Leased) -> None:
    """Cancels what still runs on the server, then says goodbye; within 1.5 s, or cuts the connection."""
    try:
        await leased.connection.close(timeout=CLOSE_S)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError):
        leased.connection.terminate()
