from __future__ import annotations

from typing import Any

import pytest

from aegis.behavior.peers import Peers
from aegis.kernel.tenancy import Agent, Settings, TenantView

VIEW = TenantView(
    tenant="ten_a", name="a", status="active", version=1, kill_epoch=0, settings=Settings(),
    agents={i: Agent(i, name, "active") for i, name in (("ag_1", "planner"), ("ag_2", "worker"))}, tools={},
    upstreams={}, quotas={}, contracts={}, switches={}, keys={}, issuers={}, revoked=frozenset(),
    ended_sessions=frozenset(), policy=None, label_key=b"",
)  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "peer"),
    [
        pytest.param({"to": "worker", "task": "x"}, "ag_2", id="by name"),
        pytest.param({"task": "x", "agent": "ag_2"}, "ag_2", id="by id"),
        pytest.param({"to": "planner"}, None, id="not itself"),
        pytest.param({"to": "somebody"}, None, id="not a stranger"),
        pytest.param({"deep": {"to": "worker"}}, None, id="top-level only"),
        pytest.param(["worker"], None, id="objects only"),
        pytest.param({"n": 5, "to": None}, None, id="strings only"),
    ],
)
def test_the_agent_that_an_argument_names(arguments: Any, peer: str | None) -> None:
    assert Peers().of(VIEW, "ag_1", arguments) == peer
