"""One house for the whole folder: each test leaves it ready for the next."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from tests.faults.house import Agent, Caller, House, Target, Tenant, calling, house, known_to_both, target

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


@pytest_asyncio.fixture
async def neighbours(caller: Caller) -> tuple[Tenant, Agent]:
    """Another tenant and its agent, who may use the tool `look`."""
    other = await caller.tenant()
    await other.tool("look", "read")
    agent = await other.agent("neighbour")
    await known_to_both(other, agent, "look", 4)
    return other, agent
