"""What people set up: each resource made, read, changed and taken away, and what each refuses."""

from __future__ import annotations

import itertools
from typing import Any
from urllib.parse import quote

import pytest

from tests.console_api.conftest import Caller, Installation, Tenant

numbers = itertools.count()


def fresh(word: str) -> str:
    return f"{word}-{next(numbers)}"


def refused(answer: Any, path: str) -> None:
    """422, and the member that is wrong is named."""
    assert answer.status == 422, answer
    assert path in [each["path"] for each in answer.json.get("errors", [])] or path in answer.json["detail"], answer


def every(caller: Caller, path: str, limit: int) -> list[dict[str, Any]]:
    seen: list[dict[str, Any]] = []
    cursor = ""
    while True:
        made = caller.get(f"{path}?limit={limit}{cursor}").expect(200)
        assert len(made["items"]) <= limit
        seen += made["items"]
        if made["next_cursor"] is None:
            return seen
        cursor = f"&cursor={quote(made['next_cursor'])}"


def test_a_change_is_known_to_every_process_before_it_is_answered(home: Tenant) -> None:
    """Connections go to either gateway: each next call may meet the one that did not make the change."""
    agent = home.admin.post("/v1/agents", {"name": fresh("known")}).expect(201)
    for word, status in (("quarantined", "kill"), ("active", "allow"), ("quarantined", "kill")):
        home.admin.patch(f"/v1/agents/{agent['id']}", {"status": word}).expect(200)
        for _ in range(4):
            told = Caller(home.url, agent["token"]).post("/v1/decide", {"tool": "notes.read", "arguments": {}})
            verdict = told.json.get("verdict", "kill") if told.status == 200 else "kill"
            assert (verdict == "kill") == (status == "kill"), told


# ------------------------------------------------------------------ agents


def test_an_agent_lives_from_its_secret_to_its_retirement(home: Tenant) -> None:
    name = fresh("worker")
    given = {"name": name, "owner": "ann", "model": "m", "labels": {"tier": "gold"}}
    made = home.admin.post("/v1/agents", given).expect(201)
    assert made["status"] == "active" and made["secret"] and made["token"].startswith("aegis_")
    shown = home.auditor.get(f"/v1/agents/{made['id']}").expect(200)
    assert shown.items() >= {**given, "status": "active", "id": made["id"]}.items()
    assert not {"secret", "token"} & shown.keys()
    signed_on = Caller(home.url, None).post("/v1/auth/token", {"id": made["id"], "secret": made["secret"]}).expect(200)
    assert Caller(home.url, signed_on["token"]).get("/v1/decisions").status == 200
    changed = home.admin.patch(f"/v1/agents/{made['id']}", {"owner": "bob", "labels": {}}).expect(200)
    assert (changed["owner"], changed["labels"], changed["name"]) == ("bob", {}, name)
    home.admin.delete(f"/v1/agents/{made['id']}").expect(204)
    assert home.auditor.get(f"/v1/agents/{made['id']}").expect(200)["status"] == "retired"
    assert home.admin.patch(f"/v1/agents/{made['id']}", {"status": "active"}).expect(409)["code"] == "agents.retired"
    ask = {"tool": "notes.read", "arguments": {}}
    told = Caller(home.url, made["token"]).post("/v1/decide", ask)
    assert told.status in (401, 403) or told.json["verdict"] == "kill"


def test_a_name_is_an_agents_alone(home: Tenant) -> None:
    name = fresh("taken")
    home.admin.post("/v1/agents", {"name": name}).expect(201)
    other = home.admin.post("/v1/agents", {"name": fresh("other")}).expect(201)
    home.admin.post("/v1/agents", {"name": name}).expect(409)
    home.admin.patch(f"/v1/agents/{other['id']}", {"name": name}).expect(409)


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "/name"),
        ({"name": ""}, "/name"),
        ({"name": "a" * 201}, "/name"),
        ({"name": " a"}, "/name"),
        ({"name": "a\nb"}, "/name"),
        ({"name": "a", "labels": {"a": 1}}, "/labels"),
        ({"name": "a", "labels": {str(n): "" for n in range(65)}}, "/labels"),
        ({"name": "a", "status": "retired"}, "/status"),
        ({"name": "a", "owner": 1}, "/owner"),
        ({"nmae": "a"}, "/nmae"),
    ],
)
def test_an_agent_that_is_none_is_refused(given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.post("/v1/agents", given), path)


def test_security_may_quarantine_and_nothing_else(home: Tenant) -> None:
    agent = home.admin.post("/v1/agents", {"name": fresh("suspect")}).expect(201)
    home.security.patch(f"/v1/agents/{agent['id']}", {"status": "quarantined"}).expect(200)
    home.security.patch(f"/v1/agents/{agent['id']}", {"owner": "me"}).expect(403)
    assert home.auditor.get(f"/v1/agents/{agent['id']}").expect(200)["owner"] is None


