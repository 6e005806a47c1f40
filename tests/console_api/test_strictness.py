"""What comes from outside is hostile: every route that takes a body, every hostile body; no 500, no wait."""

from __future__ import annotations

import json
import socket
from typing import Any
from urllib.parse import urlsplit

import pytest

from aegis.console_api.openapi import DOORS, members_of
from aegis.console_api.routes import Route
from aegis.kernel.call import Role
from tests.console_api.conftest import BODY_LIMIT, Answer, Caller, Installation, Tenant
from tests.console_api.route_samples import BODIES, TABLE, name_of, path_of, permits

TAKING = tuple(route for route in TABLE if route.takes == "json")
NOT_JSON = {
    "a key twice": b'{"name": "a", "name": "b"}',
    "a key twice, written differently": b'{"name": "a", "n\\u0061me": "b"}',
    "NaN": b'{"name": NaN}',
    "infinity": b'{"name": -Infinity}',
    "a number beyond a double": b'{"name": 1e999}',
    "a hundred thousand levels": b'{"name": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "objects a hundred thousand deep": b'{"name":' * 100_000,
    "65 levels": b'{"name": ' + b"[" * 65 + b"]" * 65 + b"}",
    "a lone surrogate": b'{"name": "\\ud800"}',
    "a lone surrogate in a key": b'{"\\udfff": 1}',
    "invalid UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "a"}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"name": "a"}',
    "two documents": b"{}{}",
    "a comment": b'{"name": 1 /* one */}',
    "a trailing comma": b'{"name": 1,}',
    "half an object": b'{"name"',
    "a control character in text": b'{"name": "a\nb"}',
}
NO_OBJECT = {"a list": b"[]", "text": b'"name"', "a number": b"1", "null": b"null", "true": b"true"}
WRONG: tuple[Any, ...] = (True, 1, 1.5, -1, 10**30, "", "\x00", "a\x00b", [], [[]], [None], {}, {"": {}}, {"a": "\x00"})


def caller(route: Route, tenant: Tenant) -> Caller:
    """Somebody who may. Agents ask at their own doors."""
    return tenant.callers[next(role for role in (Role.ADMIN, Role.AGENT, Role.OPERATOR) if permits(route, role)).value]


def sent(route: Route, tenant: Tenant, body: bytes, **params: str) -> Answer:
    return caller(route, tenant).raw(route.method, path_of(route, **params), body)


@pytest.fixture(scope="module")
def scratch(installation: Installation) -> Tenant:
    """Some of what is sent here is taken."""
    return installation.tenant("scratch")


def is_told(answer: Answer, *statuses: int) -> None:
    assert answer.status in statuses, answer
    told = answer.json
    assert answer.headers["content-type"] == "application/problem+json"
    assert {"type", "title", "status", "detail", "code"} <= told.keys()
    assert told["status"] == answer.status
    assert answer.headers["x-request-id"]


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_what_is_not_strict_json_is_400(route: Any, home: Tenant) -> None:
    for body in NOT_JSON.values():
        is_told(sent(route, home, body), 400)


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_what_is_no_object_is_422(route: Any, home: Tenant) -> None:
    for body in NO_OBJECT.values():
        is_told(sent(route, home, body), 422)


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_an_unknown_member_is_named_with_the_nearest_known(route: Any, home: Tenant) -> None:
    for name in members_of(route):
        slip = name + "x"
        answer = sent(route, home, json.dumps({**BODIES.get((route.method, route.path), {}), slip: 1}).encode())
        if answer.status == 404:  # the thing in the path is looked for first
            continue
        is_told(answer, 422)
        said = next(each for each in answer.json["errors"] if each["path"] == f"/{slip}")
        assert "did you mean" in said["message"]


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_ten_thousand_unknown_members_are_422(route: Any, home: Tenant) -> None:
    answer = sent(route, home, json.dumps({f"k{n}": n for n in range(10_000)}).encode())
    assert answer.status in (404, 422), answer
    assert len(answer.body) < 200_000


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_no_value_of_any_member_makes_it_fail(route: Any, scratch: Tenant) -> None:
    for name in members_of(route):
        for value in WRONG:
            body = {**BODIES.get((route.method, route.path), {}), name: value}
            answer = sent(route, scratch, json.dumps(body).encode())
            assert answer.status < 500 and (answer.status != 401 or route.is_public), (name, value, answer)


@pytest.mark.parametrize("route", TAKING, ids=name_of)
def test_a_megabyte_of_text_in_any_member_is_answered(route: Any, scratch: Tenant) -> None:
    for name in members_of(route):
        body = {**BODIES.get((route.method, route.path), {}), name: "é" * 500_000}
        answer = sent(route, scratch, json.dumps(body, ensure_ascii=False).encode())
        assert answer.status < 500 and (answer.status != 401 or route.is_public), (name, answer)


@pytest.mark.parametrize("route", [r for r in TABLE if r.takes in ("json", "gzip")], ids=name_of)
def test_a_body_over_the_limit_is_413(route: Any, home: Tenant) -> None:
    is_told(sent(route, home, b" " * (BODY_LIMIT + 1)), 413)


def test_a_length_over_the_limit_is_413_before_the_body_comes(home: Tenant) -> None:
    head = (
        f"POST /v1/teams HTTP/1.1\r\nHost: aegis\r\nAuthorization: Bearer {home.admin.token}\r\n"
        f"Content-Length: {BODY_LIMIT * 100}\r\n\r\n"
    )
    host, _, port = urlsplit(home.url).netloc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


def test_a_body_in_pieces_is_counted_too(home: Tenant) -> None:
    """Without a length nothing is known beforehand."""
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    head = (
        f"POST /v1/teams HTTP/1.1\r\nHost: aegis\r\nAuthorization: Bearer {home.admin.token}\r\n"
        "Transfer-Encoding: chunked\r\n\r\n"
    )
    host, _, port = urlsplit(home.url).netloc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode())
        try:
            for _ in range(BODY_LIMIT // 0x10000 + 2):
                connection.sendall(piece)
        except OSError:
            pass  # it has answered and gone
        assert connection.recv(64).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/", 404),
        ("/v1", 404),
        ("/v1/", 404),
        ("/v1/nothing", 404),
        ("/v1/agents/", 404),
        ("/v1//agents", 404),
        ("/v1/agents/a/b", 404),
        ("/v1/agents/" + "a" * 800, 404),
        ("/v1/agents/%00", 422),
        ("/v1/agents/%ff", 422),
        ("/v1/agents/%2e%2e", 404),
        ("/v1/agents/..", 404),
        ("/v1/agents/%zz", 404),
        ("/v1/decisions/not-an-id", 404),
        ("/v1/decisions/00000000-0000-0000-0000-000000000000", 404),
        ("/v1/audit/tile/../keys", 404),
        ("/v1/audit/tile/0/999/999", 404),
        ("/v1/audit/tile/0/000.p/256", 404),
        ("/v1/audit/tile/entries/x999/999", 404),
        ("/v1/audit/consistency", 422),
        ("/v1/audit/consistency?from=0", 422),
        ("/v1/audit/consistency?from=1&to=99999999999", 422),
        ("/v1/audit/consistency?from=-1", 422),
        ("/v1/audit/consistency?from=%D9%A1", 422),
        ("/v1/agents?limits=1", 422),
        ("/v1/agents?limit=0", 422),
        ("/v1/agents?limit=501", 422),
        ("/v1/agents?limit=1e2", 422),
        ("/v1/agents?limit=%D9%A1", 422),
        ("/v1/agents?limit=" + "9" * 5000, 422),
        ("/v1/agents?limit=1&limit=2", 422),
        ("/v1/agents?cursor=%00", 422),
        ("/v1/agents?cursor=!!!", 422),
        ("/v1/agents?cursor=" + "A" * 5001, 422),
        ("/v1/decisions?cursor=bm90LWEtbnVtYmVy", 422),
        ("/v1/decisions?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5", 422),
        ("/v1/decisions?verdict=yes", 422),
        ("/v1/decisions?min_risk=nan", 422),
        ("/v1/decisions?min_risk=2", 422),
        ("/v1/decisions?min_risk=1e999", 422),
        ("/v1/decisions?from=yesterday", 422),
        ("/v1/decisions?from=9999-12-31T23:59:59.999999Z", 200),
        ("/v1/decisions?to=0001-01-01T00:00:00Z", 200),
        ("/v1/decisions?agent=%00", 422),
        ("/v1/decisions?tool=" + "t" * 20_000, 200),
        ("/v1/approvals?status=maybe", 422),
        ("/v1/approvals?cursor=x", 422),
        ("/v1/approvals/x?wait=-1", 422),
        ("/v1/approvals/x?wait=3600", 422),
        ("/v1/approvals/x?wait=%D9%A1", 422),
        ("/v1/policies?cursor=c2hhMjU2Og", 422),
        ("/v1/quotas/nothing%3Ax", 404),
    ],
    ids=lambda value: str(value)[:50],
)
def test_odd_paths_and_queries_are_told(path: str, status: int, home: Tenant) -> None:
    answer = home.admin.get(path)
    assert answer.status == status, answer
    if status >= 400:
        is_told(answer, status)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "PROPFIND"])
