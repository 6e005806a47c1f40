"""The credential's signature, before the pipeline: a principal, or 401.

What is checked here: that the credential is genuine, meant for Aegis, within its time and its tenant's. Revocation,
replay and role are stage 1's, because they are findings with a row; a forged credential never gets that far.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aegis.identity import claims as meaning
from aegis.identity.issuers import IssuerDirectory, IssuersUnavailable
from aegis.identity.jwks import KeySets, KeysUnavailable
from aegis.identity.jws import MAX_TOKEN_BYTES, Refused, Token, VerifyKey, check, take_apart
from aegis.kernel import api_key
from aegis.kernel.call import Principal, Role
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.problems import Problem
from aegis.kernel.tenancy import ApiKey, Issuer, TenantView, UnknownTenant

MAX_REMEMBERED = 20_000
_NO_SUCH_KEY = b"\x00" * 32


class ViewSource(Protocol):
    def peek(self, tenant: str) -> TenantView | None: ...
    async def get(self, tenant: str) -> TenantView: ...
    async def with_agent(self, tenant: str, agent: str | None) -> TenantView: ...


@dataclass(slots=True)
class _Verified:
    """Good as long as the view still holds `source`, the very key or issuer that it was verified with."""

    principal: Principal
    source: ApiKey | Issuer | None
    expires_at: MicroSeconds | None
    view: TenantView


class Authenticator:
    """`own` verifies tokens whose `iss` is `own_issuer`; issuers of tenants come through `issuers` and `key_sets`."""

    def __init__(
        self,
        views: ViewSource,
        *,
        own: VerifyKey,
        own_issuer: str,
        audience: str,
        issuers: IssuerDirectory,
        key_sets: KeySets,
        clock: Callable[[], MicroSeconds],
    ) -> None:
        self._views, self._own, self._own_issuer, self._audience = views, own, own_issuer, audience
        self._issuers, self._key_sets, self._clock = issuers, key_sets, clock
        self._verified: OrderedDict[bytes, _Verified] = OrderedDict()
        self.failures: Counter[str] = Counter()
        """Refusals by code, for the metrics: callers without a valid credential leave nothing else behind."""

    async def authenticate(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Whose credential `headers` (names in lower case) bear. Raises Problem 401, or 503 when it can't be known.

        Takes `Authorization: Bearer <token or key>` and `x-api-key: <key or token>`.
        """
        try:
            text = credential_in(headers)
            digest = hashlib.sha256(text.encode("ascii")).digest()
            found = self._remembered(digest)
            return found if found is not None else await self._verify(text, digest)
        except Refused as refused:
            self.failures[refused.code] += 1
            raise Problem(401, refused.code, str(refused)) from None
        except (KeysUnavailable, IssuersUnavailable):
            self.failures["auth.unavailable"] += 1
            raise Problem(503, "auth.unavailable", "the credential couldn't be checked", retry_after_s=1) from None

    async def person(self, tenant: str, id_token: str) -> meaning.Person:
        """The human that an ID token of one of the tenant's issuers is about. Raises Problem 422 or 503."""
        try:
            token = take_apart(id_token)
            issuer, of_tenant, _ = await self._issuer_of(token)
            if of_tenant != tenant:
                raise Refused("auth.tenant", "the token's issuer belongs to another tenant")
            await self._check_foreign(token, issuer)
            return meaning.person(token.claims)
        except Refused as refused:
            raise Problem(422, "session.id_token", f"the ID token was refused: {refused}") from None
        except (KeysUnavailable, IssuersUnavailable):
            raise Problem(503, "auth.unavailable", "the ID token couldn't be checked", retry_after_s=1) from None

    # what is known

    def _remembered(self, digest: bytes) -> Principal | None:
        held = self._verified.get(digest)
        if held is None:
            return None
        if held.expires_at is not None and self._clock() >= held.expires_at + meaning.LEEWAY_US:
            del self._verified[digest]
            return None
        view = self._views.peek(held.principal.tenant)
        if view is not held.view:
            if view is None or not _still_holds(view, held.source):
                del self._verified[digest]
                return None
            held.view = view
        self._verified.move_to_end(digest)
        return held.principal

    def _remember(self, digest: bytes, verified: _Verified) -> Principal:
        self._verified[digest] = verified
        if len(self._verified) > MAX_REMEMBERED:
            self._verified.popitem(last=False)
        return verified.principal

    # what is new

    async def _verify(self, text: str, digest: bytes) -> Principal:
        if text.startswith("aegis_"):
            return self._remember(digest, await self._api_key(text))
        token = take_apart(text)
        if token.claims.get("iss") == self._own_issuer:
            return self._remember(digest, await self._own_token(token))
        issuer, tenant, view = await self._issuer_of(token)
        await self._check_foreign(token, issuer)
        principal = meaning.foreign_principal(token.claims, issuer, tenant, digest.hex()[:32])
        return self._remember(digest, _Verified(principal, issuer, principal.expires_at, view))

    async def _api_key(self, text: str) -> _Verified:
        parsed = api_key.parse_key(text)
        if parsed is None:
            raise Refused("auth.malformed", "expected an API key as it was issued")
        view = await self._view(parsed.tenant)
        key = view.keys.get(parsed.key)
        if not api_key.matches(view.label_key, parsed.secret, key.digest if key else _NO_SUCH_KEY) or key is None:
            raise Refused("auth.key", "the API key is not known")
        role = Role(key.role)
        if (role is Role.OPERATOR) != (parsed.tenant == api_key.OPERATOR_TENANT):
            raise Refused("auth.key", "the API key has no role in its tenant")
        principal = Principal(parsed.tenant, key.subject, role, agent=key.agent, credential=key.id)
        return _Verified(principal, key, None, view)

    async def _own_token(self, token: Token) -> _Verified:
        if token.kid != self._own.kid:
            raise Refused("auth.key_unknown", "the token was signed with another key")
        check(token, self._own)
        meaning.check_audience(token.claims, self._audience)
        meaning.check_times(token.claims, self._clock())
        principal = meaning.own_principal(token.claims, self._own_issuer)
        view = await self._view(principal.tenant, principal.agent)
        return _Verified(principal, None, principal.expires_at, view)

    async def _issuer_of(self, token: Token) -> tuple[Issuer, str, TenantView]:
        name = token.claims.get("iss")
        tenant = await self._issuers.tenant_of(name) if isinstance(name, str) else None
        if tenant is not None:
            view = await self._view(tenant)
            for issuer in view.issuers.values():
                if issuer.issuer == name:
                    return issuer, tenant, view
        raise Refused("auth.issuer", "the token's issuer is not configured")

    async def _check_foreign(self, token: Token, issuer: Issuer) -> None:
        check(token, await self._key_sets.key(issuer, token.kid, token.algorithm))
        meaning.check_audience(token.claims, issuer.audience)
        meaning.check_times(token.claims, self._clock())

    async def _view(self, tenant: str, agent: str | None = None) -> TenantView:
        try:
            return await self._views.with_agent(tenant, agent)
        except UnknownTenant:
            raise Refused("auth.tenant", "the credential's tenant is not known") from None


def credential_in(headers: Mapping[bytes, bytes]) -> str:
    """The one credential that the headers bear. Raises Refused for none, two, or another scheme."""
    bearer, key = headers.get(b"authorization"), headers.get(b"x-api-key")
    if bearer is None and key is None:
        raise Refused("auth.missing", "expected a bearer token or an API key")
    found = key
    if bearer is not None:
        scheme, _, given = bearer.partition(b" ")
        if scheme.lower() != b"bearer":
            raise Refused("auth.scheme", "expected the scheme Bearer")
        if key is not None and key != given:
            raise Refused("auth.two_credentials", "expected one credential, got two")
        found = given
    assert found is not None
    if len(found) > MAX_TOKEN_BYTES:
        raise Refused("auth.too_large", f"expected a credential of at most {MAX_TOKEN_BYTES} bytes")
    if not found or not found.isascii():
        raise Refused("auth.malformed", "expected a credential in ASCII")
    return found.decode("ascii")


def _still_holds(view: TenantView, source: ApiKey | Issuer | None) -> bool:
    match source:
        case ApiKey():
            return view.keys.get(source.id) is source
        case Issuer():
            return view.issuers.get(source.id) is source
        case None:
            return True