def test_lists_come_in_pages_that_hold_everything_once(installation: Installation) -> None:
    tenant = installation.tenant("pages")
    made = {tenant.admin.post("/v1/agents", {"name": f"a{n}"}).expect(201)["id"] for n in range(7)} | {tenant.agent}
    for number in range(7):
        tenant.admin.put(f"/v1/tools/t{number}", {"effect": "read"}).expect(200)
    for limit in (1, 3, 8, 500):
        listed = [each["id"] for each in every(tenant.auditor, "/v1/agents", limit)]
        assert listed == sorted(made)
        assert [each["name"] for each in every(tenant.auditor, "/v1/tools", limit)] == [f"t{n}" for n in range(7)]


@pytest.mark.parametrize("status", ["quarantined", "retired"])
def test_an_agent_that_is_not_active_is_refused_everything(status: str, home: Tenant) -> None:
    made = home.admin.post("/v1/agents", {"name": fresh("out")}).expect(201)
    agent = Caller(home.url, made["token"])
    keyed = {"tool": "notes.read", "arguments": {}, "idempotency_key": fresh("key")}
    told = agent.post("/v1/decide", keyed).expect(200)
    assert told["verdict"] != "kill"
    home.admin.patch(f"/v1/agents/{made['id']}", {"status": status}).expect(200)
    assert agent.post("/v1/decide", keyed).expect(200)["verdict"] == "kill"
    for method, path, body in (
        ("POST", "/v1/scan", {"text": "x"}),
        ("POST", "/v1/sessions", {}),
        ("POST", f"/v1/decisions/{told['decision_id']}/outcome", {"status": "ok"}),
        ("GET", "/v1/decisions", None),
        ("GET", f"/v1/decisions/{told['decision_id']}", None),
        ("GET", "/v1/approvals", None),
    ):
        answer = agent.call(method, path, body)
        assert (answer.status, answer.json["code"]) == (403, f"auth.agent_{status}"), path


def test_a_revoked_token_opens_no_door(home: Tenant) -> None:
    made = home.admin.post("/v1/agents", {"name": fresh("revoked")}).expect(201)
    credentials = {"id": made["id"], "secret": made["secret"]}
    agent = Caller(home.url, Caller(home.url, None).post("/v1/auth/token", credentials).expect(200)["token"])
    keyed = {"tool": "notes.read", "arguments": {}, "idempotency_key": fresh("key")}
    agent.post("/v1/decide", keyed).expect(200)
    agent.post("/v1/auth/revoke").expect(200)
    for path, body in (("/v1/scan", {"text": "x"}), ("/v1/sessions", {}), ("/v1/decisions", None)):
        answer = agent.call("GET" if body is None else "POST", path, body)
        assert (answer.status, answer.json["code"]) == (401, "auth.revoked"), path
    assert agent.post("/v1/decide", keyed).expect(200)["verdict"] == "kill"


# ------------------------------------------------------------------ versions


@pytest.mark.parametrize(
    ("path", "first", "second"),
    [
        ("/v1/tools/{}", {"effect": "read"}, {"effect": "write"}),
        ("/v1/upstreams/{}", {"kind": "http", "url": "https://a.test/"}, {"kind": "http", "url": "https://b.test/"}),
        ("/v1/quotas/tool:{}", {"rps": 1}, {"rps": 2}),
    ],
)
def test_if_match_keeps_a_change_that_was_not_seen(path: str, first: Any, second: Any, home: Tenant) -> None:
    path = path.format(fresh("versioned"))
    assert home.admin.put(path, first, if_match="*").status == 412
    made = home.admin.put(path, first)
    made.expect(200)
    seen = home.admin.get(path).headers["etag"]
    assert made.headers["etag"] == seen
    changed = home.admin.put(path, second, if_match=seen)
    assert changed.status == 200 and changed.headers["etag"] != seen
    assert home.admin.put(path, first, if_match=seen).status == 412
    assert home.admin.delete(path, if_match=seen).status == 412
    assert home.admin.put(path, first, if_match=f'"x", {changed.headers["etag"]}').status == 200
    assert home.admin.delete(path, if_match="*").status == 204
    assert home.admin.get(path).status == 404
    assert home.admin.delete(path).status == 404


def test_agents_and_settings_have_versions_too(home: Tenant) -> None:
    agent = home.admin.post("/v1/agents", {"name": fresh("versioned")}).expect(201)
    for path, change in (
        (f"/v1/agents/{agent['id']}", {"owner": "x"}),
        ("/v1/settings", {"degraded_mode": "block_all"}),
    ):
        seen = home.admin.get(path).headers["etag"]
        write = home.admin.put if path == "/v1/settings" else home.admin.patch
        assert write(path, change, if_match='"other"').status == 412
        assert write(path, change, if_match=seen).status == 200
        assert write(path, change, if_match=seen).status == 412
    home.admin.put("/v1/settings", {"degraded_mode": "block_high_risk"}).expect(200)
    assert home.admin.delete(f"/v1/agents/{agent['id']}", if_match='"other"').status == 412


# ------------------------------------------------------------------ tools, upstreams, secrets


