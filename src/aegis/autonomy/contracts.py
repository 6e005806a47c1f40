"""Judges a call by its agent's contract. Pure: time comes in, zones are constants of the installed `tzdata`.

What a contract doesn't mention it doesn't limit. What it mentions must be shown to be kept: where a contract lists
resources and the call names none, the call is not covered.
"""

from __future__ import annotations

from collections.abc import Iterator

from aegis.autonomy.globs import any_matches, matches
from aegis.autonomy.windows import is_within
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.findings import Finding, finding
from aegis.kernel.tenancy import Contract


def judge(
    contract: Contract | None,
    *,
    tool: str,
    resources: tuple[str, ...],
    now_us: MicroSeconds,
    opened_by: str | None = None,
    own: frozenset[str] = frozenset(),
) -> tuple[Finding, ...]:
    """Every clause that the call breaks, in a fixed order. In shadow mode each is only told, as `contract.shadow`.

    `tool` is the canonical name. `resources` holds what the caller named and what the arguments themselves name
    (tables, paths, hosts): all of them must be covered, for a caller may name another resource than it touches.
    `opened_by` is the credential or subject that opened the session, None without one; `own` are the names that the
    agent itself goes by (its id, subject and credential): without them nobody can be told from the agent, and the
    clause counts as broken.
    """
    if contract is None:
        return ()
    broken = tuple(_broken(contract, tool, resources, now_us, opened_by, own))
    if contract.mode == "shadow":
        return tuple(finding("contract.shadow", clause=each.code, path=each.path) for each in broken)
    return broken


def _broken(
    contract: Contract,
    tool: str,
    resources: tuple[str, ...],
    now_us: MicroSeconds,
    opened_by: str | None,
    own: frozenset[str],
) -> Iterator[Finding]:
    if contract.expires_at is not None and now_us >= contract.expires_at:
        yield finding("contract.expired")
    if not _covers(contract.tools_allow, contract.tools_deny, (tool,)):
        yield finding("contract.tool", path="/tool")
    if not _covers(contract.resources_allow, contract.resources_deny, resources):
        yield finding("contract.resource", path="/resource")
    if contract.time_windows is not None and not any(is_within(w, now_us) for w in contract.time_windows):
        yield finding("contract.time_window")
    if contract.intent_by is not None and (opened_by is None or not own or opened_by in own):
        yield finding("contract.intent")
    if any(matches(rule.tool, tool) for rule in contract.approvals):
        yield finding("contract.approval", path="/tool")


def _covers(allow: tuple[str, ...] | None, deny: tuple[str, ...], names: tuple[str, ...]) -> bool:
    """Whether no name is denied and, where there is an allow list, there is a name and each is on the list."""
    if any(any_matches(deny, name) for name in names):
        return False
    return allow is None or (bool(names) and all(any_matches(allow, name) for name in names))
