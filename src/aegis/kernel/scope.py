"""Kill-switch scopes as text: `tenant`, `team:{id}`, `agent:{id}`, `tool:{name}`, `session:{id}`; and a kill order."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote

KINDS = ("tenant", "team", "agent", "tool", "session")
_SCOPE = re.compile(r"(team|agent|tool|session):([^\x00-\x1f\x7f]{1,200})")
_ORDER = re.compile(r"kill (ten_[a-z0-9]{1,32}) ([!-~]{1,2500}) ([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Scope:
    kind: str
    name: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else self.kind

    def covers(self, *, agent: str | None, team: str | None, tool: str | None, session: str | None) -> bool:
        """Whether a call of these is inside."""
        match self.kind:
            case "tenant":
                return True
            case "team":
                return team == self.name
            case "agent":
                return agent == self.name
            case "tool":
                return tool == self.name
            case _:
                return session == self.name


def parse_scope(text: str) -> Scope:
    """Raises ValueError for what is not a scope: names have 1 to 200 characters, none of them a control character."""
    if text == "tenant":
        return Scope("tenant")
    found = _SCOPE.fullmatch(text)
    if found is None:
        raise ValueError("expected tenant, team:{id}, agent:{id}, tool:{name} or session:{id}")
    return Scope(found[1], found[2])


def kill_order(tenant: str, scope: str, epoch: int) -> str:
    """The order as one line; `scope` stands percent-encoded in it."""
    return f"kill {tenant} {quote(scope, safe=':')} {epoch}"


def parse_kill_order(payload: str) -> tuple[str, str, int] | None:
    """Tenant, scope and epoch; None for what is not an order."""
    found = _ORDER.fullmatch(payload)
    if found is None:
        return None
    scope = unquote(found[2])
    try:
        parse_scope(scope)
    except ValueError:
        return None
    return found[1], scope, int(found[3])
