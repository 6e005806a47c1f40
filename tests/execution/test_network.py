"""Which addresses may be connected to, and that the check holds on the socket itself."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from aegis.execution.network import FetchFailed, ForbiddenAddress, Guard, forbidden_in

OPEN_LOOPBACK = Guard.of(["127.0.0.0/8", "::1/128"])


@pytest.mark.parametrize(
    "address",
    [
        "1.1.1.1",
        "8.8.8.8",
        "93.184.216.34",
        "172.15.255.255",
        "172.32.0.0",
        "100.63.255.255",
        "100.128.0.0",
        "223.255.255.255",
        "2606:4700:4700::1111",
        "2a00:1450:4001:80b::200e",
    ],
)
def test_public_addresses_are_open(address: str) -> None:
    assert Guard().permits(address)
    assert not Guard(public=False).permits(address)


@pytest.mark.parametrize(
    "address",
    [
        pytest.param("127.0.0.1", id="loopback"),
        pytest.param("127.255.255.254", id="the far end of loopback"),
        pytest.param("0.0.0.0", id="this host"),
        pytest.param("10.1.2.3", id="private 10"),
        pytest.param("172.16.0.1", id="private 172.16"),
        pytest.param("172.31.255.255", id="private 172.31"),
        pytest.param("192.168.1.1", id="private 192.168"),
        pytest.param("100.64.0.1", id="carrier-grade NAT"),
        pytest.param("100.100.100.200", id="Alibaba's metadata service"),
        pytest.param("169.254.169.254", id="the usual metadata service"),
        pytest.param("169.254.170.2", id="the container metadata service"),
        pytest.param("168.63.129.16", id="Azure's platform address"),
        pytest.param("192.0.0.192", id="Oracle's metadata service"),
        pytest.param("198.18.0.1", id="benchmarking"),
        pytest.param("224.0.0.1", id="multicast"),
        pytest.param("240.0.0.1", id="reserved"),
        pytest.param("255.255.255.255", id="broadcast"),
        pytest.param("::", id="unspecified v6"),
        pytest.param("::1", id="loopback v6"),
        pytest.param("fe80::1", id="link-local v6"),
        pytest.param("fe80::1%lo", id="link-local v6 with a zone"),
        pytest.param("fc00::1", id="unique local v6"),
        pytest.param("fd00:ec2::254", id="the metadata service on v6"),
        pytest.param("fec0::1", id="site-local v6"),
        pytest.param("ff02::1", id="multicast v6"),
        pytest.param("::ffff:127.0.0.1", id="loopback mapped into v6"),
        pytest.param("::ffff:8.8.8.8", id="a public address mapped into v6"),
        pytest.param("::ffff:169.254.169.254", id="metadata mapped into v6"),
        pytest.param("::127.0.0.1", id="loopback in the old compatible form"),
        pytest.param("2002:7f00:1::", id="loopback through 6to4"),
        pytest.param("2002:808:808::", id="6to4 at large"),
        pytest.param("64:ff9b::a9fe:a9fe", id="metadata through NAT64"),
        pytest.param("64:ff9b:1::1", id="local NAT64"),
        pytest.param("2001::1", id="Teredo"),
        pytest.param("2001:db8::1", id="documentation v6"),
        pytest.param("100::1", id="discard v6"),
        pytest.param("5f00::1", id="segment routing"),
        pytest.param("4000::1", id="v6 that nobody gave out"),
        pytest.param("2130706433", id="a number"),
        pytest.param("0x7f.1", id="hexadecimal"),
        pytest.param("0177.0.0.1", id="octal"),
        pytest.param("127.1", id="a short form"),
        pytest.param("localhost", id="a name"),
        pytest.param("", id="nothing"),
        pytest.param("/tmp/.s.PGSQL.5432", id="a socket's path"),
    ],
)
def test_everything_else_is_closed_unless_opened(address: str) -> None:
    assert not Guard().permits(address)


@pytest.mark.parametrize(
    ("allow", "address", "is_open"),
    [
        (["127.0.0.0/8"], "127.0.0.1", True),
        (["127.0.0.0/8"], "::1", False),
        (["127.0.0.0/8"], "::ffff:127.0.0.1", True),
        (["127.0.0.0/8"], "10.0.0.1", False),
        (["10.0.0.0/8"], "169.254.169.254", False),
        (["169.254.169.254/32"], "169.254.169.254", True),
        (["fd00::/8"], "fd00:ec2::254", True),
        (["64:ff9b::/96"], "64:ff9b::a9fe:a9fe", True),
        (["169.254.0.0/16"], "64:ff9b::a9fe:a9fe", False),
        (["fe80::/10"], "fe80::1%eth0", True),
    ],
)
def test_the_operator_opens_networks_and_only_those(allow: list[str], address: str, is_open: bool) -> None:
    assert Guard.of(allow).permits(address) is is_open


@pytest.mark.parametrize(
    "host", ["localhost", "127.0.0.1", "2130706433", "0x7f000001", "017700000001", "127.1", "0", "::1", "ip6-localhost"]
)
async def test_a_name_or_odd_spelling_of_loopback_is_refused_when_resolved(host: str) -> None:
    with pytest.raises(OSError) as raised:
        await Guard().resolve(host, 80)
    assert isinstance(raised.value, ForbiddenAddress | socket.gaierror)


async def test_an_opened_name_resolves_to_checked_addresses() -> None:
    assert (socket.AF_INET, "127.0.0.1") in await OPEN_LOOPBACK.resolve("localhost", 80)


@pytest.fixture
async def server() -> AsyncIterator[TestServer]:
    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/away":
            raise web.HTTPFound("/keys")
        return web.Response(body=b'{"keys":[]}' if request.path == "/keys" else b"x" * 4096)

    application = web.Application()
    application.router.add_get("/{tail:.*}", answer)
    async with TestServer(application) as running:
        yield running


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_a_session_never_connects_to_a_closed_address(server: TestServer, host: str) -> None:
    """Literal addresses pass no resolver: the socket itself is checked."""
    async with Guard().session() as session:
        with pytest.raises(aiohttp.ClientConnectorError) as raised:
            await session.get(f"http://{host}:{server.port}/keys")
    assert forbidden_in(raised.value)


async def test_fetch_takes_a_bounded_document_from_an_opened_network(server: TestServer) -> None:
    assert await OPEN_LOOPBACK.fetch(str(server.make_url("/keys")), 100, 2.0) == b'{"keys":[]}'


@pytest.mark.parametrize(
    ("path", "guard", "reason"),
    [
        pytest.param("/keys", Guard(), "not open", id="a closed network"),
        pytest.param("/away", OPEN_LOOPBACK, "status 200", id="a redirect"),
        pytest.param("/large", OPEN_LOOPBACK, "at most", id="a large body"),
    ],
)
async def test_fetch_refuses(server: TestServer, path: str, guard: Guard, reason: str) -> None:
    with pytest.raises(FetchFailed, match=reason):
        await guard.fetch(str(server.make_url(path)), 100, 2.0)


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/", "gopher://127.0.0.1/", "", "http://"])
async def test_fetch_refuses_other_schemes_and_non_addresses(url: str) -> None:
    with pytest.raises(FetchFailed):
        await OPEN_LOOPBACK.fetch(url, 100, 2.0)


async def test_fetch_in_plain_http_is_for_opened_networks_only() -> None:
    with pytest.raises(FetchFailed, match="not open"):
        await OPEN_LOOPBACK.fetch("http://1.1.1.1/keys", 100, 2.0)


class Names:
    """A name server that changes its mind: each look-up takes the next answer."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int, **_: Any) -> list[Any]:
        self.asked += 1
        return [
            (socket.AF_INET6 if ":" in each else socket.AF_INET, socket.SOCK_STREAM, 6, "", (each, port))
            for each in self.answers.pop(0)
        ]


async def test_a_name_that_points_at_both_worlds_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Names(["93.184.216.34", "127.0.0.1"]))
    with pytest.raises(ForbiddenAddress):
        await Guard().resolve("rebind.example", 80)


async def test_the_address_that_was_checked_is_the_one_connected_to(
    server: TestServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second look-up would be told another place; there is none."""
    names = Names(["127.0.0.1"], ["169.254.169.254"])
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", names)
    assert await OPEN_LOOPBACK.fetch(f"http://rebind.example:{server.port}/keys", 100, 2.0) == b'{"keys":[]}'
    assert names.asked == 1


async def test_a_name_with_very_many_addresses_is_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", Names([f"8.8.8.{n}" for n in range(100)]))
    assert len(await Guard().resolve("many.example", 80)) == 16


@pytest.mark.parametrize("host", ["", "a" * 254, "a" * 64 + ".example", "ex\u2024ample..x"])
async def test_what_is_no_name_does_not_resolve(host: str) -> None:
    with pytest.raises(OSError):
        await Guard().resolve(host, 80)
