"""The OpenAPI document against the contract's names, which are fixed, and against the table that is served."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from aegis.console_api.app import ROUTES
from aegis.console_api.openapi import DOORS, document, is_later, members_of

DOCUMENT = document(ROUTES)
CONTRACT = Path(os.environ.get("AEGIS_SHARED", Path(__file__).parents[2].parent / "shared")) / "design" / "API.md"

OTHER_DOORS = {"/v1/messages", "/v1/chat/completions", "/v1/responses", "/v1/hooks/claude-code"}
"""They speak another protocol than this one, whose owner describes it."""

OPERATIONS = """
POST /v1/sessions          intent user agent tools metadata
DELETE /v1/sessions/{}
POST /v1/decide            session_id tool arguments resource context approval idempotency_key accepts outcome dry_run
POST /v1/execute           session_id tool arguments resource context approval idempotency_key accepts outcome dry_run
POST /v1/decisions/{}/outcome  status output executed_digest usage
POST /v1/scan              text source
GET /v1/decisions          ?agent ?user ?tool ?verdict ?code ?session ?from ?to ?min_risk ?limit ?cursor
GET /v1/decisions/{}
GET /v1/decisions/{}/receipt  ?level ?format
POST /v1/decisions/{}/replay  policy
GET /v1/stream
PUT /v1/kill-switches/{}   reason
POST /v1/kill-switches/{}/release  reason
GET /v1/kill-switches
POST /v1/tenants           name
POST /v1/teams             name
POST /v1/agents            name owner team model labels
PUT /v1/tools/{}           effect output_trust kinds alias_of risk price_usd upstream description input_schema
PUT /v1/upstreams/{}       kind url credential timeout_ms max_bytes
PUT /v1/quotas/{}          rps burst concurrency daily_requests monthly_requests daily_usd monthly_usd \
tokens_per_minute total_requests total_usd total_seconds
GET /v1/quotas/{}
PUT /v1/contracts/{}       mode tools resources time_windows delegation cross_tenant ceilings approvals \
intent_by expires_at
GET /v1/approvals          ?limit ?cursor
GET /v1/approvals/{}       ?wait
POST /v1/approvals/{}/approve  reason uses expires_in
POST /v1/approvals/{}/deny  reason
POST /v1/policies
GET /v1/policies
POST /v1/policies/{}/shadow
POST /v1/policies/{}/activate
POST /v1/policies/{}/backtest
POST /v1/policies/rollback
GET /v1/settings
PUT /v1/settings           degraded_mode explain_to_agents weights thresholds
GET /v1/graph              ?from ?to ?kind ?limit
POST /v1/graph/blast-radius  node hops mode
POST /v1/graph/simulate    agent runs seed draft
POST /v1/auth/delegate     to tools resources max_calls expires_in session_id
POST /v1/auth/token        email password id secret
POST /v1/auth/revoke
GET /v1/investigations
GET /v1/users
GET /v1/keys
GET /v1/webhooks
GET /v1/issuers
GET /v1/audit/checkpoint
GET /v1/audit/tile/{}
GET /v1/audit/consistency  ?from ?to
GET /v1/audit/daily/{}
GET /v1/audit/keys
POST /v1/audit/exports
POST /v1/audit/erasures
GET /v1/audit/health
POST /v1/audit/verify
"""

ANSWERED = """
POST /v1/sessions  session_id expires_at
POST /v1/decide    decision_id verdict risk rule findings guidance approval retry_after permit rewrites action_digest \
policy stages receipt
POST /v1/execute   decision_id verdict status output redactions
POST /v1/decisions/{}/outcome  output redactions findings receipt
POST /v1/scan      flagged score findings
GET /v1/decisions  items next_cursor
POST /v1/tenants   id name status admin
POST /v1/teams     id
POST /v1/agents    id status secret token
GET /v1/quotas/{}  used reserved remaining resets_at projection
GET /v1/approvals/{}  status decision_id action_digest policy expires_at uses_left requested_by decided_by
POST /v1/policies  digest status checks
GET /v1/graph      nodes edges
POST /v1/graph/blast-radius  nodes edges choke_points
POST /v1/graph/simulate      reached stopped
GET /v1/decisions/{}/receipt  v level log index proof row sig openings url keys l0
"""


def rows(table: str) -> list[Any]:
    words = [line.split() for line in table.strip().splitlines()]
    return [pytest.param(w[0], w[1], w[2:], id=f"{w[0]} {w[1]}") for w in words]


def plain(path: str) -> str:
    """The path with its segments' names left out: they are free."""
    return re.sub(r"\{[^}]*\}", "{}", path)


