import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from aegis.db.database import Database
from aegis.kernel.tenancy import TenantView, UnknownTenant, ViewUnavailable
from aegis.tenants.accounts import NewTenant, create_agent
from aegis.tenants.views import Views

Write = Callable[..., Awaitable[None]]


@pytest.fixture
def views(database: Database) -> Views:
    return Views(database)


@pytest.fixture
def write(database: Database, tenant: NewTenant) -> Write:
    async def run(sql: str, *values: Any) -> None:
        async with database.scope(tenant.id) as connection:
            await connection.execute(sql, tenant.id, *values)

    return run


async def test_a_view_holds_what_every_control_table_says(views: Views, tenant: NewTenant, write: Write) -> None:
    await write(
        "INSERT INTO control.tools (tenant, name, body) VALUES ($1, 'sql', $2::jsonb)",
        '{"effect": "write", "kinds": {"/query": "sql:postgres"}, "price_usd": "0.25", "risk": 0.5}',
    )
    await write(
        "INSERT INTO control.upstreams (tenant, name, body) VALUES ($1, 'db', $2::jsonb)",
        '{"kind": "sql", "url": "postgresql://db/", "credential": {"ref": "DB"}, "timeout_ms": 5}',
    )
    await write(
        "INSERT INTO control.quotas (tenant, scope, body) VALUES ($1, 'tenant', $2::jsonb)",
        '{"rps": 5, "daily_usd": "12.50"}',
    )
    await write(
        "INSERT INTO control.contracts (tenant, agent, body) VALUES ($1, 'agt_a', $2::jsonb)",
        '{"mode": "enforce", "tools": {"allow": ["sql"]}, "expires_at": "2026-01-01T00:00:00Z",'
        ' "time_windows": [{"days": ["mon"], "from": "08:00", "to": "18:30", "tz": "UTC"}]}',
    )
    await write(
        "INSERT INTO control.issuers (tenant, id, issuer, jwks_uri, audience, max_role)"
        " VALUES ($1, 'iss_1', 'https://views.example/' || $1, 'https://views.example/jwks', 'aegis', 'viewer')"
    )
    await write("INSERT INTO control.bundles (tenant, digest, archive) VALUES ($1, 'sha256:aa', '')")
    await write("INSERT INTO control.policies (tenant, digest, status) VALUES ($1, 'sha256:aa', 'active')")
    await write("INSERT INTO control.revocations (tenant, credential) VALUES ($1, 'jti_gone')")
    await write("INSERT INTO control.ended_sessions (tenant, id) VALUES ($1, 'ses_over')")
    await write(
        "INSERT INTO control.kill_switches (tenant, scope, epoch, reason, engaged_by)"
        " VALUES ($1, 'tool:sql', 3, 'because', 'usr_a')"
    )
    await write('UPDATE control.settings SET body = \'{"thresholds": {"kill": 0.8}}\' WHERE tenant = $1')

    view = await views.get(tenant.id)

    assert view.status == "active"
    assert (view.tools["sql"].price_micro_usd, view.tools["sql"].kinds) == (250_000, {"/query": "sql:postgres"})
    assert (view.upstreams["db"].credential_ref, view.upstreams["db"].timeout_ms) == ("DB", 5)
    assert (view.quotas["tenant"].rps, view.quotas["tenant"].daily_micro_usd) == (5, 12_500_000)
    contract = view.contracts["agt_a"]
    assert contract.tools_allow == ("sql",) and contract.expires_at == 1_767_225_600_000_000
    assert contract.time_windows is not None and contract.time_windows[0].to_minute == 18 * 60 + 30
    assert view.issuers["iss_1"].algorithms == ("RS256", "ES256")
    assert view.policy == "sha256:aa"
    assert view.revoked == {"jti_gone"} and view.ended_sessions == {"ses_over"}
    assert (view.switches["tool:sql"].epoch, view.switches["tool:sql"].reason) == (3, "because")
    assert view.settings.thresholds.kill == 0.8
    assert view.keys[tenant.admin.id].role == "admin"


