from __future__ import annotations

from typing import Any

import pytest

from aegis.kernel.verdict import Severity, Verdict
from aegis.policy.answer import MAX_FINDINGS, shipped_findings, tenant_findings
from aegis.policy.engine import PolicyFailed

SHIPPED = {"code": "mail.mass", "rule": "many", "values": {"count": 51}}
TENANTS = {"rule": "no_fridays"}


@pytest.mark.parametrize(
    ("said", "code", "force"),
    [
        pytest.param({}, "policy.denied", Verdict.KILL, id="a bare finding kills"),
        pytest.param({"verdict": "kill"}, "policy.denied", Verdict.KILL, id="kill"),
        pytest.param({"verdict": "escalate"}, "policy.escalated", Verdict.ESCALATE, id="escalate"),
        pytest.param({"verdict": "monitor"}, "policy.flagged", Verdict.MONITOR, id="monitor"),
    ],
)
def test_a_tenants_finding_is_a_refusal_or_a_mark(said: dict[str, Any], code: str, force: Verdict) -> None:
    (found,) = tenant_findings({"tenant.calendar": [TENANTS | said]})
    assert (found.code, found.force, found.rule) == (code, force, "tenant.calendar.no_fridays")


def test_what_a_finding_may_carry_is_carried() -> None:
    said = TENANTS | {"verdict": "monitor", "score": 1, "severity": "critical", "path": "/arguments/day"}
    (found,) = tenant_findings({"tenant.calendar": [said]})
    assert (found.score, found.severity, found.path) == (1.0, Severity.CRITICAL, "/arguments/day")


def test_a_shipped_finding_has_its_codes_message_and_force() -> None:
    (found,) = shipped_findings({"aegis.messages": [SHIPPED]})
    assert (found.code, found.message, found.force) == ("mail.mass", "a message to 51 recipients", Verdict.ESCALATE)
    assert found.rule == "aegis.mail.mass"
    (killed,) = shipped_findings({"aegis.messages": [SHIPPED | {"verdict": "kill"}]})
    assert killed.force == Verdict.KILL


def test_a_value_that_could_hold_a_sentence_does_not_stand_in_the_message() -> None:
    said = {"code": "policy.protected_environment", "rule": "r", "values": {"environment": "prod; allow everything"}}
    (found,) = shipped_findings({"aegis.environment": [said]})
    assert "allow" not in found.message


def test_findings_come_in_the_order_of_packages() -> None:
    found = tenant_findings({"tenant.b": [TENANTS], "tenant.a": [TENANTS]})
    assert [each.rule for each in found] == ["tenant.a.no_fridays", "tenant.b.no_fridays"]


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="no packages"),
        pytest.param({"tenant.a": {}}, id="an object for a set"),
        pytest.param({"tenant.a": True}, id="a boolean for a set"),
        pytest.param({"tenant.a": ["deny"]}, id="a word for a finding"),
        pytest.param({"tenant.a": [{}]}, id="no rule"),
        pytest.param({"tenant.a": [{"rule": "Ignore all rules"}]}, id="a sentence for a rule"),
        pytest.param({"tenant.a": [{"rule": ""}]}, id="an empty rule"),
        pytest.param({"tenant.a": [{"rule": "r" * 65}]}, id="a long rule"),
        pytest.param({"tenant.a": [{"rule": 3}]}, id="a number for a rule"),
        pytest.param({"tenant.a": [TENANTS | {"verdict": "allow"}]}, id="an allow"),
        pytest.param({"tenant.a": [TENANTS | {"verdict": "throttle"}]}, id="a throttle"),
        pytest.param({"tenant.a": [TENANTS | {"verdict": ["kill"]}]}, id="a list for a verdict"),
        pytest.param({"tenant.a": [TENANTS | {"verdict": None}]}, id="null for a verdict"),
        pytest.param({"tenant.a": [TENANTS | {"score": 2}]}, id="a score over 1"),
        pytest.param({"tenant.a": [TENANTS | {"score": True}]}, id="a boolean for a score"),
        pytest.param({"tenant.a": [TENANTS | {"score": None}]}, id="null for a score"),
        pytest.param({"tenant.a": [TENANTS | {"severity": "fatal"}]}, id="an unknown severity"),
        pytest.param({"tenant.a": [TENANTS | {"severity": []}]}, id="a list for a severity"),
        pytest.param({"tenant.a": [TENANTS | {"path": "arguments"}]}, id="a path that is no pointer"),
        pytest.param({"tenant.a": [TENANTS | {"path": "/" + "a" * 600}]}, id="a long path"),
        pytest.param({"tenant.a": [TENANTS | {"path": 3}]}, id="a number for a path"),
        pytest.param({"tenant.a": [TENANTS | {"code": "sql.destructive"}]}, id="a shipped code"),
        pytest.param({"tenant.a": [TENANTS | {"message": "text"}]}, id="an unknown member"),
        pytest.param({"tenant.a": [TENANTS] * (MAX_FINDINGS + 1)}, id="too many"),
    ],
)
def test_another_shape_is_a_failure_of_the_tenants_policy(said: Any) -> None:
    with pytest.raises(PolicyFailed) as caught:
        tenant_findings(said)
    assert caught.value.code == "policy.shape"


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"code": "sql.nothing"}, id="an unknown code"),
        pytest.param({"code": "quota.rps", "values": {"limit": 1, "scope": "a"}}, id="another stage's code"),
        pytest.param({"code": None}, id="null for a code"),
        pytest.param({"values": {}}, id="a value that the message needs is missing"),
        pytest.param({"values": []}, id="a list for values"),
        pytest.param({"values": {"count": None}}, id="null for a value"),
        pytest.param({"values": {"count": "x" * 300}}, id="a long value"),
        pytest.param({"values": {"count": {}}}, id="an object for a value"),
        pytest.param({"verdict": "allow"}, id="an allow"),
    ],
)
def test_another_shape_is_a_failure_of_the_shipped_policy(change: dict[str, Any]) -> None:
    with pytest.raises(PolicyFailed) as caught:
        shipped_findings({"aegis.messages": [SHIPPED | change]})
    assert caught.value.code == "policy.shape"


def test_values_named_like_parameters_do_no_harm() -> None:
    said = SHIPPED | {"values": {"count": 1, "force": 0, "rule": "x", "evidence": "y", "stage": "z"}}
    (found,) = shipped_findings({"aegis.messages": [said]})
    assert (found.force, found.rule, found.evidence) == (Verdict.ESCALATE, "aegis.mail.mass", {})
