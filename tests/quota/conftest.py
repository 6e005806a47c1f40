from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from redis.asyncio import Redis

from aegis.embedded.servers import EmbeddedServers
from aegis.embedded.valkey import Valkey
from aegis.kernel.ids import new_id, uuid7
from aegis.quota.buckets import ScopeLimits, Take
from aegis.quota.rebuild import Counts
from aegis.quota.valkey import ValkeyBuckets, connect

NOON = 1_780_315_200_000_000
"""2026-06-01T12:00:00Z"""
SECOND = 1_000_000
DAY = 86_400 * SECOND


def limits(scope: str = "agent:a", **caps: Any) -> ScopeLimits:
    return replace(ScopeLimits(scope), **caps)


def asked(*scopes: ScopeLimits, tenant: str = "", at: int = NOON, **more: Any) -> Take:
    given: dict[str, Any] = {
        "tenant": tenant,
        "agent": "a",
        "tool": "crm.read",
        "now_us": at,
        "decision_id": uuid7(),
        "scopes": scopes,
        "due_us": at + 600 * SECOND,
    }
    return Take(**{**given, **more})


def _servers() -> list[str]:
    return ["valkey", *(["redis"] if shutil.which("redis-server") else [])]


@pytest.fixture(scope="session", params=_servers())
def store_url(request: pytest.FixtureRequest, embedded_servers: EmbeddedServers) -> Iterator[str]:
    """Valkey, and Redis too where `redis-server` is on the path."""
    if request.param == "valkey":
        yield embedded_servers.valkey.url
        return
    with another(embedded_servers, Path(str(shutil.which("redis-server")))) as server:
        yield server.url


class another:
    """A server of one's own that a test may stop."""

    def __init__(self, servers: EmbeddedServers, program: Path | None = None) -> None:
        shared = servers.valkey
        self._folder = Path(tempfile.mkdtemp(prefix="own-", dir=shared.runtime))
        self._folder.chmod(0o777)
        self.server = Valkey(program or shared.program, self._folder, shared.account, self._folder / "log")

    def __enter__(self) -> Valkey:
        self.server.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)


@pytest.fixture
def own_valkey(embedded_servers: EmbeddedServers) -> Iterator[Valkey]:
    with another(embedded_servers) as server:
        yield server


@pytest_asyncio.fixture
async def client(store_url: str) -> AsyncIterator[Redis]:
    opened = connect(store_url)
    yield opened
    await opened.aclose()


@pytest.fixture
def tenant() -> str:
    return new_id("ten")


async def nothing_used(tenant: str, now_us: int) -> Counts:
    return Counts({}, {})


@pytest.fixture
def buckets(client: Redis) -> ValkeyBuckets:
    return ValkeyBuckets(client, nothing_used, deadline_s=5.0)


async def together(ask: Callable[[int], Any], count: int) -> list[Any]:
    return await asyncio.gather(*(ask(n) for n in range(count)))