@pytest.mark.parametrize("name", ["fs/read_file", "a b", "ünïcode", "100%", "a/../b", "..", "?x=1", "#", "+"])
def test_a_name_is_one_segment_whatever_stands_in_it(name: str, home: Tenant) -> None:
    path = f"/v1/tools/{quote(name, safe='')}"
    if name == "..":
        path = "/v1/tools/%2E%2E"
    assert home.admin.put(path, {"effect": "read"}).expect(200)["name"] == name
    assert home.auditor.get(path).expect(200)["name"] == name
    assert name in [each["name"] for each in every(home.auditor, "/v1/tools", 100)]
    home.admin.delete(path).expect(204)


def test_a_tool_is_kept_as_it_was_written_and_its_definition_pinned(home: Tenant) -> None:
    path = f"/v1/tools/{fresh('sql')}"
    given = {
        "effect": "write", "output_trust": "untrusted", "kinds": {"/query": "sql:postgres", "/a/b": "money"},
        "risk": 0.5, "price_usd": "0.01", "description": "runs SQL", "input_schema": {"type": "object"},
    }  # fmt: skip
    made = home.admin.put(path, given).expect(200)
    assert made.items() >= given.items() and made["pinned"]
    again = home.admin.put(path, {**given, "description": "runs more"}).expect(200)
    assert again["pinned"] != made["pinned"]


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({}, "/effect"),
        ({"effect": "boom"}, "/effect"),
        ({"effect": "read", "risk": 1.1}, "/risk"),
        ({"effect": "read", "risk": True}, "/risk"),
        ({"effect": "read", "price_usd": 1.5}, "/price_usd"),
        ({"effect": "read", "price_usd": "-1"}, "/price_usd"),
        ({"effect": "read", "price_usd": "1e3"}, "/price_usd"),
        ({"effect": "read", "kinds": {"query": "sql"}}, "/kinds"),
        ({"effect": "read", "kinds": {"/query": "poem"}}, "/kinds"),
        ({"effect": "read", "kinds": {"/query": 1}}, "/kinds"),
        ({"effect": "read", "output_trust": "maybe"}, "/output_trust"),
        ({"effect": "read", "input_schema": {"x": "y" * 70_000}}, "/input_schema"),
        ({"effekt": "read"}, "/effekt"),
    ],
)
def test_a_tool_that_is_none_is_refused(given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.put("/v1/tools/bad", given), path)
    assert home.admin.get("/v1/tools/bad").status == 404


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"kind": "http"}, "/url"),
        ({"url": "https://a.test"}, "/kind"),
        ({"kind": "ftp", "url": "ftp://a.test"}, "/kind"),
        ({"kind": "http", "url": "file:///etc/passwd"}, "/url"),
        ({"kind": "http", "url": "gopher://a.test"}, "/url"),
        ({"kind": "http", "url": "https://user:word@a.test/"}, "/url"),
        ({"kind": "sql", "url": "https://a.test"}, "/url"),
        ({"kind": "sql", "url": "postgresql://ann:secret@a.test/shop"}, "/url"),
        ({"kind": "sql", "url": "postgresql://ann@a.test/shop?password=secret"}, "/url"),
        ({"kind": "http", "url": "https://a.test", "credential": {"ref": "../other"}}, "/credential/ref"),
        (
            {"kind": "http", "url": "https://a.test", "credential": {"exchange": {"issuer": "x"}}},
            "/credential/exchange",
        ),
        ({"kind": "http", "url": "https://a.test", "credential": {"value": "x"}}, "/credential/value"),
        ({"kind": "http", "url": "https://a.test", "timeout_ms": 0}, "/timeout_ms"),
        ({"kind": "http", "url": "https://a.test", "max_bytes": 10**12}, "/max_bytes"),
    ],
)
def test_an_upstream_that_is_none_is_refused(given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.put("/v1/upstreams/bad", given), path)


@pytest.mark.parametrize(
    ("given", "warned"),
    [
        ({"kind": "http", "url": "http://127.0.0.1:9000"}, "networks.allow"),
        ({"kind": "http", "url": "http://localhost:9000"}, "networks.allow"),
        ({"kind": "http", "url": "http://[::1]/"}, "networks.allow"),
        ({"kind": "kubernetes", "url": "https://10.0.0.1:6443"}, "networks.allow"),
        ({"kind": "sql", "url": "postgresql://ann@192.168.1.7/shop"}, "networks.allow"),
        ({"kind": "sql", "url": "postgresql://ann@/shop?host=/run/postgresql"}, "networks.allow_unix"),
        ({"kind": "http", "url": "https://93.184.215.14/"}, None),
    ],
)
def test_an_upstream_on_a_closed_network_is_kept_and_warned_of(
    given: dict[str, Any], warned: str | None, home: Tenant
) -> None:
    path = f"/v1/upstreams/{fresh('upstream')}"
    answer = home.admin.put(path, given)
    warnings = answer.expect(200)["warnings"]
    assert [warned in each for each in warnings] == ([] if warned is None else [True])
    assert home.admin.get(path).headers["etag"] == answer.headers["etag"]


