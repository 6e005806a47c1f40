"""Stopping and approving: kill switches and approvals."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import Any

from aegis.audit.rows import pseudonym
from aegis.autonomy.approvals import Approval, Decider
from aegis.console_api.paging import cursor_of, limit_of, page
from aegis.console_api.routes import Ask, Reply, Route
from aegis.identity.roles import Permission, may
from aegis.kernel.call import Role
from aegis.kernel.clock import iso
from aegis.kernel.problems import Problem
from aegis.kill_switch.switches import Acknowledged, Silent

P = Permission
MOST_WAIT_S = 60


# ------------------------------------------------------------------ kill switches


async def engage(ask: Ask) -> Reply:
    """Answers when every live gateway has obeyed or its lease has lapsed. 202 where it isn't durable yet."""
    members = ask.members("reason")
    reason = members.text("reason", required=True, least=1, limit=2000)
    members.finish()
    assert reason is not None
    by = ask.principal.subject
    done = await ask.services.switches.engage(ask.tenant, ask.params["scope"], reason, by)
    body = {
        "scope": done.scope,
        "epoch": done.epoch,
        "durable": done.durable,
        "acknowledged": [_obeyed(each) for each in done.acknowledged],
        "silent": [_silent(each) for each in done.silent],
        "cancelled": sum(each.cancelled for each in done.acknowledged),
        "known": _is_known(ask, done.scope),
    }
    if done.durable:
        await ask.services.views.refresh(ask.tenant, at_least_epoch=done.epoch)
    return Reply(200 if done.durable else 202, body)


def _is_known(ask: Ask, scope: str) -> bool | None:
    """Whether the tenant has what is stopped; None where calls need no set-up of it. An order for what isn't there is
    kept all the same: the picture may be old, and what is stopped too early is better than what runs."""
    kind, _, name = scope.partition(":")
    match kind:
        case "tenant":
            return True
        case "agent":
            return name in ask.view.agents
        case "team":
            return any(agent.team == name for agent in ask.view.agents.values())
        case _:
            return None


async def release(ask: Ask) -> Reply:
    members = ask.members("reason")
    reason = members.text("reason", required=True, least=1, limit=2000)
    members.finish()
    assert reason is not None
    done = await ask.services.switches.release(ask.tenant, ask.params["scope"], reason, ask.principal.subject)
    view = await ask.services.views.refresh(ask.tenant)
    await ask.services.settle(ask.tenant, view.version)
    return Reply(body={"scope": done.scope, "released": True})


async def list_switches(ask: Ask) -> Reply:
    """By scope. A tenant has few at a time, so a page is cut out of them."""
    limit, after = limit_of(ask), cursor_of(ask) or ""
    items = [
        {
            "scope": switch.scope,
            "epoch": switch.epoch,
            "reason": switch.reason,
            "engaged_by": switch.engaged_by,
            "engaged_at": iso(switch.engaged_at),
            "acknowledged": [_obeyed(each) for each in switch.acknowledged],
        }
        for switch in sorted(await ask.services.switches.engaged(ask.tenant), key=lambda each: each.scope)
        if switch.scope > after
    ]
    return Reply(body=page(items[: limit + 1], limit, "scope"))


def _obeyed(each: Acknowledged) -> dict[str, Any]:
    return {
        "process": str(each.process),
        "host": each.host,
        "pid": each.pid,
        "acknowledged_at": iso(each.at),
        "cancelled": each.cancelled,
    }


def _silent(each: Silent) -> dict[str, Any]:
    return {**asdict(each), "process": str(each.process)}


# ------------------------------------------------------------------ approvals


def _may_see(ask: Ask, approval: Approval | None) -> Approval:
    """People's roles see all, an agent its own. Raises Problem 404 for everything else."""
    if approval is not None and (may(ask.principal.role, P.READ_DECISIONS) or approval.agent == ask.principal.agent):
        return approval
    raise Problem(404, "approvals.unknown", "there is no such approval")


