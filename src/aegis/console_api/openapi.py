"""GET /openapi.json: the OpenAPI 3.1 document, derived from the table of routes and the doors beside it.

A route that isn't described here still stands in the document, with its members and no more said about them.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import orjson

from aegis.console_api.paging import MOST
from aegis.console_api.routes import Ask, Reply, Route
from aegis.identity.roles import PERMISSIONS, Permission
from aegis.kernel.call import Role
from aegis.kernel.problems import Problem
from aegis.kernel.verdict import VERDICTS
from aegis.surfaces.asks import ASK

P = Permission
Schema = dict[str, Any]


async def _elsewhere(ask: Ask) -> Reply:
    """The agents' doors are served before this table is asked."""
    raise Problem(404, "request.path", "there is nothing here")


DOORS: tuple[Route, ...] = (
    Route("POST", "/v1/decide", _elsewhere, P.DECIDE, "judges an action", query=("receipt",), members=ASK,
          takes="json"),
    Route("POST", "/v1/execute", _elsewhere, P.DECIDE, "judges an action and runs it", query=("receipt",), members=ASK,
          takes="json"),
    Route("POST", "/v1/decisions/{id}/outcome", _elsewhere, P.DECIDE, "reports what came of an allowed action",
          members=("status", "output", "executed_digest", "usage"), takes="json"),
    Route("POST", "/v1/scan", _elsewhere, P.SCAN, "looks for prompt injection", members=("text", "source"),
          takes="json"),
    Route("POST", "/v1/sessions", _elsewhere, (P.OPEN_SESSION, P.OPEN_SESSION_FOR), "opens a session",
          members=("intent", "user", "agent", "tools", "metadata"), takes="json", status=201),
)  # fmt: skip


# ------------------------------------------------------------------ words


def _words(*known: str) -> Schema:
    return {"type": "string", "enum": list(known)}


