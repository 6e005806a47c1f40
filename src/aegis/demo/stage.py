"""Performs the play: sets up as an administrator, asks as the agent, and asks the targets what became of it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from aegis.demo.client import Client, Reply, Unexpected
from aegis.demo.play import INTENT, Act, Approve, Ask, Call, Kill, Refused, Runs, Scan, SetUp, Step, Waits
from aegis.demo.stopping import Stopped, stop_while_running
from aegis.demo.targets import CRM_KEY, Crm, Standing, Target

SECRETS = {"crm-key": CRM_KEY}


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the table. `wrong`: what was not as expected; empty where all was."""

    act: str
    title: str
    asked: str
    verdict: str
    rule: str
    says: str
    took_s: float | None = None
    wrong: str = ""


@dataclass(slots=True)
class Figures:
    overheads_us: list[int] = field(default_factory=list)
    stopped: list[Stopped] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Cast:
    """Who acts, and on what."""

    admin: Client
    agent: Client
    targets: Mapping[str, Target]
    crm: Crm
    address: tuple[str, str]
    """URL of Aegis, and the agent's token: for whoever needs connections of its own."""
    processes: int


class Stage:
    """One agent in one session. `perform` gives a line as soon as a step is over."""

    def __init__(self, cast: Cast) -> None:
        self._cast = cast
        self._session = ""
        self._approval: str | None = None
        self.figures = Figures()

    async def open_session(self) -> None:
        opened = await self._cast.agent.post("/v1/sessions", {"intent": INTENT, "user": {"id": "kim@shop.example"}})
        self._session = opened.body["session_id"]

    async def perform(self, act: Act) -> AsyncIterator[Line]:
        for step in act.steps:
            try:
                yield await self._step(act.title, step)
            except Unexpected as error:
                yield Line(act.title, step.title, "", "", "", "", None, str(error))

    async def _step(self, act: str, step: Step) -> Line:
        match step:
            case Call():
                return await self._call(act, step)
            case Scan():
                return await self._scan(act, step)
            case Approve():
                return await self._approve(act, step)
            case Kill():
                return await self._kill(act, step)
            case Ask():
                return await self._ask(act, step)

    # ------------------------------------------------------------------ calls

    async def _call(self, act: str, call: Call) -> Line:
        before = await self._standings()
        body: dict[str, Any] = {"session_id": self._session, "tool": call.tool, "arguments": call.arguments}
        if call.approved and self._approval is not None:
            body["approval"] = self._approval
        reply = await self._cast.agent.ask("POST", "/v1/execute", body)
        after = await self._standings()
        if reply.overhead_us is not None:
            self.figures.overheads_us.append(reply.overhead_us)
        said = reply.body if isinstance(reply.body, dict) else {}
        if isinstance(call.expect, Runs):
            wrong = _ran_wrong(call, call.expect, reply, before, after)
        else:
            wrong = _refused_wrong(call.expect, reply, before, after)
        if isinstance(call.expect, Waits) and said.get("approval"):
            self._approval = said["approval"]["id"]
        rule = said.get("rule") or ", ".join(_codes(said)) or ""
        return Line(
            act,
            call.title,
            _asked(call),
            said.get("verdict", str(reply.status)),
            rule,
            after[call.at].says,
            reply.took_s,
            wrong,
        )

    async def _standings(self) -> dict[str, Standing]:
        return {name: await target.standing() for name, target in self._cast.targets.items()}

    # ------------------------------------------------------------------ the rest

    async def _scan(self, act: str, scan: Scan) -> Line:
        reply = (await self._cast.agent.ask("POST", "/v1/scan", {"text": scan.text, "source": "document"})).expect(200)
        flagged = reply.body["flagged"]
        wrong = "" if flagged == scan.flagged else f"expected flagged to be {scan.flagged}"
        word = "flagged" if flagged else "clean"
        return Line(
            act,
            scan.title,
            "POST /v1/scan",
            word,
            ", ".join(_codes(reply.body)),
            f"score {reply.body['score']:.2f}",
            reply.took_s,
            wrong,
        )

    async def _approve(self, act: str, step: Approve) -> Line:
        waiting = await self._cast.admin.get("/v1/approvals?status=pending")
        found = [each for each in waiting.body["items"] if each["id"] == self._approval]
        if not found:
            raise Unexpected("expected the agent's approval among those that wait")
        path = f"/v1/approvals/{self._approval}/approve"
        reply = (await self._cast.admin.ask("POST", path, {"reason": "the invoice is right"})).expect(200)
        status = reply.body["status"]
        wrong = "" if status == "approved" else f"expected approved, got {status}"
        says = f"{reply.body['uses_left']} use of exactly this action"
        return Line(act, step.title, "POST /v1/approvals/{id}/approve", status, "", says, reply.took_s, wrong)

    async def _kill(self, act: str, kill: Kill) -> Line:
        cast = self._cast
        stopped = await stop_while_running(
            admin=cast.admin, agent=cast.agent, address=cast.address, crm=cast.crm, session=self._session,
            scope=f"tool:{kill.tool}", slow={"tool": kill.tool, "arguments": kill.slow},
            probe={"tool": kill.tool, "arguments": kill.probe}, processes=cast.processes,
        )  # fmt: skip
        self.figures.stopped.append(stopped)
        asked = f"PUT /v1/kill-switches/tool:{kill.tool}"
        return Line(act, kill.title, asked, "kill", stopped.rule, stopped.says, stopped.answered_s, stopped.wrong)

    async def _ask(self, act: str, ask: Ask) -> Line:
        standing = await self._cast.targets[ask.at].standing()
        wrong = "" if standing.holds == ask.holds else f"expected {ask.holds}, got {standing.holds}"
        return Line(act, ask.title, f"the {ask.at} itself", "", "", standing.says, None, wrong)