def test_a_tool_whose_upstream_or_canonical_tool_is_not_there_is_warned_of(home: Tenant) -> None:
    given = {"effect": "read", "upstream": fresh("none"), "alias_of": fresh("none")}
    told = home.admin.put(f"/v1/tools/{fresh('tool')}", given).expect(200)["warnings"]
    assert [each.partition(":")[0] for each in told] == ["upstream", "alias_of"]
    home.admin.put(f"/v1/upstreams/{given['upstream']}", {"kind": "http", "url": "https://93.184.215.14/"}).expect(200)
    home.admin.put(f"/v1/tools/{given['alias_of']}", {"effect": "read"}).expect(200)
    assert home.admin.put(f"/v1/tools/{fresh('tool')}", given).expect(200)["warnings"] == []


def test_a_secret_goes_in_and_never_comes_out(home: Tenant) -> None:
    ref = fresh("secret")
    assert home.admin.put(f"/v1/secrets/{ref}", {"value": "s3cr3t-marigold"}).status == 204
    upstream = {"kind": "http", "url": "https://a.test/", "credential": {"ref": ref}}
    shown = home.admin.put(f"/v1/upstreams/{ref}", upstream).expect(200)
    assert shown["credential"] == {"ref": ref}
    assert home.admin.get(f"/v1/secrets/{ref}").status == 405
    assert "s3cr3t-marigold" not in str(home.rows())
    home.admin.delete(f"/v1/secrets/{ref}").expect(204)
    home.admin.delete(f"/v1/secrets/{ref}").expect(404)


# ------------------------------------------------------------------ quotas, contracts, settings


def test_a_quota_tells_what_is_left_of_it(installation: Installation) -> None:
    tenant = installation.tenant("quotas")
    path = f"/v1/quotas/agent:{tenant.agent}"
    tenant.admin.put(path, {"daily_requests": 3, "daily_usd": "12.50"}).expect(200)
    ask = {"tool": "notes.read", "arguments": {}, "outcome": "none"}
    assert tenant.agent_caller.post("/v1/decide", ask).expect(200)["verdict"] in ("allow", "monitor")
    shown = tenant.auditor.get(path).expect(200)
    assert {"used", "reserved", "remaining", "resets_at", "projection"} <= shown.keys()
    assert (shown["used"]["daily_requests"], shown["remaining"]["daily_requests"]) == (1, 2)
    assert (shown["daily_usd"], shown["remaining"]["daily_usd"]) == ("12.50", "12.50")
    verdicts = [tenant.agent_caller.post("/v1/decide", ask).expect(200)["verdict"] for _ in range(4)]
    assert verdicts[-1] == "throttle"
    assert "used" in tenant.auditor.get("/v1/quotas/tenant").expect(200)


@pytest.mark.parametrize(
    ("scope", "given", "path"),
    [
        ("tenant", {"rps": 0}, "/rps"),
        ("tenant", {"rps": "1"}, "/rps"),
        ("tenant", {"burst": 5}, "/burst"),
        ("tenant", {"daily_requests": -1}, "/daily_requests"),
        ("tenant", {"daily_requests": 1.5}, "/daily_requests"),
        ("tenant", {"daily_usd": 12.5}, "/daily_usd"),
        ("tenant", {"daily_usd": "1e999999999"}, "/daily_usd"),
        ("tenant", {"monthly_usd": "NaN"}, "/monthly_usd"),
        ("tenant", {"tokens_per_minute": 1}, "/tokens_per_minute"),
        ("session", {"rps": 1}, "/scope"),
        ("user:ann", {"rps": 1}, "/scope"),
        ("galaxy:1", {"rps": 1}, "/scope"),
        ("agent:", {"rps": 1}, "/scope"),
        ("tenant", {"dayly_requests": 1}, "/dayly_requests"),
    ],
)
def test_a_quota_that_is_none_is_refused(scope: str, given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.put(f"/v1/quotas/{quote(scope, safe='')}", given), path)


@pytest.mark.parametrize(
    ("scope", "code"),
    [("agent:agt_nobody", "agents.unknown"), ("team:tea_none", "teams.unknown")],
    ids=["an agent", "a team"],
)
def test_a_quota_for_somebody_who_is_not_there_is_404(scope: str, code: str, home: Tenant) -> None:
    path = f"/v1/quotas/{quote(scope, safe='')}"
    assert home.admin.put(path, {"rps": 1}).expect(404)["code"] == code
    assert home.admin.get(path).status == 404


def test_a_quota_for_a_new_team_and_for_a_tool_without_set_up_is_kept(home: Tenant) -> None:
    team = home.admin.post("/v1/teams", {"name": fresh("team")}).expect(201)["id"]
    for scope in (f"team:{team}", f"tool:{fresh('tool')}"):
        assert home.admin.put(f"/v1/quotas/{quote(scope, safe='')}", {"rps": 1}).expect(200)["scope"] == scope


def test_a_contract_is_obeyed_as_soon_as_it_is_written(installation: Installation) -> None:
    tenant = installation.tenant("contracts")
    path = f"/v1/contracts/{tenant.agent}"
    given = {"mode": "enforce", "tools": {"allow": ["notes.*"], "deny": ["notes.delete"]}}
    assert tenant.admin.put(path, given).expect(200).items() >= given.items()

    def verdict(tool: str) -> str:
        return str(tenant.agent_caller.post("/v1/decide", {"tool": tool, "arguments": {}}).expect(200)["verdict"])

    assert verdict("notes.read") != "kill" and verdict("mail.send") == verdict("notes.delete") == "kill"
    tenant.admin.delete(path).expect(204)
    assert verdict("mail.send") != "kill"


