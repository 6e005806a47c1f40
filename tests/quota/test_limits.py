from __future__ import annotations

from dataclasses import replace

import pytest

from aegis.kernel.tenancy import Quota, Settings, TenantView
from aegis.kernel.verdict import Verdict
from aegis.quota.buckets import Limited, Reading, Warned
from aegis.quota.gcra import rate
from aegis.quota.limits import GUARD_RPS, Limits, findings, resolve, retry_after_s


def view(*quotas: Quota) -> TenantView:
    return TenantView(
        tenant="ten_a", name="a", status="active", version=1, kill_epoch=0, settings=Settings(), agents={}, tools={},
        upstreams={}, quotas={q.scope: q for q in quotas}, contracts={}, switches={}, keys={}, issuers={},
        revoked=frozenset(), ended_sessions=frozenset(), policy=None, label_key=b"",
    )  # fmt: skip


def test_a_new_tenant_has_no_caps_but_a_guard() -> None:
    tenant, agent = resolve(view(), "a")
    assert (tenant.scope, tenant.rps, tenant.rate) == ("tenant", GUARD_RPS, rate(GUARD_RPS))
    assert not tenant.is_capped
    assert (agent.scope, agent.rate, agent.is_capped) == ("agent:a", None, False)


@pytest.mark.parametrize(
    ("quota", "rps"),
    [
        pytest.param(Quota("tenant", daily_requests=5), GUARD_RPS, id="a cap of another kind leaves the guard"),
        pytest.param(Quota("tenant", rps=9_000.0), 9_000.0, id="a rate of its own replaces the guard"),
        pytest.param(Quota("tenant", rps=0.0), 0.0, id="zero is a rate too"),
    ],
)
def test_the_guard_of_a_tenant(quota: Quota, rps: float) -> None:
    assert resolve(view(quota), "a")[0].rps == rps


def test_every_scope_that_applies_is_there_and_only_those() -> None:
    quotas = (Quota("team:x", daily_micro_usd=7), Quota("tool:t", rps=2.0, burst=5), Quota("agent:other", rps=1.0))
    found = {scope.scope: scope for scope in resolve(view(*quotas), "a", "x", "t", "s", "u")}
    assert list(found) == ["tenant", "team:x", "agent:a", "user:u", "tool:t"]
    assert found["team:x"].daily_micro_usd == 7
    assert found["tool:t"].rate == rate(2.0, 5)
    assert found["agent:a"].rate is None


def test_the_session_quota_holds_for_each_session_by_itself() -> None:
    scopes = resolve(view(Quota("session", rps=3.0)), "a", session="s1")
    assert (scopes[-1].scope, scopes[-1].rps) == ("session:s1", 3.0)


def test_a_new_view_is_resolved_anew() -> None:
    limits, before = Limits(), view()
    after = replace(before, version=2, quotas={"agent:a": Quota("agent:a", daily_requests=1)})
    assert limits.resolve(before, "a") is limits.resolve(before, "a")
    assert limits.resolve(before, "a")[1].daily_requests is None
    assert limits.resolve(after, "a")[1].daily_requests == 1


def test_findings_name_limits_in_their_unit_and_throttle() -> None:
    reading = Reading(
        limited=(
            Limited("agent:a", "quota.daily_usd", 12_500_000, 60.0),
            Limited("tenant", "quota.rps", 2.5, 0.4),
            Limited("tenant", "quota.daily", 10_000_000, 60.0),
        ),
        warnings=(Warned("agent:a", "daily", 81),),
        degraded=True,
    )
    found = findings(reading)
    assert [f.code for f in found] == [
        "quota.daily_usd", "quota.rps", "quota.daily", "quota.warning", "quota.degraded"
    ]  # fmt: skip
    assert found[0].message == "the daily cap of 12.50 USD for agent:a has no room for this call"
    assert found[1].message == "more than 2.5 requests a second for tenant"
    assert found[2].message == "the daily cap of 10000000 requests for tenant is used up"
    assert found[3].message == "81 percent of daily for agent:a are used"
    assert [f.force for f in found] == [Verdict.THROTTLE] * 3 + [None, None]
    assert (retry_after_s(reading), retry_after_s(Reading())) == (60.0, None)


def test_a_reading_with_room_finds_nothing() -> None:
    assert findings(Reading()) == ()
