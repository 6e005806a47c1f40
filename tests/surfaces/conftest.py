"""The gateway of tests/pipeline, called as its server would call it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

import pytest_asyncio

from aegis.kernel.clock import now_us
from aegis.tenants.accounts import create_agent
from tests.pipeline.conftest import Gateway, gateway

__all__ = ["gateway"]

Message = MutableMapping[str, Any]
App = Callable[[Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    json: Any


@dataclass(eq=False)
class Door:
    """Calls an ASGI application with one credential."""

    app: App
    id: str
    token: str

    async def __call__(self, method: str, path: str, tree: Any = None, *, token: str | None = None) -> Answer:
        path, _, query = path.partition("?")
        body = b"" if tree is None else json.dumps(tree).encode()
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": body}

        async def send(message: Message) -> None:
            sent.append(message)

        scope: Message = {
            "type": "http",
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "query_string": query.encode(),
            "headers": [(b"authorization", f"Bearer {token or self.token}".encode())],
            "client": ("127.0.0.1", 1),
        }
        await self.app(scope, receive, send)
        headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
        said = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], headers, json.loads(said) if said else None)


@pytest_asyncio.fixture
async def agent(gateway: Gateway) -> Door:
    """An agent at the door of a whole gateway."""
    async with gateway.database.scope(gateway.tenant) as connection:
        made = await create_agent(connection, gateway.tenant, f"caller {now_us()}")
    await gateway.pipeline.views.refresh(gateway.tenant)
    return Door(gateway.rest, made.id, made.token)
