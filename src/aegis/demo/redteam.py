"""Plays scenarios against a running Aegis, each in a tenant that the operator makes for it and suspends afterwards."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from aiohttp import web

from aegis.demo.client import Client, Reply, Unexpected
from aegis.demo.scenarios import Scenario, Step

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SHUT = "execute.forbidden_address"


@dataclass(frozen=True, slots=True)
class Outcome:
    """`wrong`: what was not as expected; empty where all was."""

    scenario: str
    file: str
    step: str
    got: str
    took_s: float
    wrong: str = ""


class Range:
    """A target that answers the same to everything and counts. An asynchronous context manager."""

    def __init__(self) -> None:
        self.hits = 0
        self.answer: Any = {"done": True}
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Range:
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._any)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def _any(self, request: web.Request) -> web.Response:
        self.hits += 1
        return web.json_response(self.answer)


async def play(scenario: Scenario, url: str, operator: Client, target: Range) -> list[Outcome]:
    """One outcome for each step that expects something. A step that can't be played is an outcome that is wrong."""
    made = await operator.post("/v1/tenants", {"name": f"red team: {scenario.name}"[:200]})
    tenant = made.body["id"]
    try:
        async with Client(url, made.body["admin"]["token"]) as admin:
            attack = _Attack(scenario, admin, target)
            return await attack.run(url)
    except Unexpected as error:
        return [Outcome(scenario.name, scenario.file, "setup", "", 0.0, str(error))]
    finally:
        await operator.ask("PATCH", f"/v1/tenants/{tenant}", {"status": "suspended"})


@dataclass(slots=True)
class _Attack:
    scenario: Scenario
    admin: Client
    target: Range
    names: dict[str, str] = field(default_factory=dict)
    token: str = ""

    async def run(self, url: str) -> list[Outcome]:
        setup = self.scenario.setup
        self.target.answer = setup.get("answer", {"done": True})
        another_day = DAYS[(datetime.now(UTC) + timedelta(days=3)).weekday()]
        self.names |= {"<target>": self.target.url, "<another day>": another_day}
        await self._set_up(setup)
        outcomes = []
        async with Client(url, self.token) as agent:
            if "session" in setup:
                opened = await agent.post("/v1/sessions", setup["session"] or {})
                self.names["<session>"] = opened.body["session_id"]
            for step in self.scenario.steps:
                if step.order is not None:
                    await self._order(agent, *step.order)
                elif step.scan is not None:
                    outcomes.append(await self._scan(agent, step))
                else:
                    outcomes.append(await self._call(agent, step))
        return outcomes

    async def _set_up(self, setup: Mapping[str, Any]) -> None:
        agent = await self.admin.post("/v1/agents", {"name": "mallory", **setup.get("agent", {})})
        self.token, self.names["<agent>"] = agent.body["token"], agent.body["id"]
        if "settings" in setup:
            (await self.admin.ask("PUT", "/v1/settings", setup["settings"])).expect(200)
        for ref, value in setup.get("secrets", {}).items():
            await self.admin.put("/v1/secrets", ref, {"value": value})
        for path in ("upstreams", "tools", "quotas"):
            for name, body in setup.get(path, {}).items():
                await self.admin.put(f"/v1/{path}", self._named(name), self._named(body))
        if "contract" in setup:
            await self.admin.put("/v1/contracts", self.names["<agent>"], self._named(setup["contract"]))

    def _named(self, tree: Any) -> Any:
        """`tree` with the names in angle brackets replaced by what they stand for."""
        match tree:
            case str():
                for name, value in self.names.items():
                    tree = tree.replace(name, value)
                return tree
            case dict():
                return {self._named(key): self._named(value) for key, value in tree.items()}
            case list():
                return [self._named(each) for each in tree]
            case _:
                return tree

    async def _order(self, agent: Client, order: str, what: Any) -> None:
        match order:
            case "engage" | "release":
                path = f"/v1/kill-switches/{quote(self._named(what), safe='')}"
                words = ("PUT", path) if order == "engage" else ("POST", f"{path}/release")
                (await self.admin.ask(*words, {"reason": "a scenario's order"})).expect(200)
            case "status":
                path = f"/v1/agents/{self.names['<agent>']}"
                (await self.admin.ask("PATCH", path, {"status": what})).expect(200)
            case "approve" | "deny":
                path = f"/v1/approvals/{self.names['<approval>']}/{order}"
                (await self.admin.ask("POST", path, what or {})).expect(200)
            case "redefine":
                for name, body in what.items():
                    await self.admin.put("/v1/tools", name, self._named(body))
            case "end_session":
                (await agent.ask("DELETE", f"/v1/sessions/{self.names['<session>']}")).expect(200, 204)
            case _:
                keys = (await self.admin.get("/v1/keys")).body["items"]
                mine = next(key["id"] for key in keys if key.get("agent") == self.names["<agent>"])
                (await self.admin.ask("DELETE", f"/v1/keys/{mine}")).expect(204)

    async def _scan(self, agent: Client, step: Step) -> Outcome:
        reply = await agent.ask("POST", "/v1/scan", dict(step.scan or {}))
        flagged = reply.body.get("flagged") if reply.status == 200 else None
        wrong = "" if flagged is step.expect.get("flagged") else f"expected flagged {step.expect.get('flagged')}"
        return self._outcome(step, f"flagged {flagged}", reply, wrong)

    async def _call(self, agent: Client, step: Step) -> Outcome:
        assert step.call is not None
        body = {"arguments": {}, **self._named(dict(step.call))}
        if "<session>" in self.names:
            body["session_id"] = self.names["<session>"]
        for _ in range(step.times):
            hits = self.target.hits
            reply = await agent.ask("POST", f"/v1/{step.through}", body)
        said = reply.body if isinstance(reply.body, dict) else {}
        if isinstance(said.get("approval"), dict):
            self.names["<approval>"] = said["approval"]["id"]
        wrong = what_is_wrong(step.expect, reply, executed=self.target.hits > hits)
        got = f"{said.get('verdict', reply.status)} {', '.join(codes_of(said))}".strip()
        return self._outcome(step, got, reply, wrong)

    def _outcome(self, step: Step, got: str, reply: Reply, wrong: str) -> Outcome:
        return Outcome(self.scenario.name, self.scenario.file, step.says, got, reply.took_s, wrong)


