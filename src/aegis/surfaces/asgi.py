"""HTTP without a framework, for the hot doors: a body under a cap, an answer in one piece, problems as RFC 9457."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from http import HTTPStatus
from typing import Any

import orjson

from aegis.kernel.ids import uuid7
from aegis.kernel.jsontree import JsonError, JsonTree, parse
from aegis.kernel.problems import Problem

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

JSON = (b"content-type", b"application/json")
PROBLEM = (b"content-type", b"application/problem+json")
PROBLEM_TYPE = "https://aegis.invalid/problems/"
DRAINING = "aegis.draining"
"""In a request's `state`, where the server has one: an asyncio.Event that is set once the process takes nothing new."""


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """Names in lower case. A name that comes twice has its last value; a credential that does is refused."""
    found: dict[bytes, bytes] = {}
    for name, value in scope["headers"]:
        if name in found and name in (b"authorization", b"x-api-key", b"content-length"):
            raise Problem(400, "request.header_twice", f"expected one header {name.decode()}, got two")
        found[name] = value
    return found


async def read_body(scope: Scope, receive: Receive, limit_bytes: int) -> bytes:
    """The whole body. Raises Problem 413 as soon as it is known to be too large, before anything is parsed."""
    declared = headers_of(scope).get(b"content-length")
    if declared is not None and declared.isdigit() and int(declared) > limit_bytes:
        raise too_large(limit_bytes)
    message = await receive()
    body: bytes = message.get("body", b"")
    if not message.get("more_body"):
        if len(body) > limit_bytes:
            raise too_large(limit_bytes)
        return body
    parts, size = [body], len(body)
    while message.get("more_body"):
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ClientGone
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limit_bytes:
            raise too_large(limit_bytes)
    return b"".join(parts)


class ClientGone(Exception):
    """The caller hung up before the request was whole."""


def too_large(limit_bytes: int) -> Problem:
    return Problem(413, "request.too_large", f"expected a body of at most {limit_bytes} bytes")


def json_object(body: bytes) -> dict[str, JsonTree]:
    """The body as an object. Raises Problem 400 for what is not strict JSON, 422 for another type."""
    try:
        tree = parse(body)
    except JsonError as error:
        raise Problem(400, error.code, str(error)) from None
    if not isinstance(tree, dict):
        raise Problem(422, "request.type", "expected a JSON object as the body")
    return tree


async def respond(send: Send, status: int, body: bytes, headers: Headers) -> None:
    """One answer with its length; `x-request-id` is the caller's to add."""
    headers.append((b"content-length", str(len(body)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def problem_body(problem: Problem) -> bytes:
    title = HTTPStatus(problem.status).phrase
    document: dict[str, Any] = {
        "type": PROBLEM_TYPE + problem.code,
        "title": title,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
        **problem.members,
    }
    if problem.errors:
        document["errors"] = [{"path": error.path, "message": error.message} for error in problem.errors]
    if problem.retry_after_s is not None:
        document.setdefault("retry_after", problem.retry_after_s)
    return orjson.dumps(document)


def problem_headers(problem: Problem) -> Headers:
    headers: Headers = [PROBLEM]
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    if problem.status == 405:
        headers.append((b"allow", str(problem.members.get("allow", "")).encode("ascii")))
    if problem.status == 401:
        headers.append((b"www-authenticate", b'Bearer realm="aegis"'))
    return headers


def request_id(scope: Scope) -> bytes:
    """The caller's `x-request-id` where it is a plain word, else a new one."""
    given = next((value for name, value in scope["headers"] if name == b"x-request-id"), b"")
    return given if 0 < len(given) <= 128 and given.replace(b"-", b"").isalnum() else uuid7().encode()