def _object(**members: Schema) -> Schema:
    return {"type": "object", "properties": members}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _maybe(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer", "minimum": 0}
NUMBER: Schema = {"type": "number"}
SHARE: Schema = {"type": "number", "minimum": 0, "maximum": 1}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
OBJECT: Schema = {"type": "object"}
TIME: Schema = {"type": "string", "format": "date-time"}
USD: Schema = {"type": "string", "description": "US dollars as a decimal", "examples": ["12.50"]}
GLOBS = _list({"type": "string", "description": "a glob"})
ALLOW_DENY = _object(allow=GLOBS, deny=GLOBS)
WINDOW = _object(**{"days": _list(_words("mon", "tue", "wed", "thu", "fri", "sat", "sun")), "from": TEXT, "to": TEXT,
                    "tz": TEXT})  # fmt: skip

MEMBERS: dict[str, Schema] = {
    "accepts": _list(_words("rewrites")),
    "arguments": OBJECT,
    "burst": WHOLE,
    "ceilings": _list(_object(tool=TEXT, argument=TEXT, max_sum=TEXT, max_count=WHOLE, per=_words("session", "day"))),
    "concurrency": WHOLE,
    "context": _object(
        workspace=TEXT, environment=TEXT, model=TEXT, estimated_usd=USD, purpose=TEXT, parent=TEXT,
        client_seen=_object(size=WHOLE, root=TEXT),
    ),
    "credential": _object(ref=TEXT, exchange=_object(issuer=TEXT, audience=TEXT, scope=TEXT)),
    "cross_tenant": _list(_object(tenant=TEXT, tools=GLOBS)),
    "daily_requests": WHOLE,
    "daily_usd": USD,
    "degraded_mode": _words("block_high_risk", "block_all", "allow_with_audit"),
    "delegation": _object(max_depth=WHOLE, to=_list(TEXT)),
    "draft": _object(policy=TEXT, contract=OBJECT),
    "dry_run": FLAG,
    "effect": _words("read", "write", "destructive", "external"),
    "expires_at": TIME,
    "expires_in": WHOLE,
    "explain_to_agents": _words("none", "code", "full"),
    "hops": WHOLE,
    "input_schema": OBJECT,
    "intent_by": _words("application"),
    "kinds": {"type": "object", "additionalProperties": TEXT},
    "labels": {"type": "object", "additionalProperties": TEXT},
    "max_bytes": WHOLE,
    "max_calls": WHOLE,
    "max_role": _words(*(role.value for role in Role if role is not Role.OPERATOR)),
    "metadata": OBJECT,
    "monthly_requests": WHOLE,
    "monthly_usd": USD,
    "outcome": _words("none"),
    "output": ANY,
    "output_trust": _words("trusted", "user", "untrusted"),
    "price_usd": USD,
    "receipt": OBJECT,
    "resources": ALLOW_DENY,
    "risk": SHARE,
    "role": _words(*(role.value for role in Role)),
    "rps": NUMBER,
    "runs": WHOLE,
    "seed": WHOLE,
    "source": _words("user", "tool", "document"),
    "thresholds": _object(monitor=SHARE, throttle=SHARE, escalate=SHARE, kill=SHARE),
    "time_windows": _list(WINDOW),
    "timeout_ms": WHOLE,
    "tokens_per_minute": WHOLE,
    "total_requests": WHOLE,
    "total_seconds": WHOLE,
    "total_usd": USD,
    "usage": _object(model=TEXT, input_tokens=WHOLE, output_tokens=WHOLE, cached_tokens=WHOLE, usd=USD),
    "user": _object(id=TEXT, groups=_list(TEXT), id_token=TEXT),
    "uses": WHOLE,
    "weights": _object(limits=NUMBER, inference=NUMBER, policy=NUMBER, behavior=NUMBER),
}  # fmt: skip
"""What isn't here is text."""

HERE: dict[str, dict[str, Schema]] = {
    "/v1/sessions": {"tools": _list(_object(name=TEXT, description=TEXT, input_schema=OBJECT))},
    "/v1/contracts/{name}": {
        "mode": _words("enforce", "shadow"),
        "tools": ALLOW_DENY,
        "approvals": _list(_object(tool=TEXT, when={"type": "string", "description": "a Rego expression"})),
    },
    "/v1/upstreams/{name}": {"kind": _words("http", "sql", "mcp", "kubernetes", "model")},
    "/v1/agents": {"status": _words("active")},
    "/v1/agents/{id}": {"status": _words("active", "quarantined", "retired")},
    "/v1/tenants/{id}": {"status": _words("active", "suspended")},
    "/v1/decisions/{id}/outcome": {"status": _words("ok", "error", "cancelled", "unknown")},
    "/v1/issuers/{id}": {"algorithms": _list(_words("RS256", "ES256"))},
    "/v1/graph/blast-radius": {"mode": _words("did", "could")},
    "/v1/auth/delegate": {"tools": GLOBS, "resources": GLOBS},
}
"""Members whose meaning is a path's own."""

REQUIRED: dict[tuple[str, str], tuple[str, ...]] = {
    ("POST", "/v1/decide"): ("tool", "arguments"),
    ("POST", "/v1/execute"): ("tool", "arguments"),
    ("POST", "/v1/decisions/{id}/outcome"): ("status",),
    ("POST", "/v1/scan"): ("text",),
    ("POST", "/v1/agents"): ("name",),
    ("POST", "/v1/keys"): ("role",),
    ("POST", "/v1/teams"): ("name",),
    ("POST", "/v1/tenants"): ("name",),
    ("PATCH", "/v1/tenants/{id}"): ("status",),
    ("POST", "/v1/users"): ("email", "role"),
    ("PUT", "/v1/issuers/{id}"): ("issuer", "jwks_uri", "audience", "max_role"),
    ("PUT", "/v1/tools/{name}"): ("effect",),
    ("PUT", "/v1/upstreams/{name}"): ("kind", "url"),
    ("PUT", "/v1/secrets/{name}"): ("value",),
    ("PUT", "/v1/kill-switches/{scope}"): ("reason",),
    ("POST", "/v1/kill-switches/{scope}/release"): ("reason",),
    ("POST", "/v1/audit/verify"): ("receipt",),
}

LATER: dict[str, tuple[str, ...]] = {
    "/v1/auth/delegate": ("to", "tools", "resources", "max_calls", "expires_in", "session_id"),
    "/v1/graph/blast-radius": ("node", "hops", "mode"),
    "/v1/graph/simulate": ("agent", "runs", "seed", "draft"),
    "/v1/decisions/{id}/replay": ("policy",),
}
"""Members of bodies that this version refuses: they are fixed all the same."""

LATER_QUERY: dict[str, tuple[str, ...]] = {"/v1/graph": ("from", "to", "kind", "limit")}

FINDING = _object(
    code=TEXT, stage=TEXT, severity=_words("info", "low", "medium", "high", "critical"), message=TEXT, rule=TEXT,
    path={"type": "string", "description": "a JSON pointer into the request"},
)  # fmt: skip
RECEIPT = _object(
    v={"const": "aegis.receipt/1"}, level=_words("durable", "included", "witnessed", "anchored"), log=TEXT, index=WHOLE,
    proof=TEXT, row=TEXT, sig=TEXT, openings=OBJECT, url=TEXT, keys=OBJECT, l0=OBJECT,
)  # fmt: skip
DECISION = _object(
    decision_id=TEXT, verdict=_words(*VERDICTS), risk=SHARE, rule=TEXT, findings=_list(_ref("Finding")),
    guidance=_maybe(TEXT),
    approval=_maybe(_object(id=TEXT, status=TEXT, expires_at=TIME, action_digest=TEXT)),
    retry_after=_maybe(NUMBER), permit=_maybe(TEXT), rewrites=_list(_object(path=TEXT, to=ANY, rule=TEXT)),
    action_digest=TEXT, policy=_object(bundle=TEXT, engine=TEXT),
    stages=_list(_object(stage=TEXT, verdict=_words(*VERDICTS, "skipped"), us=WHOLE)),
    outcome_due=_maybe(TIME), receipt=_maybe(_ref("Receipt")),
)  # fmt: skip
REDACTIONS = _list(_object(path=TEXT, kind=TEXT))
SCHEMAS: dict[str, Schema] = {
    "Finding": FINDING,
    "Receipt": RECEIPT,
    "Decision": DECISION,
    "Executed": {
        "allOf": [
            _ref("Decision"),
            _object(status=_words("ok", "error", "cancelled", "unknown"), output=ANY, redactions=REDACTIONS),
        ]
    },
    "Problem": {
        **_object(
            type=TEXT, title=TEXT, status=WHOLE, detail=TEXT, code=TEXT, errors=_list(_object(path=TEXT, message=TEXT)),
            retry_after=NUMBER, verdict=_words(*VERDICTS), decision_id=TEXT, rule=TEXT, findings=_list(_ref("Finding")),
            guidance=_maybe(TEXT), approval=_maybe(OBJECT), receipt=_maybe(_ref("Receipt")),
            effect=_words("none", "done", "unknown"),
        ),
        "required": ["type", "title", "status", "detail", "code"],
    },
    "Approval": _object(
        id=TEXT, status=_words("pending", "approved", "denied", "expired"), decision_id=TEXT, action_digest=TEXT,
        policy=_maybe(TEXT), expires_at=TIME, uses_left=WHOLE, requested_by=TEXT, decided_by=_maybe(TEXT),
        action=OBJECT,
    ),
    "Page": _object(items=_list(OBJECT), next_cursor=_maybe(TEXT)),
}  # fmt: skip

_TOKEN = _object(token=TEXT, expires_at=TIME)
_APPROVAL = _ref("Approval")
_QUOTA_USE = _object(used=ANY, reserved=ANY, remaining=ANY, resets_at=ANY, projection=ANY)
ANSWERS: dict[tuple[str, str], Schema] = {
    ("POST", "/v1/decide"): _ref("Decision"),
    ("POST", "/v1/execute"): _ref("Executed"),
    ("POST", "/v1/decisions/{id}/outcome"): _object(
        output=ANY, redactions=REDACTIONS, findings=_list(_ref("Finding")), receipt=_maybe(_ref("Receipt"))
    ),
    ("POST", "/v1/scan"): _object(flagged=FLAG, score=SHARE, findings=_list(_ref("Finding"))),
    ("POST", "/v1/sessions"): _object(session_id=TEXT, expires_at=TIME),
    ("POST", "/v1/tenants"): _object(id=TEXT, name=TEXT, status=TEXT, admin=_object(token=TEXT)),
    ("POST", "/v1/teams"): _object(id=TEXT),
    ("POST", "/v1/agents"): _object(
        id=TEXT, status=_words("active", "quarantined", "retired"), secret=TEXT, token=TEXT
    ),
    ("POST", "/v1/policies"): _object(digest=TEXT, status=_words("draft"), checks=_list(OBJECT)),
    ("POST", "/v1/auth/token"): _TOKEN,
    ("POST", "/v1/auth/delegate"): _TOKEN,
    ("GET", "/v1/decisions"): _object(
        items=_list(_object(decision_id=TEXT, agent=TEXT, tool=TEXT, verdict=_words(*VERDICTS), rule=TEXT, time=TIME)),
        next_cursor=_maybe(TEXT),
    ),
    ("GET", "/v1/decisions/{id}/receipt"): _ref("Receipt"),
    ("GET", "/v1/quotas/{name}"): _QUOTA_USE,
    ("GET", "/v1/approvals/{id}"): _APPROVAL,
    ("POST", "/v1/approvals/{id}/approve"): _APPROVAL,
    ("POST", "/v1/approvals/{id}/deny"): _APPROVAL,
    ("GET", "/v1/graph"): _object(
        nodes=_list(_object(id=TEXT, kind=TEXT, name=TEXT, labels=_list(TEXT))),
        edges=_list(
            _object(
                **{"from": TEXT, "to": TEXT, "first_seen": TIME, "last_seen": TIME},
                kind=_words("invokes", "reads", "writes", "delegates", "escalates"),
                count=WHOLE, allowed=WHOLE, refused=WHOLE,
            )
        ),
    ),
    ("POST", "/v1/graph/blast-radius"): _object(
        nodes=_list(_object(id=TEXT, hop=WHOLE)), edges=_list(OBJECT), choke_points=_list(OBJECT)
    ),
    ("POST", "/v1/graph/simulate"): _object(
        reached=_list(_object(id=TEXT, probability=SHARE, path=_list(TEXT))),
        stopped=_list(_object(path=_list(TEXT), stage=TEXT, rule=TEXT)),
    ),
}  # fmt: skip

KINDS_OF_ANSWER = {
    "/metrics": "text/plain",
    "/v1/audit/checkpoint": "text/plain",
    "/v1/audit/tile/{rest}": "application/octet-stream",
    "/v1/stream": "text/event-stream",
}

_TITLES = {
    400: "not strict JSON",
    401: "no valid credential",
    403: "the role may not, or the action was refused",
    404: "there is no such thing in this tenant",
    405: "another method is expected here",
    409: "it contradicts what is there",
    412: "it was changed since it was read",
    413: "the body is too large",
    422: "a member or parameter is wrong; `errors` names each",
    429: "try again later",
    501: "this version does not do this yet",
    503: "a store is away; nothing ran",
    504: "the target did not answer in time",
}


# ------------------------------------------------------------------ the document


def document(routes: tuple[Route, ...]) -> dict[str, Any]:
    """The document of `routes` and the agents' doors."""
    paths: dict[str, dict[str, Any]] = {}
    for route in (*DOORS, *routes):
        paths.setdefault(route.path, {})[route.method.lower()] = operation(route)
    return {
        "openapi": "3.1.0",
        "info": {"title": "Aegis", "version": _version(), "summary": "Runtime governance of AI agents"},
        "servers": [{"url": "/"}],
        "security": [{"bearer": []}, {"apiKey": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": SCHEMAS,
            "responses": {str(status): _problem(title) for status, title in _TITLES.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "a JWT of POST /v1/auth/token or of a configured issuer, or an API key",
                },
                "apiKey": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
        },
    }


def operation(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "parameters": [*_segments(route), *_query(route), *_headers(route)],
        "responses": _responses(route),
    }
    if route.is_public:
        made["security"] = []
    else:
        made["x-aegis-roles"] = roles_of(route)
    if is_later(route):
        made["x-aegis-supported"] = False
    body = _body(route)
    if body is not None:
        made["requestBody"] = body
    return made


def roles_of(route: Route) -> list[str]:
    """The roles that may, by the one table of permissions."""
    wanted = route.permission
    if wanted is None:
        return [role.value for role in Role]
    any_of = set(wanted if isinstance(wanted, tuple) else (wanted,))
    return [role.value for role in Role if any_of & PERMISSIONS[role]]


def is_later(route: Route) -> bool:
    return route.takes == "any"


def members_of(route: Route) -> tuple[str, ...]:
    return LATER.get(route.path, ()) if is_later(route) else route.members


def _body(route: Route) -> dict[str, Any] | None:
    if route.takes == "gzip":
        return {"required": True, "content": {"application/gzip": {"schema": {"type": "string", "format": "binary"}}}}
    members = members_of(route)
    if route.takes != "json" and not members:
        return None
    here = HERE.get(route.path, {})
    schema: Schema = {
        "type": "object",
        "properties": {name: here.get(name, MEMBERS.get(name, TEXT)) for name in members},
        "additionalProperties": False,
    }
    required = REQUIRED.get((route.method, route.path), ())
    if required:
        schema["required"] = list(required)
    return {"required": bool(required), "content": {"application/json": {"schema": schema}}}


def _segments(route: Route) -> list[Schema]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": TEXT,
            "description": "the path of a tile" if name == "rest" else "one percent-encoded segment",
        }
        for name in re.findall(r"\{(\w+)\}", route.path)
    ]


