"""The benchmark itself, not what it finds: the document's shape, the load, and what the marks say of numbers."""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from aegis.bench import floor, workload
from aegis.bench.figures import Figure, at_most, is_busy, throughput, times_floor
from aegis.bench.load import Connection, Tally, at_rate, in_flight, one_at_a_time, quantile
from tests.conftest import quick_folder


@pytest.mark.server
@pytest.mark.needs_linux
@pytest.mark.timeout(300)
def test_quick_measures_every_part_and_writes_the_document(tmp_path: Path) -> None:
    file = tmp_path / "figures.json"
    folder = quick_folder("aegis-bench-")
    done = subprocess.run(
        [sys.executable, "-P", "-m", "aegis", "bench", "--quick", "--json", file, "--folder", folder],
        capture_output=True, text=True, timeout=280, cwd="/",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(folder.iterdir()) == [], "nothing is left behind"
    folder.rmdir()
    said = json.loads(file.read_text("utf-8"))
    assert said.keys() == {"machine", "versions", "busy", "figures"}
    assert {"cores", "cpu", "python", "kernel"} <= said["machine"].keys()
    assert isinstance(said["busy"], bool)
    figures = {figure["name"]: figure for figure in said["figures"]}
    assert len(figures) == len(said["figures"]), "no name stands twice"
    for figure in figures.values():
        assert (
            {"name", "value", "unit"} <= figure.keys() <= {"name", "value", "unit", "floor", "ratio", "mark", "holds"}
        )
        assert ("mark" in figure) == ("holds" in figure)
    for name in (
        "decide, one at a time, p50",
        "decide, open loop at 100/s, memo off, p99",
        "decide, 32 in flight, throughput",
    ):
        assert figures[name]["value"] > 0
        assert figures[name]["floor"] > 0
    for name, figure in figures.items():
        if name.endswith("errors"):
            assert figure["holds"], f"{name}: {figure['value']}"
    assert 1 < figures["decide, 32 in flight, refused"]["value"] < 12
    assert figures["policy memo, answers from memory"]["value"] > 0


def test_the_load_is_what_the_documentation_says() -> None:
    taken = list(itertools.islice(workload.asks(), 5000))
    kinds = Counter(ask.kind for ask in taken)
    assert kinds["refused"] == 250
    assert kinds["refused"] + kinds["code"] == 1500
    assert len({json.dumps(ask.arguments) for ask in taken}) == 5000
    assert {ask.tool for ask in taken} == workload.TOOLS.keys()
    assert len(workload.TOOLS) == 40


def test_two_seeds_share_no_arguments() -> None:
    first, second = (
        {json.dumps(ask.arguments) for ask in itertools.islice(workload.asks(seed), 500)} for seed in (1, 2)
    )
    assert not first & second


def test_the_floor_stays_small() -> None:
    assert len(Path(floor.__file__).read_text("utf-8").splitlines()) < 80


@pytest.mark.parametrize(
    ("figure", "holds"),
    [
        pytest.param(times_floor("x", 2.5, "ms", 1.0, 2.5), True, id="a latency on its mark holds"),
        pytest.param(times_floor("x", 2.51, "ms", 1.0, 2.5), False, id="a latency above its mark doesn't"),
        pytest.param(throughput("x", 1000, 3000, 1000, 0.3), True, id="a throughput on both marks holds"),
        pytest.param(throughput("x", 1000, 4000, 1000, 0.3), False, id="a throughput too far from the floor doesn't"),
        pytest.param(throughput("x", 900, 1000, 1000, 0.3), False, id="a throughput near a slow floor doesn't"),
        pytest.param(at_most("x", float("nan"), "MiB", 900), False, id="what couldn't be measured doesn't hold"),
    ],
)
def test_marks(figure: Figure, holds: bool) -> None:
    assert figure.holds is holds
    assert figure.document()["holds"] is holds


@pytest.mark.parametrize(
    ("p50", "p99", "per_s", "busy"),
    [
        pytest.param([0.7], [1.2], [3700], False, id="the machine of the marks is idle"),
        pytest.param([0.95], [1.2], [3700], True, id="a slow median is busy"),
        pytest.param([0.7], [1.6], [3700], True, id="a slow tail is busy"),
        pytest.param([0.7], [1.2], [2800], True, id="few requests a second are busy"),
        pytest.param([0.7, 9.0, 0.7], [1.2, 9.0, 1.2], [3700, 1, 3700], False, id="one bad round of three is not"),
        pytest.param([], [], [], False, id="nothing measured says nothing"),
    ],
)
def test_a_slow_floor_is_a_busy_machine(p50: list[float], p99: list[float], per_s: list[float], busy: bool) -> None:
    assert is_busy(p50, p99, per_s) is busy


def test_quantiles() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(100)], 0.99) == 99.0


# ------------------------------------------------------------------ the client


async def _server(answer: bytes, *, piece: int = 0, fails_after: int = 10**9) -> asyncio.Server:
    """Answers each request with `answer`, in pieces where `piece` is given; closes after `fails_after` requests."""
    seen = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal seen
        while (head := await reader.readuntil(b"\r\n\r\n")) and seen < fails_after:
            seen += 1
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            for start in range(0, len(answer), piece or len(answer)):
                writer.write(answer[start : start + (piece or len(answer))])
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()

    return await asyncio.start_server(serve, "127.0.0.1", 0)


def _url(server: asyncio.Server) -> str:
    return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


ALLOW = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"verdict":"allow"}'


@pytest.mark.parametrize("piece", [0, 1, 7], ids=["whole", "byte by byte", "in sevens"])
async def test_answers_are_read_however_they_arrive(piece: int) -> None:
    async with await _server(ALLOW, piece=piece) as server:
        connection = await Connection.open(_url(server))
        status, body, took = await connection.asked(workload.request("POST", "/", "t", {"a": 1}))
        connection.close()
    assert (status, body) == (200, b'{"verdict":"allow"}')
    assert took > 0


async def test_every_way_counts_verdicts_and_errors() -> None:
    asks = itertools.repeat(workload.request("POST", "/", "t", {}))
    async with await _server(ALLOW) as server:
        connections = [await Connection.open(_url(server)) for _ in range(3)]
        single = await one_at_a_time(connections[0], asks, 20)
        full = await in_flight(connections, asks, 0.05)
        paced = await at_rate(connections, asks, 400, 0.1, seed=1)
        for connection in connections:
            connection.close()
    assert single.verdicts == {"allow": 20}
    assert full.verdicts == {"allow": len(full.took)}
    assert len(paced.took) > 10
    assert single.errors == full.errors == paced.errors == 0


async def test_a_broken_connection_is_an_error_and_ends_the_round() -> None:
    asks = itertools.repeat(workload.request("POST", "/", "t", {}))
    async with await _server(ALLOW, fails_after=5) as server:
        tally: Tally = await one_at_a_time(await Connection.open(_url(server)), asks, 20)
    assert (len(tally.took), tally.errors) == (5, 1)
