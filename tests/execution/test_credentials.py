"""Credentials: one tenant's refs never reach another's secrets, and a value is never shown."""

from __future__ import annotations

import copy
import json
import os
import pickle
from pathlib import Path

import pytest

from aegis.db.database import Database
from aegis.execution.credentials import (
    CredentialError,
    Credentials,
    EnvironmentSecrets,
    FileSecrets,
    SealedSecrets,
    Secret,
    seal,
    unseal,
)
from aegis.tenants.accounts import create_tenant

ALPHA, BETA = "ten_aaaaaaaaaaaaaaaa", "ten_bbbbbbbbbbbbbbbb"
KEY = bytes(range(32))
HOSTILE_REFS = [
    "", ".", "..", "../x", f"../{BETA}/crm", "/etc/passwd", "a/b", "a\\b", "a\0b", "a b", "_a", "-a", ".a", "ä", "a\n",
    "x" * 65, "$HOME", "%2e%2e",
]  # fmt: skip


def test_a_secret_prints_as_nothing() -> None:
    secret = Secret("s3cret")
    shown = [repr(secret), str(secret), f"{secret}", f"{secret!r:>20}", repr([secret]), repr({1: secret})]
    assert not any("s3cret" in text for text in shown)
    assert "s3cret" not in repr(secret.fingerprint())
    assert secret.reveal() == "s3cret"


def test_a_secret_does_not_leave_its_process() -> None:
    for leave in (pickle.dumps, copy.deepcopy, json.dumps):
        with pytest.raises(TypeError):
            leave(Secret("s3cret"))


def test_secrets_compare_by_value() -> None:
    assert Secret("a") == Secret("a") != Secret("b")
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2
    assert Secret("a") != "a"


@pytest.mark.parametrize("ref", HOSTILE_REFS)
async def test_a_ref_that_is_no_plain_name_is_refused_before_any_store(ref: str, tmp_path: Path) -> None:
    (tmp_path / BETA).mkdir()
    (tmp_path / BETA / "crm").write_text("beta's")
    with pytest.raises(CredentialError):
        await Credentials(FileSecrets(tmp_path), EnvironmentSecrets({})).resolve(ALPHA, ref)


async def test_the_environment_names_the_whole_tenant() -> None:
    store = EnvironmentSecrets({f"AEGIS_SECRET_{ALPHA.upper()}_CRM_KEY": "alpha's"})
    for ref in ("crm_key", "crm-key", "CRM.key"):
        assert await store.find(ALPHA, ref) == Secret("alpha's")
    assert await store.find(BETA, "crm_key") is None
    assert await store.find(ALPHA, "crm") is None


@pytest.mark.parametrize(
    ("tenant", "ref"),
    [
        pytest.param("ten", "aaaaaaaaaaaaaaaa_crm", id="a tenant named like the prefix"),
        pytest.param("ten_aaaaaaaa", "aaaaaaaa_crm", id="a tenant named like the beginning"),
        pytest.param("ten_aaaaaaaaaaaaaaaa_crm", "x", id="a tenant named like tenant and ref"),
        pytest.param("ten-aaaaaaaaaaaaaaaa", "crm", id="a tenant with another mark"),
        pytest.param("", "ten_aaaaaaaaaaaaaaaa_crm", id="no tenant"),
    ],
)
async def test_no_ref_of_another_tenant_spells_the_same_variable(tenant: str, ref: str) -> None:
    names = {f"AEGIS_SECRET_{ALPHA.upper()}_CRM": "alpha's", f"AEGIS_SECRET_{ALPHA.upper()}_CRM_X": "alpha's"}
    assert await EnvironmentSecrets(names).find(tenant, ref) is None


async def test_only_secrets_are_read_from_the_environment() -> None:
    store = EnvironmentSecrets(
        {"PATH": "x", "AEGIS_DATABASE_URL": "postgresql://", f"AEGIS_SECRET_{ALPHA.upper()}_A": ""}
    )
    assert [await store.find(ALPHA, ref) for ref in ("PATH", "DATABASE_URL", "a")] == [None, None, None]


def private(path: Path, text: str | bytes = "s3cret\n") -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    path.chmod(0o600)
    return path


async def test_a_file_is_found_below_its_tenant(tmp_path: Path) -> None:
    private(tmp_path / ALPHA / "crm")
    store = FileSecrets(tmp_path)
    assert await store.find(ALPHA, "crm") == Secret("s3cret")
    assert await store.find(BETA, "crm") is None
    assert await store.find(ALPHA, "other") is None
    assert await FileSecrets(tmp_path / "none").find(ALPHA, "crm") is None
    private(tmp_path / ALPHA / "crm", "rotated")
    assert await store.find(ALPHA, "crm") == Secret("rotated")