async def test_a_refresh_shares_the_tables_without_news(views: Views, tenant: NewTenant, database: Database) -> None:
    before = await views.get(tenant.id)
    async with database.scope(tenant.id) as connection:
        agent = await create_agent(connection, tenant.id, "newcomer")
    after = await views.refresh(tenant.id)
    assert agent.id in after.agents and agent.id not in before.agents
    assert after.version > before.version
    assert after.tools is before.tools and after.switches is before.switches
    assert after.keys[tenant.admin.id] is before.keys[tenant.admin.id]


async def test_what_is_gone_leaves_the_view(views: Views, tenant: NewTenant, write: Write) -> None:
    await write("INSERT INTO control.quotas (tenant, scope, body) VALUES ($1, 'tenant', '{\"rps\": 1}')")
    assert "tenant" in (await views.get(tenant.id)).quotas
    await write("UPDATE control.quotas SET gone = true WHERE tenant = $1")
    assert "tenant" not in (await views.refresh(tenant.id)).quotas


async def test_a_policy_that_is_replaced_or_retired_stops_being_active(
    views: Views, tenant: NewTenant, write: Write
) -> None:
    for digest in ("sha256:a", "sha256:b"):
        await write("INSERT INTO control.bundles (tenant, digest, archive) VALUES ($1, $2, '')", digest)
        await write("INSERT INTO control.policies (tenant, digest, status) VALUES ($1, $2, 'draft')", digest)
    move = "UPDATE control.policies SET status = $3 WHERE tenant = $1 AND digest = $2"
    await write(move, "sha256:a", "active")
    assert (await views.get(tenant.id)).policy == "sha256:a"
    await write(move, "sha256:a", "retired")
    await write(move, "sha256:b", "active")
    assert (await views.refresh(tenant.id)).policy == "sha256:b"
    await write(move, "sha256:b", "retired")
    assert (await views.refresh(tenant.id)).policy is None


async def test_a_row_that_cannot_be_understood_closes_the_tenant_until_it_is_mended(
    views: Views, tenant: NewTenant, write: Write
) -> None:
    await write("INSERT INTO control.contracts (tenant, agent, body) VALUES ($1, 'agt_a', '{\"mode\": \"enforce\"}')")
    await write('UPDATE control.contracts SET body = \'{"expires_at": "soon"}\' WHERE tenant = $1')
    assert (await views.get(tenant.id)).status == "unreadable"
    await write('UPDATE control.contracts SET body = \'{"mode": "shadow"}\' WHERE tenant = $1')
    mended = await views.refresh(tenant.id)
    assert mended.status == "active" and mended.contracts["agt_a"].mode == "shadow"


@pytest.mark.parametrize(
    ("table", "name", "body"),
    [
        ("contracts", "agent", '{"mode": "enforce", "ceilings_of_tomorrow": []}'),
        ("contracts", "agent", '{"mode": "enforce", "approvals": [{"tool": "x", "unless": "y"}]}'),
        (
            "contracts",
            "agent",
            '{"mode": "enforce", "time_windows": [{"days": [], "from": "8", "to": "9", "tz": "UTC"}]}',
        ),
        ("quotas", "scope", '{"rps": 1, "yearly_requests": 5}'),
        ("quotas", "scope", '{"daily_usd": "much"}'),
        ("tools", "name", "{}"),
        ("upstreams", "name", '{"kind": "http"}'),
        ("settings", "name", '{"thresholds": {"kill": 0.5, "maim": 0.4}}'),
    ],
    ids=lambda text: text[:60],
)
async def test_what_this_program_does_not_understand_is_not_passed_over(
    views: Views, tenant: NewTenant, write: Write, table: str, name: str, body: str
) -> None:
    await write(
        f"INSERT INTO control.{table} (tenant, {name}, body) VALUES ($1, 'settings', $2::jsonb)"
        f" ON CONFLICT (tenant, {name}) DO UPDATE SET body = excluded.body",
        body,
    )
    assert (await views.get(tenant.id)).status == "unreadable"
    await write(f"UPDATE control.{table} SET gone = true WHERE tenant = $1")
    assert (await views.refresh(tenant.id)).status == "active"


