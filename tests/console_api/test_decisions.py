"""What was decided, as each role may see it: lists and filters, flight records, receipts that verify offline."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.audit import evidence, proofs, receipts
from aegis.audit.notes import Verifier
from aegis.kernel import jsontree
from tests.console_api.conftest import Installation, Tenant

DROP = {"tool": "sql.query", "arguments": {"query": "DROP TABLE customers"}}
EXACT = {"n": 2**70, "f": 0.1, "text": "naïve\u0000"}


@pytest.fixture(scope="module")
def office(installation: Installation) -> Tenant:
    """A tenant with some decisions: a refusal, reads in a session of a user, a read with a reported outcome."""
    tenant = installation.tenant("office")
    agent = tenant.agent_caller
    agent.post("/v1/decide", DROP).expect(200)
    session = agent.post("/v1/sessions", {"intent": "to read", "user": {"id": "ann@office.test"}}).expect(201)
    for number in range(3):
        ask = {"tool": "notes.read", "arguments": {"n": number, **EXACT}, "session_id": session["session_id"]}
        agent.post("/v1/decide", ask).expect(200)
    return tenant


def items(tenant: Tenant, query: str = "", role: str = "auditor") -> list[dict[str, Any]]:
    return list(tenant.callers[role].get(f"/v1/decisions{query}").expect(200)["items"])


def vkey(tenant: Tenant) -> str:
    return str(tenant.auditor.get("/v1/audit/keys").expect(200)["log"])


def verified(receipt: bytes, tenant: Tenant) -> list[str]:
    """The codes of what offline verification finds."""
    found = receipts.verify_receipt(jsontree.parse(receipt), [Verifier.from_vkey(vkey(tenant))])
    assert evidence.exit_code(found) == 0, found
    return [each.code for each in found]


# ------------------------------------------------------------------ the list


def test_the_newest_comes_first_with_what_it_was(office: Tenant) -> None:
    listed = items(office)
    assert [each["tool"] for each in listed] == ["notes.read"] * 3 + ["sql.query"]
    refused = listed[-1]
    assert refused["verdict"] == "kill" and refused["rule"] and refused["codes"] == ["sql.destructive"]
    assert refused["agent"] == office.agent and refused["time"].endswith("Z")


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("?verdict=kill", 1),
        ("?verdict=escalate", 0),
        ("?tool=notes.read", 3),
        ("?code=sql.destructive", 1),
        ("?code=nothing", 0),
        ("?agent={agent}", 4),
        ("?agent=agt_other", 0),
        ("?user=ann@office.test", 3),
        ("?user=bob@office.test", 0),
        ("?session={session}", 3),
        ("?min_risk=0.95", 1),
        ("?min_risk=0", 4),
        ("?from={first}", 4),
        ("?to={first}", 0),
        ("?from={last}", 1),
        ("?tool=notes.read&verdict=kill", 0),
    ],
)
def test_a_filter_keeps_what_it_says(query: str, count: int, office: Tenant) -> None:
    listed = items(office)
    known = {
        "agent": office.agent,
        "session": listed[0]["session"],
        "first": listed[-1]["time"],
        "last": listed[0]["time"],
    }
    assert len(items(office, query.format(**known))) == count


def test_pages_hold_everything_once_and_in_order(office: Tenant) -> None:
    seen, cursor = [], ""
    while True:
        made = office.auditor.get(f"/v1/decisions?limit=1{cursor}").expect(200)
        assert len(made["items"]) <= 1
        seen += [each["decision_id"] for each in made["items"]]
        if made["next_cursor"] is None:
            break
        cursor = f"&cursor={made['next_cursor']}"
    assert seen == [each["decision_id"] for each in items(office)]


def test_an_agent_lists_its_own_whatever_it_asks_for(office: Tenant) -> None:
    other = office.admin.post("/v1/agents", {"name": "another"}).expect(201)
    assert {each["agent"] for each in items(office, f"?agent={other['id']}", "agent")} == {office.agent}


# ------------------------------------------------------------------ the flight record


def first_refused(tenant: Tenant) -> str:
    return str(items(tenant, "?verdict=kill")[-1]["decision_id"])


@pytest.mark.parametrize("role", ["admin", "security", "auditor"])
def test_people_see_all_of_it(role: str, office: Tenant) -> None:
    record = office.callers[role].get(f"/v1/decisions/{first_refused(office)}").expect(200)
    assert [stage["stage"] for stage in record["stages"]][:3] == ["kill_switch", "authenticate", "rate_limit"]
    assert record["findings"][0]["code"] == "sql.destructive" and "evidence" in record["findings"][0]
    assert record["inputs"]["arguments"] == DROP["arguments"]
    assert record["openings"]["inputs"]["payload"] == record["inputs"]
    assert record["row"]["eid"] == record["decision_id"]


@pytest.mark.parametrize(
    ("explain", "sees_rule", "sees_score"), [("none", False, False), ("code", True, False), ("full", True, True)]
)
def test_an_agent_sees_as_much_as_the_setting_says(
    explain: str, sees_rule: bool, sees_score: bool, installation: Installation
) -> None:
    tenant = installation.tenant(f"explains {explain}")
    tenant.admin.put("/v1/settings", {"explain_to_agents": explain}).expect(200)
    told = tenant.agent_caller.post("/v1/decide", DROP).expect(200)
    path = f"/v1/decisions/{told['decision_id']}"
    record, listed = tenant.agent_caller.get(path).expect(200), items(tenant, role="agent")[0]
    receipt = tenant.agent_caller.get(f"{path}/receipt")
    assert told["verdict"] == record["verdict"] == listed["verdict"] == "kill"
    for each in (told, record, listed):
        assert bool(each["rule"]) == sees_rule
    for each in (told, record):
        assert bool(each["findings"]) == bool(each["stages"]) == sees_rule
        assert all(("score" in finding) == sees_score for finding in each["findings"])
        assert all("evidence" not in finding for finding in each["findings"])
    assert bool(listed["codes"]) == sees_rule
    for made in (told["receipt"], receipt.expect(200)):
        assert ("row" in made) == ("sig" in made) == sees_rule
    assert ("row" in record) == sees_rule
    assert b"sql.destructive" not in receipt.body or sees_rule
    if sees_rule:
        assert "I_VERIFIED" in verified(receipt.body, tenant)
    people = tenant.auditor.get(path).expect(200)
    assert people["rule"] and "evidence" in people["findings"][0]


def test_an_agent_sees_no_other_agents_decision(office: Tenant) -> None:
    other = office.admin.post("/v1/agents", {"name": "curious"}).expect(201)
    caller = type(office.agent_caller)(office.url, other["token"])
    for path in (f"/v1/decisions/{first_refused(office)}", f"/v1/decisions/{first_refused(office)}/receipt"):
        assert caller.get(path).status == 404
    assert caller.get("/v1/decisions").expect(200)["items"] == []


def test_a_viewer_sees_no_decision(office: Tenant) -> None:
    assert office.viewer.get(f"/v1/decisions/{first_refused(office)}").status == 403


def test_an_outcome_stands_beside_its_decision(office: Tenant) -> None:
    decided = office.agent_caller.post("/v1/decide", {"tool": "notes.write", "arguments": {}}).expect(200)
    path = f"/v1/decisions/{decided['decision_id']}"
    assert office.auditor.get(path).expect(200)["outcome"] is None
    office.agent_caller.post(f"{path}/outcome", {"status": "ok", "output": {"n": 2**70}}).expect(200)
    outcome = office.auditor.get(path).expect(200)["outcome"]
    assert (outcome["status"], outcome["by"]) == ("ok", "caller")
    assert outcome["openings"]["outputs"]["payload"] == {"n": 2**70}


# ------------------------------------------------------------------ receipts


def test_a_receipt_verifies_offline_with_its_openings_and_its_signers_keys(office: Tenant) -> None:
    for item in items(office):
        answer = office.auditor.get(f"/v1/decisions/{item['decision_id']}/receipt")
        receipt = answer.expect(200)
        assert {"inputs", "digest", "state"} <= receipt["openings"].keys()
        assert {"root", "writer"} == receipt["keys"].keys()
        assert "I_VERIFIED" in verified(answer.body, office)


def test_the_receipt_of_the_answer_verifies_too(office: Tenant) -> None:
    answer = office.agent_caller.post("/v1/decide", {"tool": "notes.read", "arguments": EXACT})
    receipt = jsontree.dumps(jsontree.parse(answer.body)["receipt"])
    assert "I_VERIFIED" in verified(receipt, office)


@pytest.mark.parametrize(
    "number", ["0.12345678901234567890123", "123456789012345678901234567890", "1e-7", "1.10", "-0.0"]
)
def test_an_opening_holds_numbers_as_they_were_written(number: str, office: Tenant) -> None:
    body = b'{"tool": "notes.read", "arguments": {"n": ' + number.encode() + b"}}"
    decided = office.agent_caller.raw("POST", "/v1/decide", body).expect(200)
    answer = office.agent_caller.get(f"/v1/decisions/{decided['decision_id']}/receipt")
    assert "I_VERIFIED" in verified(answer.body, office)


def test_a_changed_receipt_is_found_out(office: Tenant) -> None:
    receipt = office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt").expect(200)
    receipt["openings"]["inputs"]["payload"]["arguments"]["query"] = "SELECT 1"
    found = receipts.verify_receipt(receipt, [Verifier.from_vkey(vkey(office))])
    assert evidence.exit_code(found) == 1


def test_the_proof_alone_is_a_tlog_proof(office: Tenant) -> None:
    answer = office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt?format=tlog-proof")
    assert answer.status == 200 and answer.headers["content-type"].startswith("text/plain")
    proof = proofs.parse_proof(answer.body.decode())
    receipt = office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt").expect(200)
    assert proof.index == receipt["index"]


@pytest.mark.parametrize("query", ["format=cose", "level=witnessed", "level=anchored"])
def test_what_is_not_made_yet_is_501(query: str, office: Tenant) -> None:
    assert office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt?{query}").status == 501


@pytest.mark.parametrize("query", ["format=xml", "level=best", "levels=durable"])
def test_an_unknown_form_is_422(query: str, office: Tenant) -> None:
    assert office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt?{query}").status == 422


def test_the_server_verifies_a_receipt_and_says_what_it_did_not_check(office: Tenant) -> None:
    receipt = office.auditor.get(f"/v1/decisions/{first_refused(office)}/receipt").expect(200)
    told = office.auditor.post("/v1/audit/verify", {"receipt": receipt}).expect(200)
    assert told["verified"] and told["unchecked"]
    receipt["index"] += 1
    assert not office.auditor.post("/v1/audit/verify", {"receipt": receipt}).expect(200)["verified"]
