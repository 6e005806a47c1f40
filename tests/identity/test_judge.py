from dataclasses import replace
from typing import Any

import pytest

from aegis.identity.judge import judge
from aegis.identity.sessions import SessionFacts
from aegis.kernel.call import Principal, Role
from aegis.kernel.tenancy import Agent, ApiKey, Settings, TenantView
from aegis.kernel.verdict import Verdict

VIEW = TenantView(
    tenant="ten_a",
    name="",
    status="active",
    version=1,
    kill_epoch=0,
    settings=Settings(),
    agents={
        "agt_a": Agent("agt_a", "a", "active"),
        "agt_q": Agent("agt_q", "q", "quarantined"),
        "agt_r": Agent("agt_r", "r", "retired"),
    },
    tools={},
    upstreams={},
    quotas={},
    contracts={},
    switches={},
    keys={
        "key_a": ApiKey("key_a", b"", "agent", "agt_a"),
        "key_r": ApiKey("key_r", b"", "agent", "agt_a", revoked=True),
    },
    issuers={},
    revoked=frozenset({"jti_r", "subject:agt_s"}),
    ended_sessions=frozenset({"ses_over"}),
    policy=None,
    label_key=b"k" * 32,
)
AGENT = Principal("ten_a", "agt_a", Role.AGENT, agent="agt_a", credential="jti_a")
SESSION = SessionFacts("ses_a", "ten_a", "agt_a", opened_by="agt_a", created_at=1)


def codes(
    principal: Principal = AGENT, view: TenantView = VIEW, session: SessionFacts | None = None, **more: Any
) -> list[str]:
    given = {"session_id": None, "replayed": False, **more}
    found = judge(principal, view, session, **given)
    assert all(f.force is Verdict.KILL and f.stage == "authenticate" for f in found)
    return [f.code for f in found]


@pytest.mark.parametrize(
    ("principal", "expected"),
    [
        pytest.param(AGENT, [], id="an active agent with a good credential passes"),
        pytest.param(replace(AGENT, credential="key_a"), [], id="a good key passes"),
        pytest.param(replace(AGENT, credential="jti_r"), ["auth.revoked"], id="a revoked token is refused"),
        pytest.param(replace(AGENT, credential="key_r"), ["auth.revoked"], id="a revoked key is refused"),
        pytest.param(replace(AGENT, credential="key_gone"), ["auth.revoked"], id="a key that was removed is refused"),
        pytest.param(
            replace(AGENT, subject="agt_s"), ["auth.revoked"], id="everything of a revoked subject is refused"
        ),
        pytest.param(
            replace(AGENT, agent="agt_q"), ["auth.agent_quarantined"], id="a quarantined agent is refused everything"
        ),
        pytest.param(replace(AGENT, agent="agt_r"), ["auth.agent_retired"], id="a retired agent is refused"),
        pytest.param(replace(AGENT, agent="agt_none"), ["auth.agent_unknown"], id="an unknown agent is refused"),
        pytest.param(replace(AGENT, agent=None), ["auth.agent_unknown"], id="an agent's role without an agent"),
    ]
    + [
        pytest.param(replace(AGENT, role=role, agent=None), ["auth.role"], id=f"the role {role} may not decide")
        for role in Role
        if role is not Role.AGENT
    ],
)
def test_credentials(principal: Principal, expected: list[str]) -> None:
    assert codes(principal) == expected


@pytest.mark.parametrize(
    ("session", "session_id", "expected"),
    [
        pytest.param(SESSION, "ses_a", [], id="the agent's own session"),
        pytest.param(None, "ses_a", ["auth.session_unknown"], id="a session that was not found"),
        pytest.param(replace(SESSION, agent="agt_b"), "ses_a", ["auth.session_unknown"], id="another agent's session"),
        pytest.param(
            replace(SESSION, tenant="ten_b"), "ses_a", ["auth.session_unknown"], id="another tenant's session"
        ),
        pytest.param(replace(SESSION, has_ended=True), "ses_a", ["auth.session_ended"], id="a session that has ended"),
        pytest.param(replace(SESSION, id="ses_over"), "ses_over", ["auth.session_ended"], id="ended since it was read"),
    ],
)
def test_sessions(session: SessionFacts | None, session_id: str, expected: list[str]) -> None:
    assert codes(session=session, session_id=session_id) == expected


def test_a_replayed_token_is_refused() -> None:
    assert codes(replayed=True) == ["auth.replayed"]


def test_a_suspended_tenant_is_refused() -> None:
    assert codes(view=replace(VIEW, status="suspended")) == ["auth.tenant_suspended"]


def test_a_tenant_whose_setup_cannot_be_read_is_refused() -> None:
    assert codes(view=replace(VIEW, status="unreadable")) == ["auth.unavailable"]


def test_every_reason_is_named() -> None:
    found = codes(
        replace(AGENT, credential="jti_r", agent="agt_q"),
        replace(VIEW, status="suspended"),
        session_id="x",
        replayed=True,
    )
    assert found == [
        "auth.tenant_suspended",
        "auth.revoked",
        "auth.replayed",
        "auth.agent_quarantined",
        "auth.session_unknown",
    ]
