"""The body of a contract: every mistake with its place, nothing accepted and ignored."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.autonomy.parse import parse
from aegis.kernel.clock import from_iso
from aegis.kernel.problems import Problem
from aegis.kernel.tenancy import ApprovalRule, Contract, TimeWindow
from aegis.tenants.assemble import Row, contract_from


def test_a_whole_contract() -> None:
    body = {
        "mode": "enforce",
        "tools": {"allow": ["crm.*"], "deny": ["crm.delete"]},
        "resources": {"deny": ["prod/*"]},
        "time_windows": [{"days": ["mon", "fri"], "from": "22:00", "to": "06:30", "tz": "Europe/Berlin"}],
        "approvals": [{"tool": "pay.*"}],
        "intent_by": "application",
        "expires_at": "2027-01-01T00:00:00+01:00",
    }
    assert parse(body, agent="a_1", version=4) == Contract(
        agent="a_1",
        version=4,
        mode="enforce",
        tools_allow=("crm.*",),
        tools_deny=("crm.delete",),
        resources_allow=None,
        resources_deny=("prod/*",),
        time_windows=(TimeWindow(("mon", "fri"), 22 * 60, 6 * 60 + 30, "Europe/Berlin"),),
        approvals=(ApprovalRule("pay.*"),),
        intent_by="application",
        expires_at=from_iso("2026-12-31T23:00:00Z"),
    )


def test_what_is_not_mentioned_is_not_limited() -> None:
    assert parse({"mode": "shadow"}, agent="a_1") == Contract(agent="a_1", version=0, mode="shadow")


def test_an_empty_list_is_a_limit() -> None:
    made = parse({"mode": "enforce", "tools": {"allow": []}, "time_windows": []}, agent="a_1")
    assert (made.tools_allow, made.time_windows, made.resources_allow) == ((), (), None)


WINDOW = {"days": ["mon"], "from": "08:00", "to": "18:00", "tz": "UTC"}


@pytest.mark.parametrize(
    ("body", "paths"),
    [
        ([], ["", "/mode"]),
        ({}, ["/mode"]),
        ({"mode": "ENFORCE"}, ["/mode"]),
        ({"mode": "enforce", "tool": {}}, ["/tool"]),
        ({"mode": "enforce", "a/b": 1}, ["/a~1b"]),
        ({"mode": "enforce", "tools": ["a"]}, ["/tools"]),
        ({"mode": "enforce", "tools": {"allow": "a"}}, ["/tools/allow"]),
        ({"mode": "enforce", "tools": {"allow": ["a", 1, ""]}}, ["/tools/allow/1", "/tools/allow/2"]),
        ({"mode": "enforce", "tools": {"deny": ["x" * 257]}}, ["/tools/deny/0"]),
        ({"mode": "enforce", "tools": {"deny": ["x"] * 501}}, ["/tools/deny"]),
        ({"mode": "enforce", "tools": {"alow": []}}, ["/tools/alow"]),
        ({"mode": "enforce", "time_windows": {}}, ["/time_windows"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "days": []}]}, ["/time_windows/0/days"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "days": ["Mon"]}]}, ["/time_windows/0/days/0"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "from": "8:00"}]}, ["/time_windows/0/from"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "to": "24:30"}]}, ["/time_windows/0/to"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "to": "08:00"}]}, ["/time_windows/0/from"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "from": "24:00"}]}, ["/time_windows/0/from"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "tz": "Mars/Base"}]}, ["/time_windows/0/tz"]),
        ({"mode": "enforce", "time_windows": [{**WINDOW, "tz": "../../etc/passwd"}]}, ["/time_windows/0/tz"]),
        ({"mode": "enforce", "time_windows": [{}]},
         ["/time_windows/0/days", "/time_windows/0/from", "/time_windows/0/to", "/time_windows/0/tz"]),
        ({"mode": "enforce", "approvals": [{}]}, ["/approvals/0/tool"]),
        ({"mode": "enforce", "approvals": [{"tool": "a", "uses": 1}]}, ["/approvals/0/uses"]),
        ({"mode": "enforce", "intent_by": "agent"}, ["/intent_by"]),
        ({"mode": "enforce", "expires_at": "tomorrow"}, ["/expires_at"]),
        ({"mode": "enforce", "expires_at": "2027-01-01T00:00:00"}, ["/expires_at"]),
        ({"mode": "enforce", "expires_at": 5}, ["/expires_at"]),
    ],
)  # fmt: skip
def test_every_mistake_is_told_with_its_place(body: Any, paths: list[str]) -> None:
    with pytest.raises(Problem) as raised:
        parse(body, agent="a_1")
    assert (raised.value.status, raised.value.code) == (422, "contract.invalid")
    assert [error.path for error in raised.value.errors] == paths


def test_an_unknown_member_names_the_nearest_known_one() -> None:
    with pytest.raises(Problem) as raised:
        parse({"mode": "enforce", "time_window": []}, agent="a_1")
    assert raised.value.errors[0].message == "unknown member; did you mean 'time_windows'?"


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ({"delegation": {"max_depth": 1, "to": []}}, "/delegation"),
        ({"cross_tenant": []}, "/cross_tenant"),
        ({"ceilings": []}, "/ceilings"),
        ({"approvals": [{"tool": "a"}, {"tool": "b", "when": "true"}]}, "/approvals/1/when"),
        ({"delegation": None}, "/delegation"),
    ],
)
def test_what_can_not_be_enforced_yet_is_refused_by_name(member: dict[str, Any], path: str) -> None:
    with pytest.raises(Problem) as raised:
        parse({"mode": "enforce", **member}, agent="a_1")
    assert (raised.value.status, raised.value.code) == (422, "contract.unsupported")
    assert [error.path for error in raised.value.errors] == [path] and path in raised.value.detail


@pytest.mark.parametrize(
    "body",
    [
        {"mode": "enforce"},
        {"mode": "shadow", "tools": {"allow": []}, "resources": {"deny": ["a*"]}, "time_windows": []},
        {"mode": "enforce", "tools": None, "time_windows": None, "approvals": None, "expires_at": None},
        {
            "mode": "enforce",
            "tools": {"allow": ["crm.*"], "deny": ["crm.delete"]},
            "time_windows": [
                {"days": ["sat", "sun"], "from": "22:00", "to": "06:30", "tz": "Europe/Berlin"},
                {"days": ["mon"], "from": "00:00", "to": "24:00", "tz": "UTC"},
            ],
            "approvals": [{"tool": "pay.*"}],
            "intent_by": "application",
            "expires_at": "2027-01-01T00:00:00+01:00",
        },
    ],
)
def test_a_view_reads_the_stored_body_as_it_was_accepted(body: dict[str, Any]) -> None:
    row = Row(kind="contracts", key="a_1", version=3, gone=False, body=body)
    assert contract_from(row) == parse(body, agent="a_1", version=3)
