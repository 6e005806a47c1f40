"""Approvals: a person's yes to exactly one action of one agent, for a number of times, until a moment.

Asked for when a decision escalates; decided by a person who is neither requester, session user nor the agent's owner;
taken atomically before the action runs, and given back when it does not run after all. A process that dies in between
leaves the use taken: rather once too few than once too many.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from aegis.db.database import Connection, Database
from aegis.db.statements import statements
from aegis.kernel.call import Role
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.findings import Finding, finding
from aegis.kernel.ids import new_id, uuid7
from aegis.kernel.jsontree import JsonTree, dumps, parse
from aegis.kernel.problems import FieldError, Problem
from aegis.kernel.record import Draft, Ledger

ASKED_FOR_S = 24 * 3600
GRANTED_FOR_S = 3600
MIN_GRANT_S, MAX_GRANT_S = 1, 7 * 24 * 3600
MAX_USES = 1000
MAX_PENDING_PER_AGENT = 200
MAX_REASON_CHARACTERS = 2000
MAX_WAIT_S = 60.0
POLL_S = 0.25
MAY_DECIDE = frozenset({Role.ADMIN, Role.SECURITY})
_SQL = statements("aegis.autonomy", "approvals.sql")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

State = Literal["granted", "pending", "denied", "expired", "used", "mismatch", "unknown"]


@dataclass(frozen=True, slots=True)
class Approval:
    """`status`: `pending`, `approved`, `denied` or `expired`, as of the moment it was read."""

    id: str
    status: str
    decision_id: str
    action_digest: str
    policy: str
    agent: str
    team: str | None
    user: str | None
    session: str | None
    tool: str
    action: JsonTree
    requested_by: str
    decided_by: str | None
    reason: str | None
    uses_left: int
    created_at: MicroSeconds
    expires_at: MicroSeconds
    decided_at: MicroSeconds | None

    def brief(self) -> dict[str, Any]:
        """What stands in an escalated answer."""
        return {
            "id": self.id,
            "status": self.status,
            "expires_at": iso(self.expires_at),
            "action_digest": self.action_digest,
        }

    def public(self, *, to_people: bool) -> dict[str, Any]:
        """What GET answers. The parsed action and people's reasons go to people's roles only."""
        shown = {
            **self.brief(),
            "decision_id": self.decision_id,
            "policy": self.policy,
            "agent": self.agent,
            "tool": self.tool,
            "session": self.session,
            "uses_left": self.uses_left,
            "requested_by": self.requested_by,
            "decided_by": self.decided_by,
            "created_at": iso(self.created_at),
            "decided_at": None if self.decided_at is None else iso(self.decided_at),
        }
        return {**shown, "action": self.action, "user": self.user, "reason": self.reason} if to_people else shown


@dataclass(frozen=True, slots=True)
class Wanted:
    """What an escalated decision asks a person for. `requested_by` is the subject of the caller's credential."""

    decision_id: str
    action_digest: str
    agent: str
    tool: str
    action: JsonTree
    requested_by: str
    policy: str = ""
    team: str | None = None
    user: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True)
class Decider:
    """A person who decides. `names`: everything the person goes by (user id, address, subject); `pseudonym`: as the
    log's rows name the person."""

    subject: str
    role: Role
    names: frozenset[str]
    pseudonym: str


@dataclass(frozen=True, slots=True)
class Used:
    """What came of presenting an approval. `approval` is None where there is none of that id for this agent."""

    state: State
    approval: Approval | None = None


def judge(used: Used | None) -> tuple[Finding, ...]:
    """The finding that tells how the presented approval stands; None: none was presented."""
    if used is None:
        return ()
    rule = "approval.denied" if used.state == "denied" else None
    return (finding(f"approval.{used.state}", rule=rule, path="/approval"),)


