"""How calls become requests: what is refused was never sent."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.execution.requests import Origin, Request, parse_credential, parse_origin, redirected, to_request
from aegis.execution.targets import Failed
from aegis.kernel.jsontree import parse
from aegis.kernel.tenancy import Tool

ORIGIN = parse_origin("https://api.example.com/v2/")
WRITE = Tool("crm.api", "write")


def test_an_origin_is_taken_apart_once() -> None:
    assert parse_origin("http://[2001:db8::1]:8080") == Origin("http", "2001:db8::1", 8080, "")
    assert parse_origin("http://[2001:db8::1]:8080").url == "http://[2001:db8::1]:8080"
    assert Origin("https", "api.example.com", 443, "/v2") == ORIGIN


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.com", "file:///etc/passwd", "http://", "https://user:pw@example.com", "https://user@example.com",
        "https://example.com/?a=1", "https://example.com/#a", "https://example.com/a/../b", "http://example.com:99999",
        "http://example.com/\r\nX: y", "unix:///run/docker.sock", "", "example.com",
    ],
)  # fmt: skip
def test_an_upstream_url_that_is_no_plain_base_is_refused(url: str) -> None:
    with pytest.raises(Failed):
        parse_origin(url)


def test_a_call_posts_its_arguments_to_the_tools_name() -> None:
    request = to_request(Tool("fs/read file", "read"), parse(b'{"path":"/x","n":1.000000000000000000001}'), ORIGIN)
    assert (request.method, request.target) == ("POST", "/v2/fs%2Fread%20file")
    assert request.body == b'{"path":"/x","n":1.000000000000000000001}'
    assert request.headers == (("Content-Type", "application/json"),)


@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        ({"path": "/customers/42"}, "/v2/customers/42"),
        ({"path": "customers/42"}, "/v2/customers/42"),
        ({"path": "/"}, "/v2/"),
        ({"path": ""}, "/v2/"),
        ({"path": "/a b/ü"}, "/v2/a%20b/%C3%BC"),
        ({"path": "/a%20b"}, "/v2/a%20b"),
        ({"path": "/100%25"}, "/v2/100%25"),
        ({"path": "/a//b"}, "/v2/a//b"),
        ({"path": "/...", "query": {}}, "/v2/..."),
        ({"path": "/s", "query": {"q": "a&b=c", "n": 1, "ok": True, "tag": ["x", "y"]}},
         "/v2/s?q=a%26b%3Dc&n=1&ok=true&tag=x&tag=y"),
        ({"path": "/s", "query": None}, "/v2/s"),
    ],
)  # fmt: skip
def test_a_request_is_joined_below_the_base(arguments: dict[str, Any], target: str) -> None:
    assert to_request(WRITE, {"method": "GET", **arguments}, ORIGIN).target == target


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/../admin", id="a dot segment"),
        pytest.param("/a/../../admin", id="a dot segment further on"),
        pytest.param("/a/..", id="a dot segment at the end"),
        pytest.param("/./a", id="a single dot"),
        pytest.param("/%2e%2e/admin", id="encoded dots"),
        pytest.param("/.%2E/admin", id="half encoded dots"),
        pytest.param("/%252e%252e/admin", id="doubly encoded dots"),
        pytest.param("/%25252525252e/admin", id="encoded deeper than we look"),
        pytest.param("/..;/admin", id="dots with a path parameter"),
        pytest.param("/a%2f..%2fadmin", id="encoded slashes around dots"),
        pytest.param("/..%5cadmin", id="an encoded backslash"),
        pytest.param("\\evil", id="a backslash"),
        pytest.param("//evil.example/x", id="an authority"),
        pytest.param("///evil.example/x", id="an authority behind three slashes"),
        pytest.param("/%2fevil.example/x", id="an encoded second slash"),
        pytest.param("/a?b=c", id="a query in the path"),
        pytest.param("/a#b", id="a fragment"),
        pytest.param("/a\r\nX-Injected: 1", id="a line break"),
        pytest.param("/a%0d%0aX", id="an encoded line break"),
        pytest.param("/a%00", id="an encoded NUL"),
        pytest.param("/a%zz", id="a broken escape"),
        pytest.param("/a%", id="a lone percent sign"),
        pytest.param("/" + "a" * 9000, id="a very long path"),
        pytest.param("/\ud800", id="a lone surrogate"),
    ],
)
def test_a_path_that_may_mean_another_place_is_refused(path: str) -> None:
    with pytest.raises(Failed) as raised:
        to_request(WRITE, {"method": "GET", "path": path}, ORIGIN)
    assert raised.value.code == "execute.arguments"


def test_an_absolute_url_is_only_a_strange_path_below_the_base() -> None:
    assert to_request(WRITE, {"method": "GET", "path": "http://evil.example/"}, ORIGIN).target.startswith("/v2/http:")


@given(st.text(max_size=40))
def test_whatever_the_path_the_target_stays_below_the_base(path: str) -> None:
    try:
        target = to_request(WRITE, {"method": "GET", "path": path}, ORIGIN).target
    except Failed:
        return
    assert target.startswith("/v2/") and target.isascii() and target.isprintable() and " " not in target
    assert not any(part in {".", ".."} for part in target.split("?")[0].split("/"))


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"method": "get", "path": "/"}, "method"),
        ({"method": "GET", "path": "/", "url": "http://x"}, "unknown-member"),
        ({"method": "GET", "path": "/", "body": {}}, "body"),
        ({"method": "GET", "path": "/", "query": "a=b"}, "query"),
        ({"method": "GET", "path": "/", "query": {"a": {}}}, "query"),
        ({"method": "GET", "path": "/", "query": {"a": None}}, "query"),
        ({"method": "GET", "path": "/", "headers": {"Authorization": "x"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Host": "x"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Cookie": "x"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"X-Forwarded-For": "x"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Transfer-Encoding": "chunked"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Accept": "a\r\nHost: b"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Accept": "a", "accept": "b"}}, "headers"),
        ({"method": "GET", "path": "/", "headers": {"Accept": 1}}, "headers"),
        ({"method": "GET", "path": "/", "headers": ["Accept"]}, "headers"),
    ],
)
def test_arguments_that_do_not_fit_are_refused_by_member(arguments: dict[str, Any], reason: str) -> None:
    with pytest.raises(Failed) as raised:
        to_request(WRITE, arguments, ORIGIN)
    assert raised.value.values == {"reason": reason}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_tool_that_reads_can_only_get(method: str) -> None:
    with pytest.raises(Failed):
        to_request(Tool("crm.api", "read"), {"method": method, "path": "/a"}, ORIGIN)
    assert to_request(WRITE, {"method": method, "path": "/a"}, ORIGIN).method == method


@pytest.mark.parametrize(
    ("body", "sent", "kind"),
    [
        ({"a": 1}, b'{"a":1}', "application/json"),
        ([1], b"[1]", "application/json"),
        (False, b"false", "application/json"),
        ("text", b"text", "text/plain; charset=utf-8"),
    ],
)
def test_a_body_is_sent_in_its_own_form(body: Any, sent: bytes, kind: str) -> None:
    request = to_request(WRITE, {"method": "POST", "path": "/", "body": body}, ORIGIN)
    assert request.body == sent and dict(request.headers)["Content-Type"] == kind


GET = Request("GET", "/v2/a/b", (("Accept", "x"),))


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/v2/c", "/v2/c"),
        ("/v2", "/v2"),
        ("c", "/v2/a/c"),
        ("https://api.example.com/v2/c?x=1", "/v2/c?x=1"),
        ("https://api.example.com:443/v2/c", "/v2/c"),
        ("//api.example.com/v2/c", "/v2/c"),
        ("?page=2", "/v2/a/b?page=2"),
    ],
)
def test_a_redirect_below_the_same_base_is_followed(location: str, target: str) -> None:
    assert redirected(GET, 302, location, ORIGIN).target == target


@pytest.mark.parametrize(
    "location",
    [
        None, "", "/other", "/v20/c", "/v2/../admin", "/v2/%2e%2e/admin", "../../admin", "http://api.example.com/v2/c",
        "https://api.example.com:444/v2/c", "https://evil.example/v2/c", "//evil.example/v2/c", "/\\evil.example/v2",
        "https://api.example.com@evil.example/v2/", "https://x@api.example.com/v2/c", "http://169.254.169.254/latest",
        "file:///etc/passwd", "javascript:alert(1)", "/v2/a\r\nX: y", "https://api.example.com:99999/v2/c",
    ],
)  # fmt: skip
def test_a_redirect_to_anywhere_else_is_refused(location: str | None) -> None:
    with pytest.raises(Failed) as raised:
        redirected(GET, 302, location, ORIGIN)
    assert raised.value.code == "execute.redirect"


def test_a_write_is_never_repeated_at_another_place() -> None:
    post = Request("POST", "/v2/a", (("Content-Type", "application/json"),), b"{}")
    for status in (301, 302, 307, 308):
        with pytest.raises(Failed):
            redirected(post, status, "/v2/b", ORIGIN)
    assert redirected(post, 303, "/v2/b", ORIGIN) == Request("GET", "/v2/b")


@pytest.mark.parametrize(
    ("value", "header"),
    [
        ("tok", ("Authorization", "Bearer tok")),
        ("bearer:tok:en", ("Authorization", "Bearer tok:en")),
        ("basic:ann:se:cret", ("Authorization", "Basic YW5uOnNlOmNyZXQ=")),
        ("header:X-Api-Key: abc", ("X-Api-Key", "abc")),
        ('{"bearer": "tok"}', ("Authorization", "Bearer tok")),
        ('{"header": "X-Api-Key:abc"}', ("X-Api-Key", "abc")),
    ],
)
def test_a_credential_has_one_of_its_forms(value: str, header: tuple[str, str]) -> None:
    made = parse_credential(value)
    assert (made.name, made.text, made.ca) == (*header, None)
    assert made.text not in repr(made)


@pytest.mark.parametrize(
    "value",
    [
        "a\r\nb",
        "header:Host:x",
        "header::x",
        "header:X Y:z",
        "header:Content-Length:0",
        "ü",
        "{",
        "{}",
        '{"ca": "x"}',
        '{"bearer": 1}',
        '{"bearer": "a", "basic": "b"}',
        '{"token": "a"}',
    ],
)
def test_a_malformed_credential_is_not_sent(value: str) -> None:
    with pytest.raises(Failed) as raised:
        parse_credential(value)
    assert raised.value.code == "execute.credential"
