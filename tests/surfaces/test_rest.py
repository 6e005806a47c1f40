"""The REST door of agents, over a whole gateway: what is told of reasons, queries, replays and stored answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from click.testing import CliRunner

from aegis.audit import keys
from aegis.audit.notes import NoteSigner
from aegis.cli.verify import verify
from aegis.identity.tokens import TokenSigner
from aegis.kernel.call import Role
from aegis.kernel.clock import now_us
from aegis.kernel.jsontree import MAX_DEPTH
from aegis.surfaces.rest import fault

Door = Any  # conftest.py's
Gateway = Any
DROP = {"tool": "db.query", "arguments": {"query": "DROP TABLE customers"}}
NOTE = {"tool": "note", "arguments": {"text": "hello"}}
LEAK = {"status": "ok", "output": {"key": "ghp_16C7e42F292c6912E7710c838347Ae178B4a"}}


async def explain(gateway: Gateway, word: str) -> None:
    body = json.dumps({"explain_to_agents": word})
    async with gateway.database.scope(gateway.tenant) as connection:
        await connection.execute(
            "INSERT INTO control.settings (tenant, body) VALUES ($1, $2::jsonb) "
            "ON CONFLICT (tenant, name) DO UPDATE SET body = excluded.body",
            gateway.tenant,
            body,
        )
    await gateway.pipeline.views.refresh(gateway.tenant)


# ------------------------------------------------------------------ what an agent is told


@pytest.mark.parametrize("word", ["none", "code", "full"])
async def test_reasons_are_told_as_the_tenants_setting_says(agent: Door, gateway: Gateway, word: str) -> None:
    await explain(gateway, word)
    tells = word != "none"
    refused = (await agent("POST", "/v1/decide", DROP)).json
    stopped = (await agent("POST", "/v1/execute", DROP)).json
    for said in (refused, stopped):
        assert said["verdict"] == "kill" and said["guidance"]
        assert bool(said["findings"]) is bool(said["stages"]) is bool(said["rule"]) is tells
        assert ("row" in said["receipt"]) is ("sig" in said["receipt"]) is tells
        assert said["receipt"]["proof"]
    ran = (await agent("POST", "/v1/decide", NOTE)).json
    reported = (await agent("POST", f"/v1/decisions/{ran['decision_id']}/outcome", LEAK)).json
    assert reported["output"] == {"key": "[redacted:github_token]"} and reported["redactions"]
    assert bool(reported["findings"]) is ("row" in reported["receipt"]) is tells
    flight = (await agent("GET", f"/v1/decisions/{ran['decision_id']}")).json
    assert bool(flight["stages"]) is bool(flight["outcome"]["findings"]) is tells
    assert "ghp_" not in json.dumps(flight)


async def test_what_an_execution_found_is_no_more_than_the_setting_says(agent: Door, gateway: Gateway) -> None:
    there = await agent("POST", "/v1/execute", NOTE)
    assert [f["code"] for f in there.json["findings"]] == ["execute.no_upstream"], there
    assert (there.status, there.json["verdict"], there.json["status"], there.json["effect"]) == (
        200,
        "allow",
        "error",
        "none",
    )
    assert there.json["guidance"].startswith("Nothing happened. The tool has no upstream to run on. An administrator")
    await explain(gateway, "none")
    hidden = await agent("POST", "/v1/execute", NOTE)
    assert hidden.json["status"] == "error" and hidden.json["findings"] == []
    assert "row" not in hidden.json["outcome_receipt"]


async def test_a_target_that_never_answers_is_504_with_what_was_found(agent: Door, gateway: Gateway) -> None:
    held: list[asyncio.StreamWriter] = []

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        upstream, tool = {"kind": "http", "url": url, "timeout_ms": 800}, {"effect": "read", "upstream": "silent"}
        async with gateway.database.scope(gateway.tenant) as connection:
            for table, name, body in (("upstreams", "silent", upstream), ("tools", "ask", tool)):
                await connection.execute(
                    f"INSERT INTO control.{table} (tenant, name, body) VALUES ($1, $2, $3::jsonb)",
                    gateway.tenant, name, json.dumps(body),
                )  # fmt: skip
        await gateway.pipeline.views.refresh(gateway.tenant)
        answer = await agent("POST", "/v1/execute", {"tool": "ask", "arguments": {"method": "GET", "path": "/"}})
        for writer in held:
            writer.close()
    said = answer.json
    assert (answer.status, said["code"], said["verdict"], said["effect"]) == (
        504,
        "execute.timeout",
        "allow",
        "unknown",
    )
    assert [found["code"] for found in said["findings"]] == ["execute.timeout"]
    assert said["guidance"].startswith("The target did not answer within 800 ms. ")
    assert said["receipt"] and said["decision_id"] == answer.headers["x-aegis-decision-id"]


# ------------------------------------------------------------------ queries


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/decide?recipt=none", NOTE), ("/v1/scan?receipt=none", {"text": "hi"}), ("/v1/sessions?x=", {"intent": "x"})],
    ids=["a misspelt one", "one that scan has not", "one that sessions have not"],
)
async def test_a_query_that_means_nothing_is_422(agent: Door, path: str, body: Any) -> None:
    answer = await agent("POST", path, body)
    assert (answer.status, answer.json["code"]) == (422, "request.invalid")


async def test_a_session_needs_no_body_and_a_decision_does(agent: Door) -> None:
    opened = await agent("POST", "/v1/sessions")
    assert opened.status == 201 and opened.json["session_id"]
    refused = await agent("POST", "/v1/decide")
    assert (refused.status, refused.json["code"]) == (400, "json.syntax")


async def test_a_receipt_of_arguments_as_deep_as_they_may_be_is_verified(agent: Door, tmp_path: Path) -> None:
    deepest: Any = 1
    for _ in range(MAX_DEPTH - 2):  # the body itself and its arguments are the first two levels
        deepest = [deepest]
    judged = (await agent("POST", "/v1/decide", {"tool": "note", "arguments": {"deep": deepest}})).json
    receipt = (await agent("GET", f"/v1/decisions/{judged['decision_id']}/receipt")).json
    assert receipt["openings"]["inputs"]["payload"]["arguments"]["deep"]
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(receipt))
    vkey = NoteSigner(receipt["log"], keys.load(tmp_path / "keys", create=False).log_seed).vkey
    result = CliRunner().invoke(verify, ["receipt", str(file), "--vkey", vkey])
    assert result.exit_code == 0, result.output
    too_deep = await agent("POST", "/v1/decide", {"tool": "note", "arguments": {"deep": [deepest]}})
    assert (too_deep.status, too_deep.json["code"]) == (400, "json.depth")


async def test_an_outcome_leaves_its_receipt_out_when_asked_to(agent: Door) -> None:
    ran = (await agent("POST", "/v1/decide?receipt=none", NOTE)).json
    assert ran["receipt"] is None
    answer = await agent("POST", f"/v1/decisions/{ran['decision_id']}/outcome?receipt=none", {"status": "ok"})
    assert answer.status == 200 and answer.json["receipt"] is None


# ------------------------------------------------------------------ single-use credentials


@pytest.fixture
def single_use(agent: Door, gateway: Gateway, tmp_path: Path) -> Callable[[], str]:
    """Makes such tokens of the agent, as an issuer of this installation would."""
    signer = TokenSigner(keys.load(tmp_path / "keys", create=False).token_seed, "aegis-test.local")

    def make() -> str:
        return signer.issue(
            tenant=gateway.tenant, subject=agent.id, role=Role.AGENT, now=now_us(), agent=agent.id, single_use=True
        ).text

    return make


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("POST", "/v1/scan", {"text": "hi"}),
        ("POST", "/v1/sessions", {"intent": "x"}),
        ("GET", "/v1/decisions", None),
        ("POST", "/v1/decide", NOTE),
    ],
    ids=["scan", "sessions", "the control API", "decide"],
)
async def test_a_single_use_token_is_good_for_one_request_of_any_kind(
    agent: Door, gateway: Gateway, single_use: Any, method: str, path: str, body: Any
) -> None:
    token = single_use()
    assert (await agent(method, path, body, token=token)).status in (200, 201)
    again = await agent("GET", "/v1/decisions", token=token)
    assert (again.status, again.json["code"]) == (401, "auth.replayed")
    judged = await agent("POST", "/v1/decide", NOTE, token=token)
    assert judged.json["rule"] == "aegis.auth.replayed"


async def test_of_many_that_use_one_at_once_one_is_let_in(agent: Door, single_use: Any) -> None:
    token = single_use()
    answers = await asyncio.gather(*(agent("GET", "/v1/decisions", token=token) for _ in range(8)))
    assert sorted(answer.status for answer in answers) == [200, *[401] * 7]


# ------------------------------------------------------------------ stored answers and approvals


async def test_a_stored_throttle_still_says_when_to_come_back(agent: Door, gateway: Gateway) -> None:
    async with gateway.database.scope(gateway.tenant) as connection:
        await connection.execute(
            "INSERT INTO control.quotas (tenant, scope, body) VALUES ($1, 'tenant', '{\"rps\": 0.01, \"burst\": 1}')",
            gateway.tenant,
        )
    await gateway.pipeline.views.refresh(gateway.tenant)
    await agent("POST", "/v1/execute", NOTE)
    first, again = [await agent("POST", "/v1/execute", {**NOTE, "idempotency_key": "k"}) for _ in range(2)]
    assert first.status == again.status == 429
    assert first.headers["retry-after"] == again.headers["retry-after"]
    assert first.headers["x-aegis-decision-id"] == again.headers["x-aegis-decision-id"]
    assert again.headers["content-type"] == "application/problem+json"


async def test_an_action_that_still_waits_is_told_which_approval_it_waits_for(agent: Door, gateway: Gateway) -> None:
    asked = {"tool": "pay", "arguments": {"amount": "1000000", "currency": "EUR"}}
    async with gateway.database.scope(gateway.tenant) as connection:
        for row in await connection.fetch("SELECT id FROM control.agents WHERE tenant = $1", gateway.tenant):
            await connection.execute(
                "INSERT INTO control.contracts (tenant, agent, body) VALUES ($1, $2, $3::jsonb)",
                gateway.tenant, row["id"], json.dumps({"mode": "enforce", "approvals": [{"tool": "pay"}]}),
            )  # fmt: skip
    await gateway.pipeline.views.refresh(gateway.tenant)
    first = (await agent("POST", "/v1/decide", asked)).json
    assert first["verdict"] == "escalate"
    again = (await agent("POST", "/v1/decide", {**asked, "approval": first["approval"]["id"]})).json
    assert again["verdict"] == "escalate" and again["approval"] == first["approval"]


# ------------------------------------------------------------------ failures


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ConnectionRefusedError(), 503),
        (TimeoutError(), 503),
        (asyncpg.CannotConnectNowError("starting up"), 503),
        (asyncpg.ConnectionDoesNotExistError("gone"), 503),
        (asyncpg.InterfaceError("closed"), 503),
        (KeyError("ours"), 500),
    ],
    ids=lambda each: type(each).__name__ if isinstance(each, Exception) else str(each),
)
def test_a_store_that_is_away_is_503_and_a_mistake_of_ours_500(error: Exception, status: int) -> None:
    told = fault(error)
    assert told.status == status
    assert (told.retry_after_s is not None) is (status == 503)
