"""Scenario files: attacks and ordinary calls as data, each with what has to come of it. A list of scenarios a file.

    - name: a quarantined agent is refused everything
      setup:                         # all of it optional; done in a tenant that is made for this scenario alone
        agent: {workspace: /srv/app, environment: production}
        settings: {explain_to_agents: full}
        secrets: {key: value}
        upstreams: {echo: {kind: http, url: <target>}}
        tools: {notes.add: {effect: write, upstream: echo}}
        contract: {tools: {allow: ["notes.*"]}}
        quotas: {"agent:<agent>": {daily_requests: 2}}
        session: {intent: ...}       # without it there is no session
        answer: {text: hello}        # what the target answers to everything
      steps:
        - do: {engage: "tool:notes.add"}   # or release, status, approve, deny, redefine, end_session, revoke
        - call: {tool: notes.add, arguments: {text: hello}}
          through: execute           # or decide, the default
          times: 5                   # the last one counts
          expect: {verdict: kill, codes: [kill_switch.engaged], executed: false}
        - scan: {text: ...}
          expect: {flagged: true}

`<target>`, `<agent>`, `<session>`, `<approval>` and `<another day>` stand for what is only known while it is played.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

SETUP = ("agent", "settings", "secrets", "upstreams", "tools", "contract", "quotas", "session", "answer")
ORDERS = ("engage", "release", "status", "approve", "deny", "redefine", "end_session", "revoke")
STEP = ("do", "call", "scan", "through", "times", "expect", "why")
CALL = ("tool", "arguments", "resource", "context", "approval")
EXPECT = ("verdict", "codes", "without", "executed", "effect", "status", "holds", "lacks", "redacted", "flagged")


class BadScenario(Exception):
    """A file that is not what this page says; the message names the place."""


@dataclass(frozen=True, slots=True)
class Step:
    """One of `order`, `call` and `scan` is there."""

    order: tuple[str, Any] | None = None
    call: Mapping[str, Any] | None = None
    scan: Mapping[str, Any] | None = None
    through: str = "decide"
    times: int = 1
    expect: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""

    @property
    def says(self) -> str:
        if self.order is not None:
            return f"{self.order[0]} {self.order[1] if isinstance(self.order[1], str) else ''}".strip()
        if self.scan is not None:
            return f"scan {str(self.scan.get('text', ''))[:60]}"
        assert self.call is not None
        return self.why or f"{self.call['tool']} {self.call.get('arguments', {})}"


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    file: str
    setup: Mapping[str, Any]
    steps: tuple[Step, ...]


def load(directory: Path) -> list[Scenario]:
    """Every scenario of every `*.yaml` in `directory`, in the files' order. Raises BadScenario."""
    found = [each for file in sorted(directory.glob("*.yaml")) for each in load_file(file)]
    names = [each.name for each in found]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise BadScenario(f"couldn't read {directory}: two scenarios are called {twice[0]!r}")
    return found


def load_file(file: Path) -> list[Scenario]:
    """Raises BadScenario."""
    try:
        tree = yaml.safe_load(file.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise BadScenario(f"couldn't read {file}: {error}") from None
    if not isinstance(tree, list) or not tree:
        raise BadScenario(f"couldn't read {file}: expected a list of scenarios")
    return [_scenario(each, file.name, number) for number, each in enumerate(tree)]


def _scenario(tree: Any, file: str, number: int) -> Scenario:
    place = f"{file}[{number}]"
    members = _members(tree, ("name", "setup", "steps"), place)
    name, steps = members.get("name"), members.get("steps")
    if not isinstance(name, str) or not isinstance(steps, list) or not steps:
        raise BadScenario(f"couldn't read {place}: expected a name and steps")
    setup = _members(members.get("setup") or {}, SETUP, f"{place} ({name}), setup")
    return Scenario(
        name, file, setup, tuple(_step(each, f"{place} ({name}), step {n}") for n, each in enumerate(steps))
    )


def _step(tree: Any, place: str) -> Step:
    members = _members(tree, STEP, place)
    kinds = [kind for kind in ("do", "call", "scan") if kind in members]
    if len(kinds) != 1:
        raise BadScenario(f"couldn't read {place}: expected one of do, call and scan")
    expect = _members(members.get("expect") or {}, EXPECT, f"{place}, expect")
    if kinds == ["do"]:
        order = _members(members["do"], ORDERS, f"{place}, do")
        if len(order) != 1 or expect:
            raise BadScenario(f"couldn't read {place}: expected one order, and nothing of it")
        return Step(order=next(iter(order.items())))
    if not expect:
        raise BadScenario(f"couldn't read {place}: expected what has to come of it")
    if kinds == ["scan"]:
        return Step(scan=_members(members["scan"], ("text", "source"), f"{place}, scan"), expect=expect)
    call = _members(members["call"], CALL, f"{place}, call")
    through, times = members.get("through", "decide"), members.get("times", 1)
    if "tool" not in call or through not in ("decide", "execute") or not isinstance(times, int) or times < 1:
        raise BadScenario(f"couldn't read {place}: expected a tool, through decide or execute, and times from 1")
    if "executed" in expect and through != "execute":
        raise BadScenario(f"couldn't read {place}: only what goes through execute is executed")
    return Step(call=call, through=through, times=times, expect=expect, why=members.get("why", ""))


def _members(tree: Any, known: tuple[str, ...], place: str) -> Mapping[str, Any]:
    if not isinstance(tree, dict):
        raise BadScenario(f"couldn't read {place}: expected an object")
    if unknown := sorted(set(tree) - set(known)):
        raise BadScenario(f"couldn't read {place}: {unknown[0]!r} is not one of {', '.join(known)}")
    return tree
