"""What was decided: the list, the flight record, the receipt with a fresh proof."""

from __future__ import annotations

import json
import re
from typing import Any

from aegis.audit import proofs, receipts
from aegis.audit.notes import checkpoint
from aegis.audit.rows import pseudonym
from aegis.console_api.decisions_sql import SQL
from aegis.console_api.paging import limit_of, number_cursor, page
from aegis.console_api.routes import Ask, Reply, Route, unsupported
from aegis.console_api.tree import StoredTree
from aegis.db.database import Connection
from aegis.identity.roles import Permission, may
from aegis.kernel.clock import from_iso, iso
from aegis.kernel.jsontree import read
from aegis.kernel.problems import Problem
from aegis.kernel.verdict import VERDICTS

P = Permission
FILTERS = ("agent", "user", "tool", "verdict", "code", "session", "from", "to", "min_risk")


async def list_decisions(ask: Ask) -> Reply:
    query, limit = ask.query, limit_of(ask)
    verdict = query.get("verdict")
    if verdict is not None and verdict not in VERDICTS:
        raise Problem(422, "request.invalid", f"verdict: expected one of {', '.join(VERDICTS)}")
    user = query.get("user")
    risk = query.get("min_risk")
    given = (
        ask.tenant,
        number_cursor(ask),
        query.get("agent") if may(ask.principal.role, P.READ_DECISIONS) else ask.principal.agent,
        None if user is None else pseudonym(ask.view.label_key, "user", user),
        query.get("tool"),
        verdict,
        query.get("code"),
        query.get("session"),
        _time(query.get("from"), "from"),
        _time(query.get("to"), "to"),
        None if risk is None else _millionths(risk),
        limit + 1,
    )
    async with ask.services.database.scope(ask.tenant) as connection:
        rows = await connection.fetch(SQL.page, *given)
    hidden = {"rule": "", "codes": []} if explained(ask) == "none" else {}
    return Reply(body=page([{"seq": row["seq"], **brief(row), **hidden} for row in rows], limit, "seq"))


def explained(ask: Ask) -> str:
    """How much of the reasons the caller sees: people all, an agent what its tenant's setting says."""
    return "full" if may(ask.principal.role, P.READ_DECISIONS) else ask.view.settings.explain_to_agents


def brief(row: Any) -> dict[str, Any]:
    return {
        "decision_id": row["rid"],
        "agent": row["agent"],
        "team": row["team"],
        "session": row["session"],
        "tool": row["tool"],
        "verdict": row["verdict"],
        "rule": row["rule"] or "",
        "risk": (row["risk"] or 0) / 1_000_000,
        "codes": list(row["codes"] or ()),
        "time": iso(row["ts"]),
    }


async def get_decision(ask: Ask) -> Reply:
    """The flight record. People who may see payloads see what was asked and what came back; an agent sees its own
    decisions as its tenant's setting says."""
    async with ask.services.database.scope(ask.tenant) as connection:
        row = await _decision(ask, connection)
        ended = await connection.fetch(SQL.outcomes, ask.tenant, row["seq"])
    is_person = may(ask.principal.role, P.READ_DECISIONS)
    sees_payloads = may(ask.principal.role, P.READ_PAYLOADS)
    explain = explained(ask)
    body = _body(row)
    stages = [_stage(stage, explain, sees_payloads) for stage in body.get("flight", ())]
    outcomes = [_outcome(each, explain, sees_payloads) for each in ended]
    made: dict[str, Any] = {
        **brief(row),
        "kind": row["kind"],
        "seq": row["seq"],
        "stages": stages if explain != "none" else [],
        "findings": [f for stage in stages for f in stage["findings"]] if explain != "none" else [],
        "outcome": next((each for each in outcomes if each["kind"] == "outcome"), None),
        "late": next((each for each in outcomes if each["kind"] == "late"), None),
        "receipt": f"/v1/decisions/{row['rid']}/receipt",
    }
    if explain == "none":
        made |= {"rule": "", "codes": []}
    else:
        made["row"] = json.loads(bytes(row["entry"]).partition(b"\n")[0])
        made["leaves"] = body.get("leaves", [])
    if sees_payloads or not is_person:
        inputs = body.get("openings", {}).get("inputs", {}).get("payload")
        made["inputs"] = inputs
    if sees_payloads:
        made["openings"] = body.get("openings", {})
    return Reply(body=made)


def _body(row: Any) -> dict[str, Any]:
    """What erasure may take: openings and flight, numbers as they were given."""
    body: dict[str, Any] = read(bytes(row["body"])) if row["body"] else {}
    return body


def _stage(stage: dict[str, Any], explain: str, sees_payloads: bool) -> dict[str, Any]:
    hidden = {"evidence", "features"} | (set() if explain == "full" else {"score"})
    if sees_payloads:
        hidden = set()
    return {
        **{name: value for name, value in stage.items() if name not in hidden},
        "findings": [{k: v for k, v in f.items() if k not in hidden} for f in stage["findings"]],
    }


