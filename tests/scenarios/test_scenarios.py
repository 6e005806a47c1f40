"""The scenario files, played against a real `aegis up`; and what the player says when something is not as expected."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from aegis.demo.client import Client
from aegis.demo.installation import Installation
from aegis.demo.redteam import Outcome, Range, play
from aegis.demo.scenarios import BadScenario, Scenario, load, load_file
from tests.conftest import quick_folder

pytestmark = pytest.mark.server
HERE = Path(__file__).parent
SCENARIOS = load(HERE)


@dataclass(frozen=True)
class Running:
    url: str
    operator: str
    credentials: Path

    async def play(self, scenario: Scenario) -> list[Outcome]:
        async with Range() as target, Client(self.url, self.operator) as operator:
            return await play(scenario, self.url, operator, target)


@pytest.fixture(scope="session")
def running() -> Iterator[Running]:
    folder = quick_folder("aegis-scenarios-")
    aegis = Installation(folder / "aegis", workers=2)
    aegis.start()
    try:
        with ThreadPoolExecutor(1) as apart:
            credentials = apart.submit(lambda: asyncio.run(aegis.ready())).result(120)
        yield Running(credentials["url"], credentials["operator"]["token"], aegis.folder / "credentials.json")
    finally:
        aegis.end()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda each: f"{each.file.removesuffix('.yaml')}: {each.name}")
async def test_scenario(running: Running, scenario: Scenario) -> None:
    outcomes = await running.play(scenario)
    assert outcomes
    assert [f"{each.step}: {each.wrong}" for each in outcomes if each.wrong] == []


def test_every_stage_that_judges_has_a_file() -> None:
    files = {each.file for each in SCENARIOS}
    assert {name[0] for name in files} >= set("01234") | set("6789")


DROP: dict[str, Any] = {"tool": "db.query", "arguments": {"query": "DROP TABLE customers"}}
UNGUARDED = """
- name: a tool whose query was declared to be plain text
  setup:
    tools: {db.note: {effect: write, kinds: {/text: text}, upstream: echo}}
    upstreams: {echo: {kind: http, url: <target>}}
  steps:
    - call: {tool: db.note, arguments: {text: hello}}
      through: execute
      expect: {verdict: kill, executed: false}
"""


async def test_what_is_not_refused_is_told(running: Running, tmp_path: Path) -> None:
    file = tmp_path / "unguarded.yaml"
    file.write_text(UNGUARDED, "utf-8")
    (outcome,) = await running.play(load_file(file)[0])
    assert "expected verdict kill, got 200 allow" in outcome.wrong


EXPECTATIONS = [
    ({"codes": ["sql.stacked"]}, "expected codes"),
    ({"without": ["sql.destructive"]}, "expected without"),
    ({"status": 503}, "expected status"),
    ({"verdict": ["allow", "monitor"]}, "expected verdict"),
    ({"verdict": ["allow", "kill"], "codes": ["sql.destructive"], "without": ["sql.stacked"], "status": 200}, ""),
]


@pytest.mark.parametrize(("expect", "wrong"), EXPECTATIONS, ids=lambda value: str(value))
async def test_each_expectation_can_fail(running: Running, expect: dict[str, Any], wrong: str) -> None:
    databases = next(each for each in SCENARIOS if each.name == "databases")
    step = replace(databases.steps[1], call=DROP, expect=expect)
    (outcome,) = await running.play(replace(databases, steps=(step,)))
    assert outcome.wrong.startswith(wrong) and bool(outcome.wrong) is bool(wrong)


async def test_the_command_plays_them_and_exits_1_when_one_is_not_met(running: Running, tmp_path: Path) -> None:
    (tmp_path / "unguarded.yaml").write_text(UNGUARDED, "utf-8")
    status, said = await redteam(running, "--scenarios", str(tmp_path))
    assert status == 1
    assert "1 scenarios, 1 expectations, 1 not met" in said
    status, said = await redteam(running, "--scenarios", str(HERE), "--only", "a revoked key")
    assert (status, "1 scenarios, 1 expectations, 0 not met" in said) == (0, True)


async def redteam(running: Running, *words: str) -> tuple[int | None, str]:
    process = await asyncio.create_subprocess_exec(
        *[sys.executable, "-m", "aegis", "redteam", "--credentials", str(running.credentials), *words],
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, said.decode()


BAD = [
    ("a: 1", "expected a list"),
    ("- {name: x, steps: []}", "expected a name and steps"),
    ("- {name: x, stepz: [{}]}", "'stepz' is not one of"),
    ("- {name: x, steps: [{call: {tool: t}}]}", "expected what has to come of it"),
    ("- {name: x, steps: [{call: {tool: t}, expect: {executed: false}}]}", "only what goes through execute"),
    ("- {name: x, steps: [{do: {explode: now}}]}", "'explode' is not one of"),
    ("- {name: x, steps: [{call: {tool: t}, expect: {verdicts: kill}}]}", "'verdicts' is not one of"),
    ("- {", "couldn't read"),
]


@pytest.mark.parametrize(("text", "expected"), BAD, ids=[text for text, _ in BAD])
def test_a_file_with_a_mistake_is_refused_with_its_place(tmp_path: Path, text: str, expected: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text, "utf-8")
    with pytest.raises(BadScenario, match=r"bad\.yaml") as raised:
        load_file(file)
    assert expected in str(raised.value)


def test_two_scenarios_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(UNGUARDED, "utf-8")
    with pytest.raises(BadScenario, match="two scenarios"):
        load(tmp_path)