class Approvals:
    """The store. Times come in as microseconds; the database's clock decides nothing."""

    def __init__(self, database: Database, ledger: Ledger) -> None:
        self._database = database
        self._ledger = ledger
        self._news: dict[tuple[str, str], set[asyncio.Event]] = defaultdict(set)

    async def request(self, tenant: str, wanted: Wanted, now_us: MicroSeconds) -> Approval:
        """A pending approval of the action: the one that waits already, where the agent asks for the same again in
        the same session. Raises Problem 429 when 200 questions of the agent wait."""
        now = _moment(now_us)
        async with self._database.scope(tenant) as connection:
            await connection.fetchval(_SQL.one_at_a_time, f"approval {tenant} {wanted.agent}")
            waiting = await connection.fetchrow(
                _SQL.find_pending, tenant, wanted.agent, wanted.action_digest, wanted.session, now
            )
            if waiting is not None:
                return _approval(waiting, now_us)
            if await connection.fetchval(_SQL.count_pending, tenant, wanted.agent, now) >= MAX_PENDING_PER_AGENT:
                raise Problem(
                    429, "approval.too_many", f"{MAX_PENDING_PER_AGENT} approvals of this agent wait", retry_after_s=60
                )
            return _approval(await _insert(connection, tenant, wanted, now), now_us)

    async def find(self, tenant: str, approval_id: str, now_us: MicroSeconds) -> Approval | None:
        async with self._database.scope(tenant) as connection:
            found = await connection.fetchrow(_SQL.find, tenant, approval_id)
        return None if found is None else _approval(found, now_us)

    async def page(
        self,
        tenant: str,
        now_us: MicroSeconds,
        *,
        status: str | None = None,
        agent: str | None = None,
        before: tuple[MicroSeconds, str] | None = None,
        limit: int = 50,
    ) -> list[Approval]:
        """Newest first, of one agent and status (as of now) where given; `before` is `created_at` and `id` of the last
        one of the page before. At most 501: a page and what shows that there is another."""
        at, after_id = (None, None) if before is None else (_moment(before[0]), before[1])
        async with self._database.scope(tenant) as connection:
            limit = max(1, min(limit, 501))
            found = await connection.fetch(_SQL.page, tenant, status, at, after_id, limit, _moment(now_us), agent)
        return [_approval(each, now_us) for each in found]

    async def wait(self, tenant: str, approval_id: str, seconds: float, now_us: MicroSeconds) -> Approval | None:
        """The approval as soon as it is decided or expired, or as it stands after `seconds` (at most 60).

        A decision made in this process wakes the waiter at once; one made elsewhere is seen within 0.25 s.
        """
        began = time.monotonic()
        news = asyncio.Event()
        self._news[tenant, approval_id].add(news)
        try:
            while True:
                waited = time.monotonic() - began
                found = await self.find(tenant, approval_id, now_us + int(waited * 1_000_000))
                left = min(seconds, MAX_WAIT_S) - waited
                if found is None or found.status != "pending" or left <= 0:
                    return found
                await _either(news, min(POLL_S, left))
        finally:
            self._forget(tenant, approval_id, news)

    async def approve(
        self,
        tenant: str,
        approval_id: str,
        by: Decider,
        now_us: MicroSeconds,
        *,
        reason: str | None = None,
        uses: int = 1,
        expires_in_s: int = GRANTED_FOR_S,
    ) -> Approval:
        """Grants `uses` (1 to 1000) of exactly this action within `expires_in_s` (1 s to 7 days), and logs it.

        Raises Problem: 404 for an unknown one, 403 for who may not decide it, 409 for one that is decided or
        expired, 422 for a value out of bounds. Raises Unavailable, with nothing granted, when it couldn't be logged.
        """
        _check_grant(uses, expires_in_s, reason)
        expires_at = _moment(now_us + expires_in_s * 1_000_000)
        return await self._decide(tenant, approval_id, by, now_us, "approved", reason, uses, expires_at)

    async def deny(
        self, tenant: str, approval_id: str, by: Decider, now_us: MicroSeconds, *, reason: str | None = None
    ) -> Approval:
        """Refuses for good: the action, sent again with this approval, is killed. Raises as `approve` does."""
        _check_grant(1, MIN_GRANT_S, reason)
        return await self._decide(tenant, approval_id, by, now_us, "denied", reason, 0, None)

    async def use(self, tenant: str, approval_id: str, agent: str, action_digest: str, now_us: MicroSeconds) -> Used:
        """Takes one use: the state is `granted` for at most as many callers as uses were granted, however many ask at
        once. Anything else takes nothing and says why."""
        async with self._database.scope(tenant) as connection:
            return await use_within(connection, tenant, approval_id, agent, action_digest, now_us)

    async def give_back(self, tenant: str, approval_id: str, agent: str) -> None:
        """Returns a use whose action did not run. To be called once for each `granted`."""
        async with self._database.scope(tenant) as connection:
            await connection.execute(_SQL.give_back, tenant, approval_id, agent)

    async def _decide(
        self,
        tenant: str,
        approval_id: str,
        by: Decider,
        now_us: MicroSeconds,
        status: str,
        reason: str | None,
        uses: int,
        expires_at: datetime | None,
    ) -> Approval:
        async with self._ledger.transaction(tenant) as change:
            held = await change.connection.fetchrow(_SQL.lock, tenant, approval_id)
            _check_decidable(held, by, now_us, status)
            row = await change.connection.fetchrow(
                _SQL.decide,
                tenant,
                approval_id,
                status,
                by.subject,
                reason,
                uses,
                held["expires_at"] if expires_at is None else expires_at,
                _moment(now_us),
            )
            of_seq = await change.connection.fetchval(_SQL.decision_row, tenant, row["decision_id"])
            await change.append(_draft(tenant, row, of_seq, by, uses))
        self._tell(tenant, approval_id)
        return _approval(row, now_us)

    def _tell(self, tenant: str, approval_id: str) -> None:
        for news in self._news.get((tenant, approval_id), ()):
            news.set()

    def _forget(self, tenant: str, approval_id: str, news: asyncio.Event) -> None:
        waiting = self._news[tenant, approval_id]
        waiting.discard(news)
        if not waiting:
            del self._news[tenant, approval_id]


