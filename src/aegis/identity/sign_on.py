"""Signing on: people with address and password, agents with id and secret; both get a token for an hour.

What fails, fails alike: an unknown address takes as long as a wrong password and is answered with the same words.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncpg

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.identity.guesses import FREE_FOR_PEER, Guesses
from aegis.identity.passwords import PasswordChecks, TooManyAtOnce
from aegis.identity.tokens import IssuedToken, TokenSigner
from aegis.kernel import api_key
from aegis.kernel.call import Role
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.problems import Problem

SQL = statements("aegis.identity", "sign_on.sql")
LOOK_UP_S = 2.0
_NOBODY = b"\x00" * 32
_STORE_ERRORS = (TimeoutError, OSError, asyncpg.PostgresError, asyncpg.InterfaceError)


class SignOn:
    """`peer` is where the caller comes from: guesses are counted by account and by peer."""

    def __init__(self, database: Database, signer: TokenSigner, clock: Callable[[], MicroSeconds]) -> None:
        self._database, self._signer, self._clock = database, signer, clock
        self._passwords = PasswordChecks()
        self._by_account, self._by_peer = Guesses(), Guesses(FREE_FOR_PEER)

    async def person(self, email: str, password: str, *, peer: str) -> IssuedToken:
        """Raises Problem 401, 429 with `retry_after`, or 503."""
        account = f"person:{email.lower()[:255]}:{peer}"
        self._wait(account, peer)
        record = None
        if 0 < len(email) <= 255 and "\x00" not in email:
            try:
                async with asyncio.timeout(LOOK_UP_S), self._database.unscoped() as connection:
                    record = await connection.fetchrow(SQL.user_by_email, email)
            except _STORE_ERRORS as error:
                raise _unavailable() from error
        try:
            is_right = await self._passwords.matches(record["password_hash"] if record else None, password)
        except TooManyAtOnce:
            raise Problem(429, "auth.throttled", "too many sign-ons at once", retry_after_s=1) from None
        if not is_right or record is None:
            raise self._refused(account, peer)
        self._by_account.succeeded(account)
        return self._signer.issue(
            tenant=record["tenant"], subject=record["id"], role=Role(record["role"]), now=self._clock()
        )

    async def agent(self, agent: str, secret: str, *, peer: str) -> IssuedToken:
        """Raises Problem 401, 429 with `retry_after`, or 503. Whether the agent may act is stage 1's."""
        account = f"agent:{agent[:64]}:{peer}"
        self._wait(account, peer)
        parsed, record = api_key.parse_agent_secret(secret), None
        if parsed is not None and len(agent) <= 64 and agent.isascii() and "\x00" not in agent:
            try:
                async with asyncio.timeout(LOOK_UP_S), self._database.scope(parsed.tenant) as connection:
                    record = await connection.fetchrow(SQL.agent_secret, parsed.tenant, agent)
            except _STORE_ERRORS as error:
                raise _unavailable() from error
        given = parsed.secret if parsed is not None else ""
        stored = record["secret_digest"] if record is not None else None
        is_right = api_key.matches(record["label_key"] if record else _NOBODY, given, stored or _NOBODY)
        if not is_right or stored is None or parsed is None:
            raise self._refused(account, peer)
        self._by_account.succeeded(account)
        return self._signer.issue(tenant=parsed.tenant, subject=agent, role=Role.AGENT, now=self._clock(), agent=agent)

    def _wait(self, account: str, peer: str) -> None:
        now = self._clock()
        wait_us = max(self._by_account.wait_us(account, now), self._by_peer.wait_us(peer, now))
        if wait_us > 0:
            raise Problem(429, "auth.throttled", "too many failed sign-ons", retry_after_s=-(-wait_us // 1_000_000))

    def _refused(self, account: str, peer: str) -> Problem:
        self._by_account.failed(account, self._clock())
        self._by_peer.failed(peer, self._clock())
        return Problem(401, "auth.sign_on", "the credentials do not match")


async def revoke(connection: Connection, tenant: str, credential: str, expires_at: MicroSeconds | None = None) -> None:
    """Ends a credential (key id, `jti`, or `subject:{id}` for everything of one subject) in the caller's transaction.

    Every process knows within the second; `expires_at` says when the revocation itself may be forgotten.
    """
    await connection.execute(SQL.revoke, tenant, credential, expires_at)
    if credential.startswith("key_"):
        await connection.fetchval(SQL.revoke_key, tenant, credential)


def _unavailable() -> Problem:
    return Problem(503, "auth.unavailable", "sign-on couldn't be checked", retry_after_s=1)