@pytest.mark.parametrize(
    "given",
    [
        {"mode": "loose"},
        {"mode": "enforce", "tools": {"allow": "all"}},
        {"mode": "enforce", "tools": {"alow": []}},
        {"mode": "enforce", "time_windows": [{"days": ["mon"], "from": "25:00", "to": "18:00", "tz": "UTC"}]},
        {"mode": "enforce", "time_windows": [{"days": ["mon"], "from": "08:00", "to": "18:00", "tz": "Moon/Base"}]},
        {"mode": "enforce", "expires_at": "tomorrow"},
        {"mode": "enforce", "approvals": [{}]},
        {"tols": {}},
    ],
    ids=str,
)
def test_a_contract_that_is_none_is_refused(given: dict[str, Any], home: Tenant) -> None:
    answer = home.admin.put(f"/v1/contracts/{home.agent}", given)
    assert answer.status == 422 and answer.json["detail"], answer
    assert home.admin.get(f"/v1/contracts/{home.agent}").status == 404


def test_settings_are_merged_member_by_member(installation: Installation) -> None:
    tenant = installation.tenant("settings")
    before = tenant.auditor.get("/v1/settings").expect(200)
    tenant.admin.put("/v1/settings", {"weights": {"policy": 2}}).expect(200)
    after = tenant.admin.put("/v1/settings", {"thresholds": {"monitor": 0.2}}).expect(200)
    assert after["weights"] == {**before["weights"], "policy": 2}
    assert after["thresholds"] == {**before["thresholds"], "monitor": 0.2}
    assert after["explain_to_agents"] == before["explain_to_agents"] == "code"


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"degraded_mode": "allow_all"}, "/degraded_mode"),
        ({"explain_to_agents": "some"}, "/explain_to_agents"),
        ({"weights": {"policy": -1}}, "/weights/policy"),
        ({"weights": {"polcy": 1}}, "/weights/polcy"),
        ({"thresholds": {"kill": 1.1}}, "/thresholds/kill"),
        ({"thresholds": {"kill": 0}}, "/thresholds/kill"),
        ({"thresholds": {"kill": 0.1}}, "/thresholds"),
        ({"weights": []}, "/weights"),
    ],
)
def test_settings_that_are_none_are_refused(given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.put("/v1/settings", given), path)


# ------------------------------------------------------------------ approvals, kill switches, sessions


def test_an_approval_lets_exactly_its_action_through_once(installation: Installation) -> None:
    tenant = installation.tenant("approvals")
    tenant.admin.put(f"/v1/contracts/{tenant.agent}", {"mode": "enforce", "approvals": [{"tool": "pay*"}]}).expect(200)
    ask = {"tool": "pay.invoice", "arguments": {"amount": "1"}, "outcome": "none"}
    asked = tenant.agent_caller.post("/v1/decide", ask).expect(200)
    assert (asked["verdict"], asked["approval"]["status"]) == ("escalate", "pending")
    path = f"/v1/approvals/{asked['approval']['id']}"
    assert tenant.agent_caller.get(path).expect(200)["status"] == "pending"
    assert [each["id"] for each in tenant.security.get("/v1/approvals?status=pending").expect(200)["items"]] == [
        asked["approval"]["id"]
    ]
    assert tenant.agent_caller.post(f"{path}/approve", {}).status == 403
    granted = tenant.security.post(f"{path}/approve", {"reason": "fine", "uses": 1, "expires_in": 600}).expect(200)
    assert (granted["status"], granted["uses_left"]) == ("approved", 1)
    assert granted["action_digest"] == asked["action_digest"]
    with_it = {**ask, "approval": asked["approval"]["id"]}
    other = tenant.agent_caller.post("/v1/decide", {**with_it, "arguments": {"amount": "2"}}).expect(200)
    assert other["verdict"] == "kill"
    assert tenant.agent_caller.post("/v1/decide", with_it).expect(200)["verdict"] in ("allow", "monitor")
    assert tenant.agent_caller.post("/v1/decide", with_it).expect(200)["verdict"] in ("kill", "escalate")


def test_a_denied_action_is_refused_and_the_decision_stands(installation: Installation) -> None:
    tenant = installation.tenant("denials")
    tenant.admin.put(f"/v1/contracts/{tenant.agent}", {"mode": "enforce", "approvals": [{"tool": "pay*"}]}).expect(200)
    ask = {"tool": "pay.invoice", "arguments": {}}
    asked = tenant.agent_caller.post("/v1/decide", ask).expect(200)["approval"]["id"]
    tenant.security.post(f"/v1/approvals/{asked}/deny", {"reason": "no"}).expect(200)
    told = tenant.agent_caller.post("/v1/decide", {**ask, "approval": asked}).expect(200)
    assert (told["verdict"], told["rule"]) == ("kill", "approval.denied")
    assert tenant.security.post(f"/v1/approvals/{asked}/approve", {}).status == 409


