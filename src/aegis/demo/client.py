"""A small client of the API: one credential, one pool of connections, answers as they came."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import aiohttp

DEADLINE_S = 40.0


@dataclass(frozen=True, slots=True)
class Reply:
    """`took_s` as the caller felt it; `overhead_us` what Aegis says that it took itself, where it says so."""

    status: int
    body: Any
    took_s: float
    overhead_us: int | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def expect(self, *statuses: int) -> Reply:
        """Itself. Raises Unexpected for another status."""
        if self.status not in statuses:
            raise Unexpected(f"expected {' or '.join(map(str, statuses))}, got {self.status}: {str(self.body)[:400]}")
        return self


class Unexpected(Exception):
    """Aegis answered otherwise than the caller can go on with."""


class Client:
    """An asynchronous context manager. `fresh`: a new connection for each request."""

    def __init__(self, url: str, token: str, *, fresh: bool = False) -> None:
        self._url, self._token, self._fresh = url, token, fresh
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Client:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=self._fresh),
            timeout=aiohttp.ClientTimeout(total=DEADLINE_S),
            headers={"authorization": f"Bearer {self._token}"},
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, method: str, path: str, body: Any = None) -> Reply:
        """Raises Unexpected when there is no answer at all."""
        assert self._session is not None
        began = time.monotonic()
        try:
            async with self._session.request(method, self._url + path, json=body) as answer:
                raw = await answer.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise Unexpected(f"expected an answer to {method} {path}, got {type(error).__name__}") from error
        took_s = time.monotonic() - began
        overhead = answer.headers.get("x-aegis-overhead-us")
        return Reply(
            answer.status,
            json.loads(raw) if "json" in answer.content_type and raw else raw,
            took_s,
            None if overhead is None else int(overhead),
            {name.lower(): value for name, value in answer.headers.items()},
        )

    async def get(self, path: str) -> Reply:
        return (await self.ask("GET", path)).expect(200)

    async def put(self, path: str, name: str, body: Any) -> Reply:
        return (await self.ask("PUT", f"{path}/{quote(name, safe='')}", body)).expect(200, 204)

    async def post(self, path: str, body: Any) -> Reply:
        return (await self.ask("POST", path, body)).expect(200, 201, 204)
