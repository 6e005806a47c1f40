"""Which addresses may be connected to, checked on the address that the socket really connects to.

Public addresses are open. Everything else (loopback, private, link-local, multicast, reserved, the clouds' metadata
services, and IPv6 forms that carry an IPv4 address) is open only where the operator's `networks.allow` covers it.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any

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

    def session(self, *, limit: int = 32, traces: Iterable[Any] = ()) -> Any:
        """`execution.client.session` over this guard. Imported when it is first needed: a gateway is ready without."""
        from aegis.execution import client

        return client.session(self, limit=limit, traces=traces)

    async def fetch(self, url: str, max_bytes: int, timeout: float) -> bytes:
        """`execution.client.fetch` over this guard. Raises FetchFailed."""
        from aegis.execution import client

        return await client.fetch(self, url, max_bytes, timeout)

    def _opened(self, address: Address) -> bool:
        if any(address in network for network in self.allowed if network.version == address.version):
            return True
        carried = address.ipv4_mapped if isinstance(address, IPv6Address) else None
        return carried is not None and self._opened(carried)

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """A socket for a checked address, as aiohttp's connector asks for one."""
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


def _is_public(address: Address) -> bool:
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _SPECIAL_V4)
    return address in _GLOBAL_V6 and not any(address in network for network in _SPECIAL_V6)
