import pytest

from aegis.db.database import Database
from aegis.identity.sessions import (
    SessionFacts,
    SessionIds,
    Sessions,
    SessionsUnavailable,
    SessionTool,
    SessionUser,
)
from aegis.kernel.clock import now_us
from aegis.kernel.problems import Problem
from aegis.tenants.accounts import NewTenant
from aegis.tenants.assemble import ENDED_KEPT_US
from aegis.tenants.views import Views

HOUR = 3600 * 1_000_000
KEY = b"k" * 32


class Clock:
    def __init__(self) -> None:
        self.ahead = 0

    def __call__(self) -> int:
        return now_us() + self.ahead


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(database: Database, clock: Clock) -> Sessions:
    return Sessions(database, KEY, clock)


async def opened(sessions: Sessions, tenant: NewTenant) -> SessionFacts:
    return await sessions.open(
        tenant.id,
        agent="agt_a",
        opened_by="key_app",
        team="tea_1",
        user=SessionUser("ann", "verified", ("sales", "eu")),
        intent="book a flight",
        tools=[SessionTool("book", "books", {"type": "object"})],
        metadata={"ticket": 7},
    )


async def test_another_process_finds_what_was_opened(
    sessions: Sessions, tenant: NewTenant, database: Database, clock: Clock
) -> None:
    facts = await opened(sessions, tenant)
    assert await Sessions(database, KEY, clock).find(tenant.id, facts.id) == facts
    assert facts.user == SessionUser("ann", "verified", ("sales", "eu"))
    assert facts.tools == (SessionTool("book", "books", {"type": "object"}),)
    assert abs(facts.created_at - now_us()) < HOUR


async def test_a_session_without_a_list_is_open_and_an_empty_list_is_closed(
    sessions: Sessions, tenant: NewTenant, database: Database, clock: Clock
) -> None:
    other = Sessions(database, KEY, clock)
    for tools, expected in ((None, None), ([], ())):
        facts = await sessions.open(tenant.id, agent="agt_a", opened_by="agt_a", tools=tools)
        found = await other.find(tenant.id, facts.id)
        assert found is not None and found.tools == expected and found.user is None


async def test_a_forged_id_costs_no_look_up(sessions: Sessions, tenant: NewTenant, database: Database) -> None:
    facts = await opened(sessions, tenant)
    await database.close()  # a look-up would raise from here on
    last = "a" if facts.id[-1] != "a" else "b"
    for forged in ("", "ses_", facts.id[:-1] + last, facts.id + "a", "ses_" + "a" * 32, facts.id.upper(), "x" * 9999):
        assert await sessions.find(tenant.id, forged) is None
    assert await sessions.find("ten_other", facts.id) is None
    with pytest.raises(SessionsUnavailable):
        await sessions.find(tenant.id, SessionIds(KEY).mint(tenant.id))


def test_an_id_is_genuine_for_its_tenant_and_key_alone() -> None:
    minted = SessionIds(KEY).mint("ten_a")
    assert SessionIds(KEY).is_genuine("ten_a", minted)
    assert not SessionIds(KEY).is_genuine("ten_b", minted)
    assert not SessionIds(b"j" * 32).is_genuine("ten_a", minted)


async def test_a_session_ends_after_a_day_without_a_call(sessions: Sessions, tenant: NewTenant, clock: Clock) -> None:
    facts = await opened(sessions, tenant)
    for _ in range(3):
        clock.ahead += 23 * HOUR
        found = await sessions.find(tenant.id, facts.id)
        assert found is not None and not found.has_ended
        await sessions.close()
    clock.ahead += 24 * HOUR + 1_000_000
    found = await sessions.find(tenant.id, facts.id)
    assert found is not None and found.has_ended


async def test_the_last_call_is_written_at_most_once_a_minute(
    sessions: Sessions, tenant: NewTenant, clock: Clock, database: Database
) -> None:
    facts = await opened(sessions, tenant)

    async def last_call() -> object:
        await sessions.close()
        async with database.scope(tenant.id) as connection:
            return await connection.fetchval("SELECT last_call_at FROM control.sessions WHERE id = $1", facts.id)

    first = await last_call()
    clock.ahead += 30_000_000
    await sessions.find(tenant.id, facts.id)
    assert await last_call() == first
    clock.ahead += 40_000_000
    await sessions.find(tenant.id, facts.id)
    second = await last_call()
    assert second != first
    clock.ahead += 30_000_000
    await sessions.find(tenant.id, facts.id)
    assert await last_call() == second


async def test_an_ended_session_is_told_to_every_process(
    sessions: Sessions, tenant: NewTenant, database: Database, clock: Clock
) -> None:
    facts = await opened(sessions, tenant)
    other, views = Sessions(database, KEY, clock), Views(database)
    await other.find(tenant.id, facts.id)
    async with database.scope(tenant.id) as connection:
        assert await sessions.end(connection, tenant.id, facts.id)
        assert not await sessions.end(connection, tenant.id, facts.id)
        assert not await sessions.end(connection, tenant.id, "ses_none")
    assert facts.id in (await views.get(tenant.id)).ended_sessions
    clock.ahead += ENDED_KEPT_US  # when views forget it, no process may believe its memory any more
    found = await other.find(tenant.id, facts.id)
    assert found is not None and found.has_ended


async def test_text_that_the_store_does_not_take_is_the_callers_error(sessions: Sessions, tenant: NewTenant) -> None:
    with pytest.raises(Problem) as raised:
        await sessions.open(tenant.id, agent="agt_a", opened_by="agt_a", intent="a\x00b")
    assert raised.value.status == 422
