"""What the policies say to one input: the shipped bundle always, the tenant's own beside it.

Each failure is a finding that denies. A tenant's bundle can add findings and can deny its own tenant by failing; it
can't take a shipped finding away.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.policy.answer import shipped_findings, tenant_findings
from aegis.policy.bundle import digest_of
from aegis.policy.engine import BundleRejected, Loaded, PolicyEngine, PolicyFailed
from aegis.policy.memo import Memo, Remembered, value_at

MAX_INPUT_BYTES = 4 * 1024 * 1024
MAX_KNOWN = 256
FETCH_S = 2.0
LETHAL = 3
LETHAL_WITHIN_S = 600.0
ALWAYS_NEW = (("history",), ("now",))


class BundleMissing(Exception):
    """The tenant has no bundle of this digest."""


class BundleSource(Protocol):
    async def fetch(self, tenant: str, digest: str) -> bytes:
        """The archive, exactly as it was kept. Raises BundleMissing."""


@dataclass(frozen=True, slots=True)
class PolicyAnswer:
    """`bundles` names the digests that were asked, as `shipped` and `tenant`. `memo` is `hit`, `miss` or `off`."""

    findings: tuple[Finding, ...]
    bundles: Mapping[str, str]
    engine: str
    memo: str


@dataclass(frozen=True, slots=True)
class _Known:
    loaded: Loaded
    archive: bytes


class Policy:
    """`memo` None switches remembering off. One a process; it owns neither engine nor source."""

    def __init__(
        self, engine: PolicyEngine, source: BundleSource, *, memo: Memo | None, deadline_ms: int = 250
    ) -> None:
        self._engine = engine
        self._source = source
        self._memo = memo
        self._deadline_ms = deadline_ms
        self._shipped: _Known | None = None
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._fetching: dict[tuple[str, str], asyncio.Task[_Known]] = {}
        self._deaths: dict[tuple[str, str], deque[float]] = {}
        self._suspended: set[tuple[str, str]] = set()

    async def ship(self, archive: bytes) -> Loaded:
        """Makes `archive` the shipped bundle: compiled everywhere beside the old one, then swapped in one step.

        Raises BundleRejected or PolicyFailed, and then the old one stays.
        """
        loaded = await self._engine.load(archive, tenant=False, pinned=True)
        before, self._shipped = self._shipped, _Known(loaded, archive)
        if before is not None and before.loaded.digest != loaded.digest:
            await self._engine.unload(before.loaded.digest)
        return loaded

    async def judge_inputs(self, tenant: str, tenant_bundle: str | None, given: Mapping[str, JsonTree]) -> PolicyAnswer:
        """Never raises for what a bundle, an input or the engine does: that is a finding."""
        shipped = self._shipped
        asked = [self._shipped_says(shipped, given)]
        bundles = {} if shipped is None else {"shipped": shipped.loaded.digest}
        if tenant_bundle is not None:
            asked.append(self._tenants_say(tenant, tenant_bundle, given))
            bundles["tenant"] = tenant_bundle
        said = await asyncio.gather(*asked) if len(asked) > 1 else [await asked[0]]
        findings = tuple(each for some, _ in said for each in some)
        memo = "off" if self._memo is None else "hit" if all(hit for _, hit in said) else "miss"
        return PolicyAnswer(findings, bundles, self._engine.name, memo)

    @property
    def suspended(self) -> frozenset[tuple[str, str]]:
        """(tenant, digest) of the bundles that kept killing their engine."""
        return frozenset(self._suspended)

    def reinstate(self, tenant: str, digest: str) -> None:
        """A person has looked at the bundle: it is evaluated again."""
        self._suspended.discard((tenant, digest))
        self._deaths.pop((tenant, digest), None)

    async def _shipped_says(
        self, shipped: _Known | None, given: Mapping[str, JsonTree]
    ) -> tuple[tuple[Finding, ...], bool]:
        if shipped is None:
            return (self._failure(PolicyFailed("policy.unavailable", "no bundle was shipped"), "shipped"),), False
        try:
            return await self._says(shipped, given, "")
        except PolicyFailed as error:
            return (self._failure(error, "shipped"),), False

    async def _tenants_say(
        self, tenant: str, digest: str, given: Mapping[str, JsonTree]
    ) -> tuple[tuple[Finding, ...], bool]:
        which = (tenant, digest)
        if which in self._suspended:
            return (finding("policy.suspended", evidence={"bundle": digest}),), False
        try:
            return await self._says(await self._know(which), given, tenant)
        except PolicyFailed as error:
            if error.lethal:
                self._died(which)
            return (self._failure(error, "tenant"),), False

    async def _says(
        self, bundle: _Known, given: Mapping[str, JsonTree], tenant: str
    ) -> tuple[tuple[Finding, ...], bool]:
        key = None
        if self._memo is not None:
            key, known = self._memo.recall(bundle.loaded, given)
            if known is not None:
                return known.findings, True
        text = dumps(given if bundle.loaded.why_not else projected(given, (*bundle.loaded.reads, *ALWAYS_NEW)))
        if len(text) > MAX_INPUT_BYTES:
            raise PolicyFailed("policy.error", f"expected an input of at most {MAX_INPUT_BYTES} bytes, got {len(text)}")
        said = await self._engine.evaluate(bundle.loaded.digest, bundle.archive, text, key=tenant)
        findings = tenant_findings(said.findings) if tenant else shipped_findings(said.findings)
        if key is not None and self._memo is not None:
            self._memo.remember(key, Remembered(() if said.awake else findings, said.awake))
        return findings, False

    async def _know(self, which: tuple[str, str]) -> _Known:
        """The tenant's bundle, fetched and loaded once however many ask for it at the same time."""
        known = self._known.get(which)
        if known is not None:
            self._known.move_to_end(which)
            return known
        task = self._fetching.get(which)
        if task is None:
            task = self._fetching[which] = asyncio.create_task(self._fetched(which))
            task.add_done_callback(lambda _: self._fetching.pop(which, None))
        return await asyncio.shield(task)

    async def _fetched(self, which: tuple[str, str]) -> _Known:
        tenant, digest = which
        try:
            async with asyncio.timeout(FETCH_S):
                archive = await self._source.fetch(tenant, digest)
        except (BundleMissing, TimeoutError, OSError) as error:
            raise PolicyFailed("policy.unavailable", f"couldn't fetch the bundle: {type(error).__name__}") from None
        if digest_of(archive) != digest:
            raise PolicyFailed("policy.unavailable", "couldn't use the bundle: its bytes have another digest")
        try:
            known = _Known(await self._engine.load(archive, tenant=True, key=tenant), archive)
        except BundleRejected as error:
            raise PolicyFailed("policy.error", str(error)) from None
        self._known[which] = known
        if len(self._known) > MAX_KNOWN:
            self._known.popitem(last=False)
        return known

    def _died(self, which: tuple[str, str]) -> None:
        now = asyncio.get_running_loop().time()
        deaths = self._deaths.setdefault(which, deque(maxlen=LETHAL))
        deaths.append(now)
        if len(deaths) == LETHAL and now - deaths[0] < LETHAL_WITHIN_S:
            self._suspended.add(which)

    def _failure(self, error: PolicyFailed, whose: str) -> Finding:
        return finding(error.code, ms=self._deadline_ms, evidence={"bundle": whose, "why": str(error)})


def projected(given: Mapping[str, JsonTree], paths: tuple[tuple[str, ...], ...]) -> dict[str, JsonTree]:
    """`given` with nothing but what lies at `paths`, none of which is a beginning of another."""
    kept: dict[str, JsonTree] = {}
    for path in paths:
        found = value_at(given, path)
        if found:
            into = kept
            for name in path[:-1]:
                into = into.setdefault(name, {})
            into[path[-1]] = found[0]
    return kept