def _outcome(row: Any, explain: str, sees_payloads: bool) -> dict[str, Any]:
    said = json.loads(bytes(row["entry"]).partition(b"\n")[0])
    body = _body(row)
    made = {
        "kind": row["kind"],
        "seq": row["seq"],
        "time": iso(row["ts"]),
        "status": said["status"],
        "by": said.get("by"),
        "effect": said.get("effect"),
        "usage": said.get("usage"),
        "findings": said.get("findings", []) if explain != "none" else [],
        "stages": [_stage(stage, explain, sees_payloads) for stage in body.get("flight", ()) if explain != "none"],
    }
    if sees_payloads:
        made["openings"] = body.get("openings", {})
    return made


async def get_receipt(ask: Ask) -> Reply:
    """The receipt, its proof made anew for the log as it is now; with the keys that its signature is checked by."""
    form, level = ask.query.get("format", "json"), ask.query.get("level", "included")
    if form not in ("json", "tlog-proof", "cose") or level not in receipts.LEVELS:
        raise Problem(422, "request.invalid", "expected format json or tlog-proof, level durable or included")
    if form == "cose" or level in ("witnessed", "anchored"):
        raise Problem(501, "request.unsupported", "this version of Aegis makes no such receipts yet")
    services = ask.services
    async with services.database.scope(ask.tenant) as connection:
        row = await _decision(ask, connection)
        head = await connection.fetchrow(SQL.head, ask.tenant)
        tree = StoredTree(connection, ask.tenant, head["size"])
        path = await tree.inclusion(row["seq"])
        root = await tree.root(head["size"])
        note = services.sign_note(head["origin"], checkpoint(head["origin"], head["size"], root))
        signer = json.loads(bytes(row["entry"]).partition(b"\n")[0])["kid"]
        keys = await _keys(connection, tree, ask.tenant, note, signer)
    if form == "tlog-proof":
        text = proofs.format_proof(row["seq"], path, note)
        return Reply(body=text.encode(), headers=[(b"content-type", b"text/plain; charset=utf-8")])
    is_person = may(ask.principal.role, P.READ_DECISIONS)
    body = _body(row)
    opened = body.get("openings", {}) if may(ask.principal.role, P.READ_PAYLOADS) or not is_person else {}
    if not is_person:
        opened = {name: opened[name] for name in ("inputs", "digest") if name in opened}
    made = receipts.receipt(
        entry=bytes(row["entry"]),
        index=row["seq"],
        path=path,
        note=note,
        origin=head["origin"],
        url=f"/v1/decisions/{row['rid']}/receipt",
        openings=opened,
        keys=keys,
    )
    if explained(ask) == "none":
        del made["row"], made["sig"], made["keys"]
        made["openings"] = {}
    return Reply(body=made)


async def _keys(connection: Connection, tree: StoredTree, tenant: str, note: str, signer: str) -> dict[str, str]:
    """Genesis and the row that added `signer`, proven to stand under the same checkpoint."""
    made = {}
    for row in await connection.fetch(SQL.key_rows, tenant):
        entry = bytes(row["entry"])
        said = json.loads(entry.partition(b"\n")[0])
        if said["kind"] == "genesis":
            name = "root"
        elif said["kind"] == "key.add" and said["key"]["kid"] == signer:
            name = str(said["key"]["role"])
        else:
            continue
        made[name] = proofs.format_proof(row["seq"], await tree.inclusion(row["seq"]), note, entry)
    return made


async def _decision(ask: Ask, connection: Connection) -> Any:
    """Raises Problem 404 for what isn't there, and for an agent what isn't its own."""
    wanted = ask.params["id"]
    if not re.fullmatch(r"[0-9a-f\-]{36}", wanted):
        raise Problem(404, "decision.unknown", "there is no such decision")
    row = await connection.fetchrow(SQL.decision, ask.tenant, wanted)
    if row is None or (row["agent"] != ask.principal.agent and not may(ask.principal.role, P.READ_DECISIONS)):
        raise Problem(404, "decision.unknown", "there is no such decision")
    return row


def _time(text: str | None, name: str) -> int | None:
    if text is None:
        return None
    try:
        return from_iso(text)
    except ValueError:
        raise Problem(422, "request.invalid", f"{name}: expected a time such as 2026-11-23T08:00:00Z") from None


def _millionths(text: str) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise Problem(422, "request.invalid", "min_risk: expected a number from 0 to 1")
    return round(value * 1_000_000)


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/decisions", list_decisions, (P.READ_DECISIONS, P.READ_OWN), "decisions, newest first",
          query=(*FILTERS, "limit", "cursor")),
    Route("GET", "/v1/decisions/{id}", get_decision, (P.READ_DECISIONS, P.READ_OWN), "the flight record of a decision"),
    Route("GET", "/v1/decisions/{id}/receipt", get_receipt, (P.READ_DECISIONS, P.READ_OWN), "the receipt of a decision",
          query=("format", "level")),
    unsupported("POST", "/v1/decisions/{id}/replay", P.INVESTIGATE, "judges a decision again"),
)  # fmt: skip
