"""Bodies made to hurt: each gets a clear error or a denial in bounded time, and costs the others nothing."""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Callable

import pytest

from tests.faults.house import Agent, Answer, Tenant, known_to_both

MIB = 2**20
BOUND_S = 10.0
"""Far above what any of them takes, far below what a parser that was caught would take."""


def call(arguments: str, more: str = "") -> bytes:
    return f'{{"tool": "sql.query", "arguments": {arguments}{more}}}'.encode("utf-8", "surrogatepass")


def sql(query: str) -> bytes:
    return call(json.dumps({"query": query}))


REFUSED = {(200, "kill"), (403, "verdict.kill")}
JUDGED = REFUSED | {(200, "allow"), (200, "monitor"), (200, "escalate"), (403, "verdict.escalate")}
"""An odd body that is a body like any other: some verdict."""
BODIES: list[tuple[str, Callable[[], bytes], set[tuple[int, str]]]] = [
    ("17 MiB", lambda: call('{"x": "' + "a" * 17 * MIB + '"}'), {(413, "request.too_large")}),
    ("nesting of 100,000 lists", lambda: call('{"x": ' + "[" * 100_000 + "]" * 100_000 + "}"), {(400, "json.depth")}),
    ("nesting of 100,000 objects", lambda: call('{"x":' * 100_000 + "1" + "}" * 100_000), {(400, "json.depth")}),
    ("nesting that never ends", lambda: b"[" * MIB, {(400, "json.depth")}),
    ("duplicate keys", lambda: call('{"query": "SELECT 1", "query": "DROP TABLE x"}'), {(400, "json.duplicate_key")}),
    ("NaN", lambda: call('{"x": NaN}'), {(400, "json.nan")}),
    ("infinity", lambda: call('{"x": 1e999999}'), {(400, "json.number")}),
    ("a number of a million digits", lambda: call('{"x": ' + "9" * MIB + "}"), {(400, "json.number")}),
    ("a lone surrogate", lambda: call('{"x": "\\ud800"}'), {(400, "json.surrogate")}),
    ("a lone surrogate as a key", lambda: call('{"\\udfff": 1}'), {(400, "json.surrogate")}),
    ("bytes that are no UTF-8", lambda: b'{"tool": "\xff\xfe", "arguments": {}}', {(400, "json.utf8")}),
    ("half a body", lambda: b'{"tool": "sql.query", "arguments": {"query": "SEL', {(400, "json.syntax")}),
    ("no body", lambda: b"", {(400, "json.syntax")}),
    ("a list", lambda: b"[1, 2, 3]", {(422, "request.type")}),
    ("a member that nobody knows", lambda: call("{}", ', "argumentz": 1'), {(422, "request.invalid")}),
    ("a tool's name of 1 MB", lambda: b'{"tool": "' + b"x" * MIB + b'", "arguments": {}}', {(422, "request.invalid")}),
    ("U+0000 in a text", lambda: call('{"x": "a\\u0000b"}'), JUDGED),
    ("U+0000 in the tool's name", lambda: b'{"tool": "a\\u0000b", "arguments": {}}', JUDGED),
    ("a text of 1 MB", lambda: call('{"x": "' + "lorem ipsum " * 87_000 + '"}'), JUDGED),
    ("10,000 keys", lambda: call(json.dumps({f"k{n}": n for n in range(10_000)})), JUDGED),
    ("10,000 texts", lambda: call(json.dumps({f"k{n}": "ls -la; rm" for n in range(10_000)})), JUDGED),
    ("SQL of 200 kB in parentheses", lambda: sql("SELECT " + "(" * 100_000 + "1" + ")" * 100_000), REFUSED),
    ("SQL of 200 kB in sums", lambda: sql("SELECT 1" + "+1" * 100_000), JUDGED),
    ("SQL of 200 kB in quotes", lambda: sql("SELECT " + "'" * 200_001), REFUSED),
    ("SQL of 20,000 statements", lambda: sql("SELECT 1;" * 20_000), JUDGED),
    ("SQL of 5,000 subqueries", lambda: sql("SELECT * FROM (" * 5_000 + "SELECT 1" + ") x" * 5_000), REFUSED),
]


async def prepared(tenant: Tenant) -> Agent:
    await tenant.tool("look", "read")
    await tenant.tool("sql.query", "read", kinds={"/query": "sql:postgres"})
    agent = await tenant.agent("one")
    await known_to_both(tenant, agent, "look", 4)
    return agent


async def while_others_ask(hostile: Callable[[], asyncio.Future[Answer]], tenant: Tenant, agent: Agent) -> Answer:
    """The answer to the hostile call; whoever asks meanwhile is answered allow."""
    asked = asyncio.ensure_future(hostile())
    for n in itertools.count():
        answer = await asyncio.wait_for(tenant.decide(agent, "look", {"n": n}), BOUND_S)
        assert answer.code == "allow", answer
        if asked.done():
            break
    return await asked


@pytest.mark.parametrize("door", ["decide", "execute"])
@pytest.mark.parametrize(("body", "expected"), [pytest.param(b, e, id=name) for name, b, e in BODIES])
async def test_a_hostile_body_hurts_nobody(
    tenant: Tenant,
    neighbours: tuple[Tenant, Agent],
    door: str,
    body: Callable[[], bytes],
    expected: set[tuple[int, str]],
) -> None:
    agent = await prepared(tenant)
    data = body()

    async def ask() -> Answer:
        return await asyncio.wait_for(tenant.caller.ask("POST", f"/v1/{door}", data=data, token=agent.token), BOUND_S)

    answer = await while_others_ask(lambda: asyncio.ensure_future(ask()), *neighbours)
    assert (answer.status, answer.code) in expected, (answer.status, answer.code, str(answer.body)[:400])
    assert (await tenant.decide(agent, "look", {"n": 1})).code == "allow"


async def test_all_of_them_at_once_hurt_nobody(tenant: Tenant, neighbours: tuple[Tenant, Agent]) -> None:
    """And what they left in the log verifies."""
    agent = await prepared(tenant)
    bodies = [body() for _, body, _ in BODIES]

    async def ask(data: bytes) -> Answer:
        return await tenant.caller.ask("POST", "/v1/decide", data=data, token=agent.token)

    async def all_of_them() -> list[Answer]:
        return list(await asyncio.wait_for(asyncio.gather(*(ask(data) for data in bodies)), 2 * BOUND_S))

    found = asyncio.ensure_future(all_of_them())
    other, free = neighbours
    while not found.done():
        assert (await other.decide(free, "look", {"n": 0})).code == "allow"
    for answer in await found:
        assert answer.status in (200, 400, 413, 422), answer
    log = await tenant.log()
    log.verify()
    assert log.of("decision", agent=agent.id)


async def test_a_body_without_a_length_is_cut_at_the_limit(tenant: Tenant) -> None:
    agent = await prepared(tenant)

    async def endless() -> object:
        yield b'{"tool": "look", "arguments": {"x": "'
        for _ in range(64):
            yield b"a" * MIB
            await asyncio.sleep(0)

    url = tenant.caller.house.url + "/v1/decide"
    headers = {"authorization": f"Bearer {agent.token}", "content-type": "application/json"}
    try:
        async with tenant.caller.session.post(url, data=endless(), headers=headers) as response:
            assert response.status == 413
    except (ConnectionError, OSError):  # it answered and hung up while we were still sending
        pass
    assert (await tenant.decide(agent, "look", {"n": 1})).code == "allow"
