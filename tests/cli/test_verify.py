"""`aegis verify` as a person runs it: exit codes, and words that say what was checked and what was not."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aegis.audit import notes
from aegis.cli.verify import verify

sys.path.insert(0, str(Path(__file__).parents[1] / "audit"))
from audit_logs import LogMaker, sample, seed


def run(*arguments: object, input: bytes | None = None) -> Result:
    result = CliRunner().invoke(verify, [str(a) for a in arguments], input=input)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.fixture
def log() -> LogMaker:
    return sample()


@pytest.fixture
def directory(log: LogMaker, tmp_path: Path) -> Path:
    return log.write(tmp_path / "log")


def test_a_clean_log_is_verified_up_to_a_size_and_time(log: LogMaker, directory: Path) -> None:
    result = run("log", directory, "--vkey", log.vkey)
    assert result.exit_code == 0, result.output
    assert "verified up to size 16 at time 2026-11-23T08:15:00.000000Z" in result.output
    assert "16 rows" in result.output and "16 row signatures" in result.output


def test_a_changed_log_names_the_first_bad_sequence(log: LogMaker, directory: Path) -> None:
    (bundle,) = (directory / "tile/entries/000.p").iterdir()
    bundle.write_bytes(bundle.read_bytes().replace(b'"verdict":"kill"', b'"verdict":"fine"', 1))
    result = run("log", directory, "--vkey", log.vkey)
    assert result.exit_code == 1
    assert "first bad sequence: 4" in result.output
    assert result.output.rstrip().endswith("TAMPERING PROVEN")
    assert "verified up to" not in result.output


def test_json_holds_the_same(log: LogMaker, directory: Path) -> None:
    result = run("log", directory, "--vkey", log.vkey, "--json")
    tree = json.loads(result.output)
    assert (tree["exit"], tree["result"], tree["size"], tree["first_bad"]) == (0, "verified", 16, None)
    assert tree["findings"][-1]["code"] == "I_VERIFIED"


def test_no_checkpoint_is_not_enough(log: LogMaker, directory: Path) -> None:
    (directory / "checkpoint").unlink()
    result = run("log", directory, "--vkey", log.vkey)
    assert result.exit_code == 2
    assert "evidence not enough" in result.output


@pytest.mark.parametrize("form", ["note", "proof", "receipt"])
def test_a_newer_checkpoint_in_any_form_shows_a_rollback(form: str, tmp_path: Path) -> None:
    log = sample()
    directory = log.write(tmp_path / "old", log.note(11))
    text = {"note": log.note(), "proof": log.proof(4), "receipt": json.dumps(log.receipt(4))}[form]
    (tmp_path / "held").write_text(text, "utf-8")
    result = run("log", directory, "--vkey", log.vkey, "--checkpoint", tmp_path / "held")
    assert result.exit_code == 1
    assert "E_ROLLBACK" in result.output


def test_a_fork_is_written_down(tmp_path: Path) -> None:
    log, other = sample(3), sample(2)
    other.decide("escalate")
    (tmp_path / "held").write_text(other.note(), "utf-8")
    evidence = tmp_path / "fork.json"
    result = run(
        "log", log.write(tmp_path / "log"), "--vkey", log.vkey, "--checkpoint", tmp_path / "held",
        "--fork-evidence", evidence,
    )  # fmt: skip
    assert result.exit_code == 1
    assert json.loads(evidence.read_text("utf-8")) == {"log": log.origin, "notes": [log.note(), other.note()]}


def test_row_signatures_can_be_sampled_and_that_is_printed(log: LogMaker, directory: Path) -> None:
    result = run("log", directory, "--vkey", log.vkey, "--row-sigs", "sample:4")
    assert result.exit_code == 0
    assert "row signatures: one in 4" in result.output


def test_what_is_not_there_is_not_readable(log: LogMaker, tmp_path: Path) -> None:
    assert run("log", tmp_path / "nothing", "--vkey", log.vkey).exit_code == 3
    assert run("receipt", tmp_path / "nothing", "--vkey", log.vkey).exit_code == 3


def test_a_receipt_is_verified_and_says_what_was_not_checked(log: LogMaker, tmp_path: Path) -> None:
    file = tmp_path / "receipt.json"
    file.write_text(json.dumps(log.receipt(4, with_keys=False)), "utf-8")
    result = run("receipt", file, "--vkey", log.vkey)
    assert result.exit_code == 0
    assert "I_NOT_CHECKED" in result.output
    assert result.output.rstrip().endswith("verified")


def test_a_receipt_comes_from_standard_input_too(log: LogMaker) -> None:
    assert run("receipt", "-", "--vkey", log.vkey, input=json.dumps(log.receipt(4)).encode()).exit_code == 0


@pytest.mark.parametrize(
    ("text", "exit"),
    [
        pytest.param(b"\xff", 3, id="no text"),
        pytest.param(b"[1", 3, id="no JSON"),
        pytest.param(b"[" * 100_000, 3, id="deep JSON"),
        pytest.param(b"[1]", 3, id="no object"),
        pytest.param(b'{"v":"aegis.receipt/9"}', 3, id="another version"),
        pytest.param(b'{"v":"aegis.receipt/1","v":"aegis.receipt/1"}', 1, id="a member twice"),
    ],
)
def test_other_files_end_with_their_exit(text: bytes, exit: int, log: LogMaker) -> None:
    assert run("receipt", "-", "--vkey", log.vkey, input=text).exit_code == exit


@pytest.mark.parametrize("vkey", ["", "x", "a+00000000+AAAA"])
def test_a_vkey_that_is_none_is_wrong_usage(vkey: str, directory: Path) -> None:
    assert run("log", directory, "--vkey", vkey).exit_code == 2


def test_without_a_key_nothing_is_verified(directory: Path) -> None:
    result = run("log", directory)
    assert result.exit_code == 2 and "--vkey" in result.output


@pytest.mark.parametrize("what", ["bundle", "report"])
def test_what_can_not_be_verified_yet_says_so(what: str) -> None:
    result = run(what, "FILE", "--vkey", "x")
    assert result.exit_code == 2
    assert "can't be verified yet" in result.output


def test_an_enemys_text_does_not_steer_the_terminal(tmp_path: Path) -> None:
    log = LogMaker().begin()
    log.add("note", change=lambda row: row.update(kid="\x1b[2Jx"))
    result = run("log", log.write(tmp_path / "log"), "--vkey", log.vkey)
    assert result.exit_code == 1
    assert "\x1b" not in result.output


def test_a_stale_log_is_not_enough_where_freshness_is_asked_for(log: LogMaker, directory: Path) -> None:
    assert run("log", directory, "--vkey", log.vkey, "--fresh-since", "2026-11-23T08:00:00Z").exit_code == 0
    assert run("log", directory, "--vkey", log.vkey, "--fresh-since", "2026-11-24T00:00:00Z").exit_code == 2
    assert run("log", directory, "--vkey", log.vkey, "--fresh-since", "yesterday").exit_code == 2


def test_a_witness_key_may_stand_beside_the_logs(log: LogMaker, tmp_path: Path) -> None:
    witness = notes.Cosigner("witness.example/w1", seed("witness-1"))
    note = log.note() + witness.line(notes.split_note(log.note())[0], log.ts // 1_000_000)
    result = run("log", log.write(tmp_path / "log", note), "--vkey", log.vkey, "--vkey", witness.vkey)
    assert result.exit_code == 0, result.output