def operation(method: str, path: str) -> dict[str, Any]:
    found = [
        operations[method.lower()]
        for each, operations in DOCUMENT["paths"].items()
        if plain(each) == path and method.lower() in operations
    ]
    assert len(found) == 1, f"{method} {path}"
    return found[0]


def resolved(schema: dict[str, Any]) -> dict[str, Any]:
    """The properties of a schema, references and unions followed."""
    if "$ref" in schema:
        return resolved(DOCUMENT["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    merged: dict[str, Any] = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        merged |= resolved(part)
    return merged


@pytest.mark.parametrize(("method", "path", "names"), rows(OPERATIONS))
def test_takes_what_the_contract_names(method: str, path: str, names: list[str]) -> None:
    found = operation(method, path)
    body = found.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema", {})
    queries = {f"?{each['name']}" for each in found["parameters"] if each["in"] == "query"}
    assert set(names) <= set(body.get("properties", {})) | queries
    assert not body or body["additionalProperties"] is False


@pytest.mark.parametrize(("method", "path", "names"), rows(ANSWERED))
def test_answers_what_the_contract_names(method: str, path: str, names: list[str]) -> None:
    responses = operation(method, path)["responses"]
    success = next(responses[status] for status in sorted(responses) if status.startswith("2"))
    assert set(names) <= set(resolved(success["content"]["application/json"]["schema"]))


@pytest.mark.skipif(
    not CONTRACT.exists(), reason="needs test vectors that are no part of this repository: nothing to do"
)
def test_every_path_that_the_contract_writes_is_there() -> None:
    text = CONTRACT.read_text("utf-8")
    written = {plain(path) for path in re.findall(r"`(?:[A-Z]+ )?(/v1/[a-z0-9/{}_\-]+)", text)} - OTHER_DOORS
    known = {plain(path) for path in DOCUMENT["paths"]}
    missing = {path for path in written if path.rstrip("/") not in known and not path.startswith("/v1/audit/tile/")}
    assert not missing


@pytest.mark.skipif(
    not CONTRACT.exists(), reason="needs test vectors that are no part of this repository: nothing to do"
)
def test_the_names_in_this_test_are_the_contracts() -> None:
    text = CONTRACT.read_text("utf-8")
    words = {word.lstrip("?") for line in (OPERATIONS + ANSWERED).splitlines() for word in line.split()[2:]}
    assert not {word for word in words if not re.search(rf"\b{re.escape(word)}\b", text)}


def test_every_served_route_is_described_once_and_nothing_else_is() -> None:
    table = [(route.method.lower(), route.path) for route in (*DOORS, *ROUTES)]
    described = [(method, path) for path, operations in DOCUMENT["paths"].items() for method in operations]
    assert sorted(table) == sorted(described)
    assert len(set(table)) == len(table)


def test_operation_ids_are_unique() -> None:
    ids = [each["operationId"] for operations in DOCUMENT["paths"].values() for each in operations.values()]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("route", (*DOORS, *ROUTES), ids=lambda route: f"{route.method} {route.path}")
def test_required_members_and_path_segments_are_declared(route: Any) -> None:
    made = DOCUMENT["paths"][route.path][route.method.lower()]
    segments = [each["name"] for each in made["parameters"] if each["in"] == "path"]
    assert segments == re.findall(r"\{(\w+)\}", route.path)
    if members_of(route):
        schema = made["requestBody"]["content"]["application/json"]["schema"]
        assert set(schema.get("required", ())) <= set(schema["properties"])
    assert ("501" in made["responses"]) >= is_later(route)


def test_every_reference_leads_somewhere() -> None:
    def walk(node: Any) -> None:
        if isinstance(node, dict):
            if "$ref" in node:
                found: Any = DOCUMENT
                for step in node["$ref"].removeprefix("#/").split("/"):
                    found = found[step]
            for each in node.values():
                walk(each)
        elif isinstance(node, list):
            for each in node:
                walk(each)

    walk(DOCUMENT)


def test_a_public_path_needs_no_credential_and_every_other_does() -> None:
    assert DOCUMENT["security"]
    for route in ROUTES:
        made = DOCUMENT["paths"][route.path][route.method.lower()]
        assert (made.get("security") == []) == route.is_public
        assert ("401" in made["responses"]) != route.is_public
