"""What the pages say exists, and what exists is said: settings, codes, commands, metrics, paths, links."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import click
import pytest

from aegis.audit import evidence, rows
from aegis.cli import aegis
from aegis.config import NOT_SETTINGS, every_setting
from aegis.console_api.app import ROUTES
from aegis.console_api.openapi import DOORS
from aegis.kernel.codes import CODES
from aegis.kernel.decision import STAGES
from tests.docs.conftest import Running
from tests.docs.fences import ROOT, name_of, pages

DOCS = ROOT / "docs"
TEXTS = {page: page.read_text("utf-8") for page in pages()}
ALL = "\n".join(TEXTS.values())


def generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("page", "text"), generator().pages().items(), ids=lambda each: getattr(each, "name", ""))
def test_a_made_page_is_what_would_be_made_now(page: Path, text: str) -> None:
    assert page.read_text("utf-8") == text, "run .venv/bin/python docs/generate.py"


# ------------------------------------------------------------------ everything is said


@pytest.mark.parametrize("name", [name for name, _ in every_setting()])
def test_every_setting_is_described(name: str) -> None:
    assert f"### `{name}`\n" in TEXTS[DOCS / "configuration.md"]


@pytest.mark.parametrize("code", CODES)
def test_every_finding_code_is_described(code: str) -> None:
    assert f"| `{code}` |" in TEXTS[DOCS / "codes.md"]


def _commands(command: click.Command, context: click.Context) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            inside = click.Context(inner, info_name=name, parent=context)
            yield inside.command_path, inner
            yield from _commands(inner, inside)


EVERY_COMMAND = list(_commands(aegis, click.Context(aegis, info_name="aegis")))


@pytest.mark.parametrize(("path", "command"), EVERY_COMMAND, ids=[path for path, _ in EVERY_COMMAND])
def test_every_command_and_each_of_its_options_is_described(path: str, command: click.Command) -> None:
    page = TEXTS[DOCS / "commands.md"]
    _, found, rest = page.partition(f"\n## `{path}`\n")
    assert found
    section = rest.partition("\n## ")[0]
    for option in command.params:
        if isinstance(option, click.Option) and not option.hidden:
            assert all(word in section for word in option.opts), option.opts


@pytest.mark.server
def test_every_metric_is_described_and_no_other(running: Running) -> None:
    with urllib.request.urlopen(running.url + "/metrics", timeout=10) as answer:
        text = answer.read().decode()
    served = {name for name in re.findall(r"^# HELP (\w+) ", text, re.MULTILINE) if not name.endswith("_created")}
    described = set(re.findall(r"^\| `(aegis_\w+)` \|", TEXTS[DOCS / "operations.md"], re.MULTILINE))
    assert described == served


def test_every_member_of_a_row_is_described_and_no_other() -> None:
    table = TEXTS[DOCS / "audit.md"].partition("| member | what it is |")[2].partition("\n\n")[0]
    described = {
        name for cell in re.findall(r"^\| (.*?) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    }
    assert described == set(rows.MEMBERS)


@pytest.mark.parametrize("word", [*rows.KINDS, *evidence.CODES])
def test_every_kind_of_row_and_verifier_code_is_described(word: str) -> None:
    assert f"| `{word}` |" in TEXTS[DOCS / "audit.md"]


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_stands_in_the_picture(stage: str) -> None:
    picture = TEXTS[DOCS / "architecture.md"].partition("```mermaid")[2].partition("```")[0]
    assert f"{STAGES.index(stage)} {stage}" in picture or f"{STAGES.index(stage)} {stage}:" in picture


# ------------------------------------------------------------------ what is said exists


def test_every_variable_that_a_page_names_is_a_setting() -> None:
    known = {f"AEGIS_{name.upper().replace('.', '__')}" for name, _ in every_setting()} | NOT_SETTINGS
    named = set(re.findall(r"\bAEGIS_[A-Z_]*[A-Z]\b", ALL))
    assert {name for name in named - known if not name.startswith("AEGIS_SECRET")} == set()


def test_every_path_that_a_page_names_is_served() -> None:
    known = [(r.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", r.path))) for r in (*DOORS, *ROUTES)]
    for method, path in set(re.findall(r"`(GET|POST|PUT|PATCH|DELETE) (/[^\s`?]*)", ALL)):
        wanted = re.sub(r"\{\w+\}|\.\.\.", "x", path)
        assert any(method == m and pattern.fullmatch(wanted) for m, pattern in known), f"{method} {path}"


def test_every_make_target_that_a_page_names_exists() -> None:
    made = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:`|^)make ([a-z-]+)", ALL, re.MULTILINE)) <= made


def test_every_aegis_command_that_a_page_names_exists() -> None:
    known = {path for path, _ in EVERY_COMMAND}
    to_come = {f"aegis {name}" for name in ("policy",)}
    named = {f"aegis {name}" for name in re.findall(r"(?:`|bin/)aegis ([a-z]+)", ALL)}
    planned = set(re.findall(r"`(aegis [a-z]+)`", TEXTS[DOCS / "commands.md"].partition("Planned, not there yet")[2]))
    assert named <= known | to_come | planned


def test_every_file_that_the_guide_for_contributors_names_exists() -> None:
    for path in set(re.findall(r"`((?:src|tests|docs|policies|bench|\.ci)/[^`*{<\s]*)`", ALL)):
        assert (ROOT / path).exists(), path


LINKS = [
    (page, target)
    for page, text in TEXTS.items()
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE))
    if not target.startswith(("http://", "https://"))
]


@pytest.mark.parametrize(("page", "target"), LINKS, ids=[f"{name_of(page)}->{target}" for page, target in LINKS])
def test_a_link_leads_somewhere(page: Path, target: str) -> None:
    path, _, anchor = target.partition("#")
    there = (page.parent / path).resolve() if path else page
    assert there.exists()
    if anchor:
        assert anchor in {
            _anchor(heading) for heading in re.findall(r"^#+ (.+)$", there.read_text("utf-8"), re.MULTILINE)
        }


def _anchor(heading: str) -> str:
    """As code hosts make them of headings."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# ------------------------------------------------------------------ the shape of pages


