"""What a contract refuses, clause by clause."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.autonomy.contracts import judge
from aegis.kernel.clock import from_iso
from aegis.kernel.tenancy import ApprovalRule, Contract, TimeWindow
from aegis.kernel.verdict import Verdict

NOW = from_iso("2026-11-25T12:00:00Z")
ASKED: dict[str, Any] = {"tool": "crm.read", "resources": (), "now_us": NOW}
OFFICE = TimeWindow(("mon",), 0, 60, "UTC")
NOON = TimeWindow(("wed",), 12 * 60, 13 * 60, "UTC")


def contract(**members: Any) -> Contract:
    return Contract(agent="a_1", version=1, **{"mode": "enforce", **members})


@pytest.mark.parametrize(
    ("members", "asked", "codes"),
    [
        pytest.param({}, {}, [], id="an empty contract limits nothing"),
        pytest.param({"tools_allow": ("crm.*",)}, {}, [], id="a tool on the list"),
        pytest.param({"tools_allow": ("mail.*",)}, {}, ["contract.tool"], id="a tool that is not on the list"),
        pytest.param({"tools_allow": ()}, {}, ["contract.tool"], id="an empty list allows nothing"),
        pytest.param({"tools_deny": ("crm.*",)}, {}, ["contract.tool"], id="a denied tool"),
        pytest.param(
            {"tools_allow": ("*",), "tools_deny": ("crm.read",)},
            {},
            ["contract.tool"],
            id="deny is stronger than allow",
        ),
        pytest.param({"tools_allow": ("CRM.*",)}, {}, ["contract.tool"], id="case differs"),
        pytest.param({"resources_allow": ("eu/*",)}, {"resources": ("eu/7",)}, [], id="a resource on the list"),
        pytest.param(
            {"resources_allow": ("eu/*",)},
            {"resources": ("us/7",)},
            ["contract.resource"],
            id="a resource off the list",
        ),
        pytest.param({"resources_allow": ("eu/*",)}, {}, ["contract.resource"], id="a list, and no resource named"),
        pytest.param(
            {"resources_allow": ("eu/*",)},
            {"resources": ("eu/7", "us/7")},
            ["contract.resource"],
            id="the named resource is covered but the touched one is not",
        ),
        pytest.param(
            {"resources_deny": ("us/*",)},
            {"resources": ("eu/7", "us/7")},
            ["contract.resource"],
            id="a denied resource in the arguments",
        ),
        pytest.param({"resources_deny": ("us/*",)}, {}, [], id="a deny list alone asks for no resource"),
        pytest.param({"time_windows": (NOON,)}, {}, [], id="inside the window"),
        pytest.param({"time_windows": (OFFICE,)}, {}, ["contract.time_window"], id="outside the window"),
        pytest.param({"time_windows": (OFFICE, NOON)}, {}, [], id="one window of two is enough"),
        pytest.param({"time_windows": ()}, {}, ["contract.time_window"], id="no window at all"),
        pytest.param({"expires_at": NOW + 1}, {}, [], id="a microsecond before it expires"),
        pytest.param({"expires_at": NOW}, {}, ["contract.expired"], id="expired"),
        pytest.param({"intent_by": "application"}, {}, ["contract.intent"], id="no session, so nobody's intent"),
        pytest.param(
            {"intent_by": "application"},
            {"opened_by": "a_1", "own": frozenset({"a_1", "k_1"})},
            ["contract.intent"],
            id="the agent opened its session itself",
        ),
        pytest.param(
            {"intent_by": "application"},
            {"opened_by": "app_1", "own": frozenset({"a_1", "k_1"})},
            [],
            id="an application opened the session",
        ),
        pytest.param(
            {"intent_by": "application"},
            {"opened_by": "app_1"},
            ["contract.intent"],
            id="the agent's own names are unknown",
        ),
        pytest.param(
            {"approvals": (ApprovalRule("crm.*"),)}, {}, ["contract.approval"], id="a tool that needs an approval"
        ),
        pytest.param({"approvals": (ApprovalRule("mail.*"),)}, {}, [], id="another tool needs the approval"),
        pytest.param(
            {"tools_allow": (), "time_windows": (), "expires_at": 1},
            {},
            ["contract.expired", "contract.tool", "contract.time_window"],
            id="every broken clause is told",
        ),
    ],
)
def test_a_contract_refuses_what_it_does_not_cover(
    members: dict[str, Any], asked: dict[str, Any], codes: list[str]
) -> None:
    found = judge(contract(**members), **{**ASKED, **asked})
    assert [each.code for each in found] == codes
    forces = {"contract.approval": Verdict.ESCALATE}
    assert [each.force for each in found] == [forces.get(code, Verdict.KILL) for code in codes]

    shadowed = judge(contract(**{**members, "mode": "shadow"}), **{**ASKED, **asked})
    assert [each.code for each in shadowed] == ["contract.shadow"] * len(codes)
    assert [each.force for each in shadowed] == [None] * len(codes)
    assert all(code in each.message for code, each in zip(codes, shadowed, strict=True))
    assert all(each.score == 0 for each in shadowed)


def test_no_contract_no_limits() -> None:
    assert judge(None, **ASKED) == ()