@pytest.mark.parametrize(
    "given", [{"uses": 0}, {"uses": "1"}, {"uses": 10**9}, {"expires_in": -1}, {"reason": 1}, {"use": 1}]
)
def test_a_grant_that_is_none_is_refused(given: dict[str, Any], home: Tenant) -> None:
    assert home.security.post("/v1/approvals/apr_nobody/approve", given).status == 422


def test_approvals_come_in_pages(installation: Installation) -> None:
    tenant = installation.tenant("many approvals")
    tenant.admin.put(f"/v1/contracts/{tenant.agent}", {"mode": "enforce", "approvals": [{"tool": "pay*"}]}).expect(200)
    made = {
        tenant.agent_caller.post("/v1/decide", {"tool": "pay", "arguments": {"n": n}}).expect(200)["approval"]["id"]
        for n in range(5)
    }
    for limit in (1, 2, 5, 100):
        listed = [each["id"] for each in every(tenant.security, "/v1/approvals", limit)]
        assert len(listed) == 5 and set(listed) == made


def test_an_agent_lists_its_own_approvals_past_everybody_elses(installation: Installation) -> None:
    tenant = installation.tenant("others' approvals")
    busy = tenant.admin.post("/v1/agents", {"name": "busy"}).expect(201)
    contract = {"mode": "enforce", "approvals": [{"tool": "pay*"}]}
    for agent in (tenant.agent, busy["id"]):
        tenant.admin.put(f"/v1/contracts/{agent}", contract).expect(200)
    ask = {"tool": "pay", "arguments": {}}
    own = tenant.agent_caller.post("/v1/decide", ask).expect(200)["approval"]["id"]
    for number in range(3):
        Caller(tenant.url, busy["token"]).post("/v1/decide", {**ask, "arguments": {"n": number}}).expect(200)
    listed = tenant.agent_caller.get("/v1/approvals?limit=1").expect(200)
    assert [each["id"] for each in listed["items"]] == [own]
    assert listed["next_cursor"] is None
    assert Caller(tenant.url, busy["token"]).get(f"/v1/approvals/{own}").status == 404


def test_after_the_answer_nothing_in_the_scope_runs(installation: Installation) -> None:
    tenant = installation.tenant("kills")
    done = tenant.security.put(f"/v1/kill-switches/agent:{tenant.agent}", {"reason": "odd"}).expect(200)
    assert done["durable"] and len(done["acknowledged"]) == 2 and not done["silent"] and done["known"]
    for _ in range(4):
        told = Caller(tenant.url, tenant.agent_caller.token).post("/v1/decide", {"tool": "notes.read", "arguments": {}})
        assert told.expect(200)["verdict"] == "kill"
    listed = tenant.viewer.get("/v1/kill-switches").expect(200)["items"]
    assert [(each["scope"], each["reason"]) for each in listed] == [(f"agent:{tenant.agent}", "odd")]
    assert len(listed[0]["acknowledged"]) == 2
    tenant.security.post(f"/v1/kill-switches/agent:{tenant.agent}/release", {"reason": "fine"}).expect(200)
    for _ in range(4):
        told = Caller(tenant.url, tenant.agent_caller.token).post("/v1/decide", {"tool": "notes.read", "arguments": {}})
        assert told.expect(200)["verdict"] != "kill"
    assert tenant.viewer.get("/v1/kill-switches").expect(200)["items"] == []


@pytest.mark.parametrize(
    ("scope", "known"),
    [("agent:agt_nobody", False), ("team:tea_none", False), ("tool:never.seen", None)],
    ids=["an agent", "a team", "a tool, which needs no set-up"],
)
def test_a_kill_of_what_is_not_there_is_kept_and_says_so(scope: str, known: bool | None, home: Tenant) -> None:
    path = f"/v1/kill-switches/{quote(scope, safe='')}"
    assert home.security.put(path, {"reason": "x"}).expect(200)["known"] is known
    assert scope in [each["scope"] for each in home.viewer.get("/v1/kill-switches").expect(200)["items"]]
    home.security.post(f"{path}/release", {"reason": "x"}).expect(200)


@pytest.mark.parametrize(
    ("scope", "given"),
    [("tenant", {}), ("tenant", {"reason": ""}), ("galaxy:1", {"reason": "x"}), ("agent:", {"reason": "x"}),
     ("tenant", {"reason": "x" * 5000}), ("tenant", {"reason": "a\x00b"}), ("tenant", {"raeson": "x"})],
)  # fmt: skip
def test_a_kill_that_is_none_is_refused(scope: str, given: dict[str, Any], home: Tenant) -> None:
    assert home.security.put(f"/v1/kill-switches/{quote(scope, safe='')}", given).status == 422
    assert home.viewer.get("/v1/kill-switches").expect(200)["items"] == []


def test_a_tool_whose_name_has_a_slash_can_be_stopped(home: Tenant) -> None:
    scope = quote("tool:fs/read_file", safe="")
    home.security.put(f"/v1/kill-switches/{scope}", {"reason": "x"}).expect(200)
    told = home.agent_caller.post("/v1/decide", {"tool": "fs/read_file", "arguments": {}}).expect(200)
    assert told["verdict"] == "kill"
    home.security.post(f"/v1/kill-switches/{scope}/release", {"reason": "x"}).expect(200)


