"""The life of a call, on one screen.

    judge     stages 0 to 7, in the order of the tuple: gather, analyse, judge
    record    the decision row: durable before anything runs; an allow that a kill overtook is judged again
    run       stage 8, stage 9, and the outcome row

The pipeline owns the call, not the connection: a caller that hangs up loses neither the outcome row nor the
settlement of a reservation.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, TypeVar

from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds
from aegis.kernel.decision import Decision, StageResult
from aegis.kernel.findings import Finding, finding
from aegis.kernel.problems import Problem
from aegis.kernel.record import Appended, Stale, Unavailable
from aegis.kernel.tenancy import TenantView
from aegis.kernel.verdict import Verdict
from aegis.pipeline.deadline import within
from aegis.pipeline.recorder import Recorded, Recorder, Session
from aegis.pipeline.stage import SoFar, Stage
from aegis.pipeline.stages.decide import decide
from aegis.pipeline.stages.enforce import enforced
from aegis.pipeline.throttles import Throttles
from aegis.quota import limits

log = logging.getLogger("aegis.pipeline")
JUDGED_AGAIN = 3
TIMEOUTS = frozenset({"policy.timeout", "inference.timeout"})
T = TypeVar("T")


class ViewSource(Protocol):
    async def get(self, tenant: str) -> TenantView: ...
    async def refresh(self, tenant: str, *, at_least_epoch: int | None = None) -> TenantView: ...


class Reservations(Protocol):
    """What a refused call gives back."""

    async def release(self, call: Call, so_far: SoFar) -> None: ...


class ApprovalDesk(Protocol):
    """Asks a person; gives back what an approval was used for when the action does not run after all."""

    async def request(self, call: Call, decision: Decision, so_far: SoFar) -> dict[str, Any]: ...
    async def give_back(self, call: Call, so_far: SoFar) -> None: ...


class Runner(Protocol):
    """Stages 8 and 9 and the outcome row: `run.py`."""

    async def run(self, judged: Judged) -> Ran: ...
    def outcome_due(self, call: Call, view: TenantView) -> MicroSeconds | None: ...


@dataclass(slots=True)
class Judged:
    """A call with its verdict, durable once `recorded` is set."""

    call: Call
    so_far: SoFar
    decision: Decision
    recorded: Recorded | None = None
    approval: dict[str, Any] | None = None
    outcome_due: MicroSeconds | None = None
    policy: str = ""
    engine: str = ""
    took_us: int = 0


@dataclass(frozen=True, slots=True)
class Ran:
    """What came of an execution: `output` is what may be shown to the agent."""

    status: str
    effect: str
    output: Any
    redactions: Sequence[dict[str, Any]] = ()
    findings: tuple[Finding, ...] = ()
    appended: Appended | None = None
    target_code: str | None = None
    """The target's own status: an HTTP status, an SQLSTATE."""


@dataclass(frozen=True, slots=True)
class Answer:
    judged: Judged
    ran: Ran | None = None


