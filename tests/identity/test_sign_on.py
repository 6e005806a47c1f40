from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis

from aegis.db.database import Database
from aegis.identity.jws import check, take_apart
from aegis.identity.passwords import hash_password, matches
from aegis.identity.sign_on import SignOn, revoke
from aegis.identity.spent import Spent, SpentUnavailable
from aegis.identity.tokens import TokenSigner
from aegis.kernel.call import Principal, Role
from aegis.kernel.problems import Problem
from aegis.quota.valkey import spent_key
from aegis.tenants.accounts import NewAgent, NewTenant, create_agent, create_user
from aegis.tenants.views import Views

NOW = 1_790_000_000_000_000
PASSWORD = "correct horse battery staple"
HASHED = hash_password(PASSWORD)
SIGNER = TokenSigner(b"s" * 32, "aegis-test.local")


class Clock:
    now = NOW

    def __call__(self) -> int:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sign_on(database: Database, clock: Clock) -> SignOn:
    return SignOn(database, SIGNER, clock)


@pytest.fixture
async def email(database: Database, tenant: NewTenant) -> str:
    address = f"{tenant.id}@example.com"
    async with database.scope(tenant.id) as connection:
        await create_user(connection, tenant.id, address, Role.SECURITY, password_hash=HASHED)
    return address


@pytest.fixture
async def agent(database: Database, tenant: NewTenant) -> NewAgent:
    async with database.scope(tenant.id) as connection:
        return await create_agent(connection, tenant.id, "a")


def claims_of(text: str) -> dict[str, object]:
    token = take_apart(text)
    check(token, SIGNER.key)
    return token.claims


async def test_a_person_signs_on_with_address_and_password(sign_on: SignOn, email: str, tenant: NewTenant) -> None:
    issued = await sign_on.person(email.upper(), PASSWORD, peer="p")
    claims = claims_of(issued.text)
    assert (claims["tenant"], claims["role"]) == (tenant.id, "security")
    assert claims["exp"] == NOW // 1_000_000 + 3600


async def test_an_agent_signs_on_with_id_and_secret(sign_on: SignOn, agent: NewAgent, tenant: NewTenant) -> None:
    claims = claims_of((await sign_on.agent(agent.id, agent.secret, peer="p")).text)
    assert (claims["tenant"], claims["role"], claims["agent"]) == (tenant.id, "agent", agent.id)


async def refusal(sign_on: SignOn, name: str, secret: str, *, peer: str = "p") -> tuple[int, str, str]:
    ask = sign_on.agent if name.startswith("agt_") else sign_on.person
    with pytest.raises(Problem) as raised:
        await ask(name, secret, peer=peer)
    return raised.value.status, raised.value.code, raised.value.detail


async def test_what_fails_fails_alike(sign_on: SignOn, email: str, agent: NewAgent, tenant: NewTenant) -> None:
    secret = agent.secret
    refused = {
        await refusal(sign_on, email, "wrong", peer="1"),
        await refusal(sign_on, "nobody@example.com", PASSWORD, peer="2"),
        await refusal(sign_on, "", PASSWORD, peer="3"),
        await refusal(sign_on, email, "x" * 5000, peer="4"),
        await refusal(sign_on, "a\x00@example.com", PASSWORD, peer="5"),
        await refusal(sign_on, agent.id, secret[:-1] + ("a" if secret[-1] != "a" else "b"), peer="6"),
        await refusal(sign_on, "agt_aaaaaaaaaaaaaaaa", secret, peer="7"),
        await refusal(sign_on, agent.id, agent.token, peer="8"),
        await refusal(sign_on, agent.id, "", peer="9"),
        await refusal(sign_on, "agt_\x00", secret, peer="10"),
    }
    assert refused == {(401, "auth.sign_on", "the credentials do not match")}


async def test_a_person_without_a_password_and_one_who_left_cannot_sign_on(
    sign_on: SignOn, email: str, tenant: NewTenant, database: Database
) -> None:
    async with database.scope(tenant.id) as connection:
        await create_user(connection, tenant.id, "sso-" + email, Role.VIEWER)
        await connection.execute("UPDATE control.users SET gone = true WHERE email = $1", email)
    assert (await refusal(sign_on, "sso-" + email, "", peer="1"))[0] == 401
    assert (await refusal(sign_on, email, PASSWORD, peer="2"))[0] == 401