async def list_approvals(ask: Ask) -> Reply:
    limit = limit_of(ask)
    status = ask.query.get("status")
    if status not in (None, "pending", "approved", "denied", "expired"):
        raise Problem(422, "request.invalid", "status: expected pending, approved, denied or expired")
    before = None
    if "cursor" in ask.query:
        found = re.fullmatch(r"([0-9]{1,17})-([a-z0-9_]{1,64})", ask.query["cursor"])
        if found is None:
            raise Problem(422, "request.invalid", "cursor: expected the next_cursor of an earlier answer")
        before = (int(found[1]), found[2])
    is_person = may(ask.principal.role, P.READ_DECISIONS)
    rows = await ask.services.approvals.page(
        ask.tenant,
        ask.services.clock(),
        status=status,
        agent=None if is_person else ask.principal.agent,
        before=before,
        limit=limit + 1,
    )
    made = page([each.public(to_people=is_person) for each in rows], limit, "id")
    if made["next_cursor"] is not None:
        last = rows[limit - 1]
        made["next_cursor"] = f"{last.created_at}-{last.id}"
    return Reply(body=made)


async def get_approval(ask: Ask) -> Reply:
    text = ask.query.get("wait", "0")
    if not text.isascii() or not text.isdigit() or int(text[:4]) > MOST_WAIT_S:
        raise Problem(422, "request.invalid", f"wait: expected 0 to {MOST_WAIT_S} seconds")
    now, approvals = ask.services.clock(), ask.services.approvals
    found = _may_see(ask, await approvals.find(ask.tenant, ask.params["id"], now))
    if int(text) and found.status == "pending":
        found = await approvals.wait(ask.tenant, found.id, float(text), now) or found
    return Reply(body=found.public(to_people=may(ask.principal.role, P.READ_DECISIONS)))


async def approve(ask: Ask) -> Reply:
    members = ask.members("reason", "uses", "expires_in")
    reason = members.text("reason", limit=2000)
    uses = members.whole("uses", least=1, most=1000) or 1
    expires_in = members.whole("expires_in", least=1, most=7 * 86_400)
    members.finish()
    more = {} if expires_in is None else {"expires_in_s": expires_in}
    done = await ask.services.approvals.approve(
        ask.tenant, ask.params["id"], _decider(ask), ask.services.clock(), reason=reason, uses=uses, **more
    )
    return Reply(body=done.public(to_people=True))


async def deny(ask: Ask) -> Reply:
    members = ask.members("reason")
    reason = members.text("reason", limit=2000)
    members.finish()
    done = await ask.services.approvals.deny(
        ask.tenant, ask.params["id"], _decider(ask), ask.services.clock(), reason=reason
    )
    return Reply(body=done.public(to_people=True))


def _decider(ask: Ask) -> Decider:
    subject = ask.principal.subject
    names = frozenset({subject, ask.principal.credential})
    return Decider(subject, Role(ask.principal.role), names, pseudonym(ask.view.label_key, "user", subject))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/kill-switches", list_switches, (P.READ_SETUP, P.KILL, P.READ_DASHBOARDS), "engaged kill switches",
          query=("limit", "cursor")),
    Route("PUT", "/v1/kill-switches/{scope}", engage, P.KILL, "stops a scope", members=("reason",), takes="json"),
    Route("POST", "/v1/kill-switches/{scope}/release", release, P.KILL, "lets a scope go on", members=("reason",),
          takes="json"),
    Route("GET", "/v1/approvals", list_approvals, (P.READ_DECISIONS, P.READ_OWN), "lists approvals",
          query=("limit", "cursor", "status")),
    Route("GET", "/v1/approvals/{id}", get_approval, (P.READ_DECISIONS, P.READ_OWN), "one approval", query=("wait",)),
    Route("POST", "/v1/approvals/{id}/approve", approve, P.APPROVE, "approves exactly this action",
          members=("reason", "uses", "expires_in"), takes="json"),
    Route("POST", "/v1/approvals/{id}/deny", deny, P.APPROVE, "refuses it for good", members=("reason",), takes="json"),
)  # fmt: skip