@dataclass(eq=False, slots=True)
class Pipeline:
    """`stages` are 0 to 7 in their order. `clock` gives microseconds since 1970, `ticks` monotonic nanoseconds."""

    stages: tuple[Stage, ...]
    views: ViewSource
    recorder: Recorder
    runner: Runner
    approvals: ApprovalDesk
    reservations: Reservations
    throttles: Throttles
    clock: Callable[[], MicroSeconds]
    ticks: Callable[[], int]
    observers: tuple[Callable[[Answer], None], ...] = ()
    _owned: set[asyncio.Task[Any]] = field(default_factory=set)

    async def handle(self, call: Call) -> Answer:
        """The answer to `call`. Raises Problem 503 when the record can't be made durable; then nothing ran."""
        return await self.own(self._handle(call))

    async def own(self, work: Coroutine[Any, Any, T]) -> T:
        """Runs `work` to its end, whatever becomes of the caller who waits for it."""
        task = asyncio.ensure_future(work)
        self._owned.add(task)
        task.add_done_callback(self._owned.discard)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Waits until every owned call has its last row."""
        while self._owned:
            await asyncio.wait(self._owned)

    async def _handle(self, call: Call) -> Answer:
        began = self.ticks()
        judged = await self._record(await self.judge(call))
        judged.took_us = (self.ticks() - began) // 1000
        ran = None
        if call.endpoint == "execute" and judged.decision.verdict.may_run:
            ran = await self.runner.run(judged)
            if ran.effect == "none" and call.approval is not None:
                await self.approvals.give_back(call, judged.so_far)
        answer = Answer(judged, ran)
        for observe in self.observers:
            observe(answer)
        return answer

    async def judge(self, call: Call) -> Judged:
        """Stages 0 to 7. Writes nothing but reservations; what they hold is given back with a refusal."""
        so_far = SoFar(await self.views.get(call.tenant))
        for stage in self.stages:
            so_far.results.append(await self._run_stage(stage, call, so_far))
            if stage.name == "decide":
                so_far.decision = decide(so_far.findings(), so_far.view.settings, retry_after(so_far))
        return Judged(call, so_far, enforced(so_far))

    async def _run_stage(self, stage: Stage, call: Call, so_far: SoFar) -> StageResult:
        """A stage that fails or is late denies with its own code."""
        started_at, began = self.clock(), self.ticks()
        if so_far.is_settled and stage.name != "decide":
            return StageResult(stage.name, None, (), started_at, 0)
        features: Mapping[str, Any] = {}
        try:
            facts, analysis = await within(stage.deadline_s, _read(stage, call, so_far))
            findings = stage.judge(call, facts, analysis, so_far)
            features = stage.features(facts, analysis)
        except Problem:
            raise
        except Exception as error:  # the one place: whatever a stage dies of, its call is denied with a code
            log.warning("stage %s failed", stage.name, exc_info=error)
            findings = (_failed(stage, error),)
        verdict = max((f.force or Verdict.ALLOW for f in findings), default=Verdict.ALLOW)
        return StageResult(stage.name, verdict, findings, started_at, (self.ticks() - began) // 1000, features)

    async def _record(self, judged: Judged) -> Judged:
        for _ in range(JUDGED_AGAIN):
            await self._settle_refusal(judged)
            if judged.decision.verdict is Verdict.THROTTLE:
                summed = self.throttles.note(judged.call, judged.decision)
                if summed is not None:
                    judged.call = replace(judged.call, decision_id=summed)
                    return judged
            try:
                judged.recorded = await self.recorder.decided(
                    judged.call,
                    judged.so_far,
                    judged.decision,
                    policy=judged.policy,
                    engine=judged.engine,
                    session=session_of(judged.so_far),
                    approval=judged.approval["id"] if judged.approval else judged.call.approval,
                    outcome_due=judged.outcome_due,
                )
            except Stale as stale:
                judged = await self._judge_again(judged, stale.epoch)
            except Unavailable as error:
                await self.reservations.release(judged.call, judged.so_far)
                raise unavailable("the record couldn't be made durable; nothing ran") from error
            else:
                return judged
        raise unavailable("kill switches kept changing while this call was judged; nothing ran")

    async def _settle_refusal(self, judged: Judged) -> None:
        """What the row must name: until when an outcome is owed, or who was asked. A refusal gives back."""
        call, so_far, verdict = judged.call, judged.so_far, judged.decision.verdict
        judged.policy, judged.engine = policy_of(so_far)
        judged.outcome_due = self.runner.outcome_due(call, so_far.view) if verdict.may_run else None
        if verdict.may_run:
            return
        await self.reservations.release(call, so_far)
        if call.approval is not None:
            await self.approvals.give_back(call, so_far)
        if verdict is Verdict.ESCALATE and judged.approval is None:
            judged.approval = await self.approvals.request(call, judged.decision, so_far)

    async def _judge_again(self, judged: Judged, epoch: int) -> Judged:
        """A switch was engaged after stage 0 looked: it looks again, at the switches of `epoch` or later."""
        so_far = judged.so_far
        so_far.view = await self.views.refresh(judged.call.tenant, at_least_epoch=epoch)
        so_far.results[0] = await self._run_stage(self.stages[0], judged.call, SoFar(so_far.view, facts=so_far.facts))
        so_far.decision = decide(so_far.findings(), so_far.view.settings, retry_after(so_far))
        return Judged(judged.call, so_far, enforced(so_far), approval=judged.approval)


async def _read(stage: Stage, call: Call, so_far: SoFar) -> tuple[Any, Any]:
    """What the stage judges by, left behind for the later ones."""
    facts = so_far.facts[stage.name] = await stage.gather(call, so_far)
    analysis = so_far.analyses[stage.name] = await stage.analyse(call, facts, so_far)
    return facts, analysis


def unavailable(detail: str) -> Problem:
    return Problem(503, "audit.unavailable", detail, retry_after_s=1)


def retry_after(so_far: SoFar) -> float | None:
    """Seconds until the strictest limit has room again, as stage 2 read it."""
    reading = so_far.facts.get("rate_limit")
    return None if reading is None else limits.retry_after_s(reading)


def session_of(so_far: SoFar) -> Session | None:
    facts = so_far.facts.get("authenticate")
    return None if facts is None else facts.recorded_session


def policy_of(so_far: SoFar) -> tuple[str, str]:
    """Digest of the bundles and name of the engine; empty where stage 4 didn't run."""
    analysis = so_far.analyses.get("policy")
    return ("", "") if analysis is None else (analysis.bundle, analysis.engine)


def _failed(stage: Stage, error: Exception) -> Finding:
    late = stage.failure.replace(".unavailable", ".timeout")
    code = late if isinstance(error, TimeoutError) and late in TIMEOUTS else stage.failure
    return finding(code, name=stage.name, ms=round(stage.deadline_s * 1000), evidence={"error": type(error).__name__})