async def test_guessing_costs_longer_and_longer_waits(sign_on: SignOn, agent: NewAgent, clock: Clock) -> None:
    for _ in range(6):
        assert (await refusal(sign_on, agent.id, "wrong"))[0] == 401
    assert (await refusal(sign_on, agent.id, agent.secret))[0] == 429
    clock.now += 1_000_000
    assert (await refusal(sign_on, agent.id, "wrong"))[0] == 401
    clock.now += 1_000_000
    with pytest.raises(Problem) as raised:
        await sign_on.agent(agent.id, agent.secret, peer="p")
    assert (raised.value.status, raised.value.retry_after_s) == (429, 1)
    assert claims_of((await sign_on.agent(agent.id, agent.secret, peer="another")).text)["sub"] == agent.id
    clock.now += 1_000_000
    assert claims_of((await sign_on.agent(agent.id, agent.secret, peer="p")).text)["sub"] == agent.id


async def test_guesses_at_many_accounts_from_one_place_cost_a_wait_too(sign_on: SignOn, agent: NewAgent) -> None:
    for number in range(51):
        assert (await refusal(sign_on, f"agt_{number}", "wrong"))[0] == 401
    assert (await refusal(sign_on, agent.id, agent.secret))[0] == 429
    assert claims_of((await sign_on.agent(agent.id, agent.secret, peer="elsewhere")).text)["sub"] == agent.id


async def test_a_store_that_is_away_is_said_to_be(sign_on: SignOn, agent: NewAgent, database: Database) -> None:
    await database.close()
    assert (await refusal(sign_on, agent.id, agent.secret))[0] == 503
    assert (await refusal(sign_on, "ann@example.com", PASSWORD))[0] == 503


async def test_a_revoked_credential_is_in_the_view_at_once(database: Database, tenant: NewTenant) -> None:
    views = Views(database)
    await views.get(tenant.id)
    async with database.scope(tenant.id) as connection:
        await revoke(connection, tenant.id, "jti_x", NOW)
        await revoke(connection, tenant.id, "jti_x")
        await revoke(connection, tenant.id, "jti_x", NOW)
        await revoke(connection, tenant.id, tenant.admin.id)
        await revoke(connection, tenant.id, "jti_past", 1_000_000)
    view = await views.refresh(tenant.id)
    assert view.revoked == {"jti_x", tenant.admin.id}
    assert view.keys[tenant.admin.id].revoked


def test_a_password_matches_its_own_hash_and_nobodys_never() -> None:
    assert HASHED.startswith("$argon2id$") and PASSWORD not in HASHED
    assert matches(HASHED, PASSWORD)
    assert not matches(HASHED, PASSWORD + " ")
    assert not matches(None, PASSWORD)
    assert not matches("no hash", PASSWORD)


# single-use tokens


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    opened = Redis.from_url(valkey_url)
    yield opened
    await opened.aclose()


def single_use(tenant: str, **changes: object) -> Principal:
    given = {"credential": "jti_1", "single_use": True, "expires_at": NOW + 60_000_000, **changes}
    return Principal(tenant, "agt_a", Role.AGENT, agent="agt_a", **given)  # type: ignore[arg-type]


async def test_a_single_use_token_is_accepted_once(client: Redis, clock: Clock, tenant: NewTenant) -> None:
    one, other = Spent(client, clock, spent_key), Spent(client, clock, spent_key)
    assert await one.is_replayed(single_use(tenant.id)) is False
    assert await other.is_replayed(single_use(tenant.id)) is True
    assert await one.is_replayed(single_use("ten_other" + tenant.id)) is False
    assert await one.is_replayed(single_use(tenant.id, credential="jti_2")) is False


async def test_other_tokens_are_accepted_again_and_again(client: Redis, clock: Clock, tenant: NewTenant) -> None:
    spent = Spent(client, clock, spent_key)
    for _ in range(3):
        assert await spent.is_replayed(single_use(tenant.id, single_use=False)) is False


async def test_a_single_use_token_that_outlives_the_window_is_refused(
    client: Redis, clock: Clock, tenant: NewTenant
) -> None:
    spent = Spent(client, clock, spent_key)
    assert await spent.is_replayed(single_use(tenant.id, expires_at=NOW + 25 * 3600 * 1_000_000)) is True
    assert await spent.is_replayed(single_use(tenant.id, expires_at=None)) is True


async def test_without_the_store_a_single_use_token_is_not_accepted(clock: Clock, tenant: NewTenant) -> None:
    with pytest.raises(SpentUnavailable):
        await Spent(Redis.from_url("unix:///nowhere/valkey.sock"), clock, spent_key).is_replayed(single_use(tenant.id))
