"""Another tenant's callers, of every role, on every route: they read nothing and change nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from aegis.kernel.call import Role
from tests.console_api.conftest import Installation, Tenant
from tests.console_api.route_samples import BUNDLE, ENTITLED, body_of, is_for_operators, name_of, path_of, permits

MARK = "marigold"
"""Stands in everything that the victim wrote."""
MOVING = ("/v1/stream", "/v1/audit/consistency", "/v1/audit/health")
"""They tell of the moment, or need parameters; the checkpoint says what they would."""


@dataclass(frozen=True, slots=True)
class Victim:
    """A tenant that has one of everything. `params`: what a segment of each name may be, by the route's path."""

    tenant: Tenant
    ids: dict[str, str]
    marks: tuple[bytes, ...]

    def params(self, path: str) -> dict[str, str]:
        for prefix, given in (
            ("/v1/agents", {"id": self.ids["agent"]}),
            ("/v1/keys", {"id": self.ids["key"]}),
            ("/v1/users", {"id": self.ids["user"]}),
            ("/v1/teams", {"id": self.ids["team"]}),
            ("/v1/issuers", {"id": MARK}),
            ("/v1/tenants", {"id": self.tenant.id}),
            ("/v1/tools", {"name": MARK}),
            ("/v1/upstreams", {"name": MARK}),
            ("/v1/secrets", {"name": MARK}),
            ("/v1/quotas", {"name": f"agent:{self.ids['agent']}"}),
            ("/v1/contracts", {"name": self.ids["agent"]}),
            ("/v1/approvals", {"id": self.ids["approval"]}),
            ("/v1/kill-switches", {"scope": f"tool:{MARK}"}),
            ("/v1/policies", {"digest": self.ids["policy"]}),
            ("/v1/sessions", {"id": self.ids["session"]}),
            ("/v1/decisions", {"id": self.ids["decision"]}),
            ("/v1/audit/tile", {"rest": "entries/000.p/1"}),
            ("/v1/audit/daily", {"date": "2026-01-01"}),
        ):
            if path.startswith(prefix):
                return given
        return {}

    def picture(self) -> dict[str, Any]:
        """Everything that an administrator sees of it, by path; the log's checkpoint says that no row came."""
        shown = {}
        for route in ENTITLED:
            is_shown = route.takes != "any" and route.path not in MOVING and permits(route, Role.ADMIN)
            if route.method == "GET" and is_shown:
                path = path_of(route, **self.params(route.path))
                answer = self.tenant.admin.get(path)
                shown[path] = (answer.status, answer.body)
        return shown


@pytest.fixture(scope="module")
def victim(installation: Installation) -> Victim:
    tenant = installation.tenant(MARK)
    admin, agent = tenant.admin, tenant.agent
    ids = {
        "agent": admin.post("/v1/agents", {"name": MARK, "owner": MARK, "labels": {MARK: MARK}}).expect(201)["id"],
        "team": admin.post("/v1/teams", {"name": MARK}).expect(201)["id"],
        "user": admin.post("/v1/users", {"email": f"{MARK}@victim.test", "role": "viewer"}).expect(201)["id"],
        "key": admin.post("/v1/keys", {"name": MARK, "role": "viewer"}).expect(201)["id"],
    }
    admin.put(f"/v1/tools/{MARK}", {"effect": "write", "description": MARK}).expect(200)
    admin.put(f"/v1/upstreams/{MARK}", {"kind": "http", "url": f"https://{MARK}.test/"}).expect(200)
    admin.put(f"/v1/secrets/{MARK}", {"value": MARK})
    admin.put(f"/v1/quotas/agent:{ids['agent']}", {"rps": 77}).expect(200)
    contract = {"mode": "enforce", "tools": {"allow": [f"{MARK}*", "ask*"]}, "approvals": [{"tool": "ask*"}]}
    admin.put(f"/v1/contracts/{tenant.agent}", contract).expect(200)
    admin.put(f"/v1/contracts/{ids['agent']}", contract).expect(200)
    issuer = {"issuer": f"https://{MARK}.test", "jwks_uri": f"https://{MARK}.test/k", "audience": MARK,
              "max_role": "viewer"}  # fmt: skip
    admin.put(f"/v1/issuers/{MARK}", issuer).expect(200)
    ids["policy"] = admin.raw("POST", "/v1/policies", BUNDLE).expect(201)["digest"]
    ids["session"] = agent_session(tenant)
    asked = tenant.agent_caller.post("/v1/decide", {"tool": "ask.person", "arguments": {"why": MARK}}).expect(200)
    assert asked["verdict"] == "escalate", asked
    ids["approval"] = asked["approval"]["id"]
    decided = {"tool": f"{MARK}.read", "arguments": {"text": MARK}, "session_id": ids["session"], "outcome": "none"}
    ids["decision"] = tenant.agent_caller.post("/v1/decide", decided).expect(200)["decision_id"]
    admin.put(f"/v1/kill-switches/tool:{MARK}", {"reason": MARK}).expect(200)
    assert agent != ids["agent"]
    secret = (ids["agent"], ids["team"], ids["user"], ids["key"], ids["approval"], ids["decision"], ids["session"])
    return Victim(tenant, ids, tuple(each.encode() for each in (*secret, tenant.agent)))


def agent_session(tenant: Tenant) -> str:
    return str(tenant.agent_caller.post("/v1/sessions", {"intent": MARK}).expect(201)["session_id"])


