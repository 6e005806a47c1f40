"""One whole Aegis for the folder, as `aegis up` runs it, with two tenants and a caller of each role in both."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from aegis.audit.tiles import WIDTH, Tile, decode_bundle
from aegis.kernel.call import Role
from tests.conftest import quick_folder

READY = re.compile(r"aegis: ready at (http://\S+) \(process")
PATIENCE_S = 90.0
ANSWER_S = 30.0
BODY_LIMIT = 3 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def expect(self, status: int) -> Any:
        """The body, once the status is the one."""
        assert self.status == status, (self.status, self.body[:2000])
        return self.json if self.body else None


@dataclass(eq=False)
class Caller:
    """Calls with one credential over one connection, which is made anew when the server has closed it."""

    url: str
    token: str | None
    role: str = ""
    _connection: HTTPConnection | None = None

    def raw(self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None) -> Answer:
        sent = dict(headers or {})
        if self.token is not None:
            sent.setdefault("authorization", f"Bearer {self.token}")
        for is_last in (False, True):
            connection = self._connected()
            try:
                connection.request(method, path, body, sent)
                response = connection.getresponse()
                break
            except (ConnectionError, OSError) as error:
                self.close()
                if is_last or isinstance(error, TimeoutError):
                    raise
        received = {name.lower(): value for name, value in response.getheaders()}
        if received.get("content-type", "").startswith("text/event-stream"):
            first = response.readline()
            self.close()
            return Answer(response.status, received, first)
        return Answer(response.status, received, response.read())

    def call(self, method: str, path: str, tree: Any = None, **headers: str) -> Answer:
        body = None if tree is None else json.dumps(tree).encode()
        return self.raw(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})

    def get(self, path: str, **headers: str) -> Answer:
        return self.call("GET", path, **headers)

    def post(self, path: str, tree: Any = None, **headers: str) -> Answer:
        return self.call("POST", path, {} if tree is None else tree, **headers)

    def put(self, path: str, tree: Any, **headers: str) -> Answer:
        return self.call("PUT", path, tree, **headers)

    def patch(self, path: str, tree: Any, **headers: str) -> Answer:
        return self.call("PATCH", path, tree, **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.call("DELETE", path, **headers)

    def open(self, path: str, **headers: str) -> HTTPResponse:
        """A response that the test reads by itself, over a connection of its own."""
        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=ANSWER_S)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("GET", path, headers={"authorization": f"Bearer {self.token}", **named})
        return connection.getresponse()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _connected(self) -> HTTPConnection:
        if self._connection is None:
            self._connection = HTTPConnection(urlsplit(self.url).netloc, timeout=ANSWER_S)
        return self._connection


@dataclass(eq=False)
class Tenant:
    """A caller for each role, by its name; all are in this tenant but the operator. `agent` is the agent's id."""

    id: str
    url: str
    agent: str
    callers: dict[str, Caller] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """All rows of the tenant's log."""
        size = int(self.callers["auditor"].get("/v1/audit/checkpoint").body.split(b"\n")[1])
        entries: list[bytes] = []
        while len(entries) < size:
            tile = Tile(None, len(entries) // WIDTH, min(WIDTH, size - len(entries)))
            answer = self.callers["auditor"].get(f"/v1/audit/{tile.path}")
            assert answer.status == 200, answer
            entries += decode_bundle(answer.body)
        return [json.loads(entry.partition(b"\n")[0]) for entry in entries]

    @property
    def agent_caller(self) -> Caller:
        return self.callers["agent"]

    def __getattr__(self, role: str) -> Caller:
        try:
            return self.callers[role]
        except KeyError:
            raise AttributeError(role) from None


@dataclass(frozen=True, slots=True)
class Installation:
    url: str
    data: Path
    credentials: dict[str, Any]
    operator: Caller

    def tenant(self, name: str) -> Tenant:
        """A new tenant with a caller of each role."""
        made = self.operator.post("/v1/tenants", {"name": name}).expect(201)
        return self.peopled(made["id"], made["admin"]["token"], name)

    def peopled(self, tenant: str, admin_token: str, name: str) -> Tenant:
        admin = Caller(self.url, admin_token, "admin")
        agent = admin.post("/v1/agents", {"name": f"{name}'s agent"}).expect(201)
        callers = {"admin": admin, "agent": Caller(self.url, agent["token"], "agent"), "operator": self.operator}
        for role in Role:
            if role.value not in callers:
                key = admin.post("/v1/keys", {"role": role.value, "name": role.value}).expect(201)
                callers[role.value] = Caller(self.url, key["token"], role.value)
        return Tenant(tenant, self.url, agent["id"], callers)


@contextlib.contextmanager
def running(**environment: str) -> Iterator[tuple[subprocess.Popen[bytes], Path, str]]:
    """`aegis up` on an empty directory: the process, the directory and the address."""
    folder = quick_folder("aegis-api-")
    data, output = folder / "data", folder / "output"
    data.mkdir(mode=0o700)
    with output.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "aegis", "up", "--data-dir", data, "--port", "0", "--workers", "2"],
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | environment,
            cwd="/",
        )
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := READY.findall(output.read_text("utf-8", "replace"))):
            assert process.poll() is None and time.monotonic() < deadline, output.read_text("utf-8", "replace")
            time.sleep(0.05)
        yield process, data, found[-1]
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE_S)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def installation() -> Iterator[Installation]:
    limit = {"AEGIS_GATEWAY__MAX_BODY_BYTES": str(BODY_LIMIT)}
    with running(**limit) as (_, data, url):
        credentials = json.loads((data / "credentials.json").read_text())
        yield Installation(url, data, credentials, Caller(url, credentials["operator"]["token"], "operator"))


@pytest.fixture(scope="session")
def home(installation: Installation) -> Tenant:
    """The tenant that tests work in; each takes names of its own."""
    return installation.tenant("home")


@pytest.fixture(scope="session")
def stranger(installation: Installation) -> Tenant:
    """Another tenant."""
    return installation.tenant("stranger")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "installation" in getattr(item, "fixturenames", ()):
            item.add_marker("server")
            item.add_marker("needs_linux")