def _query(route: Route) -> list[Schema]:
    names = LATER_QUERY.get(route.path, ()) if route.query == ("*",) else route.query
    return [{"name": name, "in": "query", "schema": _QUERY.get(name, TEXT)} for name in names]


_QUERY: dict[str, Schema] = {
    "format": _words("json", "tlog-proof", "cose"),
    "level": _words("durable", "included", "witnessed", "anchored"),
    "limit": {"type": "integer", "minimum": 1, "maximum": MOST},
    "min_risk": SHARE,
    "receipt": _words("none", "full"),
    "verdict": _words(*VERDICTS),
    "wait": {"type": "integer", "minimum": 0, "maximum": 60},
}


def _headers(route: Route) -> list[Schema]:
    made = []
    if route.path == "/v1/stream":
        made.append({"name": "Last-Event-ID", "in": "header", "schema": TEXT})
    if route.method in ("PUT", "PATCH", "DELETE") and route.takes in ("json", "") and "If-Match" in _matched(route):
        made.append({"name": "If-Match", "in": "header", "schema": TEXT})
    return made


_MATCHED = ("/v1/agents/{id}", "/v1/users/{id}", "/v1/issuers/{id}", "/v1/tools/{name}", "/v1/upstreams/{name}",
            "/v1/quotas/{name}", "/v1/contracts/{name}", "/v1/settings")  # fmt: skip


