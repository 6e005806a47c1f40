"""What a request to each route of the table looks like, so that tests over the table need no list of their own."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import quote

from aegis.console_api.app import ROUTES
from aegis.console_api.openapi import DOORS
from aegis.console_api.routes import Route
from aegis.identity.roles import Permission, may
from aegis.kernel.call import Role
from aegis.policy.bundle import build

TABLE: tuple[Route, ...] = (*DOORS, *ROUTES)
ENTITLED: tuple[Route, ...] = tuple(route for route in TABLE if not route.is_public)
BUNDLE = build({"rules.rego": b"package tenant.sample\n\nfindings := []\n"}).archive

BODIES: dict[tuple[str, str], dict[str, Any]] = {
    ("POST", "/v1/decide"): {"tool": "notes.read", "arguments": {}},
    ("POST", "/v1/execute"): {"tool": "notes.read", "arguments": {}},
    ("POST", "/v1/decisions/{id}/outcome"): {"status": "ok"},
    ("POST", "/v1/scan"): {"text": "hello"},
    ("POST", "/v1/sessions"): {"intent": "to read"},
    ("PUT", "/v1/tools/{name}"): {"effect": "read"},
    ("PUT", "/v1/upstreams/{name}"): {"kind": "http", "url": "https://strangers.test/"},
    ("PUT", "/v1/quotas/{name}"): {"rps": 1},
    ("PUT", "/v1/contracts/{name}"): {"mode": "shadow"},
    ("PUT", "/v1/settings"): {"explain_to_agents": "full"},
    ("PUT", "/v1/secrets/{name}"): {"value": "a stranger's"},
    ("POST", "/v1/agents"): {"name": "a stranger's"},
    ("PATCH", "/v1/agents/{id}"): {"status": "quarantined"},
    ("PUT", "/v1/agents/{id}"): {"status": "quarantined"},
    ("POST", "/v1/keys"): {"role": "viewer"},
    ("POST", "/v1/users"): {"email": "someone@strangers.test", "role": "viewer"},
    ("PATCH", "/v1/users/{id}"): {"role": "viewer"},
    ("POST", "/v1/teams"): {"name": "strangers"},
    ("PUT", "/v1/issuers/{id}"): {
        "issuer": "https://strangers.test", "jwks_uri": "https://strangers.test/keys", "audience": "aegis",
        "max_role": "viewer",
    },
    ("POST", "/v1/auth/revoke"): {"credential": "key_nobodys"},
    ("PATCH", "/v1/tenants/{id}"): {"status": "suspended"},
    ("PUT", "/v1/kill-switches/{scope}"): {"reason": "a stranger's"},
    ("POST", "/v1/kill-switches/{scope}/release"): {"reason": "a stranger's"},
    ("POST", "/v1/audit/verify"): {"receipt": {}},
}  # fmt: skip


def path_of(route: Route, **params: str) -> str:
    """The route's path, each segment percent-encoded; segments without a value are `nothing`."""

    def segment(found: re.Match[str]) -> str:
        return quote(params.get(found[1], "nothing"), safe="/" if found[1] == "rest" else "")

    return re.sub(r"\{(\w+)\}", segment, route.path)


def permits(route: Route, role: Role) -> bool:
    wanted = route.permission
    if wanted is None:
        return True
    return any(may(role, each) for each in (wanted if isinstance(wanted, tuple) else (wanted,)))


def is_for_operators(route: Route) -> bool:
    return route.permission is Permission.MANAGE_TENANTS


def body_of(route: Route) -> tuple[bytes | None, Any]:
    """Raw bytes or a tree, whichever the route takes."""
    if route.takes == "gzip":
        return BUNDLE, None
    return None, BODIES.get((route.method, route.path), {} if route.method != "GET" else None)


def name_of(route: Any) -> str:
    return f"{route.method} {route.path}" if isinstance(route, Route) else str(getattr(route, "value", route))
