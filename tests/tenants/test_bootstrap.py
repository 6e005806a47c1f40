import asyncio
import base64
import hashlib
import hmac
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from aegis.db.database import Database
from aegis.db.migrate import migrate
from aegis.embedded.servers import EmbeddedServers, ServerOptions
from aegis.kernel import api_key
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.kernel.call import Role
from aegis.kernel.problems import Problem
from aegis.tenants.accounts import NewTenant, create_agent, create_key, create_tenant, create_user, label_of
from aegis.tenants.bootstrap import bootstrap
from aegis.tenants.views import Views


@pytest.fixture
def untouched() -> Iterator[EmbeddedServers]:
    """Servers of the test's own: an installation is made once."""
    folder = Path(tempfile.mkdtemp(prefix="aegis-bootstrap-"))
    try:
        with EmbeddedServers.claim(folder, ServerOptions()) as servers:
            yield servers
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def test_the_first_start_makes_everything_once_even_when_two_start_together(untouched: EmbeddedServers) -> None:
    await migrate(untouched.postgres.owner_url)
    database = await Database.connect(untouched.postgres.url, min_size=1, max_size=4)
    try:
        hashed: list[str] = []

        def hash_password(text: str) -> str:
            hashed.append(text)
            return f"hash of {text}"

        both = await asyncio.gather(
            *(bootstrap(database, url="http://here:1", hash_password=hash_password) for _ in range(2))
        )
        assert [made is None for made in both].count(True) == 1
        made = next(made for made in both if made is not None)
        members = made.members("the-vkey")
        assert members.keys() == {"url", "tenant", "operator", "admin", "agents", "log"}
        assert members["url"] == "http://here:1" and members["log"]["vkey"] == "the-vkey"
        assert "vkey" not in made.members()["log"]
        assert members["admin"]["email"] == "admin@localhost" and members["admin"]["password"] in hashed

        views = Views(database)
        view, installation = await views.get(members["tenant"]), await views.get(OPERATOR_TENANT)
        agent = members["agents"]["default"]
        assert view.agents[agent["id"]].name == "default"
        for holder, token, role in (
            (view, members["admin"]["token"], "admin"),
            (view, agent["token"], "agent"),
            (installation, members["operator"]["token"], "operator"),
        ):
            parsed = api_key.parse_key(token)
            assert parsed is not None and parsed.tenant == holder.tenant
            key = holder.keys[parsed.key]
            assert key.role == role and api_key.matches(holder.label_key, parsed.secret, key.digest)

        async with database.unscoped() as connection:
            name = await connection.fetchval("SELECT name FROM control.installation")
            person = await connection.fetchrow("SELECT * FROM control.user_by_email('ADMIN@localhost')")
        assert person["tenant"] == members["tenant"] and person["role"] == "admin"
        assert person["password_hash"] == f"hash of {members['admin']['password']}"
        async with database.scope(members["tenant"]) as connection:
            head = await connection.fetchrow("SELECT origin, size FROM log.heads")
        assert (head["origin"], head["size"]) == (members["log"]["origin"], 0)
        assert head["origin"] == f"{name}/t/{label_of(view.label_key, view.tenant)}"
        assert name.startswith("aegis-") and name.endswith(".local")

        assert await bootstrap(database, url="", hash_password=hash_password) is None
    finally:
        await database.close()


def test_a_label_is_the_keyed_digest_of_the_tenant() -> None:
    mac = hmac.new(b"k" * 32, b"ten_abc", hashlib.sha256).digest()
    assert label_of(b"k" * 32, "ten_abc") == base64.b32encode(mac).decode().lower()[:26]
    assert label_of(b"j" * 32, "ten_abc") != label_of(b"k" * 32, "ten_abc")


async def test_the_connection_sees_afterwards_what_it_saw(database: Database, tenant: NewTenant) -> None:
    async with database.scope(tenant.id) as connection:
        other = await create_tenant(connection, "second")
        assert await connection.fetchval("SELECT array_agg(id) FROM control.tenants") == [tenant.id]
    async with database.scope(other.id) as connection:
        assert await connection.fetchval("SELECT name FROM control.tenants") == "second"


async def test_a_name_or_address_that_is_taken_is_a_conflict(database: Database, tenant: NewTenant) -> None:
    address = f"{tenant.id}@example.com"
    async with database.scope(tenant.id) as connection:
        await create_agent(connection, tenant.id, "same")
        await create_user(connection, tenant.id, address, Role.VIEWER)
    for make in (
        lambda connection: create_agent(connection, tenant.id, "same"),
        lambda connection: create_user(connection, tenant.id, address.upper(), Role.VIEWER),
    ):
        with pytest.raises(Problem) as raised:
            async with database.scope(tenant.id) as connection:
                await make(connection)
        assert raised.value.status == 409


async def test_only_digests_of_secrets_are_stored(database: Database, tenant: NewTenant) -> None:
    async with database.scope(tenant.id) as connection:
        agent = await create_agent(connection, tenant.id, "secretive")
        key = await create_key(connection, tenant.id, role=Role.VIEWER, subject="usr_x")
        rows = await connection.fetch("SELECT to_jsonb(k)::text AS t FROM control.keys k")
        rows += await connection.fetch("SELECT to_jsonb(a)::text AS t FROM control.agents a")
    stored = "".join(row["t"] for row in rows)
    for token in (agent.secret, agent.token, key.token):
        secret = token.rsplit("_", 1)[1]
        assert len(secret) == 52
        assert secret not in stored and secret not in repr((agent, key))
