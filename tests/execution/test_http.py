"""HTTP targets, through `Execution`, against a real server on loopback."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web

from aegis.execution.credentials import Credentials, EnvironmentSecrets
from aegis.execution.network import Guard
from aegis.execution.run import Execution
from aegis.execution.targets import Result, Stop
from aegis.kernel.tenancy import Tool, Upstream

TENANT = "t_abcdefghij234567"
LOOPBACK = Guard.of(["127.0.0.0/8"])
SECRETS = {f"AEGIS_SECRET_{TENANT.upper()}_CRM": "header:X-Api-Key:s3cret-value"}


@dataclass
class Site:
    """A target that remembers what it was asked and whether the asker hung up."""

    seen: list[web.Request] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    chunks_sent: int = 0
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(request)
        self.bodies.append(await request.read())
        return await getattr(self, f"_{request.path.rpartition('/')[2].partition('.')[0]}", self._echo)(request)

    async def _echo(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"method": request.method, "target": request.raw_path, "big": 2**70})

    async def _missing(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"error": "no such customer"}, status=404)

    async def _slow(self, request: web.Request) -> web.StreamResponse:
        self.waiting.set()
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            self.hung_up.set()
            raise
        return web.Response()

    async def _endless(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        try:
            while self.chunks_sent < 10_000:
                await response.write(b"x" * 65_536)
                self.chunks_sent += 1
        except (ConnectionError, asyncio.CancelledError):
            self.hung_up.set()
            raise
        return response

    async def _bomb(self, request: web.Request) -> web.StreamResponse:
        body = gzip.compress(b"\0" * 50_000_000)
        return web.Response(body=body, headers={"Content-Encoding": "gzip", "Content-Type": "application/json"})

    async def _binary(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"\x89PNG\0\xff", content_type="image/png")

    async def _text(self, request: web.Request) -> web.StreamResponse:
        return web.Response(body="Grüße".encode("latin-1"), content_type="text/plain", charset="latin-1")

    async def _charset(self, request: web.Request) -> web.StreamResponse:
        bomb = zlib.compress(b"0" * 1_000_000)
        kind = f"text/plain; charset={request.query['name']}"
        return web.Response(body=bomb, headers={"Content-Type": kind})

    async def _large(self, request: web.Request) -> web.StreamResponse:
        return web.json_response({"rows": ["x" * 100] * 10_000})

    async def _twice(self, request: web.Request) -> web.StreamResponse:
        return web.Response(text='{"a":1,"a":2}', content_type="application/json")

    async def _empty(self, request: web.Request) -> web.StreamResponse:
        return web.Response(status=204)

    async def _hangup(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        return web.Response()

    async def _truncated(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Length": "100"})
        await response.prepare(request)
        await response.write(b"half")
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _hop(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound(request.query["to"])

    async def _loop(self, request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("/base/loop")

    async def _cookie(self, request: web.Request) -> web.StreamResponse:
        response = web.json_response({"cookie": request.headers.get("Cookie")})
        response.set_cookie("session", "1")
        return response


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    made = Site()
    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", made.answer)
    runner = web.AppRunner(application, handler_cancellation=True, shutdown_timeout=0.1)
    await runner.setup()
    listener = web.TCPSite(runner, "127.0.0.1", 0)
    await listener.start()
    port = runner.addresses[0][1]
    made.url = f"http://127.0.0.1:{port}/base"
    yield made
    await runner.cleanup()


@pytest.fixture
async def execution() -> AsyncIterator[Execution]:
    made = Execution.over(LOOPBACK, Credentials(EnvironmentSecrets(SECRETS)))
    yield made
    await made.close()


def upstream(site: Site, **members: Any) -> Upstream:
    return Upstream("crm", "http", site.url, **{"timeout_ms": 5_000, **members})


async def call(execution: Execution, to: Upstream | None, arguments: Any, **more: Any) -> Result:
    return await execution.run(TENANT, Tool("crm.api", "write"), arguments, None, to, **more)


def get(path: str) -> dict[str, str]:
    return {"method": "GET", "path": path}


async def test_a_request_runs_and_its_answer_is_a_tree(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), {**get("/customers/42"), "query": {"a": "b c"}})
    assert result == Result(
        "ok", {"method": "GET", "target": "/base/customers/42?a=b+c", "big": 2**70}, "done", target_code="200"
    )


async def test_a_call_posts_the_judged_tree(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), {"to": "ann", "amount": 5})
    assert result.output["target"] == "/base/crm.api" and result.output["method"] == "POST"
    assert site.bodies == [b'{"to":"ann","amount":5}']


async def test_the_credential_is_sent_and_nothing_of_the_callers(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site, credential_ref="crm"), get("/a"))
    headers = site.seen[0].headers
    assert headers["X-Api-Key"] == "s3cret-value"
    assert "Authorization" not in headers and "Cookie" not in headers
    assert "s3cret" not in repr(result)


async def test_a_missing_credential_keeps_the_call_away(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site, credential_ref="other"), get("/a"))
    assert (result.failure, result.effect, site.seen) == ("execute.credential", "none", [])


async def test_an_error_of_the_target_is_an_answer(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), get("/missing"))
    assert (result.status, result.output, result.target_code) == ("error", {"error": "no such customer"}, "404")
    assert result.failure is None and [f.code for f in result.findings] == ["execute.target_error"]


@pytest.mark.parametrize(
    ("path", "output"),
    [
        ("/text", "Grüße"),
        ("/twice", '{"a":1,"a":2}'),
        ("/binary", {"base64": "iVBORwD/", "content_type": "image/png"}),
        ("/empty", None),
    ],
)
async def test_what_is_not_plain_json_has_a_form_too(execution: Execution, site: Site, path: str, output: Any) -> None:
    assert (await call(execution, upstream(site), get(path))).output == output


@pytest.mark.parametrize(
    "charset", ["zlib", "bz2", "hex", "punycode", "idna", "unicode_escape", "utf-7", "none", "utf-8"]
)
async def test_a_target_can_not_name_a_charset_that_is_more_than_text(
    execution: Execution, site: Site, charset: str
) -> None:
    result = await call(execution, upstream(site), {**get("/charset"), "query": {"name": charset}})
    assert result.output.keys() == {"base64", "content_type"}
    assert len(result.output["base64"]) < 5_000


async def test_a_large_answer_is_a_tree_too(execution: Execution, site: Site) -> None:
    assert len((await call(execution, upstream(site), get("/large"))).output["rows"]) == 10_000


async def test_a_head_request_has_no_body(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), {"method": "HEAD", "path": "/a"})
    assert (result.status, result.output) == ("ok", None)


async def test_cookies_of_a_target_are_not_kept(execution: Execution, site: Site) -> None:
    for _ in range(2):
        assert (await call(execution, upstream(site), get("/cookie"))).output == {"cookie": None}


@pytest.mark.parametrize("path", ["/endless", "/bomb"])
async def test_an_answer_over_the_cap_is_cut_off(execution: Execution, site: Site, path: str) -> None:
    result = await call(execution, upstream(site, max_bytes=200_000), get(path))
    assert (result.status, result.failure, result.effect) == ("error", "execute.too_large", "done")
    assert result.output is None
    if path == "/endless":
        await asyncio.wait_for(site.hung_up.wait(), 5)
        assert site.chunks_sent < 1_000


async def test_a_late_target_ends_the_call_and_the_connection(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site, timeout_ms=200), get("/slow"))
    assert (result.status, result.failure, result.effect) == ("unknown", "execute.timeout", "unknown")
    assert result.findings[0].message == "the target did not answer within 200 ms"
    await asyncio.wait_for(site.hung_up.wait(), 5)


@pytest.mark.parametrize("reason", ["killed", "cancelled"])
async def test_a_stop_reaches_the_running_request(execution: Execution, site: Site, reason: Any) -> None:
    stop = Stop()
    running = asyncio.create_task(call(execution, upstream(site), get("/slow"), stop=stop))
    await asyncio.wait_for(site.waiting.wait(), 5)
    stop.pull(reason)
    result = await running
    assert (result.status, result.failure, result.effect) == ("cancelled", f"execute.{reason}", "unknown")
    await asyncio.wait_for(site.hung_up.wait(), 5)


async def test_a_stop_before_the_start_sends_nothing(execution: Execution, site: Site) -> None:
    stop = Stop()
    stop.pull("killed")
    result = await call(execution, upstream(site), get("/a"), stop=stop)
    assert (result.failure, result.effect, site.seen) == ("execute.killed", "none", [])


async def test_a_caller_that_is_cancelled_takes_the_request_with_it(execution: Execution, site: Site) -> None:
    running = asyncio.create_task(call(execution, upstream(site), get("/slow")))
    await asyncio.wait_for(site.waiting.wait(), 5)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await asyncio.wait_for(site.hung_up.wait(), 5)


async def test_an_unreachable_target_had_no_effect(execution: Execution, unused_tcp_port: int) -> None:
    to = Upstream("crm", "http", f"http://127.0.0.1:{unused_tcp_port}")
    result = await call(execution, to, get("/a"))
    assert (result.status, result.failure, result.effect) == ("error", "execute.unreachable", "none")


async def test_a_connection_lost_without_an_answer_leaves_the_effect_unknown(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), {"method": "POST", "path": "/hangup"})
    assert (result.status, result.failure, result.effect) == ("unknown", "execute.unknown", "unknown")
    assert len(site.seen) == 1


@pytest.mark.parametrize(("method", "times"), [("POST", 1), ("PUT", 1), ("DELETE", 1), ("GET", 2)])
async def test_a_write_is_sent_once_even_over_a_kept_connection(
    execution: Execution, site: Site, method: str, times: int
) -> None:
    await call(execution, upstream(site), get("/a"))
    result = await call(execution, upstream(site), {"method": method, "path": "/hangup"})
    assert (result.status, result.failure) == ("unknown", "execute.unknown")
    assert len(site.seen) == 1 + times and site.seen[0].transport is site.seen[1].transport


async def test_an_answer_that_breaks_off_is_not_shown(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), get("/truncated"))
    assert (result.status, result.failure, result.effect, result.output) == (
        "error",
        "execute.incomplete",
        "done",
        None,
    )


async def test_a_redirect_below_the_base_is_followed(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), {**get("/hop"), "query": {"to": "/base/customers"}})
    assert result.output["target"] == "/base/customers"


@pytest.mark.parametrize(
    "place",
    ["http://169.254.169.254/latest/meta-data/", "/elsewhere", "http://localhost:{port}/base/a", "//[::1]/base"],
)
async def test_a_redirect_elsewhere_is_not(execution: Execution, site: Site, place: str) -> None:
    port = site.url.split(":")[2].split("/")[0]
    asked = {**get("/hop"), "query": {"to": place.format(port=port)}}
    result = await call(execution, upstream(site, credential_ref="crm"), asked)
    assert (result.status, result.failure, result.output) == ("error", "execute.redirect", None)
    assert len(site.seen) == 1


async def test_redirects_have_an_end(execution: Execution, site: Site) -> None:
    result = await call(execution, upstream(site), get("/loop"))
    assert result.failure == "execute.redirect" and len(site.seen) == 4


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0x7f.1", "[::ffff:127.0.0.1]", "[::1]"])
async def test_loopback_in_any_spelling_is_closed_by_default(site: Site, host: str) -> None:
    closed = Execution.over(Guard(), Credentials())
    to = Upstream("crm", "http", site.url.replace("127.0.0.1", host))
    result = await call(closed, to, get("/a"))
    await closed.close()
    assert (result.failure, result.effect, site.seen) == ("execute.forbidden_address", "none", [])


async def test_metadata_services_stay_closed_when_loopback_is_open(execution: Execution) -> None:
    to = Upstream("crm", "http", "http://169.254.169.254/latest")
    assert (await call(execution, to, get("/meta-data"))).failure == "execute.forbidden_address"


@pytest.mark.parametrize("to", [None, Upstream("x", "mcp", "http://127.0.0.1"), Upstream("x", "smtp", "smtp://x")])
async def test_a_tool_without_a_target_does_not_run(execution: Execution, to: Upstream | None) -> None:
    result = await call(execution, to, {})
    assert (result.failure, result.effect, result.status) == ("execute.no_upstream", "none", "error")


async def test_connections_are_kept_and_many_calls_run_at_once(execution: Execution, site: Site) -> None:
    results = await asyncio.gather(*(call(execution, upstream(site), get(f"/{n}")) for n in range(100)))
    assert [r.output["target"] for r in results] == [f"/base/{n}" for n in range(100)]
    assert len({request.transport for request in site.seen}) <= 32
