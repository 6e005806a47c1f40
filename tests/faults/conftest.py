"""One house for the whole folder: each test leaves it ready for the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.faults.house import Caller, House, Target, Tenant, calling, house, target

# The engine is asked each time, and a busy machine is no reason for a denial.
ENVIRONMENT = {
    "AEGIS_POLICY__MEMO": "false",
    "AEGIS_CHILDREN__POLICY_DEADLINE_MS": "1000",
    "AEGIS_CHILDREN__ANALYSIS_DEADLINE_MS": "1000",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker("server")
            item.add_marker("needs_linux")


@pytest.fixture(scope="session")
def home() -> Iterator[House]:
    with house(ENVIRONMENT) as opened:
        yield opened


@pytest_asyncio.fixture
async def caller(home: House) -> AsyncIterator[Caller]:
    async with calling(home) as opened:
        yield opened
    home.thaw()
    async with calling(home) as opened:
        await opened.ready()


@pytest_asyncio.fixture
async def tenant(caller: Caller) -> Tenant:
    return await caller.tenant()


@pytest_asyncio.fixture
async def shop() -> AsyncIterator[Target]:
    """What agents act upon."""
    async with target() as opened:
        yield opened