def what_is_wrong(expect: Mapping[str, Any], reply: Reply, *, executed: bool) -> str:
    """The first expectation that the answer doesn't meet; empty where it meets all."""
    said = reply.body if isinstance(reply.body, dict) else {}
    codes, output = codes_of(said), json.dumps(said.get("output"), ensure_ascii=False)
    if SHUT in codes:
        return "Aegis may not reach the scenario's target: start it with AEGIS_NETWORKS__ALLOW=127.0.0.0/8"
    verdicts = expect.get("verdict", [])
    checks = (
        ("verdict", not verdicts or said.get("verdict") in ([verdicts] if isinstance(verdicts, str) else verdicts)),
        ("codes", set(expect.get("codes", ())) <= set(codes)),
        ("without", not set(expect.get("without", ())) & set(codes)),
        ("status", "status" not in expect or reply.status == expect["status"]),
        ("executed", "executed" not in expect or executed is expect["executed"]),
        ("effect", "effect" not in expect or said.get("effect") == expect["effect"]),
        ("redacted", "redacted" not in expect or bool(said.get("redactions")) is expect["redacted"]),
        ("holds", all(text in output for text in expect.get("holds", ()))),
        ("lacks", not any(text in output for text in expect.get("lacks", ()))),
    )
    for name, is_met in checks:
        if not is_met:
            detail = said.get("detail") or ""
            return f"expected {name} {expect[name]}, got {reply.status} {said.get('verdict')} {codes} {detail}"[:400]
    return ""


def codes_of(body: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(found["code"] for found in body.get("findings", ())))
