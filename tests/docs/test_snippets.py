"""What the pages show is run: on a real Aegis, in the order of the page."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tomllib
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import quick_folder
from tests.docs.conftest import Running, free_port
from tests.docs.fences import ROOT, Fence, fences, mark, missing, name_of, pages, script

LIMIT_S = 60
PAGES = [page for page in pages() if any("run" in fence.words for fence in fences(page))]
SETUP = [fence for fence in fences(ROOT / "README.md") if "setup" in fence.words]


@pytest.mark.server
@pytest.mark.needs_tool("curl")
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_the_commands_of_a_page_do_what_it_says(page: Path, running: Running) -> None:
    blocks = fences(page)
    to_run = [fence for fence in blocks if "run" in fence.words]
    if page.name != "README.md":
        to_run = SETUP + to_run
    printed = run(to_run, running)
    for before, fence in pairwise(blocks):
        if "output" in fence.words:
            lacking = missing(fence, printed[before.place])
            assert lacking is None, f"{fence.place}: expected {lacking!r} in\n{printed[before.place]}"


def run(blocks: list[Fence], running: Running) -> dict[str, str]:
    """What each block printed, by its place. Fails with everything that was printed when a command does."""
    folder = quick_folder("aegis-page-")
    (folder / ".venv").symlink_to(sys.prefix)
    environment = {name: text for name, text in os.environ.items() if not name.startswith("AEGIS_")}
    environment |= {"DATA": str(running.data), "TOUR": str(folder / "tour"), "PORT": str(free_port())}
    output = folder / "output"
    try:
        with output.open("wb") as sink:
            shell = subprocess.Popen(
                ["bash", "-c", script(blocks)],
                cwd=folder,
                env=environment,
                stdout=sink,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                status = shell.wait(LIMIT_S)
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(shell.pid, signal.SIGKILL)  # what the page left running in the background
        text = output.read_text("utf-8", "replace")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    assert status == 0, text
    return _by_place(text, blocks)


def _by_place(text: str, blocks: list[Fence]) -> dict[str, str]:
    printed = {}
    for block in blocks:
        _, _, rest = text.partition(mark(block) + "\n")
        printed[block.place] = rest.partition("\n==== ")[0]
    return printed


SHOWN = [fence for page in pages() for fence in fences(page) if not fence.words & {"run", "output"}]


@pytest.mark.parametrize("fence", [f for f in SHOWN if f.language == "json"], ids=lambda fence: fence.place)
def test_json_that_is_shown_parses(fence: Fence) -> None:
    json.loads(fence.text)


@pytest.mark.parametrize("fence", [f for f in SHOWN if f.language == "toml"], ids=lambda fence: fence.place)
def test_toml_that_is_shown_parses(fence: Fence) -> None:
    tomllib.loads(fence.text)


@pytest.mark.parametrize("fence", [f for f in SHOWN if f.language == "bash"], ids=lambda fence: fence.place)
def test_shell_that_is_only_shown_parses(fence: Fence) -> None:
    done = subprocess.run(["bash", "-n"], input=fence.text.encode(), capture_output=True, timeout=10)
    assert done.returncode == 0, done.stderr.decode()
