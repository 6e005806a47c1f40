from __future__ import annotations

import asyncio

import pytest
import pytest_asyncio

from aegis.db.database import Database
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.policy.bundle import build
from aegis.policy.evaluate import BundleMissing
from aegis.policy.store import PolicyStore
from aegis.tenants.accounts import NewTenant, create_tenant


def archive(number: int) -> bytes:
    return build({"rules.rego": f"package tenant.n{number}".encode()}).archive


@pytest.fixture
def store(database: Database) -> PolicyStore:
    return PolicyStore(database)


@pytest_asyncio.fixture
async def other_tenant(database: Database, tenant: NewTenant) -> NewTenant:
    async with database.scope(OPERATOR_TENANT) as connection:
        return await create_tenant(connection, "others")


async def test_what_is_kept_comes_back_byte_for_byte(store: PolicyStore, tenant: NewTenant) -> None:
    digest, status = await store.draft(tenant.id, archive(1))
    assert status == "draft"
    assert await store.fetch(tenant.id, digest) == archive(1)


async def test_a_digest_that_nobody_kept_is_missing(store: PolicyStore, tenant: NewTenant) -> None:
    with pytest.raises(BundleMissing):
        await store.fetch(tenant.id, "sha256:00")
    with pytest.raises(BundleMissing):
        await store.activate(tenant.id, "sha256:00")
    with pytest.raises(BundleMissing):
        await store.roll_back(tenant.id)


async def test_no_tenant_sees_the_bundles_of_another(
    store: PolicyStore, tenant: NewTenant, other_tenant: NewTenant
) -> None:
    digest, _ = await store.draft(tenant.id, archive(1))
    with pytest.raises(BundleMissing):
        await store.fetch(other_tenant.id, digest)
    assert await store.all_of(other_tenant.id) == []


async def test_one_bundle_is_active_and_the_one_before_comes_back(store: PolicyStore, tenant: NewTenant) -> None:
    one, _ = await store.draft(tenant.id, archive(1))
    two, _ = await store.draft(tenant.id, archive(2))
    assert await store.activate(tenant.id, one) is None
    assert await store.activate(tenant.id, two) == one
    assert {kept.digest: kept.status for kept in await store.all_of(tenant.id)} == {one: "retired", two: "active"}
    assert await store.roll_back(tenant.id) == one
    assert {kept.digest: kept.status for kept in await store.all_of(tenant.id)} == {one: "active", two: "retired"}


async def test_a_failed_activation_leaves_the_active_one(store: PolicyStore, tenant: NewTenant) -> None:
    one, _ = await store.draft(tenant.id, archive(1))
    await store.activate(tenant.id, one)
    with pytest.raises(BundleMissing):
        await store.activate(tenant.id, "sha256:00")
    assert [kept.status for kept in await store.all_of(tenant.id)] == ["active"]


async def test_a_bundle_kept_twice_stays_what_it_is(store: PolicyStore, tenant: NewTenant) -> None:
    digest, _ = await store.draft(tenant.id, archive(1))
    await store.activate(tenant.id, digest)
    assert await store.draft(tenant.id, archive(1)) == (digest, "active")


async def test_a_shadow_is_not_active_and_the_active_one_no_shadow(store: PolicyStore, tenant: NewTenant) -> None:
    one, _ = await store.draft(tenant.id, archive(1))
    two, _ = await store.draft(tenant.id, archive(2))
    await store.activate(tenant.id, one)
    await store.shadow(tenant.id, two)
    with pytest.raises(BundleMissing):
        await store.shadow(tenant.id, one)
    assert {kept.digest: kept.status for kept in await store.all_of(tenant.id)} == {one: "active", two: "shadow"}


async def test_activations_at_once_leave_one_active(store: PolicyStore, tenant: NewTenant) -> None:
    digests = [(await store.draft(tenant.id, archive(number)))[0] for number in range(4)]
    await asyncio.gather(*(store.activate(tenant.id, digest) for digest in digests))
    assert sorted(kept.status for kept in await store.all_of(tenant.id)) == ["active", *["retired"] * 3]
