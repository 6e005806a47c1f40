"""Stage 0, judged: whether a switch covers the call. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aegis.kernel.findings import Finding, finding
from aegis.kernel.tenancy import TenantView


@dataclass(frozen=True, slots=True)
class CallScope:
    """What a switch may name of a call. `tool` is the canonical name, `asked` the door's name for it."""

    agent: str | None
    team: str | None
    tool: str
    session: str | None
    asked: str | None = None


def scopes(call: CallScope) -> frozenset[str]:
    """Every scope that the call stands in."""
    names = {"tenant", f"tool:{call.tool}"}
    for kind, name in (("team", call.team), ("agent", call.agent), ("tool", call.asked), ("session", call.session)):
        if name is not None:
            names.add(f"{kind}:{name}")
    return frozenset(names)


def reach(view: TenantView, scope: str) -> tuple[str, ...]:
    """What a switch of `scope` stops: the scope, and where it names a door's alias, the tool that it means."""
    if scope.startswith("tool:"):
        tool = view.tool(scope.removeprefix("tool:"))
        if tool is not None and f"tool:{tool.name}" != scope:
            return scope, f"tool:{tool.name}"
    return (scope,)


def judge(
    view: TenantView,
    *,
    agent: str | None,
    team: str | None,
    tool: str,
    session: str | None,
    asked: str | None = None,
) -> tuple[Finding, ...]:
    """One finding for each engaged switch that covers the call; the person's reason never stands in it."""
    if not view.switches:
        return ()
    of_call = scopes(CallScope(agent, team, tool, session, asked))
    return tuple(
        finding("kill_switch.engaged", scope=scope)
        for scope in sorted(view.switches)
        if not of_call.isdisjoint(reach(view, scope))
    )
