"""Which other agent a call hands something over to: the one that an argument names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from aegis.kernel.tenancy import TenantView

MAX_MEMBERS = 32
MAX_NAME = 200


class Peers:
    """Looks agents up by id or name; remembers the names of the tenants asked for last."""

    def __init__(self, tenants: int = 256) -> None:
        self._most = tenants
        self._names: dict[str, tuple[TenantView, dict[str, str]]] = {}

    def of(self, view: TenantView, agent: str, arguments: Any) -> str | None:
        """The id of another agent that a top-level argument is the id or name of; the first one in order."""
        if not isinstance(arguments, Mapping):
            return None
        names = self._of(view)
        for value in list(arguments.values())[:MAX_MEMBERS]:
            if isinstance(value, str) and len(value) <= MAX_NAME:
                found = value if value in view.agents else names.get(value)
                if found is not None and found != agent:
                    return found
        return None

    def _of(self, view: TenantView) -> dict[str, str]:
        held = self._names.get(view.tenant)
        if held is None or held[0] is not view:
            if len(self._names) >= self._most:
                self._names.clear()
            held = self._names[view.tenant] = (view, {a.name: a.id for a in view.agents.values()})
        return held[1]
