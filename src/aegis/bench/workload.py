"""What the agents of the benchmark ask for, and the tenant that they ask in.

200 agents, 40 tools, no two calls alike. 30 of 100 calls hold SQL, a shell command or a path; 5 of 100 are refused.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import orjson

from aegis.bench.load import Connection
from aegis.policy.bundle import build

AGENTS = 200
SEED = 20_261_101
AREAS = ("crm", "billing", "search", "calendar", "mail", "wiki", "orders", "support")
VERBS = {"lookup": "read", "list": "read", "update": "write", "note": "write"}
CODE = ("sql.query", "shell.run", "files.read", "files.write")
MONEY = ("payments.refund", "payments.quote", "fraud.check", "fraud.score")
TOOLS: dict[str, dict[str, Any]] = {
    **{f"{area}.{verb}": {"effect": effect} for area in AREAS for verb, effect in VERBS.items()},
    "sql.query": {"effect": "read", "kinds": {"/query": "sql:postgres"}},
    "shell.run": {"effect": "write", "kinds": {"/command": "shell"}},
    "files.read": {"effect": "read", "kinds": {"/path": "path"}},
    "files.write": {"effect": "write", "kinds": {"/path": "path"}},
    "payments.refund": {"effect": "write", "kinds": {"/amount": "money"}},
    "payments.quote": {"effect": "read", "kinds": {"/amount": "money"}},
    "fraud.check": {"effect": "read"},
    "fraud.score": {"effect": "read"},
}
POLICY = """\
# A large refund needs a fraud check earlier in the same session.
package tenant.bench

findings contains {"rule": "unchecked_refund", "verdict": "kill"} if {
	input.action.tool == "payments.refund"
	some payment in input.analysis.money
	is_number(payment.amount)
	payment.amount > 100
	not input.history.tools["fraud.check"]
}
"""
WORDS = (
    "please the order of customer was sent late and they ask for an invoice with address in march about delivery "
    "status refund window meeting notes agenda quarter figures summary draft follow up team region contract renewal"
).split()
PLAIN_IN_100, CODE_IN_100 = 67, 25
"""The rest: 3 of money, among them those that read history, and 5 that are refused."""


@dataclass(frozen=True, slots=True)
class Ask:
    """`kind` is plain, money, code or refused."""

    kind: str
    tool: str
    arguments: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Member:
    """An agent with its credential and its one session."""

    id: str
    token: str
    session: str


def asks(seed: int = SEED) -> Iterator[Ask]:
    """Without an end; each differs from all others by a number that counts up."""
    chance, number = random.Random(seed), seed * 1_000_000  # noqa: S311
    while True:
        hundred = [*["plain"] * PLAIN_IN_100, *["money"] * 3, *["code"] * CODE_IN_100, *["refused"] * 5]
        chance.shuffle(hundred)
        for kind in hundred:
            number += 1
            yield _ask(kind, number, chance)


def _ask(kind: str, n: int, chance: random.Random) -> Ask:
    if kind == "plain":
        tool = f"{chance.choice(AREAS)}.{chance.choice(tuple(VERBS))}"
        text = " ".join(chance.choices(WORDS, k=18))
        return Ask(kind, tool, {"id": f"c-{n}", "text": text, "limit": chance.randint(1, 50)})
    if kind == "money":
        amount = f"{chance.randint(1, 150)}.{n % 100:02d}"
        return Ask(kind, chance.choice(MONEY), {"order": f"o-{n}", "amount": amount})
    if kind == "refused":
        return chance.choice(
            (
                Ask(kind, "sql.query", {"query": f"DROP TABLE customers_{n}"}),
                Ask(kind, "shell.run", {"command": f"cd /srv/app && rm -rf / --no-preserve-root # {n}"}),
                Ask(kind, "files.read", {"path": f"../../../../etc/shadow-{n}/../shadow"}),
            )
        )
    return chance.choice(
        (
            Ask(
                kind,
                "sql.query",
                {"query": f"SELECT id, total FROM orders WHERE customer = {n} LIMIT 20"},  # noqa: S608
            ),
            Ask(kind, "shell.run", {"command": f"grep -c 'order {n}' build/report-{n % 97}.log | head -n 5"}),
            Ask(kind, "files.read", {"path": f"reports/{n % 53}/summary-{n}.txt"}),
            Ask(kind, "files.write", {"path": f"drafts/{n}.md", "content": " ".join(chance.choices(WORDS, k=25))}),
        )
    )


def requests(members: Sequence[Member], seed: int = SEED, only: str = "") -> Iterator[bytes]:
    """Whole HTTP requests of POST /v1/decide, the agents in turn."""
    turn = 0
    for ask in asks(seed):
        if only and ask.kind != only:
            continue
        member = members[turn % len(members)]
        turn += 1
        body = {
            "session_id": member.session,
            "tool": ask.tool,
            "arguments": ask.arguments,
            "context": {"workspace": "/srv/app"},
        }
        yield request("POST", "/v1/decide", member.token, body)


def request(method: str, path: str, token: str, body: Any = None, *, kind: str = "application/json") -> bytes:
    content = b"" if body is None else body if isinstance(body, bytes) else orjson.dumps(body)
    head = (
        f"{method} {path} HTTP/1.1\r\nhost: bench\r\nauthorization: Bearer {token}\r\n"
        f"content-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return head.encode("ascii") + content


# ------------------------------------------------------------------ the tenant


async def set_up(connections: Sequence[Connection], admin: str, agents: int = AGENTS) -> list[Member]:
    """Registers tools and agents, opens their sessions and activates the policy, all through the API."""

    async def settled(connection: Connection, method: str, path: str, token: str, body: Any, **more: str) -> Any:
        status, answer, _ = await connection.asked(request(method, path, token, body, **more))
        if not 200 <= status < 300:
            raise RuntimeError(f"couldn't set up the benchmark: {method} {path} answered {status}: {answer[:300]!r}")
        return orjson.loads(answer or b"{}")

    first = connections[0]
    for name, tool in TOOLS.items():
        await settled(first, "PUT", f"/v1/tools/{quote(name, safe='')}", admin, tool)
    archive = build({"tenant/bench.rego": POLICY.encode()}).archive
    kept = await settled(first, "POST", "/v1/policies", admin, archive, kind="application/gzip")
    await settled(first, "POST", f"/v1/policies/{quote(kept['digest'], safe='')}/activate", admin, {})
    members: list[Member] = []
    numbers = iter(range(agents))

    async def add(connection: Connection) -> None:
        for number in numbers:
            made = await settled(connection, "POST", "/v1/agents", admin, {"name": f"bench {number}"})
            token = made["token"]
            session = await settled(
                connection, "POST", "/v1/sessions", token, {"intent": "answer the customers of today"}
            )
            members.append(Member(made["id"], token, session["session_id"]))

    await asyncio.gather(*map(add, connections[:8]))
    return members