async def test_files_reached_through_links_are_refused(tmp_path: Path) -> None:
    (tmp_path / "secrets").mkdir()
    beta = private(tmp_path / "secrets" / BETA / "crm")
    store = FileSecrets(tmp_path / "secrets")
    (tmp_path / "secrets" / ALPHA).mkdir()
    (tmp_path / "secrets" / ALPHA / "soft").symlink_to(beta)
    os.link(beta, tmp_path / "secrets" / ALPHA / "hard")
    (tmp_path / "secrets" / "ten_linked").symlink_to(beta.parent)
    for tenant, ref in ((ALPHA, "soft"), (ALPHA, "hard"), ("ten_linked", "crm")):
        with pytest.raises(CredentialError):
            await store.find(tenant, ref)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644, 0o666])
async def test_a_file_that_others_may_read_is_refused(tmp_path: Path, mode: int) -> None:
    private(tmp_path / ALPHA / "crm").chmod(mode)
    with pytest.raises(CredentialError):
        await FileSecrets(tmp_path).find(ALPHA, "crm")


@pytest.mark.parametrize("body", [b"", b"\xff", b"x" * 65_537])
async def test_a_file_that_holds_no_secret_is_refused(tmp_path: Path, body: bytes) -> None:
    private(tmp_path / ALPHA / "crm", body)
    with pytest.raises(CredentialError):
        await FileSecrets(tmp_path).find(ALPHA, "crm")


async def test_folders_and_pipes_are_no_secrets(tmp_path: Path) -> None:
    (tmp_path / ALPHA / "folder").mkdir(parents=True, mode=0o700)
    os.mkfifo(tmp_path / ALPHA / "pipe", 0o600)
    for ref in ("folder", "pipe"):
        with pytest.raises(CredentialError):
            await FileSecrets(tmp_path).find(ALPHA, ref)


def test_a_seal_opens_with_its_own_tenant_ref_and_key_only() -> None:
    sealed = seal(KEY, ALPHA, "crm", "s3cret")
    assert unseal(KEY, ALPHA, "crm", sealed) == "s3cret"
    assert b"s3cret" not in sealed and sealed != seal(KEY, ALPHA, "crm", "s3cret")
    for key, tenant, ref in ((KEY, BETA, "crm"), (KEY, ALPHA, "crm2"), (KEY[::-1], ALPHA, "crm")):
        with pytest.raises(CredentialError):
            unseal(key, tenant, ref, sealed)


def test_a_changed_seal_does_not_open() -> None:
    sealed = seal(KEY, ALPHA, "crm", "s3cret")
    for at in range(len(sealed)):
        with pytest.raises(CredentialError):
            unseal(KEY, ALPHA, "crm", sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :])
    for short in (b"", sealed[:20], sealed[:81], sealed[:-1]):
        with pytest.raises(CredentialError):
            unseal(KEY, ALPHA, "crm", short)


@pytest.fixture
async def tenants(database: Database) -> tuple[str, str]:
    async with database.unscoped() as connection:
        await connection.execute("INSERT INTO control.installation (name) VALUES ('test.local') ON CONFLICT DO NOTHING")
    async with database.scope("") as connection:
        return (await create_tenant(connection, "alpha")).id, (await create_tenant(connection, "beta")).id


async def test_secrets_in_the_database_are_sealed_and_apart(database: Database, tenants: tuple[str, str]) -> None:
    alpha, beta = tenants
    store = SealedSecrets(database, KEY)
    await store.put(alpha, "crm", "alpha's")
    assert await store.find(alpha, "crm") == Secret("alpha's")
    assert await store.find(beta, "crm") is None
    async with database.scope(alpha) as connection:
        sealed = await connection.fetchval("SELECT sealed FROM control.secrets")
    assert b"alpha's" not in sealed

    async with database.scope(beta) as connection:
        await connection.execute(
            "INSERT INTO control.secrets (tenant, ref, sealed) VALUES ($1, 'crm', $2)", beta, sealed
        )
    with pytest.raises(CredentialError):
        await store.find(beta, "crm")

    await store.put(alpha, "crm", "rotated")
    assert await store.find(alpha, "crm") == Secret("rotated")
    await store.remove(alpha, "crm")
    assert await store.find(alpha, "crm") is None


@pytest.mark.parametrize(("ref", "value"), [("../x", "v"), ("crm", ""), ("crm", "x" * 65_537)])
async def test_the_database_takes_plain_names_and_bounded_values(database: Database, ref: str, value: str) -> None:
    with pytest.raises(CredentialError):
        await SealedSecrets(database, KEY).put(ALPHA, ref, value)


async def test_the_first_store_that_has_a_name_wins(tmp_path: Path) -> None:
    private(tmp_path / ALPHA / "crm", "the file's")
    names = {f"AEGIS_SECRET_{ALPHA.upper()}_{name}": "the environment's" for name in ("CRM", "MAIL")}
    credentials = Credentials(FileSecrets(tmp_path), EnvironmentSecrets(names))
    assert await credentials.resolve(ALPHA, "crm") == Secret("the file's")
    assert await credentials.resolve(ALPHA, "mail") == Secret("the environment's")
    with pytest.raises(CredentialError) as raised:
        await credentials.resolve(ALPHA, "none")
    assert "environment" not in str(raised.value) and "none" not in str(raised.value)
