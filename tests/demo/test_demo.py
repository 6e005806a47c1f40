"""`aegis demo` as people start it, and that it fails where a rule is missing: the targets then say so themselves."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytestmark = [pytest.mark.server, pytest.mark.needs_linux]
PATIENCE_S = 180.0
TELLING = (
    "crm.export: customers csv",
    "rm -rf ~",
    "DROP TABLE customers",
    "delete namespace production",
    "secret.leak",
    "output.injection",
    "approval.mismatch",
    "kill switch: running call cancelled after",
    "holds 5000 customers",
    "verified up to size",
    "E_SIG_ROW",
    "every step was as expected",
)

UNGUARDED = """
import sys
from dataclasses import replace
from aegis.demo.play import ACTS, SET_UP
from aegis.demo.programme import Watching, perform

taken_out = {name: dict(tool, kinds={"/query": "text", "/command": "text"}) for name, tool in SET_UP.tools.items()}
acts = [act for act in ACTS if act.title in ("DROP TABLE", "rm -rf", "The targets are asked")]
performed = perform(Watching(lambda _: None, lambda line: print(line.title, "|", line.says, "|", line.wrong)), acts,
                    replace(SET_UP, tools=taken_out))
sys.exit(0 if performed.is_as_expected else 1)
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=PATIENCE_S, check=False, cwd="/"
    )


def test_every_step_is_as_expected_and_the_table_says_so() -> None:
    done = run("-P", "-m", "aegis", "demo")
    assert done.returncode == 0, done.stdout + done.stderr
    said = re.sub(r"[│┃]|\s+", " ", done.stdout)
    missing = [text for text in TELLING if text not in re.sub(r" +", " ", said) and text not in done.stdout]
    assert missing == []
    assert "✗" not in done.stdout


def test_without_the_rules_for_sql_and_shells_the_targets_are_harmed_and_the_demo_fails() -> None:
    done = run("-P", "-c", UNGUARDED)
    assert done.returncode == 1, done.stdout + done.stderr
    assert re.search(r"DROP TABLE \|.*\| database was reached", done.stdout)
    assert re.search(r"rm -rf \|.*\| workspace was reached", done.stdout)
    assert re.search(r"every row still there\?.*expected", done.stdout)
    assert re.search(r"every file still there\?.*expected", done.stdout)


def test_keep_leaves_everything_running_until_it_is_interrupted() -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "aegis", "demo", "--keep"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, cwd="/",
    )  # fmt: skip
    assert process.stdout is not None
    said: list[str] = []
    deadline = time.monotonic() + PATIENCE_S
    for line in process.stdout:
        said.append(line)
        if "-d '" in line or time.monotonic() > deadline:
            break
    text = "".join(said)
    try:
        curl = re.search(r"^curl -s (\S+) -H '([^']+)' \\\n  -H '([^']+)' -d '([^']+)'", text, re.MULTILINE)
        assert curl is not None, text
        answered = subprocess.run(
            ["curl", "-s", curl[1], "-H", curl[2], "-H", curl[3], "-d", curl[4]],
            capture_output=True,
            check=True,
            timeout=30,
        )
        assert json.loads(answered.stdout)["output"]["rows"] == [[5000]]
        named = re.search(r"Credentials: (\S+)", text)
        assert named is not None and Path(named[1]).is_file()
    finally:
        process.send_signal(signal.SIGINT)
        status = process.wait(60)
    assert status == 0
    assert not Path(named[1]).exists()


def test_stopped_in_the_middle_it_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "aegis", "demo"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        cwd="/", env=os.environ | {"TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert process.stdout is not None
    next(line for line in process.stdout if "registering" in line or "Ordinary" in line)
    assert list(tmp_path.iterdir())
    process.send_signal(signal.SIGTERM)
    process.stdout.read()
    assert process.wait(60) == 128 + signal.SIGTERM
    assert not list(tmp_path.iterdir())


def test_what_a_tampered_log_is_recognised_by(tmp_path: Path) -> None:
    """The forger changes one byte of the first row that says kill, and nothing else."""
    from aegis.audit import tiles
    from aegis.demo.evidence import forge

    bundle = tmp_path / "tile" / "entries" / "000.p" / "3"
    bundle.parent.mkdir(parents=True)
    entries = [b'{"verdict":"allow"}', b'{"verdict":"kill"}', b'{"verdict":"kill"}']
    bundle.write_bytes(tiles.encode_bundle(entries))
    assert forge(tmp_path) == 1
    assert tiles.decode_bundle(bundle.read_bytes()) == [entries[0], b'{"verdict":"k1ll"}', entries[2]]
