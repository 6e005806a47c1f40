"""Judges a call by its agent's contract. Pure: time comes in, zones are constants of the installed `tzdata`.

What a contract doesn't mention it doesn't limit. What it mentions must be shown to be kept: where a contract lists
resources and the call names none, the call is not covered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from aegis.autonomy.globs import any_matches, matches
from aegis.autonomy.windows import is_within
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.findings import Finding, finding
from aegis.kernel.tenancy import Contract


@dataclass(frozen=True, slots=True)
class Asked:
    """What a contract is about. `tool` is the canonical name.

    `resource` is what the caller named, `derived` what the arguments themselves name (tables, paths, hosts): all of
    them must be covered, for a caller may name another resource than the one it touches.
    `opened_by` is the credential or subject that opened the session, None without a session; `own` are the names of
    the agent itself: its id, its subject and its credential.
    `is_approved`: a person approved exactly this action.
    """

    tool: str
    resource: str | None
    derived: tuple[str, ...]
    now_us: MicroSeconds
    opened_by: str | None = None
    own: frozenset[str] = frozenset()
    is_approved: bool = False


def judge(contract: Contract | None, asked: Asked) -> tuple[Finding, ...]:
    """Every clause that the call breaks, in the contract's order. In shadow mode each is only told, as
    `contract.shadow`."""
    if contract is None:
        return ()
    broken = tuple(_broken(contract, asked))
    if contract.mode == "shadow":
        return tuple(finding("contract.shadow", clause=each.code, path=each.path) for each in broken)
    return broken


def _broken(contract: Contract, asked: Asked) -> Iterator[Finding]:
    if contract.expires_at is not None and asked.now_us >= contract.expires_at:
        yield finding("contract.expired")
    if not _covers(contract.tools_allow, contract.tools_deny, (asked.tool,)):
        yield finding("contract.tool", path="/tool")
    if not _covers(contract.resources_allow, contract.resources_deny, _resources(asked)):
        yield finding("contract.resource", path="/resource")
    if contract.time_windows is not None and not any(is_within(w, asked.now_us) for w in contract.time_windows):
        yield finding("contract.time_window")
    if contract.intent_by is not None and (asked.opened_by is None or asked.opened_by in asked.own):
        yield finding("contract.intent")
    if not asked.is_approved and any(matches(rule.tool, asked.tool) for rule in contract.approvals):
        yield finding("contract.approval", path="/tool")


def _covers(allow: tuple[str, ...] | None, deny: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether no name is denied and, where there is an allow list, there is a name and each is on the list."""
    if any(any_matches(deny, name) for name in names):
        return False
    return allow is None or (bool(names) and all(any_matches(allow, name) for name in names))


def _resources(asked: Asked) -> tuple[str, ...]:
    return asked.derived if asked.resource is None else (asked.resource, *asked.derived)