def test_a_session_ends_when_it_is_told_to(home: Tenant) -> None:
    made = home.agent_caller.post("/v1/sessions", {"intent": "to read", "user": {"id": "ann", "groups": ["g"]}}).expect(
        201
    )
    path = f"/v1/sessions/{made['session_id']}"
    shown = home.agent_caller.get(path).expect(200)
    assert (shown["intent"], shown["user"]["known"], shown["ended"]) == ("to read", "asserted", False)
    home.agent_caller.delete(path).expect(204)
    assert home.auditor.get(path).expect(200)["ended"]
    ask = {"tool": "notes.read", "arguments": {}, "session_id": made["session_id"]}
    told = home.agent_caller.post("/v1/decide", ask)
    assert told.status >= 400 or told.json["verdict"] == "kill", told


def test_a_session_of_another_agent_is_404(home: Tenant) -> None:
    other = home.admin.post("/v1/agents", {"name": fresh("other")}).expect(201)
    made = home.agent_caller.post("/v1/sessions", {}).expect(201)["session_id"]
    caller = Caller(home.url, other["token"])
    assert caller.get(f"/v1/sessions/{made}").status == caller.delete(f"/v1/sessions/{made}").status == 404


# ------------------------------------------------------------------ people, keys, teams, issuers, tenants


def test_a_person_signs_on_until_the_access_is_taken_away(home: Tenant) -> None:
    email = f"{fresh('ann')}@home.test"
    made = home.admin.post(
        "/v1/users", {"email": email, "password": "correct horse battery", "role": "auditor"}
    ).expect(201)
    assert "password" not in str(home.auditor.get(f"/v1/users/{made['id']}").expect(200))
    anybody = Caller(home.url, None)
    answer = anybody.post("/v1/auth/token", {"email": email, "password": "correct horse battery"})
    signed_on = answer.expect(200)
    assert answer.headers["cache-control"] == "no-store" and signed_on["expires_at"]
    person = Caller(home.url, signed_on["token"])
    person.get("/v1/decisions").expect(200)
    assert anybody.post("/v1/auth/token", {"email": email, "password": "wrong horse battery"}).status == 401
    home.admin.patch(f"/v1/users/{made['id']}", {"role": "viewer"}).expect(200)
    assert person.get("/v1/decisions").status == 401
    home.admin.delete(f"/v1/users/{made['id']}").expect(204)
    assert anybody.post("/v1/auth/token", {"email": email, "password": "correct horse battery"}).status == 401
    assert home.admin.get(f"/v1/users/{made['id']}").status == 404


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ({"role": "viewer"}, "/email"),
        ({"email": "nobody", "role": "viewer"}, "/email"),
        ({"email": "a@b", "role": "agent"}, "/role"),
        ({"email": "a@b", "role": "operator"}, "/role"),
        ({"email": "a@b", "role": "viewer", "password": "short"}, "/password"),
    ],
)
def test_a_person_that_is_none_is_refused(given: dict[str, Any], path: str, home: Tenant) -> None:
    refused(home.admin.post("/v1/users", given), path)


def test_an_address_is_one_persons_in_the_installation(home: Tenant, stranger: Tenant) -> None:
    email = f"{fresh('only')}@home.test"
    home.admin.post("/v1/users", {"email": email, "role": "viewer"}).expect(201)
    stranger.admin.post("/v1/users", {"email": email, "role": "viewer"}).expect(409)


@pytest.mark.parametrize("given", [{}, {"email": "a@b"}, {"id": "x"}, {"email": "a@b", "secret": "x"},
                                   {"email": "a@b", "password": "x", "id": "y", "secret": "z"}])  # fmt: skip
def test_a_sign_on_with_half_of_it_is_422(given: dict[str, Any], home: Tenant) -> None:
    assert Caller(home.url, None).post("/v1/auth/token", given).status == 422


def test_a_key_works_until_it_is_revoked(home: Tenant) -> None:
    made = home.admin.post("/v1/keys", {"name": "ci", "role": "auditor"}).expect(201)
    caller = Caller(home.url, made["token"])
    caller.get("/v1/decisions").expect(200)
    assert Caller(home.url, None).get("/v1/decisions", x_api_key=made["token"]).status == 200
    assert made["token"] not in str(home.admin.get(f"/v1/keys/{made['id']}").expect(200))
    home.admin.delete(f"/v1/keys/{made['id']}").expect(204)
    for _ in range(4):
        assert Caller(home.url, made["token"]).get("/v1/decisions").status == 401
    assert home.admin.get(f"/v1/keys/{made['id']}").expect(200)["revoked_at"] is not None


def test_a_caller_ends_its_own_credential_and_no_other(home: Tenant) -> None:
    one, other = (home.admin.post("/v1/keys", {"role": "viewer"}).expect(201) for _ in range(2))
    caller = Caller(home.url, one["token"])
    assert caller.post("/v1/auth/revoke", {"credential": other["id"]}).status == 403
    assert caller.post("/v1/auth/revoke").expect(200)["revoked"] == one["id"]
    assert caller.get("/v1/kill-switches").status == 401
    assert Caller(home.url, other["token"]).get("/v1/kill-switches").status == 200


