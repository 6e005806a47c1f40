"""A tenant's own policies: bundles are kept as drafts once they pass, and one of them is active.

Every change stands in the log as a row of kind `policy`, written in the transaction that makes it.
"""

from __future__ import annotations

import re
from typing import Any

from aegis.console_api.documents import settled
from aegis.console_api.paging import cursor_of, etag, limit_of, page
from aegis.console_api.routes import Ask, Reply, Route, unsupported
from aegis.identity.roles import Permission
from aegis.kernel.clock import iso
from aegis.kernel.ids import uuid7
from aegis.kernel.problems import FieldError, Problem
from aegis.kernel.record import Draft
from aegis.policy import check
from aegis.policy.bundle import MAX_ARCHIVE_BYTES
from aegis.policy.engine import BundleRejected, Loaded, PolicyFailed
from aegis.policy.evaluate import BundleMissing
from aegis.policy.rego_tests import TestOutcome
from aegis.policy.store import KeptPolicy

P = Permission
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
MOST_FAILED = 50


async def list_policies(ask: Ask) -> Reply:
    """The newest first. A tenant's list is short, so a page is cut out of it."""
    limit, after = limit_of(ask), cursor_of(ask)
    rows = [_shown(each) for each in await ask.services.policies.all_of(ask.tenant)]
    if after is not None:
        begins = next((n for n, row in enumerate(rows, 1) if row["digest"] == after), None)
        if begins is None:
            raise Problem(422, "request.invalid", "cursor: expected the next_cursor of an earlier answer")
        rows = rows[begins:]
    return Reply(body=page(rows[: limit + 1], limit, "digest"))


async def get_policy(ask: Ask) -> Reply:
    found = next(
        (each for each in await ask.services.policies.all_of(ask.tenant) if each.digest == ask.params["digest"]), None
    )
    if found is None:
        raise _unknown()
    return Reply(body=_shown(found), headers=[(b"etag", etag(_shown(found)))])


async def add_policy(ask: Ask) -> Reply:
    """Keeps a bundle as a draft when it compiles, stays pure and below `tenant`, and its own tests pass."""
    if not ask.raw:
        raise Problem(422, "policy.bundle", "expected a bundle (application/gzip) as the body, got nothing")
    if len(ask.raw) > MAX_ARCHIVE_BYTES:
        raise Problem(413, "request.too_large", f"expected a bundle of at most {MAX_ARCHIVE_BYTES} bytes")
    checks = await _checked(ask, ask.raw)
    async with ask.services.ledger.transaction(ask.tenant) as change:
        digest, status = await ask.services.policies.draft(ask.tenant, ask.raw, within=change.connection)
        await change.append(_row(ask, "policies.draft", digest))
    return Reply(
        201,
        {"digest": digest, "status": status, "checks": checks},
        [(b"location", f"/v1/policies/{digest}".encode())],
    )


async def activate(ask: Ask) -> Reply:
    """Checked once more: the engine of today need not be the engine that the draft was checked by."""
    digest = ask.params["digest"]
    try:
        if not _DIGEST.fullmatch(digest):
            raise BundleMissing(digest)
        checks = await _checked(ask, await ask.services.policies.fetch(ask.tenant, digest))
        async with ask.services.ledger.transaction(ask.tenant) as change:
            before = await ask.services.policies.activate(ask.tenant, digest, within=change.connection)
            await change.append(_row(ask, "policies.activate", digest, before))
    except BundleMissing:
        raise _unknown() from None
    await settled(ask)
    return Reply(body={"digest": digest, "status": "active", "before": before, "checks": checks})


async def roll_back(ask: Ask) -> Reply:
    """Makes the bundle active again that was so before the one that is."""
    members = ask.members("reason")
    members.text("reason", limit=2000)
    members.finish()
    before = ask.view.policy
    try:
        async with ask.services.ledger.transaction(ask.tenant) as change:
            digest = await ask.services.policies.roll_back(ask.tenant, within=change.connection)
            await change.append(_row(ask, "policies.rollback", digest, before))
    except BundleMissing:
        raise Problem(409, "policies.first", "no bundle was active before the one that is") from None
    await settled(ask)
    return Reply(body={"digest": digest, "status": "active", "before": before})