async def use_within(
    connection: Connection, tenant: str, approval_id: str, agent: str, action_digest: str, now_us: MicroSeconds
) -> Used:
    """`Approvals.use` inside a transaction of the caller's, scoped to `tenant`: the use stands or falls with it."""
    taken = await connection.fetchrow(_SQL.use, tenant, approval_id, agent, action_digest, _moment(now_us))
    if taken is not None:
        return Used("granted", _approval(taken, now_us))
    found = await connection.fetchrow(_SQL.find, tenant, approval_id)
    if found is None or found["agent"] != agent:
        return Used("unknown")
    return Used(_state(found, action_digest, now_us), _approval(found, now_us))


def _state(row: Any, action_digest: str, now_us: MicroSeconds) -> State:
    """Why no use could be taken. Another action is told before anything else about this approval is."""
    if row["action_digest"] != action_digest:
        return "mismatch"
    match row["status"]:
        case "denied":
            return "denied"
        case "approved" if row["uses_left"] <= 0:
            return "used"
        case "pending" if row["expires_at"] > _moment(now_us):
            return "pending"
        case _:
            return "expired"


async def _insert(connection: Connection, tenant: str, wanted: Wanted, now: datetime) -> Any:
    return await connection.fetchrow(
        _SQL.insert,
        tenant,
        new_id("ap"),
        wanted.decision_id,
        wanted.action_digest,
        wanted.policy,
        wanted.agent,
        wanted.team,
        wanted.user,
        wanted.session,
        wanted.tool,
        dumps(_storable(wanted.action)).decode("utf-8"),
        wanted.requested_by,
        now + timedelta(seconds=ASKED_FOR_S),
        now,
    )


def _storable(tree: JsonTree) -> JsonTree:
    """`tree` as jsonb takes it: a NUL, which text there can't hold, is shown as U+2400."""
    match tree:
        case str():
            return tree.replace("\0", "\u2400")
        case dict():
            return {_storable(name): _storable(member) for name, member in tree.items()}
        case list():
            return [_storable(member) for member in tree]
        case _:
            return tree


