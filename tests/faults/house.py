"""A whole Aegis of its own for tests that break it: real processes, real kills, and the log as a stranger checks it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import asyncpg
from aiohttp import web

from aegis.audit import merkle, notes, receipts, tiles
from aegis.audit.evidence import exit_code
from aegis.audit.verifier import LogReport, verify_log
from tests.conftest import quick_folder

READY = re.compile(r"aegis: ready at (http://\S+) \(process (\d+)")
PATIENCE_S = 60.0
ANSWER_S = 20.0
BUNDLE = 256


class House:
    """A running `aegis up` with two gateways. `kill` and `freeze` take process ids from `pids`."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.folder = quick_folder("aegis-faults-")
        self.data = self.folder / "data"
        self.output = self.folder / "output"
        self.frozen: list[int] = []
        words = ["up", "--data-dir", os.fspath(self.data), "--port", "0", "--workers", "2"]
        with self.output.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "aegis", *words],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={name: value for name, value in os.environ.items() if not name.startswith("AEGIS_")}
                | {"AEGIS_NETWORKS__ALLOW": "127.0.0.0/8"}
                | (environment or {}),
                cwd="/",
            )
        try:
            _wait(lambda: self.process.poll() is not None or bool(READY.findall(self.said())), "it is ready")
            assert self.process.poll() is None, self.said()
        except BaseException:
            self.close()
            raise
        self.url: str = READY.findall(self.said())[-1][0]
        self.credentials: dict[str, Any] = json.loads((self.data / "credentials.json").read_text())
        self.database_url = _environment(self.pids("gateway")[0])["AEGIS_DATABASE_URL"]

    def said(self) -> str:
        return self.output.read_text("utf-8", "replace")

    def close(self) -> None:
        """Stops everything. What a test froze goes on first, so that it can end."""
        self.thaw()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(PATIENCE_S)
        shutil.rmtree(self.folder, ignore_errors=True)

    # ------------------------------------------------------------------ processes

    def pids(self, name: str) -> list[int]:
        """`gateway`, `worker`, `postgres` (the postmaster), `valkey`, `backend` (what serves our queries); `opa_child`
        and `analysis_child` of all gateways."""
        match name:
            case "backend":
                return [pid for pid in self.pids("postgres") for pid in _children(pid) if " aegis_app " in _title(pid)]
            case "opa_child" | "analysis_child":
                return [child for pid in self.pids("gateway") for child in _children(pid) if name in _title(child)]
            case _:
                return [pid for pid in _children(self.process.pid) if name in _program(pid)]

    def kill(self, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def freeze(self, *pids: int) -> None:
        """Stops them where they stand, until `thaw`."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGSTOP)
                self.frozen.append(pid)

    def thaw(self) -> None:
        for pid in self.frozen:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
        self.frozen.clear()

    def freeze_postgres(self) -> None:
        """Every process of it, the postmaster first: it neither answers nor ends."""
        for postmaster in self.pids("postgres"):
            self.freeze(postmaster, *_children(postmaster))

    def take_away(self, name: str) -> None:
        """Kills it while the supervisor is frozen, which starts it anew at `thaw`. Until then no connection is
        accepted either: callers need open ones."""
        self.freeze(self.process.pid)
        pids = self.pids(name)
        self.kill(*pids)
        _wait(lambda: all(map(_is_gone, pids)), f"{name} is gone")


def _wait(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"never happened: {what}"
        time.sleep(0.02)


async def eventually(holds: Callable[[], Any], what: str, seconds: float = PATIENCE_S) -> Any:
    """The first true answer of `holds`, which may be asynchronous; what it raises of the network is a no."""
    deadline = time.monotonic() + seconds
    while True:
        with contextlib.suppress(aiohttp.ClientError, TimeoutError, OSError):
            found = holds()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
        assert time.monotonic() < deadline, f"never happened: {what}"
        await asyncio.sleep(0.05)


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (task / "children").read_text().split())
    return found


def _program(pid: int) -> str:
    """The words that tell what a child of the supervisor is."""
    words = _title(pid).split()
    if not words:
        return ""
    return next((word for word in words if word in {"gateway", "worker"}), os.path.basename(words[0]))


def _title(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace") + " "
    return ""


def _environment(pid: int) -> dict[str, str]:
    pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return dict(pair.split("=", 1) for pair in pairs if "=" in pair)


def _is_gone(pid: int) -> bool:
    try:
        return ") Z " in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return True


# ------------------------------------------------------------------ callers


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: Any

    @property
    def code(self) -> str:
        """What kind of answer: a problem's code, else the verdict."""
        return str(self.body.get("code") or self.body.get("verdict")) if isinstance(self.body, dict) else ""

    @property
    def codes(self) -> set[str]:
        return {found["code"] for found in self.body.get("findings", ())}


@dataclass(frozen=True, slots=True)
class Agent:
    id: str
    token: str = field(repr=False)


class Caller:
    """HTTP to a house, over as many connections as there are calls at once."""

    def __init__(self, house: House) -> None:
        self.house = house
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=300),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        )

    async def ask(
        self, method: str, path: str, body: Any = None, *, token: str = "", data: bytes | None = None
    ) -> Answer:
        """Raises aiohttp.ClientError or TimeoutError where no whole answer came."""
        headers = {"authorization": f"Bearer {token}"} if token else {}
        if data is None and body is not None:
            data = json.dumps(body).encode()
        if data is not None:
            headers["content-type"] = "application/gzip" if data[:2] == b"\x1f\x8b" else "application/json"
        async with self.session.request(method, self.house.url + path, data=data, headers=headers) as response:
            raw = await response.read()
            is_json = "json" in response.headers.get("content-type", "")
            return Answer(response.status, json.loads(raw) if is_json and raw else raw)

    async def is_ready(self) -> bool:
        return (await self.ask("GET", "/readyz")).status == 200

    async def ready(self, seconds: float = PATIENCE_S) -> float:
        """Waits for readiness on several connections, so of both gateways; returns the seconds it took."""
        began = time.monotonic()

        async def all_ready() -> bool:
            return all(await asyncio.gather(*(self.is_ready() for _ in range(6))))

        await eventually(all_ready, f"it is ready within {seconds} s", seconds)
        return time.monotonic() - began

    async def tenant(self) -> Tenant:
        """A tenant of its own, so that tests don't stop each other."""
        token = self.house.credentials["operator"]["token"]
        made = await self.ask("POST", "/v1/tenants", {"name": "faults"}, token=token)
        assert made.status == 201, made
        return Tenant(self, made.body["id"], made.body["admin"]["token"])


