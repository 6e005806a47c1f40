"""Credentials of upstreams: a `ref` resolves in its own tenant's namespace only, and the value is never shown.

Three stores, asked in this order; the first that has the name wins:

- the database: sealed with AES-256-GCM under a data key of its own, which is wrapped with the installation's vault
  key; both seals are bound to tenant and ref, so a row copied to another tenant doesn't open;
- files `<directory>/<tenant>/<ref>`, regular files of mode 0600 that are reached through no link;
- the environment: `AEGIS_SECRET_<TENANT>_<REF>`, the whole tenant id and the ref in upper case, `-` and `.` as `_`.

A ref has 1 to 64 characters of `A-Z a-z 0-9 _ - .` and begins with a letter or digit. The environment serves only
tenants whose id has the minted form (a prefix, `_`, 16 letters or digits): there the tenant's part of the name has a
fixed length, so no ref of one tenant can spell the name of another's secret.

The value's forms, for HTTP: `bearer:<token>`, `basic:<user>:<password>`, `header:<Name>:<value>`, any of them as an
object with the certificate authority that alone is trusted, `{"bearer": "<token>", "ca": "<PEM>"}`; anything else is a
bearer token. For SQL: `<user>:<password>`, or a password alone for the user of the URL.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn, Protocol

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from aegis.db.database import Database
from aegis.db.statements import statements

MAX_SECRET_BYTES = 64 * 1024
_REF = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}")
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9_\-]{0,63}")
_MINTED_TENANT = re.compile(r"[A-Za-z0-9]+_[A-Za-z0-9]{16}")
_SQL = statements("aegis.execution", "credentials.sql")
_VERSION = b"\x01"


class CredentialError(Exception):
    """A credential can't be used; the message names neither value nor path."""


class Secret:
    """A credential's value. Prints, formats and compares without giving it away; `reveal` is the one way out."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def fingerprint(self) -> bytes:
        """Tells two values apart within this process; no way back to the value."""
        return hmac.digest(_PROCESS_KEY, self._value.encode("utf-8"), "sha256")

    def __repr__(self) -> str:
        return "Secret(...)"

    __str__ = __repr__

    def __format__(self, form: str) -> str:
        return "Secret(...)"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self.fingerprint(), other.fingerprint())

    def __hash__(self) -> int:
        return hash(self.fingerprint())

    def __reduce__(self) -> NoReturn:
        raise TypeError("couldn't pickle a secret: it stays in its process")


_PROCESS_KEY = os.urandom(32)


class Store(Protocol):
    async def find(self, tenant: str, ref: str) -> Secret | None:
        """The tenant's own secret of that name. Raises CredentialError when it is there but can't be used."""
        ...


class Credentials:
    """Resolves refs over the stores in their order."""

    def __init__(self, *stores: Store) -> None:
        self._stores = stores

    async def resolve(self, tenant: str, ref: str) -> Secret:
        """Raises CredentialError for a malformed ref and for one that no store has."""
        if not _REF.fullmatch(ref) or not _TENANT.fullmatch(tenant):
            raise CredentialError("couldn't resolve the credential: expected a plain name")
        for store in self._stores:
            found = await store.find(tenant, ref)
            if found is not None:
                return found
        raise CredentialError("couldn't resolve the credential: expected a secret of that name")


class EnvironmentSecrets:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    async def find(self, tenant: str, ref: str) -> Secret | None:
        if not _MINTED_TENANT.fullmatch(tenant):
            return None
        name = f"AEGIS_SECRET_{tenant}_{re.sub(r'[-.]', '_', ref)}".upper()
        value = self._environment.get(name)
        return Secret(value) if value else None


class FileSecrets:
    """Looks at the files of `directory` anew for each call, so that a rotated secret is used at once."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    async def find(self, tenant: str, ref: str) -> Secret | None:
        try:
            value = _read_unlinked(self._directory, tenant, ref)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise CredentialError("couldn't read the credential: expected a plain file in a plain folder") from error
        return Secret(value)


