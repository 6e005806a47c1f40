"""The stream of events: what comes, in order, once; how it goes on and how it ends."""

from __future__ import annotations

import json
import signal
from http.client import HTTPResponse
from typing import Any

import pytest

from aegis.console_api.stream import MOST_STREAMS, event
from tests.console_api.conftest import PATIENCE_S, Caller, Installation, Tenant, running

NOTE = {"tool": "notes.read", "arguments": {}, "outcome": "none"}


def one(stream: HTTPResponse) -> dict[str, str]:
    """The fields of the next event; comments and what only has an id are passed over."""
    while True:
        fields = {}
        while (line := stream.readline().decode()) not in ("\n", ""):
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value
        if "event" in fields or not line:
            return fields


def opened(caller: Caller, **headers: str) -> HTTPResponse:
    """The stream, once it follows: everything after this is seen."""
    stream = caller.open("/v1/stream", **headers)
    assert stream.status == 200
    assert stream.readline() == b"retry: 1000\n"
    while stream.readline() != b"\n":
        pass
    return stream


@pytest.fixture
def tenant(installation: Installation) -> Tenant:
    return installation.tenant("streams")


def test_each_kind_of_event_comes_in_the_order_of_the_log(tenant: Tenant) -> None:
    agent = tenant.agent_caller
    tenant.admin.put(f"/v1/contracts/{tenant.agent}", {"mode": "enforce", "approvals": [{"tool": "ask*"}]}).expect(200)
    stream = opened(tenant.viewer)
    told = agent.post("/v1/decide", {"tool": "notes.read", "arguments": {"secret": "marigold"}}).expect(200)
    agent.post(f"/v1/decisions/{told['decision_id']}/outcome", {"status": "ok"}).expect(200)
    asked = agent.post("/v1/decide", {"tool": "ask.person", "arguments": {}}).expect(200)
    tenant.security.post(f"/v1/approvals/{asked['approval']['id']}/deny", {}).expect(200)
    tenant.security.put("/v1/kill-switches/tool:coffee", {"reason": "marigold"}).expect(200)
    tenant.security.post("/v1/kill-switches/tool:coffee/release", {"reason": "over"}).expect(200)
    events = [one(stream) for _ in range(6)]
    said: list[dict[str, Any]] = [json.loads(each["data"]) for each in events]
    assert [each["event"] for each in events] == [
        "decision", "outcome", "decision", "approval", "kill_switch", "kill_switch",
    ]  # fmt: skip
    assert (
        [int(each["id"]) for each in events] == [each["seq"] for each in said] == sorted(each["seq"] for each in said)
    )
    assert (said[0]["decision_id"], said[0]["verdict"]) == (told["decision_id"], told["verdict"])
    assert (said[1]["decision_id"], said[1]["status"]) == (told["decision_id"], "ok")
    assert (said[3]["approval"], said[3]["status"]) == (asked["approval"]["id"], "denied")
    assert [(each["scope"], each["order"]) for each in said[4:]] == [
        ("tool:coffee", "engage"),
        ("tool:coffee", "release"),
    ]
    assert "marigold" not in str(said)


def test_it_goes_on_behind_the_last_event_that_was_seen(tenant: Tenant) -> None:
    stream = opened(tenant.viewer)
    ids = [tenant.agent_caller.post("/v1/decide", NOTE).expect(200)["decision_id"] for _ in range(5)]
    seen = [one(stream) for _ in range(2)]
    stream.close()
    again = opened(tenant.auditor, last_event_id=seen[-1]["id"])
    rest = [json.loads(one(again)["data"])["decision_id"] for _ in range(3)]
    assert [json.loads(each["data"])["decision_id"] for each in seen] + rest == ids


def test_it_tells_the_past_to_who_comes_with_the_first_id(tenant: Tenant) -> None:
    ids = [tenant.agent_caller.post("/v1/decide", NOTE).expect(200)["decision_id"] for _ in range(3)]
    stream = opened(tenant.viewer, last_event_id="0")
    assert [json.loads(one(stream)["data"])["decision_id"] for _ in range(3)] == ids


