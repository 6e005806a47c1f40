"""Pages and versions: opaque cursors that are checked, `ETag` and `If-Match`."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping
from typing import Any

from aegis.console_api.routes import Ask
from aegis.kernel.jsontree import canonical
from aegis.kernel.problems import Problem

DEFAULT, MOST = 50, 500


def limit_of(ask: Ask) -> int:
    """Raises Problem 422 for what is not 1 to 500."""
    text = ask.query.get("limit", str(DEFAULT))
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:6]) <= MOST:
        raise Problem(422, "request.invalid", f"limit: expected 1 to {MOST}")
    return int(text)


def cursor_of(ask: Ask) -> str | None:
    """What the page before ended with. Raises Problem 422 for a cursor that isn't ours."""
    given = ask.query.get("cursor")
    if given is None:
        return None
    try:
        padded = given.encode("ascii") + b"=" * (-len(given) % 4)
        return base64.b64decode(padded, altchars=b"-_", validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        raise Problem(422, "request.invalid", "cursor: expected the next_cursor of an earlier answer") from None


def number_cursor(ask: Ask) -> int | None:
    text = cursor_of(ask)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or len(text) > 18:
        raise Problem(422, "request.invalid", "cursor: expected the next_cursor of an earlier answer")
    return int(text)


def page(items: list[dict[str, Any]], limit: int, key: str) -> dict[str, Any]:
    """`items` are one more than the limit where there is a next page; `key` is the member that pages go by."""
    more = len(items) > limit
    kept = items[:limit]
    ends = base64.urlsafe_b64encode(str(kept[-1][key]).encode()).decode().rstrip("=") if more else None
    return {"items": kept, "next_cursor": ends}


def etag(shown: Mapping[str, Any]) -> bytes:
    return b'"' + hashlib.sha256(canonical(dict(shown)).encode()).hexdigest()[:32].encode() + b'"'


def check_match(ask: Ask, current: Mapping[str, Any] | None) -> None:
    """Raises Problem 412 where the client's `If-Match` names another state than the current one."""
    wanted = ask.headers.get(b"if-match")
    if wanted is None:
        return
    have = None if current is None else etag(current)
    if wanted.strip() == b"*" and have is not None:
        return
    if have is None or have not in [each.strip() for each in wanted.split(b",")]:
        raise Problem(412, "request.precondition", "it was changed since you read it")