class SealedSecrets:
    """Secrets in control.secrets. `vault_key` has 32 bytes."""

    def __init__(self, database: Database, vault_key: bytes) -> None:
        self._database = database
        self._vault_key = vault_key

    async def find(self, tenant: str, ref: str) -> Secret | None:
        try:
            async with self._database.scope(tenant) as connection:
                sealed = await connection.fetchval(_SQL.find_secret, tenant, ref)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise CredentialError("couldn't read the credential: the store is away") from error
        return None if sealed is None else Secret(unseal(self._vault_key, tenant, ref, sealed))

    async def put(self, tenant: str, ref: str, value: str) -> None:
        """Stores or replaces. Raises CredentialError for a malformed ref or an oversized value."""
        if not _REF.fullmatch(ref) or not 0 < len(value.encode("utf-8")) <= MAX_SECRET_BYTES:
            raise CredentialError("couldn't store the credential: expected a plain name and at most 64 KiB")
        sealed = seal(self._vault_key, tenant, ref, value)
        async with self._database.scope(tenant) as connection:
            await connection.execute(_SQL.put_secret, tenant, ref, sealed)

    async def remove(self, tenant: str, ref: str) -> None:
        async with self._database.scope(tenant) as connection:
            await connection.execute(_SQL.remove_secret, tenant, ref)


def seal(vault_key: bytes, tenant: str, ref: str, value: str) -> bytes:
    """version (1), id of the vault key (8), nonce (12), wrapped data key (48), nonce (12), sealed value (n + 16)."""
    data_key = AESGCM.generate_key(256)
    head = _VERSION + _key_id(vault_key)
    wrap_nonce, nonce = os.urandom(12), os.urandom(12)
    wrapped = AESGCM(vault_key).encrypt(wrap_nonce, data_key, _bound(head, tenant, ref))
    return (
        head
        + wrap_nonce
        + wrapped
        + nonce
        + AESGCM(data_key).encrypt(nonce, value.encode("utf-8"), _bound(head, tenant, ref))
    )


def unseal(vault_key: bytes, tenant: str, ref: str, sealed: bytes) -> str:
    """Raises CredentialError when the seal was made for another tenant, ref or vault key, or was changed."""
    head, wrap_nonce, wrapped, nonce, rest = sealed[:9], sealed[9:21], sealed[21:69], sealed[69:81], sealed[81:]
    if head != _VERSION + _key_id(vault_key):
        raise CredentialError("couldn't open the credential: expected one sealed with this installation's vault key")
    try:
        data_key = AESGCM(vault_key).decrypt(wrap_nonce, wrapped, _bound(head, tenant, ref))
        return AESGCM(data_key).decrypt(nonce, rest, _bound(head, tenant, ref)).decode("utf-8")
    except (InvalidTag, ValueError):
        raise CredentialError("couldn't open the credential: its seal is broken") from None


def _bound(head: bytes, tenant: str, ref: str) -> bytes:
    return b"\0".join((b"aegis.secret", head.hex().encode(), tenant.encode(), ref.encode()))


def _key_id(vault_key: bytes) -> bytes:
    return hashlib.sha256(b"aegis.vault\0" + vault_key).digest()[:8]


def _read_unlinked(directory: Path, tenant: str, ref: str) -> str:
    """Reads `directory/tenant/ref` step by step, following no symbolic link below `directory`."""
    base = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folder = os.open(tenant, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=base)
    finally:
        os.close(base)
    try:
        file = os.open(ref, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    finally:
        os.close(folder)
    try:
        return _read_private(file)
    finally:
        os.close(file)


def _read_private(file: int) -> str:
    held = os.fstat(file)
    if not stat.S_ISREG(held.st_mode) or held.st_nlink != 1:
        raise CredentialError("couldn't read the credential: expected a regular file with one name")
    if held.st_mode & 0o077:
        raise CredentialError("couldn't read the credential: expected a file of mode 0600")
    body = os.read(file, MAX_SECRET_BYTES + 1)
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise CredentialError("couldn't read the credential: expected UTF-8") from None
    if not 0 < len(body) <= MAX_SECRET_BYTES:
        raise CredentialError("couldn't read the credential: expected 1 byte to 64 KiB")
    return text.removesuffix("\n").removesuffix("\r")