def _matched(route: Route) -> tuple[str, ...]:
    return ("If-Match",) if route.path in _MATCHED else ()


def _responses(route: Route) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if not is_later(route) or (route.method, route.path) in ANSWERS:
        made[str(route.status)] = _success(route)
    problems = {405, 422, 503}
    if not route.is_public:
        problems |= {401, 403}
    if "{" in route.path:
        problems.add(404)
    if route.takes:
        problems.add(413)
    if route.takes == "json":
        problems |= {400, 409}
    if _headers(route) and route.path != "/v1/stream":
        problems.add(412)
    if route.path in ("/v1/execute", "/v1/scan"):
        problems.add(429)
    if route.path == "/v1/execute":
        problems.add(504)
    if is_later(route) or route.path.endswith("/receipt"):
        problems.add(501)
    return made | {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(problems)}


def _success(route: Route) -> dict[str, Any]:
    headers = {"x-request-id": {"schema": TEXT}}
    if route.path in ("/v1/decide", "/v1/execute"):
        headers |= {"x-aegis-decision-id": {"schema": TEXT}, "x-aegis-overhead-us": {"schema": WHOLE}}
    made: dict[str, Any] = {"description": route.summary or "done", "headers": headers}
    if route.status == 204:
        return made
    is_page = route.query[-2:] == ("limit", "cursor") or route.query[:2] == ("limit", "cursor")
    schema = ANSWERS.get((route.method, route.path), _ref("Page") if is_page else OBJECT)
    kind = KINDS_OF_ANSWER.get(route.path, "application/json")
    made["content"] = {kind: {"schema": schema if kind == "application/json" else TEXT}}
    return made


def _problem(title: str) -> dict[str, Any]:
    return {"description": title, "content": {"application/problem+json": {"schema": _ref("Problem")}}}


def _operation_id(route: Route) -> str:
    words = re.findall(r"[a-z0-9]+", route.path.removeprefix("/v1").lower())
    return "_".join((route.method.lower(), *words))


@cache
def _version() -> str:
    try:
        return version("aegis-control-plane")
    except PackageNotFoundError:
        return "0"


def serving(routes: tuple[Route, ...]) -> Route:
    """The route that answers with the document of `routes` and of itself."""
    made: list[bytes] = []

    async def openapi(ask: Ask) -> Reply:
        if not made:
            made.append(orjson.dumps(document((*routes, own))))
        return Reply(body=made[0], headers=[(b"content-type", b"application/json")])

    own = Route("GET", "/openapi.json", openapi, None, "this document", is_public=True)
    return own