def test_without_an_id_it_begins_now(tenant: Tenant) -> None:
    tenant.agent_caller.post("/v1/decide", NOTE).expect(200)
    stream = opened(tenant.viewer)
    new = tenant.agent_caller.post("/v1/decide", NOTE).expect(200)["decision_id"]
    assert json.loads(one(stream)["data"])["decision_id"] == new


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 19, "1 2"])
def test_an_id_that_is_none_is_422(last: str, tenant: Tenant) -> None:
    assert tenant.viewer.get("/v1/stream", last_event_id=last).status == 422


def test_an_id_of_the_future_is_taken_for_the_newest(tenant: Tenant) -> None:
    stream = opened(tenant.viewer, last_event_id="999999999999")
    new = tenant.agent_caller.post("/v1/decide", NOTE).expect(200)["decision_id"]
    assert json.loads(one(stream)["data"])["decision_id"] == new


def test_another_tenants_events_never_come(tenant: Tenant, stranger: Tenant) -> None:
    stream = opened(tenant.viewer)
    stranger.agent_caller.post("/v1/decide", NOTE)
    own = tenant.agent_caller.post("/v1/decide", NOTE).expect(200)["decision_id"]
    assert json.loads(one(stream)["data"])["decision_id"] == own


@pytest.mark.parametrize("role", ["agent", "application", "operator"])
def test_who_sees_no_dashboards_gets_no_stream(role: str, tenant: Tenant) -> None:
    assert tenant.callers[role].get("/v1/stream").status == 403


def test_a_revoked_credential_ends_its_stream(tenant: Tenant) -> None:
    key = tenant.admin.post("/v1/keys", {"role": "viewer"}).expect(201)
    stream = opened(Caller(tenant.url, key["token"]))
    tenant.admin.delete(f"/v1/keys/{key['id']}").expect(204)
    assert one(stream) == {}


def test_a_process_has_so_many_streams_and_more_once_some_have_gone(installation: Installation, tenant: Tenant) -> None:
    """Those who hang up make room: otherwise a process would be full for a quarter of an hour."""
    streams = []
    for _ in range(2 * MOST_STREAMS + 1):  # two gateway processes
        stream = tenant.viewer.open("/v1/stream")
        streams.append(stream)
        if stream.status != 200:
            break
    assert stream.status == 503 and json.loads(stream.read())["code"] == "stream.full"
    assert stream.headers["retry-after"]
    for each in streams:
        each.close()
    for _ in range(200):
        stream = tenant.viewer.open("/v1/stream")
        if stream.status == 200:
            break
        stream.close()
    assert stream.status == 200
    stream.close()


def test_a_process_that_drains_ends_its_streams_and_stops(tmp_path: Any) -> None:
    with running(AEGIS_GATEWAY__DRAIN_S="100") as (process, data, url):
        credentials = json.loads((data / "credentials.json").read_text())
        agent = Caller(url, credentials["agents"]["default"]["token"])
        agent.post("/v1/decide", NOTE).expect(200)
        stream = opened(Caller(url, credentials["admin"]["token"]))
        process.send_signal(signal.SIGTERM)
        assert one(stream) == {}
        assert process.wait(PATIENCE_S) == 0


def test_text_of_a_row_cannot_forge_an_event() -> None:
    row = {"seq": 7, "kind": "decision", "ts": 0, "agent": "a\n\nevent: kill_switch\ndata: {}", "tool": "t\r\n",
           "rid": "r", "verdict": "allow", "rule": None, "risk": None, "codes": None, "of_seq": None,
           "entry": None}  # fmt: skip
    made = event(row)
    assert made.count(b"\n") == 4 and made.count(b"\r") == 0
    assert made.startswith(b"id: 7\nevent: decision\ndata: {")


def test_a_cap_that_was_met_is_an_event_of_its_own(tenant: Tenant) -> None:
    tenant.admin.put("/v1/quotas/tenant", {"daily_requests": 5}).expect(200)
    stream = opened(tenant.viewer)
    for _ in range(6):
        tenant.agent_caller.post("/v1/decide", NOTE).expect(200)
    told = [one(stream) for _ in range(8)]
    quotas = [json.loads(each["data"]) for each in told if each["event"] == "quota"]
    assert [each["codes"] for each in quotas] == [["quota.warning"], ["quota.daily"]]
    assert all("id" not in each for each in told if each["event"] == "quota")
    ids = [json.loads(each["data"])["decision_id"] for each in told if each["event"] == "decision"]
    assert len(ids) == 6 and [each["decision_id"] for each in quotas] == [ids[3], ids[5]]