def test_another_method_is_405_and_says_which_are_there(method: str, home: Tenant) -> None:
    answer = home.admin.call(method, "/v1/teams")
    is_told(answer, 405)
    assert {each.strip() for each in answer.headers["allow"].split(",")} >= {"GET", "POST"}


@pytest.mark.parametrize("path", ["/v1/decide", "/v1/execute", "/v1/scan", "/v1/decisions/x/outcome"])
def test_the_agents_doors_say_405_too(path: str, home: Tenant) -> None:
    answer = home.agent_caller.get(path)
    is_told(answer, 405)
    assert answer.headers["allow"] == "POST"


def test_head_is_get_without_its_body(home: Tenant) -> None:
    answer = home.admin.call("HEAD", "/v1/teams")
    assert (answer.status, answer.body) == (200, b"")


@pytest.mark.parametrize("header", ["authorization", "x-api-key", "content-length"])
def test_a_credential_or_length_that_comes_twice_is_refused(header: str, home: Tenant) -> None:
    value = {"content-length": "2"}.get(
        header, f"Bearer {home.admin.token}" if header == "authorization" else home.admin.token
    )
    first = "" if header == "authorization" else f"Authorization: Bearer {home.admin.token}\r\n"
    head = f"POST /v1/teams HTTP/1.1\r\nHost: aegis\r\n{first}{header}: {value}\r\n{header}: {value}\r\n"
    if header != "content-length":
        head += "Content-Length: 2\r\n"
    host, _, port = urlsplit(home.url).netloc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=20) as connection:
        connection.sendall(head.encode() + b"\r\n{}")
        assert connection.recv(64).startswith(b"HTTP/1.1 400")


def test_the_callers_request_id_comes_back_and_an_odd_one_does_not(home: Tenant) -> None:
    assert home.admin.get("/v1/teams", x_request_id="abc-123").headers["x-request-id"] == "abc-123"
    for odd in ("a b", "x" * 200, "<script>"):
        assert home.admin.get("/v1/teams", x_request_id=odd).headers["x-request-id"] != odd


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_what_is_public_needs_no_credential(path: str, home: Tenant) -> None:
    assert Caller(home.url, None).get(path).status == 200


def test_every_door_is_in_the_walk() -> None:
    assert {route.path for route in DOORS} <= {route.path for route in TAKING}
