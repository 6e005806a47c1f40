"""HTTP clients that connect to checked addresses only."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import replace
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

from aegis.execution.network import CONNECT_S, FetchFailed, Guard, forbidden_in


def connector(guard: Guard, *, limit: int = 32) -> aiohttp.TCPConnector:
    """Connects to checked addresses only: names through `resolve`, and each socket again before it connects."""
    return aiohttp.TCPConnector(
        resolver=_Resolver(guard),
        use_dns_cache=False,
        limit=limit,
        keepalive_timeout=20.0,
        socket_factory=guard.socket,
    )


def session(guard: Guard, *, limit: int = 32, traces: Iterable[aiohttp.TraceConfig] = ()) -> aiohttp.ClientSession:
    """No cookies, no proxy and no credentials from the environment."""
    return aiohttp.ClientSession(
        connector=connector(guard, limit=limit),
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        trace_configs=list(traces),
        timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
        headers={"User-Agent": "aegis", "Accept-Encoding": "gzip, deflate"},
    )


async def fetch(guard: Guard, url: str, max_bytes: int, timeout: float) -> bytes:
    """The body of `url`, answered with 200 and without a redirect; for issuers' keys and the like.

    Plain http is for networks that the operator opened: nobody else stands between us and those.
    Raises FetchFailed, also for a body over `max_bytes` and after `timeout` seconds.
    """
    scheme = urlsplit(url).scheme
    if scheme not in {"http", "https"}:
        raise FetchFailed("couldn't fetch the document: expected an http or https address")
    guard = guard if scheme == "https" else replace(guard, public=False)
    try:
        async with asyncio.timeout(timeout), session(guard, limit=1) as opened:
            return await _fetch(opened, url, max_bytes)
    except TimeoutError:
        raise FetchFailed(f"couldn't fetch the document: expected it within {timeout} s") from None
    except (aiohttp.ClientError, OSError, ValueError) as error:
        cause = forbidden_in(error)
        reason = "its address is on a network that is not open" if cause else type(error).__name__
        raise FetchFailed(f"couldn't fetch the document: {reason}") from error


async def _fetch(session: aiohttp.ClientSession, url: str, max_bytes: int) -> bytes:
    async with session.get(url, allow_redirects=False) as response:
        if response.status != 200:
            raise FetchFailed(f"couldn't fetch the document: expected status 200, got {response.status}")
        body = bytearray()
        async for chunk in response.content.iter_any():
            body += chunk
            if len(body) > max_bytes:
                raise FetchFailed(f"couldn't fetch the document: expected at most {max_bytes} bytes")
        return bytes(body)


class _Resolver(AbstractResolver):
    def __init__(self, guard: Guard) -> None:
        self._guard = guard

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=address, port=port, family=found, proto=0, flags=socket.AI_NUMERICHOST)
            for found, address in await self._guard.resolve(host, port)
            if family in {socket.AF_UNSPEC, found}
        ]

    async def close(self) -> None:
        return None
