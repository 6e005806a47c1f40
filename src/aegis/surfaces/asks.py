"""Parses what agents ask: the bodies of decide, execute, outcome, scan and sessions, into the kernel's words."""

from __future__ import annotations

from dataclasses import dataclass, replace

from aegis.kernel.call import Action, Call, Context, Principal
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.jsontree import JsonTree, action_digest, has_num_member
from aegis.kernel.record import Usage
from aegis.kernel.tenancy import TenantView
from aegis.surfaces.members import Members
from aegis.usage.prices import price_micro_usd

ASK = (
    "session_id",
    "tool",
    "arguments",
    "resource",
    "context",
    "approval",
    "idempotency_key",
    "accepts",
    "outcome",
    "dry_run",
)
NAME_LIMIT = 200


@dataclass(frozen=True, slots=True)
class Reported:
    """An outcome as its caller reports it."""

    status: str
    output: JsonTree
    executed_digest: str | None
    usage: Usage
    model: str | None
    cached_tokens: int
    has_price: bool


def ask(
    tree: dict[str, JsonTree],
    principal: Principal,
    view: TenantView,
    *,
    endpoint: str,
    door: str,
    decision_id: str,
    now: MicroSeconds,
    size_bytes: int,
) -> Call:
    """The call of a decide or execute body. Raises Problem 422 that names every member that is wrong."""
    members = Members(tree, ASK)
    tool = members.text("tool", required=True, least=1, limit=NAME_LIMIT)
    arguments = members.object("arguments", required=True)
    resource = members.text("resource", limit=2048)
    outcome = members.choice("outcome", ("none",))
    members.flag("dry_run")
    members.unsupported("dry_run", "a decision without a row")
    members.unsupported("accepts", "rewrites")
    given = members.object("context")
    session_id = members.text("session_id", limit=256)
    approval = members.text("approval", limit=128)
    key = members.text("idempotency_key", least=1, limit=256)
    if key is not None and "\x00" in key:
        members.wrong("idempotency_key", "expected text without U+0000")
    if arguments is not None and has_num_member(arguments):
        members.wrong("arguments", "the member $num is reserved")
    if outcome is not None and endpoint == "execute":
        members.wrong("outcome", "execute always has an outcome")
    context = _context(given or {}, members)
    members.finish()
    assert tool is not None and arguments is not None
    known = view.tool(tool)
    canonical = known.name if known is not None else tool
    return Call(
        decision_id=decision_id,
        principal=principal,
        action=Action(canonical, tool, arguments, resource, action_digest(canonical, arguments, resource)),
        context=context,
        door=door,
        endpoint=endpoint,
        received_at=now,
        size_bytes=size_bytes,
        session_id=session_id,
        approval=approval,
        idempotency_key=key,
        owes_outcome=outcome is None,
    )


def _context(given: dict[str, JsonTree], outer: Members) -> Context:
    members = Members(given, given.keys(), "/context")
    seen = members.object("client_seen")
    context = Context(
        workspace=members.text("workspace", limit=4096),
        environment=members.text("environment", limit=128),
        model=members.text("model", limit=200),
        estimated_micro_usd=members.money("estimated_usd") or 0,
        purpose=members.text("purpose", limit=4096),
        parent=members.text("parent", limit=128),
        client_seen=None if seen is None else _client_seen(seen, members),
        given=given,
    )
    outer.errors += members.errors
    return context


def _client_seen(seen: dict[str, JsonTree], outer: Members) -> tuple[int, str] | None:
    members = Members(seen, ("size", "root"), "/context/client_seen")
    size = members.whole("size", required=True)
    root = members.text("root", required=True, limit=64)
    if root is not None and (len(root) != 64 or root.strip("0123456789abcdef")):
        members.wrong("root", "expected a root hash as 64 hex digits")
    outer.errors += members.errors
    return None if size is None or root is None else (size, root)


def reported(tree: dict[str, JsonTree]) -> Reported:
    """The body of POST /v1/decisions/{id}/outcome."""
    members = Members(tree, ("status", "output", "executed_digest", "usage"))
    status = members.choice("status", ("ok", "error", "cancelled", "unknown"), required=True)
    digest = members.text("executed_digest", limit=80)
    usage = Members(members.object("usage") or {}, USAGE, "/usage")
    model = usage.text("model", limit=200)
    tokens = [usage.whole(name) or 0 for name in ("input_tokens", "output_tokens", "cached_tokens")]
    usd = usage.money("usd")
    members.errors += usage.errors
    members.finish()
    assert status is not None
    return Reported(
        status=status,
        output=tree.get("output"),
        executed_digest=digest,
        usage=Usage(0, usd or 0, tokens[0], tokens[1]),
        model=model,
        cached_tokens=tokens[2],
        has_price=usd is not None,
    )


USAGE = ("model", "input_tokens", "output_tokens", "cached_tokens", "usd")


def priced(said: Reported) -> Usage:
    """The usage with its price: what the caller reported, else the model's table; 0 for a model nobody knows."""
    if said.has_price or said.model is None:
        return said.usage
    usage = said.usage
    micro_usd = price_micro_usd(said.model, usage.input_tokens, usage.output_tokens, said.cached_tokens)
    return replace(usage, micro_usd=micro_usd or 0)