@pytest.mark.parametrize(
    ("given", "status"),
    [({}, 422), ({"role": "king"}, 422), ({"role": "agent"}, 422), ({"role": "agent", "agent": "agt_nobody"}, 422),
     ({"role": "viewer", "agent": "x"}, 422), ({"role": "operator"}, 403)],
)  # fmt: skip
def test_a_key_that_reaches_too_far_is_refused(given: dict[str, Any], status: int, home: Tenant) -> None:
    assert home.admin.post("/v1/keys", given).status == status


def test_teams_are_made_and_agents_belong_to_them(home: Tenant) -> None:
    team = home.admin.post("/v1/teams", {"name": "blue"}).expect(201)
    agent = home.admin.post("/v1/agents", {"name": fresh("blue"), "team": team["id"]}).expect(201)
    assert home.auditor.get(f"/v1/agents/{agent['id']}").expect(200)["team"] == team["id"]
    assert home.auditor.get(f"/v1/teams/{team['id']}").expect(200)["name"] == "blue"
    home.security.put(f"/v1/kill-switches/team:{team['id']}", {"reason": "x"}).expect(200)
    told = Caller(home.url, agent["token"]).post("/v1/decide", {"tool": "notes.read", "arguments": {}}).expect(200)
    assert told["verdict"] == "kill"
    home.security.post(f"/v1/kill-switches/team:{team['id']}/release", {"reason": "x"}).expect(200)


def test_an_issuer_belongs_to_one_tenant(home: Tenant, stranger: Tenant) -> None:
    name = fresh("issuer")
    given = {"issuer": f"https://{name}.test", "jwks_uri": f"https://{name}.test/keys", "audience": "aegis",
             "max_role": "viewer"}  # fmt: skip
    made = home.admin.put(f"/v1/issuers/{name}", given).expect(200)
    assert made.items() >= given.items() and made["algorithms"] == ["RS256", "ES256"]
    assert home.auditor.get(f"/v1/issuers/{name}").expect(200).items() >= given.items()
    stranger.admin.put(f"/v1/issuers/{name}", given).expect(409)
    home.admin.delete(f"/v1/issuers/{name}").expect(204)
    assert home.auditor.get(f"/v1/issuers/{name}").status == 404


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"max_role": "operator"}, "/max_role"),
        ({"jwks_uri": "file:///etc/passwd"}, "/jwks_uri"),
        ({"algorithms": ["HS256"]}, "/algorithms"),
        ({"algorithms": ["none"]}, "/algorithms"),
        ({"issuer": ""}, "/issuer"),
        ({"audience": None}, "/audience"),
    ],
)
def test_an_issuer_that_is_none_is_refused(change: dict[str, Any], path: str, home: Tenant) -> None:
    given = {"issuer": "https://bad.test", "jwks_uri": "https://bad.test/k", "audience": "a", "max_role": "viewer"}
    refused(home.admin.put("/v1/issuers/bad", {**given, **change}), path)


def test_a_tenant_begins_with_an_administrator_and_an_empty_log(installation: Installation) -> None:
    made = installation.operator.post("/v1/tenants", {"name": "new"}).expect(201)
    assert (made["name"], made["status"]) == ("new", "active")
    admin = Caller(installation.url, made["admin"]["token"])
    assert admin.get("/v1/agents").expect(200)["items"] == []
    assert admin.get("/v1/audit/checkpoint").status == 404
    assert admin.get("/v1/settings").expect(200)["explain_to_agents"] == "code"


@pytest.mark.parametrize("given", [{}, {"name": ""}, {"name": "a" * 201}, {"name": "a", "organisation": "org_nobody"}])
def test_a_tenant_that_is_none_is_refused(given: dict[str, Any], installation: Installation) -> None:
    assert installation.operator.post("/v1/tenants", given).status == 422


def test_every_change_stands_in_the_log_without_what_people_wrote(installation: Installation) -> None:
    tenant = installation.tenant("logged")
    admin = tenant.admin
    agent = admin.post("/v1/agents", {"name": "marigold"}).expect(201)
    admin.put("/v1/tools/odd%20name", {"effect": "read", "description": "marigold"}).expect(200)
    admin.put("/v1/settings", {"explain_to_agents": "full"}).expect(200)
    admin.put("/v1/quotas/tenant", {"rps": 100}).expect(200)
    admin.put(f"/v1/contracts/{agent['id']}", {"mode": "shadow"}).expect(200)
    admin.put("/v1/secrets/marigold-ref", {"value": "marigold"})
    admin.delete(f"/v1/agents/{agent['id']}").expect(204)
    rows = [row for row in tenant.rows() if row["kind"] == "config"]
    actions = [row["action"] for row in rows if row["action"] != "keys.create"]
    assert actions[-7:] == [
        "agents.create", "tools.put", "settings.put", "quotas.put", "contracts.put", "secrets.put", "agents.retire",
    ]  # fmt: skip
    assert all(row["detail"]["by"].startswith("key_") for row in rows[-7:])
    assert "odd name" not in str(rows) and "'marigold'" not in str(rows)
