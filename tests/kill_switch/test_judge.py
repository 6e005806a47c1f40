from dataclasses import replace

import pytest

from aegis.kernel.scope import kill_order, parse_kill_order, parse_scope
from aegis.kernel.tenancy import KillSwitch, Settings, TenantView, Tool
from aegis.kernel.verdict import Verdict
from aegis.kill_switch.judge import judge

VIEW = TenantView(
    tenant="ten_a", name="", status="active", version=1, kill_epoch=0, settings=Settings(), agents={},
    tools={
        "shell": Tool("shell", "destructive"),
        "Bash": Tool("Bash", "destructive", alias_of="shell"),
        "sh/run": Tool("sh/run", "destructive", alias_of="shell"),
    },
    upstreams={}, quotas={}, contracts={}, switches={}, keys={}, issuers={}, revoked=frozenset(),
    ended_sessions=frozenset(), policy=None, label_key=b"k" * 32,
)  # fmt: skip


def engaged(*scopes: str) -> TenantView:
    return replace(VIEW, switches={scope: KillSwitch(scope, 1, 0, "Mallory <b>said</b> so") for scope in scopes})


@pytest.mark.parametrize(
    ("scopes", "covered"),
    [
        pytest.param([], [], id="nothing is engaged"),
        pytest.param(["tenant"], ["tenant"], id="the whole tenant"),
        pytest.param(["team:tea_1"], ["team:tea_1"], id="the agent's team"),
        pytest.param(["agent:agt_a"], ["agent:agt_a"], id="the agent"),
        pytest.param(["tool:shell"], ["tool:shell"], id="the tool"),
        pytest.param(["session:ses_1"], ["session:ses_1"], id="the session"),
        pytest.param(["tool:Bash"], ["tool:Bash"], id="the name that the door used"),
        pytest.param(["tool:sh/run"], ["tool:sh/run"], id="another door's name for the same tool"),
        pytest.param(
            ["team:tea_2", "agent:agt_b", "tool:sql", "session:ses_2", "agent:tea_1", "tool:shel", "tool:shell "],
            [],
            id="neighbours only",
        ),
        pytest.param(["tenant", "agent:agt_a", "agent:agt_b"], ["agent:agt_a", "tenant"], id="several, each named"),
    ],
)
def test_a_switch_covers_its_scope_and_nothing_else(scopes: list[str], covered: list[str]) -> None:
    found = judge(engaged(*scopes), agent="agt_a", team="tea_1", tool="shell", session="ses_1", asked="Bash")
    assert [f.message.removeprefix("a kill switch is engaged for ") for f in found] == covered
    assert all(f.code == "kill_switch.engaged" and f.force is Verdict.KILL for f in found)
    assert "Mallory" not in repr(found)


@pytest.mark.parametrize("scope", ["team:tea_1", "agent:agt_a", "session:ses_1"])
def test_a_call_without_team_agent_or_session_is_covered_by_none_of_them(scope: str) -> None:
    assert judge(engaged(scope), agent=None, team=None, tool="shell", session=None) == ()


@pytest.mark.parametrize(
    "text", ["tenant", "team:a", "agent:agt_1", "tool:fs/read_file", "tool:my tool: é", "session:s"]
)
def test_scopes_survive_the_order_that_carries_them(text: str) -> None:
    assert str(parse_scope(text)) == text
    order = kill_order("ten_abc", text, 7)
    assert order.isascii() and len(order.split(" ")) == 4
    assert parse_kill_order(order) == ("ten_abc", text, 7)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "tenants",
        "tenant:",
        "tenant:x",
        "team",
        "team:",
        "user:u",
        "TOOL:x",
        "tool:" + "x" * 201,
        "tool:a\nb",
        "tool:\x00",
    ],
    ids=lambda text: repr(text[:20]),
)
def test_what_is_no_scope_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected tenant, team"):
        parse_scope(text)