def _check_decidable(row: Any, by: Decider, now_us: MicroSeconds, status: str) -> None:
    if row is None:
        raise Problem(404, "approval.unknown", "there is no such approval")
    if by.role not in MAY_DECIDE:
        raise Problem(403, "approval.role", "expected the role admin or security")
    if status == "approved" and _is_partial(row, by):
        raise Problem(403, "approval.own", "requester, session user and the agent's owner can't approve")
    if row["status"] != "pending":
        raise Problem(409, "approval.decided", f"this approval is {row['status']} already")
    if row["expires_at"] <= _moment(now_us):
        raise Problem(409, "approval.expired", "nobody decided in time; the agent must ask again")


def _is_partial(row: Any, by: Decider) -> bool:
    own = {row["requested_by"], row["user_id"], row["agent"], row["agent_owner"]} - {None}
    return bool({name.casefold() for name in own} & {name.casefold() for name in (*by.names, by.subject)})


def _check_grant(uses: int, expires_in_s: int, reason: str | None) -> None:
    errors = []
    if isinstance(uses, bool) or not isinstance(uses, int) or not 1 <= uses <= MAX_USES:
        errors.append(FieldError("/uses", f"expected 1 to {MAX_USES}"))
    if isinstance(expires_in_s, bool) or not isinstance(expires_in_s, int):
        errors.append(FieldError("/expires_in", "expected a whole number of seconds"))
    elif not MIN_GRANT_S <= expires_in_s <= MAX_GRANT_S:
        errors.append(FieldError("/expires_in", f"expected {MIN_GRANT_S} to {MAX_GRANT_S} seconds"))
    if reason is not None and (len(reason) > MAX_REASON_CHARACTERS or "\0" in reason):
        errors.append(FieldError("/reason", f"expected at most {MAX_REASON_CHARACTERS} characters of text"))
    if errors:
        raise Problem(422, "approval.invalid", "the decision has mistakes", tuple(errors))


def _draft(tenant: str, row: Any, of_seq: int | None, by: Decider, uses: int) -> Draft:
    """The row of a person's decision. It names the decision row, whose commitment binds the action; reasons and the
    action itself stay where erasure can reach them."""
    fields: dict[str, Any] = {
        "approval": row["id"],
        "detail": {
            "status": row["status"],
            "by": by.pseudonym,
            "uses": uses,
            "expires_at": iso(_us(row["expires_at"])),
        },
    }
    if of_seq is not None:
        fields["of"] = of_seq
    return Draft(
        tenant=tenant,
        kind="approval",
        rid=uuid7(),
        fields=fields,
        agent=row["agent"],
        team=row["team"],
        session=row["session"],
        tool=row["tool"],
        of_seq=of_seq,
    )


def _approval(row: Any, now_us: MicroSeconds) -> Approval:
    expires_at = _us(row["expires_at"])
    is_over = row["status"] in {"pending", "approved"} and expires_at <= now_us
    return Approval(
        id=row["id"],
        status="expired" if is_over else row["status"],
        decision_id=row["decision_id"],
        action_digest=row["action_digest"],
        policy=row["policy"],
        agent=row["agent"],
        team=row["team"],
        user=row["user_id"],
        session=row["session"],
        tool=row["tool"],
        action=parse(row["action"].encode("utf-8")),
        requested_by=row["requested_by"],
        decided_by=row["decided_by"],
        reason=row["reason"],
        uses_left=row["uses_left"],
        created_at=_us(row["created_at"]),
        expires_at=expires_at,
        decided_at=None if row["decided_at"] is None else _us(row["decided_at"]),
    )


def _moment(us: MicroSeconds) -> datetime:
    return _EPOCH + timedelta(microseconds=us)


def _us(moment: datetime) -> MicroSeconds:
    return (moment - _EPOCH) // timedelta(microseconds=1)


async def _either(news: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await news.wait()
    except TimeoutError:
        pass
