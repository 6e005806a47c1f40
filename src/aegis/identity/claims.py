"""What verified claims mean: a principal, or the reason why not. Pure; times are microseconds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from aegis.identity.jws import Refused
from aegis.identity.roles import narrowed
from aegis.kernel.api_key import OPERATOR_TENANT
from aegis.kernel.call import Principal, Role
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.tenancy import Issuer

LEEWAY_US = 30 * 1_000_000
"""How far the clocks of an issuer and of Aegis may be apart."""

MAX_NAME = 255
MAX_GROUPS = 200
Claims = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Person:
    """A human that an issuer vouches for. `names`: what a caller may call this person by."""

    id: str
    names: frozenset[str]
    groups: tuple[str, ...]


def check_times(claims: Claims, now: MicroSeconds) -> None:
    """Raises Refused for what has ended or not begun, within the leeway of 30 s."""
    if "exp" not in claims:
        raise Refused("auth.claims", "expected the claim exp")
    if now >= _time(claims, "exp") + LEEWAY_US:
        raise Refused("auth.expired", "the token has expired")
    for name in ("nbf", "iat"):
        if name in claims and _time(claims, name) > now + LEEWAY_US:
            raise Refused("auth.not_yet_valid", f"the token's {name} lies in the future")


def check_audience(claims: Claims, audience: str) -> None:
    given = claims.get("aud")
    if given != audience and not (isinstance(given, list) and audience in given):
        raise Refused("auth.audience", "the token is meant for another audience")


def own_principal(claims: Claims, issuer: str) -> Principal:
    """Of a token that Aegis itself signed."""
    role, tenant = _role(claims.get("role")), _name(claims, "tenant")
    if role is None or (role is Role.OPERATOR) != (tenant == OPERATOR_TENANT):
        raise Refused("auth.claims", "expected a role of this tenant")
    subject = _name(claims, "sub")
    agent = _name(claims, "agent") if "agent" in claims else subject if role is Role.AGENT else None
    return Principal(
        tenant=tenant,
        subject=subject,
        role=role,
        agent=agent if role is Role.AGENT else None,
        credential=_name(claims, "jti"),
        single_use=_flag(claims, "single_use"),
        expires_at=_time(claims, "exp"),
        issued_at=_time(claims, "iat"),
        issuer=issuer,
    )


def foreign_principal(claims: Claims, issuer: Issuer, tenant: str, digest: str) -> Principal:
    """Of a token of a configured issuer. Tenant and highest role are the configuration's; claims only narrow.

    `digest` names the credential where the token has no `jti`.
    """
    if claims.get("tenant", tenant) != tenant:
        raise Refused("auth.tenant", "the token names another tenant than its issuer's")
    if "cnf" in claims:
        raise Refused("auth.binding", "the token is bound to a key whose proof isn't taken here")
    role = foreign_role(claims, issuer, tenant)
    subject = _name(claims, "sub")
    agent = None
    if role is Role.AGENT:
        agent = _name(claims, issuer.agent_claim) if issuer.agent_claim else subject
    name = _name(claims, "jti") if "jti" in claims else digest
    return Principal(
        tenant=tenant,
        subject=subject,
        role=role,
        agent=agent,
        credential=f"{issuer.id}:{name}",
        single_use=_flag(claims, "single_use"),
        expires_at=_time(claims, "exp"),
        issued_at=_time(claims, "iat") if "iat" in claims else None,
        issuer=issuer.issuer,
    )


def foreign_role(claims: Claims, issuer: Issuer, tenant: str) -> Role:
    """The highest role, narrowed by the mapped claim where one is configured; no match is no role."""
    highest = _role(issuer.max_role)
    if highest is None or (highest is Role.OPERATOR) != (tenant == OPERATOR_TENANT):
        raise Refused("auth.role_claim", "the issuer's highest role is none of this tenant's")
    if issuer.role_claim is None:
        return highest
    given = claims.get(issuer.role_claim)
    words = given if isinstance(given, list) else [given]
    roles = {narrowed(highest, role) for role in map(_role, words[:MAX_GROUPS]) if role is not None}
    if not roles - {None}:
        raise Refused("auth.role_claim", "the token claims no role that its issuer may give")
    return next(role for role in Role if role in roles)


def person(claims: Claims) -> Person:
    """The human that an ID token is about (OpenID Connect Core 2)."""
    subject = _name(claims, "sub")
    names = {subject}
    email = claims.get("email")
    if isinstance(email, str) and claims.get("email_verified") is True:
        names.add(email)
    groups = claims.get("groups", [])
    if not isinstance(groups, list) or not all(isinstance(g, str) and len(g) <= MAX_NAME for g in groups):
        raise Refused("auth.claims", "expected groups as a list of strings")
    return Person(subject, frozenset(names), tuple(groups[:MAX_GROUPS]))


def _role(word: object) -> Role | None:
    return Role(word) if isinstance(word, str) and word in _ROLES else None


_ROLES = frozenset(role.value for role in Role)


def _name(claims: Claims, name: str) -> str:
    value = claims.get(name)
    if not isinstance(value, str) or not 0 < len(value) <= MAX_NAME:
        raise Refused("auth.claims", f"expected the claim {name if name in _REGISTERED else '(mapped)'} as a string")
    return value


_REGISTERED = frozenset({"sub", "tenant", "role", "agent", "jti"})


def _time(claims: Claims, name: str) -> MicroSeconds:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise Refused("auth.claims", f"expected the claim {name} as seconds since 1970")
    if not 0 <= value < 2**40:
        raise Refused("auth.claims", f"expected the claim {name} as seconds since 1970")
    return int(value * 1_000_000)


def _flag(claims: Claims, name: str) -> bool:
    value = claims.get(name, False)
    if not isinstance(value, bool):
        raise Refused("auth.claims", f"expected the claim {name} as true or false")
    return value