@pytest.mark.parametrize("role", Role, ids=name_of)
def test_another_tenants_caller_reads_nothing_and_changes_nothing(role: Role, victim: Victim, stranger: Tenant) -> None:
    """The operator's own business, tenants, is left out: it has a test of its own."""
    before = victim.picture()
    caller = stranger.callers[role.value]
    for route in ENTITLED:
        if role is Role.OPERATOR and is_for_operators(route):
            continue
        if route.path == "/v1/auth/revoke":  # with nothing named it would end the caller itself
            named = {"credential": victim.ids["key"]}
            assert caller.post(route.path, named).status == (200 if role is Role.ADMIN else 403)
            continue
        raw, tree = body_of(route)
        path = path_of(route, **victim.params(route.path))
        answer = caller.raw(route.method, path, raw) if raw else caller.call(route.method, path, tree)
        assert answer.status < 500 or answer.status == 501, (route.path, answer)
        is_named = any(mark in answer.body for mark in victim.marks if mark not in path_bytes(route, victim))
        assert not is_named, (route.path, answer)
        if MARK.encode() in answer.body:
            assert MARK in path_of(route, **victim.params(route.path)), (route.path, answer)
            assert_its_own(answer.body)
    after = victim.picture()
    assert {path for path in before if before[path] != after[path]} == set()


def path_bytes(route: Any, victim: Victim) -> bytes:
    """What the caller wrote itself may come back to it."""
    return path_of(route, **victim.params(route.path)).replace("%3A", ":").encode()


def assert_its_own(body: bytes) -> None:
    """A stranger may have a thing of the same name: then it is what the stranger wrote, and no more."""
    tree = json.loads(body)
    text = json.dumps({name: value for name, value in tree.items() if name not in ("name", "scope", "id", "detail")})
    assert MARK not in text, tree


@pytest.mark.parametrize("filters", ["", "?agent={agent}", "?session={session}", "?tool=marigold.read"])
def test_a_list_of_decisions_never_holds_anothers(filters: str, victim: Victim, stranger: Tenant) -> None:
    for role in ("admin", "security", "auditor", "agent"):
        answer = stranger.callers[role].get("/v1/decisions" + filters.format(**victim.ids)).expect(200)
        assert victim.ids["decision"] not in [item["decision_id"] for item in answer["items"]]


def test_the_same_names_in_another_tenant_are_other_things(victim: Victim, stranger: Tenant) -> None:
    stranger.admin.put(f"/v1/tools/{MARK}", {"effect": "read"}).expect(200)
    assert victim.tenant.admin.get(f"/v1/tools/{MARK}").expect(200)["effect"] == "write"
    stranger.admin.delete(f"/v1/tools/{MARK}").expect(204)
    assert victim.tenant.admin.get(f"/v1/tools/{MARK}").status == 200


def test_an_agent_of_another_tenant_can_be_named_nowhere(victim: Victim, stranger: Tenant) -> None:
    agent = victim.ids["agent"]
    stranger.admin.post("/v1/keys", {"role": "agent", "agent": agent}).expect(422)
    stranger.admin.put(f"/v1/contracts/{agent}", {"mode": "shadow"}).expect(404)
    stranger.application.post("/v1/sessions", {"agent": agent, "intent": "x"}).expect(422)


def test_a_session_of_another_tenant_does_not_carry_a_call(victim: Victim, stranger: Tenant) -> None:
    ask = {"tool": "notes.read", "arguments": {}, "session_id": victim.ids["session"]}
    answer = stranger.agent_caller.post("/v1/decide", ask)
    assert answer.status in (200, 404, 422), answer
    assert answer.status != 200 or answer.json["verdict"] == "kill"


def test_an_approval_of_another_tenant_does_not_let_a_call_through(victim: Victim, stranger: Tenant) -> None:
    ask = {"tool": "ask.person", "arguments": {"why": MARK}, "approval": victim.ids["approval"]}
    assert stranger.agent_caller.post("/v1/decide", ask).expect(200)["verdict"] == "kill"


def test_a_suspended_tenant_gets_403_and_the_operator_takes_it_up_again(installation: Installation) -> None:
    tenant = installation.tenant("suspended")
    path = f"/v1/tenants/{tenant.id}"
    assert installation.operator.patch(path, {"status": "suspended"}).expect(200)["status"] == "suspended"
    for role in ("admin", "viewer"):
        answer = tenant.callers[role].get("/v1/stream" if role == "viewer" else "/v1/agents")
        assert (answer.status, answer.json["code"]) == (403, "auth.tenant_suspended")
    verdict = tenant.agent_caller.post("/v1/decide", {"tool": "notes.read", "arguments": {}})
    assert verdict.status in (401, 403) or verdict.json["verdict"] == "kill"
    installation.operator.patch(path, {"status": "active"}).expect(200)
    tenant.admin.get("/v1/agents").expect(200)


def test_the_operator_sees_tenants_and_none_of_their_payloads(installation: Installation, victim: Victim) -> None:
    listed = pages(installation)
    assert victim.tenant.id in {each["id"] for each in listed}
    assert all(each.keys() <= {"id", "organisation", "name", "status"} for each in listed)
    for route in ENTITLED:
        if not is_for_operators(route) and route.method == "GET" and route.permission is not None:
            path = path_of(route, **victim.params(route.path))
            assert installation.operator.get(path).status == 403, route.path


def pages(installation: Installation) -> list[dict[str, Any]]:
    def walk() -> Iterator[dict[str, Any]]:
        cursor = ""
        while True:
            made = installation.operator.get(f"/v1/tenants?limit=2{cursor}").expect(200)
            yield from made["items"]
            if made["next_cursor"] is None:
                return
            cursor = f"&cursor={made['next_cursor']}"

    return list(walk())