async def test_a_suspended_tenant_is_seen_as_such(views: Views, tenant: NewTenant, write: Write) -> None:
    await views.get(tenant.id)
    await write("UPDATE control.tenants SET status = 'suspended' WHERE id = $1")
    assert (await views.refresh(tenant.id)).status == "suspended"


async def test_subscribers_hear_of_each_replacement_and_of_nothing_else(
    views: Views, tenant: NewTenant, write: Write
) -> None:
    heard: list[tuple[TenantView | None, TenantView]] = []
    stop = views.subscribe(lambda _, old, new: heard.append((old, new)))
    first = await views.get(tenant.id)
    await views.refresh(tenant.id)
    assert heard == [(None, first)]
    await write("UPDATE control.settings SET body = body WHERE tenant = $1")
    second = await views.refresh(tenant.id)
    assert heard[1:] == [(first, second)]
    stop()
    await write("UPDATE control.settings SET body = body WHERE tenant = $1")
    await views.refresh(tenant.id)
    assert len(heard) == 2


async def test_callers_that_come_together_get_one_view(views: Views, tenant: NewTenant) -> None:
    found = await asyncio.gather(*(views.get(tenant.id) for _ in range(20)))
    assert all(view is found[0] for view in found)
    assert views.peek(tenant.id) is found[0]


async def test_a_version_that_is_not_there_yet_is_an_error_and_the_view_stays(views: Views, tenant: NewTenant) -> None:
    held = await views.get(tenant.id)
    with pytest.raises(ViewUnavailable) as raised:
        await views.refresh(tenant.id, at_least_version=held.version + 1)
    assert raised.value.status == 503
    assert views.peek(tenant.id) is held


async def test_a_view_in_memory_needs_no_database(database: Database, views: Views, tenant: NewTenant) -> None:
    held = await views.get(tenant.id)
    await database.close()
    assert await views.get(tenant.id) is held
    with pytest.raises(ViewUnavailable):
        await views.refresh(tenant.id)
    assert views.peek(tenant.id) is held


async def test_ids_that_cannot_be_tenants_and_ids_known_to_be_unknown_cost_no_query(
    database: Database, views: Views
) -> None:
    absent = "ten_aaaaaaaaaaaaaaaa"
    with pytest.raises(UnknownTenant):
        await views.get(absent)
    await database.close()  # from here on a query would be ViewUnavailable
    for tenant in (absent, "", "ten_", "ten_AAAAAAAAAAAAAAAA", "ten_aaaaaaaaaaaaaaaa\n", "x" * 10_000):
        with pytest.raises(UnknownTenant):
            await views.get(tenant)


async def test_guessed_ids_are_asked_for_only_so_often(database: Database, views: Views) -> None:
    await database.close()
    raised = []
    for letter in "abcdefghijklmnopqrstuvwxyz":
        for digit in "234567":
            with pytest.raises((UnknownTenant, ViewUnavailable)) as error:
                await views.get(f"ten_{letter}{digit}" + "a" * 14)
            raised.append(error.type)
    assert UnknownTenant in raised, "156 guesses within a moment were all looked up"
    assert raised[0] is ViewUnavailable


async def test_a_listed_tenant_is_looked_up_however_many_are_guessed(
    database: Database, views: Views, tenant: NewTenant
) -> None:
    for letter in "abcdefghijklmnop":
        for digit in "2345":
            with pytest.raises(UnknownTenant):
                await views.get(f"ten_{letter}{digit}" + "b" * 14)
    views.list_known([tenant.id])
    assert (await views.get(tenant.id)).tenant == tenant.id


async def test_an_agent_made_elsewhere_just_now_is_looked_for(
    database: Database, views: Views, tenant: NewTenant
) -> None:
    before = await views.get(tenant.id)
    async with database.scope(tenant.id) as connection:
        made = await create_agent(connection, tenant.id, "newcomer")
    assert made.id not in before.agents
    found = await views.with_agent(tenant.id, made.id)
    assert made.id in found.agents
    assert await views.with_agent(tenant.id, None) is found
    await database.close()
    assert await views.with_agent(tenant.id, made.id) is found
    assert await views.with_agent(tenant.id, "agt_nobody") is found