async def set_up(admin: Client, plan: SetUp, *, targets_url: str, database_url: str, workspace: str) -> str:
    """Secrets, upstreams, tools and the agent. Answers the agent's token. Raises Unexpected."""
    for ref, value in SECRETS.items():
        await admin.put("/v1/secrets", ref, {"value": value})
    for upstream, (kind, path, key) in plan.upstreams.items():
        body: dict[str, Any] = {"kind": kind, "url": database_url if kind == "sql" else targets_url + path}
        await admin.put("/v1/upstreams", upstream, body | ({"credential": {"ref": key}} if key else {}))
    for name, tool in plan.tools.items():
        await admin.put("/v1/tools", name, tool)
    agent = await admin.post(
        "/v1/agents", {"name": "shop assistant", "owner": "kim@shop.example", "workspace": workspace}
    )
    return str(agent.body["token"])


# ------------------------------------------------------------------ what was wrong


def _ran_wrong(
    call: Call, expect: Runs, reply: Reply, before: Mapping[str, Standing], after: Mapping[str, Standing]
) -> str:
    if reply.status != 200 or reply.body.get("status") != "ok":
        return f"expected it to run, got {reply.status} {_brief(reply.body)}"
    output = json.dumps(reply.body["output"], ensure_ascii=False)
    missing = [text for text in expect.holds if text not in output and text not in output.replace("\\n", "\n")]
    if missing:
        return f"expected {missing[0]!r} in the result, got {output[:200]}"
    if found := [text for text in expect.lacks if text in output]:
        return f"expected no {found[0]!r} in the result"
    if CRM_KEY in json.dumps(reply.body):
        return "the CRM's key was shown to the agent"
    if expect.code is not None and expect.code not in _codes(reply.body):
        return f"expected the finding {expect.code}, got {', '.join(_codes(reply.body)) or 'none'}"
    if expect.redacts and not reply.body["redactions"]:
        return "expected a redaction"
    if after[call.at].reached <= before[call.at].reached:
        return f"{call.at} says that nothing reached it"
    return ""


def _refused_wrong(
    expect: Refused | Waits, reply: Reply, before: Mapping[str, Standing], after: Mapping[str, Standing]
) -> str:
    harmed = [name for name in before if after[name] != before[name]]
    if harmed:
        return f"{harmed[0]} was reached: {before[harmed[0]].says}, then {after[harmed[0]].says}"
    verdict, codes = ("escalate", (expect.code,)) if isinstance(expect, Waits) else ("kill", expect.codes)
    if reply.status != 403 or reply.body.get("verdict") != verdict or reply.body.get("effect") != "none":
        return f"expected {verdict}, got {reply.status} {_brief(reply.body)}"
    if not set(codes) & set(_codes(reply.body)):
        return f"expected {' or '.join(codes)}, got {', '.join(_codes(reply.body))}"
    return ""


def _codes(body: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(found["code"] for found in body.get("findings", ())))


def _brief(body: Any) -> str:
    if not isinstance(body, dict):
        return str(body)[:200]
    said = {name: body[name] for name in ("verdict", "rule", "status", "code", "detail", "output") if body.get(name)}
    return f"{said} {', '.join(_codes(body))}"[:400]


def _asked(call: Call) -> str:
    arguments = call.arguments
    for name in ("query", "command"):
        if isinstance(arguments.get(name), str):
            return f"{call.tool}: {arguments[name]}"
    if "path" in arguments and "method" in arguments:
        query = "&".join(f"{k}={v}" for k, v in arguments.get("query", {}).items())
        return f"{call.tool}: {arguments['method']} {arguments['path']}{'?' + query if query else ''}"
    return f"{call.tool}: {' '.join(str(value) for value in arguments.values())}"
