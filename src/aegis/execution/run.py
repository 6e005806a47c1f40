"""Runs one allowed action: resolves its credential, picks the target by the upstream's kind, bounds time and size.

Everything that can go wrong comes back as a `Result` with a finding; the one exception is the cancellation of the
caller's own task, which is passed on after the target's work was cancelled.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from importlib import import_module

from aegis.execution.credentials import CredentialError, Credentials, Secret
from aegis.execution.network import Guard
from aegis.execution.targets import Answer, Failed, Progress, Result, Run, Status, Stop, Target
from aegis.kernel.findings import finding
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.tenancy import Tool, Upstream

UNWIND_S = 2.0
MAX_TIMEOUT_MS = 600_000
MAX_ANSWER_BYTES = 64 * 1024 * 1024


KINDS = {
    "http": "aegis.execution.http:HttpTarget",
    "sql": "aegis.execution.sql:SqlTarget",
    "kubernetes": "aegis.execution.kubernetes:KubernetesTarget",
}


class Late:
    """A target whose driver is imported when it is needed. `place` is `module:class`."""

    def __init__(self, place: str, guard: Guard) -> None:
        self._place, self._guard = place, guard
        self._target: Target | None = None

    def load(self) -> Target:
        if self._target is None:
            module, _, name = self._place.partition(":")
            self._target = getattr(import_module(module), name)(self._guard)
        return self._target

    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        return await self.load().run(run, upstream, credential)

    async def close(self) -> None:
        if self._target is not None:
            await self._target.close()


class Execution:
    """`targets`: one for each kind of upstream that can be run on."""

    def __init__(self, targets: Mapping[str, Target], credentials: Credentials) -> None:
        self._targets = targets
        self._credentials = credentials

    @classmethod
    def over(cls, guard: Guard, credentials: Credentials) -> Execution:
        """Targets of every kind; their drivers are loaded by `warm`, or with the first run."""
        return cls({kind: Late(place, guard) for kind, place in KINDS.items()}, credentials)

    async def warm(self) -> None:
        """Loads the drivers, beside the event loop: so that no first call waits for them."""
        for target in self._targets.values():
            if isinstance(target, Late):
                await asyncio.to_thread(target.load)

    async def run(
        self,
        tenant: str,
        tool: Tool,
        arguments: JsonTree,
        resource: str | None,
        upstream: Upstream | None,
        *,
        stop: Stop | None = None,
        deadline_ms: int | None = None,
    ) -> Result:
        """The action's result, within the upstream's `timeout_ms` (or `deadline_ms`, if shorter) and 2 s to unwind.

        `stop` ends it early: the target's work is cancelled, and the result says what is known of the effect.
        """
        target = None if upstream is None else self._targets.get(upstream.kind)
        if upstream is None or target is None:
            return _failed(Failed("execute.no_upstream"), Progress())
        limit_ms = min(upstream.timeout_ms, deadline_ms or upstream.timeout_ms, MAX_TIMEOUT_MS)
        run = Run(tenant, tool, arguments, resource, limit_ms, min(upstream.max_bytes, MAX_ANSWER_BYTES))
        work = asyncio.create_task(self._work(target, run, upstream), name="execute")
        return await _finish(work, run, stop or Stop())

    async def close(self) -> None:
        for target in self._targets.values():
            await target.close()

    async def _work(self, target: Target, run: Run, upstream: Upstream) -> Answer:
        return await target.run(run, upstream, await self._credential(run.tenant, upstream))

    async def _credential(self, tenant: str, upstream: Upstream) -> Secret | None:
        if upstream.credential_ref is None:
            return None
        try:
            return await self._credentials.resolve(tenant, upstream.credential_ref)
        except CredentialError as error:
            raise Failed("execute.credential") from error


async def _finish(work: asyncio.Task[Answer], run: Run, stop: Stop) -> Result:
    stopped = asyncio.create_task(stop.wait())
    try:
        done, _ = await asyncio.wait(
            {work, stopped}, timeout=run.deadline_ms / 1000, return_when=asyncio.FIRST_COMPLETED
        )
    finally:
        stopped.cancel()
        if not work.done():
            await _unwind(work)
    if work in done:
        return _answered(work, run)
    if stop.reason is not None:
        return _failed(Failed(f"execute.{stop.reason}"), run.progress, "cancelled")
    return _failed(Failed("execute.timeout", ms=run.deadline_ms), run.progress)


async def _unwind(work: asyncio.Task[Answer]) -> None:
    """Cancels, and waits for the target's own cancellation, within bounds: a target that hangs is left behind."""
    work.cancel()
    await asyncio.wait({work}, timeout=UNWIND_S)
    if work.done() and not work.cancelled():
        work.exception()


def _answered(work: asyncio.Task[Answer], run: Run) -> Result:
    error = asyncio.CancelledError() if work.cancelled() else work.exception()
    if isinstance(error, Failed):
        return _failed(error, run.progress)
    if error is not None:
        code = "execute.unknown" if run.progress.effect == "unknown" else "execute.failed"
        return _failed(Failed(code, evidence={"error": type(error).__name__}), run.progress)
    answer = work.result()
    if not answer.is_error:
        return Result("ok", answer.output, run.progress.effect, target_code=answer.code)
    found = (finding("execute.target_error"),)
    return Result("error", answer.output, run.progress.effect, found, target_code=answer.code)


def _failed(failed: Failed, progress: Progress, status: Status | None = None) -> Result:
    """A failure whose effect is not known has the status `unknown`, whatever failed."""
    if status is None:
        status = "unknown" if progress.effect == "unknown" else "error"
    found = finding(failed.code, **failed.values)
    return Result(status, None, progress.effect, (found,), failure=failed.code)
