"""The port that every kind of target fulfils: a `Run` goes in, an output tree comes out, `Failed` says why not."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from aegis.execution.credentials import Secret
from aegis.kernel.findings import Finding
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.tenancy import Tool, Upstream

Effect = Literal["none", "done", "unknown"]
Status = Literal["ok", "error", "cancelled", "unknown"]
StopReason = Literal["killed", "cancelled"]


@dataclass(slots=True)
class Progress:
    """What is known so far about the action's effect: `none` until something may have reached the target,
    `unknown` until it answered, then `done`. Read when a deadline or a kill ends the run."""

    effect: Effect = "none"


@dataclass(frozen=True, slots=True)
class Run:
    """One action for one target. `tenant` keeps connections of different tenants apart."""

    tenant: str
    tool: Tool
    arguments: JsonTree
    resource: str | None
    deadline_ms: int
    max_bytes: int
    progress: Progress = field(default_factory=Progress)


@dataclass(frozen=True, slots=True)
class Answer:
    """What the target said. `is_error`: it answered, with an error. `code` is its own status, where it has one."""

    output: JsonTree
    is_error: bool = False
    code: str | None = None


@dataclass(frozen=True, slots=True)
class Result:
    """`failure` is the code of the finding that kept the target's answer away; None where it answered.

    `target_code` is the target's own status (an HTTP status, an SQLSTATE), for people and for the agent.
    """

    status: Status
    output: JsonTree
    effect: Effect
    findings: tuple[Finding, ...] = ()
    failure: str | None = None
    target_code: str | None = None


class Failed(Exception):
    """The run ended without an answer that can be shown. `values` fill the finding's template.

    Caught by `Execution` and nowhere else; what happened to the action stands in the run's `progress`.
    """

    def __init__(self, code: str, **values: Any) -> None:
        super().__init__(code)
        self.code = code
        self.values = values


class Target(Protocol):
    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        """Runs the action at most once. Raises Failed. When cancelled, the target's work is cancelled too.

        Keeps `run.progress` truthful before every step that may reach the target.
        """
        ...

    async def close(self) -> None: ...


class Stop:
    """Says once, from any task of the loop, that a run must end, and why."""

    def __init__(self) -> None:
        self._pulled = asyncio.Event()
        self.reason: StopReason | None = None

    def pull(self, reason: StopReason) -> None:
        if self.reason is None:
            self.reason = reason
            self._pulled.set()

    async def wait(self) -> StopReason:
        await self._pulled.wait()
        assert self.reason is not None
        return self.reason