async def _checked(ask: Ask, archive: bytes) -> list[dict[str, Any]]:
    """What was checked. Raises Problem 422 with every place that is wrong, 503 when the engine is away."""
    engine = ask.services.engine
    try:
        loaded = await engine.load(archive, tenant=True, key=ask.tenant)
        outcomes = await engine.test(archive, key=ask.tenant)
    except BundleRejected as rejected:
        raise _refused(rejected.problems) from None
    except PolicyFailed as failed:
        if failed.code == "policy.timeout" or failed.lethal:
            raise Problem(422, failed.code, "the bundle takes too long or too much memory to check") from None
        raise Problem(503, failed.code, "the policy engine is away", retry_after_s=1) from None
    failing = [each for each in outcomes if not each.passed]
    if failing:
        raise _failing(failing)
    return _checks(loaded, len(outcomes))


def _checks(loaded: Loaded, tests: int) -> list[dict[str, Any]]:
    return [
        {"check": "compiles", "passed": True, "packages": list(loaded.packages)},
        {"check": "tests", "passed": True, "count": tests},
        {"check": "memo", "passed": not loaded.why_not, "why_not": loaded.why_not},
    ]


def _refused(problems: tuple[check.Problem, ...]) -> Problem:
    places = [each.as_tree() for each in problems]
    errors = [FieldError(f"/{p.file}", f"line {p.line}, column {p.column}: {p.message}") for p in problems]
    first = problems[0]
    where = f"{first.file}:{first.line}:{first.column}: " if first.file else ""
    return Problem(422, first.code, f"{where}{first.message}", errors, members={"problems": places})


def _failing(outcomes: list[TestOutcome]) -> Problem:
    errors = [FieldError(f"/{each.file}", f"{each.rule}: {each.why}") for each in outcomes[:MOST_FAILED]]
    return Problem(422, "policy.tests", f"expected all tests to pass, {len(outcomes)} did not", errors)


def _row(ask: Ask, action: str, digest: str, before: str | None = None) -> Draft:
    by = ask.principal.credential or ask.principal.subject
    detail = {"action": action, "by": by, **({} if before is None else {"before": before})}
    return Draft(ask.tenant, "policy", uuid7(), {"policy": digest, "detail": detail})


def _unknown() -> Problem:
    return Problem(404, "policies.unknown", "there is no such bundle in this tenant")


def _shown(kept: KeptPolicy) -> dict[str, Any]:
    activated = kept.activated_at
    return {
        "digest": kept.digest,
        "status": kept.status,
        "created_at": iso(int(kept.created_at.timestamp() * 1_000_000)),
        "activated_at": None if activated is None else iso(int(activated.timestamp() * 1_000_000)),
    }


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v1/policies", list_policies, P.READ_POLICIES, "lists bundles", query=("limit", "cursor")),
    Route("GET", "/v1/policies/{digest}", get_policy, P.READ_POLICIES, "one bundle"),
    Route("POST", "/v1/policies", add_policy, P.MANAGE_POLICIES, "keeps a bundle that passes", takes="gzip",
          status=201),
    Route("POST", "/v1/policies/rollback", roll_back, P.MANAGE_POLICIES, "goes back to the bundle before",
          members=("reason",), takes="json"),
    Route("POST", "/v1/policies/{digest}/activate", activate, P.MANAGE_POLICIES, "makes a bundle the active one"),
    unsupported("POST", "/v1/policies/{digest}/shadow", P.MANAGE_POLICIES, "judges beside the active bundle"),
    unsupported("POST", "/v1/policies/{digest}/backtest", P.MANAGE_POLICIES, "judges past decisions again"),
)  # fmt: skip