@dataclass(eq=False, slots=True)
class Tenant:
    caller: Caller
    id: str
    admin: str = field(repr=False)

    async def set_up(self, method: str, path: str, body: Any = None) -> Any:
        """As its administrator; expects success."""
        answer = await self.caller.ask(method, path, body, token=self.admin)
        assert answer.status < 300, answer
        return answer.body

    async def agent(self, name: str) -> Agent:
        made = await self.set_up("POST", "/v1/agents", {"name": name})
        return Agent(made["id"], made["token"])

    async def tool(self, name: str, effect: str, target: Target | None = None, **more: Any) -> None:
        if target is not None:
            upstream = {"kind": "http", "url": target.url, "timeout_ms": more.pop("timeout_ms", 10_000)}
            await self.set_up("PUT", "/v1/upstreams/target", upstream)
            more["upstream"] = "target"
        await self.set_up("PUT", f"/v1/tools/{name}", {"effect": effect, "output_trust": "trusted", **more})

    async def decide(self, agent: Agent, tool: str, arguments: Any, **more: Any) -> Answer:
        body = {"tool": tool, "arguments": arguments, **more}
        return await self.caller.ask("POST", "/v1/decide", body, token=agent.token)

    async def execute(self, agent: Agent, tool: str, arguments: Any, **more: Any) -> Answer:
        body = {"tool": tool, "arguments": arguments, **more}
        return await self.caller.ask("POST", "/v1/execute", body, token=agent.token)

    async def log(self) -> Log:
        """The log as the API gives it to anybody who may read it, verified offline."""
        caller, token = self.caller, self.admin
        vkey = (await self.set_up("GET", "/v1/audit/keys"))["log"]
        note = (await caller.ask("GET", "/v1/audit/checkpoint", token=token)).body.decode()
        size = notes.parse_checkpoint(notes.split_note(note)[0]).size
        entries: list[bytes] = []
        for number in range((size + BUNDLE - 1) // BUNDLE):
            width = min(BUNDLE, size - number * BUNDLE)
            path = tiles.Tile(None, number, width).path
            answer = await caller.ask("GET", f"/v1/audit/{path}", token=token)
            assert answer.status == 200, answer
            entries += tiles.decode_bundle(answer.body)
        return Log(entries, note, vkey)

    async def bodies(self) -> dict[int, dict[str, Any]]:
        """What the rows' commitments open to, by sequence number: straight from the store."""
        connection = await asyncpg.connect(self.caller.house.database_url)
        try:
            async with connection.transaction():
                await connection.execute("SELECT set_config('aegis.tenant', $1, true)", self.id)
                found = await connection.fetch("SELECT seq, body FROM log.bodies WHERE tenant = $1", self.id)
        finally:
            await connection.close()
        return {each["seq"]: json.loads(each["body"]) for each in found}


@dataclass(frozen=True, slots=True)
class Log:
    """An exported log. `rows` are its rows as they were signed."""

    entries: list[bytes]
    note: str
    vkey: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        return [json.loads(entry.partition(b"\n")[0]) for entry in self.entries]

    def of(self, kind: str, **members: Any) -> list[dict[str, Any]]:
        return [row for row in self.rows if row["kind"] == kind and members.items() <= row.items()]

    def outcome_of(self, decision_id: str) -> dict[str, Any] | None:
        return next(iter(self.of("outcome", eid=decision_id)), None)

    def verify(self) -> LogReport:
        """With nothing but the key. The chain holds, and nothing is missing up to the signed size."""
        folder = Path(tempfile.mkdtemp(prefix="aegis-export-"))
        try:
            tiles.write_directory(folder, self.entries, self.note)
            report = verify_log(folder, [notes.Verifier.from_vkey(self.vkey)])
        finally:
            shutil.rmtree(folder)
        assert report.exit == 0, report.findings
        assert report.size == len(self.entries)
        return report

    def check_receipt(self, receipt: dict[str, Any]) -> None:
        """It verifies by itself, and its row stands in this log where it says."""
        entry = (receipt["row"] + "\n" + receipt["sig"]).encode()
        assert receipt["index"] < len(self.entries), "an acknowledged row is lost"
        assert self.entries[receipt["index"]] == entry, "another row stands in the place of an acknowledged one"
        found = receipts.verify_receipt(receipt, [notes.Verifier.from_vkey(self.vkey)])
        assert exit_code(found) == 0, found
        checkpoint = notes.parse_checkpoint(notes.split_note(receipt["proof"].split("\n\n", 1)[1])[0])
        root = merkle.Frontier.empty().extend([merkle.leaf_hash(each) for each in self.entries[: checkpoint.size]])
        assert root.root() == checkpoint.root, "a checkpoint was signed that the log does not lead to"


async def known_to_both(tenant: Tenant, agent: Agent, tool: str, connections: int = 16) -> None:
    """Both gateways know the tenant as it is now; so many connections stay open to them."""

    async def allowed() -> bool:
        answers = await asyncio.gather(*(tenant.decide(agent, tool, {"n": 0}) for _ in range(connections)))
        return all(answer.code == "allow" and not answer.codes for answer in answers)

    await eventually(allowed, "both gateways allow what was set up")


# ------------------------------------------------------------------ targets


class Target:
    """A server that does what it is asked: `done` counts each action by its number, when it is over.

    `/slow` actions take as long as `gate` is shut; who leaves earlier is counted as `cancelled`.
    """

    def __init__(self) -> None:
        self.begun: Counter[int] = Counter()
        self.done: Counter[int] = Counter()
        self.cancelled: Counter[int] = Counter()
        self.gate = asyncio.Event()
        self.url = ""
        self._runner: web.AppRunner | None = None

    async def start(self) -> None:
        app = web.Application()
        app.router.add_post("/slow", self._slow)
        app.router.add_post("/{tool}", self._fast)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def close(self) -> None:
        self.gate.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _fast(self, request: web.Request) -> web.Response:
        n = int((await request.json())["n"])
        self.begun[n] += 1
        self.done[n] += 1
        return web.json_response({"done": n})

    async def _slow(self, request: web.Request) -> web.Response:
        n = int((await request.json())["n"])
        self.begun[n] += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled[n] += 1
            raise
        self.done[n] += 1
        return web.json_response({"done": n})


@contextlib.asynccontextmanager
async def calling(house: House) -> AsyncIterator[Caller]:
    caller = Caller(house)
    try:
        yield caller
    finally:
        await caller.session.close()


@contextlib.asynccontextmanager
async def target() -> AsyncIterator[Target]:
    opened = Target()
    await opened.start()
    try:
        yield opened
    finally:
        await opened.close()


@contextlib.contextmanager
def house(environment: dict[str, str] | None = None) -> Iterator[House]:
    opened = House(environment)
    try:
        yield opened
    finally:
        opened.close()