RECORDS = sorted((DOCS / "adr").glob("*.md"))


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.name)
def test_a_decision_record_is_short_and_has_its_three_parts(record: Path) -> None:
    text = record.read_text("utf-8")
    assert len(text.splitlines()) <= 40
    assert text.startswith(f"# {record.name[:4]}: ")
    places = [text.find(f"**{part}.**") for part in ("Context", "Decision", "Consequences")]
    assert -1 not in places and places == sorted(places)


def test_every_page_is_reached_from_the_readme_or_a_page_that_is() -> None:
    reached, new = set(), {ROOT / "README.md"}
    while new:
        reached |= new
        new = {(page.parent / target.partition("#")[0]).resolve() for page, target in LINKS if page in new}
        new = {page for page in new if page.suffix == ".md"} - reached
    unlisted = {page for page in TEXTS if page not in reached and page.parent.name != "adr"}
    assert unlisted <= {DOCS / "bench.md", DOCS / "faults.md"}


def test_pages_have_no_trailing_blanks_and_end_with_a_line() -> None:
    for page, text in TEXTS.items():
        assert text.endswith("\n") and not re.search(r"[ \t]$", text, re.MULTILINE), name_of(page)


def test_ordinary_git_knows_every_page() -> None:
    """A page that nobody added is missing in a clone."""
    listed = subprocess.run(["git", "ls-files", "--cached"], cwd=ROOT, capture_output=True, text=True, timeout=10)
    if listed.returncode:
        pytest.skip("needs the repository's history")
    assert {name_of(page) for page in TEXTS} <= set(listed.stdout.splitlines())
