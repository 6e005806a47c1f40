"""Which addresses may be connected to, checked on the address that the socket really connects to.

Public addresses are open. Everything else (loopback, private, link-local, multicast, reserved, the clouds' metadata
services, and IPv6 forms that carry an IPv4 address) is open only where the operator's `networks.allow` covers it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

# IANA IPv4 and IPv6 Special-Purpose Address Registries, and 168.63.129.16, Azure's platform address.
_SPECIAL_V4 = tuple(
    map(
        IPv4Network,
        (
            "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "168.63.129.16/32", "169.254.0.0/16",
            "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24",
            "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)  # fmt: skip
_GLOBAL_V6 = IPv6Network("2000::/3")
_SPECIAL_V6 = tuple(
    map(IPv6Network, ("2001::/23", "2001:db8::/32", "2002::/16", "2620:4f:8000::/48", "3fff::/20"))
)  # Teredo and ORCHID, documentation, 6to4, AS112, documentation

MAX_ADDRESSES = 16
MAX_HOST_CHARACTERS = 253
CONNECT_S = 10.0


class ForbiddenAddress(OSError):
    """The address is on a network that is not open. An OSError, so that it passes through drivers unharmed."""


class FetchFailed(Exception):
    """A document couldn't be fetched; the message is ours and names no byte of the answer."""


@dataclass(frozen=True, slots=True)
class Guard:
    """`allowed`: what the operator opened beside the public addresses. `public=False`: nothing but those."""

    allowed: tuple[Network, ...] = ()
    allow_unix: bool = False
    public: bool = True

    @classmethod
    def of(cls, allow: Iterable[str], *, allow_unix: bool = False) -> Guard:
        """Raises ValueError for what is not a network in CIDR form."""
        return cls(tuple(ip_network(text) for text in allow), allow_unix)

    def permits(self, address: str) -> bool:
        """Whether a socket may be connected to `address`; what is not an address in its plain form may not."""
        try:
            parsed = ip_address(address)
        except ValueError:
            return False
        if isinstance(parsed, IPv6Address) and parsed.scope_id is not None:
            parsed = IPv6Address(int(parsed))
        if self._opened(parsed):
            return True
        return self.public and _is_public(parsed)

    async def resolve(self, host: str, port: int) -> list[tuple[socket.AddressFamily, str]]:
        """The addresses of `host`, every one of them permitted, in the resolver's order and at most 16.

        Raises ForbiddenAddress when any is not: a name that points at both worlds is not to be trusted.
        Raises OSError when the name doesn't resolve.
        """
        if not 0 < len(host) <= MAX_HOST_CHARACTERS:
            raise OSError("couldn't resolve the host: expected a name of 1 to 253 characters")
        loop = asyncio.get_running_loop()
        try:
            answers = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except UnicodeError as error:
            raise OSError("couldn't resolve the host: expected a name of the domain name system") from error
        found = [(socket.AddressFamily(family), str(address[0])) for family, _, _, _, address in answers]
        if not found:
            raise OSError("couldn't resolve the host: expected an address, got none")
        for _, address in found:
            self.check(address)
        return list(dict.fromkeys(found))[:MAX_ADDRESSES]

    def check(self, address: object) -> None:
        """Raises ForbiddenAddress unless `address` is permitted."""
        if not self.permits(str(address)):
            raise ForbiddenAddress("couldn't connect: expected an address on an open network")

    def connector(self, *, limit: int = 32) -> aiohttp.TCPConnector:
        """Connects to checked addresses only: names through `resolve`, and each socket again before it connects."""
        return aiohttp.TCPConnector(
            resolver=_Resolver(self),
            use_dns_cache=False,
            limit=limit,
            keepalive_timeout=20.0,
            socket_factory=self._socket,
        )

    def session(self, *, limit: int = 32, traces: Iterable[aiohttp.TraceConfig] = ()) -> aiohttp.ClientSession:
        """No cookies, no proxy and no credentials from the environment."""
        return aiohttp.ClientSession(
            connector=self.connector(limit=limit),
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            trace_configs=list(traces),
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S),
            headers={"User-Agent": "aegis", "Accept-Encoding": "gzip, deflate"},
        )

    async def fetch(self, url: str, max_bytes: int, timeout: float) -> bytes:
        """The body of `url`, answered with 200 and without a redirect; for issuers' keys and the like.

        Plain http is for networks that the operator opened: nobody else stands between us and those.
        Raises FetchFailed, also for a body over `max_bytes` and after `timeout` seconds.
        """
        scheme = urlsplit(url).scheme
        if scheme not in {"http", "https"}:
            raise FetchFailed("couldn't fetch the document: expected an http or https address")
        guard = self if scheme == "https" else replace(self, public=False)
        try:
            async with asyncio.timeout(timeout), guard.session(limit=1) as session:
                return await _fetch(session, url, max_bytes)
        except TimeoutError:
            raise FetchFailed(f"couldn't fetch the document: expected it within {timeout} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            cause = forbidden_in(error)
            reason = "its address is on a network that is not open" if cause else type(error).__name__
            raise FetchFailed(f"couldn't fetch the document: {reason}") from error

    def _opened(self, address: Address) -> bool:
        if any(address in network for network in self.allowed if network.version == address.version):
            return True
        carried = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return carried is not None and self._opened(carried)

    def _socket(self, info: tuple[Any, ...]) -> socket.socket:
        family, kind, protocol, _, address = info
        self.check(address[0])
        made = socket.socket(family, kind, protocol)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made


def forbidden_in(error: BaseException) -> bool:
    """Whether a driver's error was caused by a ForbiddenAddress."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, ForbiddenAddress) or isinstance(getattr(seen, "os_error", None), ForbiddenAddress):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


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


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
