"""Each attack starts from a clean log; the verifier must end with the exit and name the finding."""

from __future__ import annotations

import base64
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from audit_logs import BEGIN, ORIGIN, STEP, LogMaker, force_write, sample, sealed, seed, signed
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aegis.audit import canonical, evidence, heads, merkle, notes, rows, tiles
from aegis.audit.keys import LogKeys
from aegis.audit.notes import Cosigner, NoteSigner, Verifier
from aegis.audit.verifier import LogReport, RowSignatures, verify_log
from aegis.kernel.clock import iso
from aegis.kernel.record import CLASSES, Draft

WITNESS = Cosigner("witness.example/w1", seed("witness-1"))
ORDER = 2**252 + 27742317777372353535851937790883648493


@dataclass
class Case:
    """What the verifier gets: a directory and what it holds beside it."""

    directory: Path
    held: list[str] = field(default_factory=list)
    trusted: list[Verifier] = field(default_factory=list)
    fresh_since: int | None = None

    def verify(self, **options: Any) -> LogReport:
        held = [(f"checkpoint {n}", note) for n, note in enumerate(self.held)]
        return verify_log(self.directory, self.trusted, held=held, fresh_since=self.fresh_since, **options)


def codes(report: LogReport) -> set[str]:
    return {found.code for found in report.findings}


def case_of(log: LogMaker, directory: Path, *held: str) -> Case:
    return Case(log.write(directory), list(held), [log.verifier])


def edited(entry: bytes, change: Callable[[dict[str, Any]], Any], signer: rows.Writer | None = None) -> bytes:
    """The entry with its row changed, under its old signature or a new one."""
    parsed = rows.parse_entry(entry)
    change(parsed.row)
    if signer is not None:
        return signed(parsed.row, signer)
    return canonical.encode(parsed.row) + b"\n" + base64.b64encode(parsed.sig)


def lying(make: Callable[[LogMaker], Any], more: int = 2) -> Callable[[Path], Case]:
    """An operator with all keys: a well-signed, well-hashed log that says something wrong."""

    def build(directory: Path) -> Case:
        log = sample()
        make(log)
        for _ in range(more):
            log.decide("kill")
        return case_of(log, directory)

    return build


def rewritten(change: Callable[[LogMaker], list[bytes]]) -> Callable[[Path], Case]:
    """A database administrator: other entries under the old checkpoint."""

    def build(directory: Path) -> Case:
        log = sample()
        note = log.note()
        entries = change(log)
        return Case(force_write(directory, entries, note), [], [log.verifier])

    return build


def replace(log: LogMaker, at: int, change: Callable[[dict[str, Any]], Any]) -> list[bytes]:
    return [edited(entry, change) if n == at else entry for n, entry in enumerate(log.entries)]


def relinked(entries: list[bytes], writer: rows.Writer, since: int) -> list[bytes]:
    """The entries with `prev` mended and signed again from `since` on: what a thief of the writer's key can do."""
    made = entries[:since]
    for entry in entries[since:]:
        link = {"prev": merkle.leaf_hash(made[-1]).hex()}
        made.append(edited(entry, lambda row, link=link: row.update(link), writer))  # type: ignore[misc]
    return made


def stolen_writer(directory: Path) -> Case:
    log = sample()
    entries = replace(log, 4, lambda row: row.update(verdict="allow"))
    return Case(force_write(directory, relinked(entries, log.writer, 4), log.note()), [], [log.verifier])


def rewriting_operator(more: int) -> Callable[[Path], Case]:
    """Rewrites row 4 and all after it, appends `more` rows, signs; the verifier holds the honest checkpoint."""

    def build(directory: Path) -> Case:
        honest, forged = sample(), sample()
        forged.entries = relinked(replace(forged, 4, lambda row: row.update(risk=1)), forged.writer, 4)
        forged.prev = merkle.leaf_hash(forged.entries[-1]).hex()
        for _ in range(more):
            forged.decide("kill")
        return case_of(forged, directory, honest.note())

    return build


def truncated(directory: Path) -> Case:
    log = sample()
    return Case(force_write(directory, log.entries[:-5], log.note()), [], [log.verifier])


def truncated_bundle_only(directory: Path) -> Case:
    case = case_of(sample(), directory)
    (bundle,) = (directory / "tile/entries").rglob("000.p/*")
    bundle.unlink()
    return case


def rolled_back(directory: Path) -> Case:
    log = sample()
    newer = log.note()
    log.write(directory, log.note(len(log.entries) - 5))
    return Case(directory, [newer], [log.verifier])


def without_checkpoint(directory: Path) -> Case:
    log = sample()
    force_write(directory, log.entries[:-5], "")
    (directory / "checkpoint").unlink()
    return Case(directory, [], [log.verifier])


def stale(directory: Path) -> Case:
    log = sample()
    log.write(directory, log.note(len(log.entries) - 5))
    return Case(directory, [], [log.verifier], fresh_since=BEGIN + STEP * (len(log.entries) - 1))


def inserted(log: LogMaker) -> list[bytes]:
    entries = [*log.entries[:5], edited(log.entries[4], lambda row: row.update(seq=5)), *log.entries[5:]]
    renumber = [edited(entry, lambda row, n=n: row.update(seq=n)) for n, entry in enumerate(entries)]  # type: ignore[misc]
    return [*entries[:6], *renumber[6:]]


def inserted_without_renumbering(log: LogMaker) -> list[bytes]:
    return [*log.entries[:5], log.entries[4], *log.entries[5:-1]]


def foreign_row(directory: Path) -> Case:
    log, other = sample(), sample(origin="audit.aegis.example/t/beta")
    return Case(force_write(directory, [*log.entries[:6], other.entries[6], *log.entries[7:]], log.note()), [],
                [log.verifier])  # fmt: skip


def well_signed_foreign_row(log: LogMaker) -> None:
    log.add("note", change=lambda row: row.update(log="audit.aegis.example/t/beta"))


def same_sequence_twice(log: LogMaker) -> None:
    seq = len(log.entries)
    log.decide("kill")
    log.add("note", change=lambda row: row.update(seq=seq))


def raw_row(make: Callable[[bytes], bytes]) -> Callable[[LogMaker], None]:
    """A row whose bytes are changed before they are signed."""

    def add(log: LogMaker) -> None:
        log.decide("kill")
        honest = rows.parse_entry(log.entries.pop()).row_bytes
        log.put(sealed(make(honest), log.writer))

    return add


def own_keys(directory: Path) -> Case:
    """The whole log made anew with the attacker's keys, under the same names."""
    log = sample()
    thief = NoteSigner(log.origin, seed("thief"))
    log.write(directory, log.note(signer=thief))
    return Case(directory, [], [log.verifier])


def revoked_key_used(log: LogMaker) -> None:
    stolen = rows.Writer("writer-2", seed("writer-2"))
    log.add_key(stolen)
    log.add("note", signer=stolen)
    log.add("key.revoke", signer=log.root, key={"kid": stolen.kid, "last_seq": len(log.entries) - 1})
    log.add("note", signer=stolen)


def suspect_rows(log: LogMaker) -> None:
    stolen = rows.Writer("writer-2", seed("writer-2"))
    added = log.add_key(stolen)
    log.add("note", signer=stolen)
    log.add("key.revoke", signer=log.root, key={"kid": stolen.kid, "last_seq": added})


def key_used_before_it_was_added(log: LogMaker) -> None:
    early = rows.Writer("writer-2", seed("writer-2"))
    log.add("note", signer=early)
    log.add_key(early)


def key_used_outside_its_range(log: LogMaker) -> None:
    short = rows.Writer("writer-2", seed("writer-2"))
    log.add_key(short, last_seq=len(log.entries) + 1)
    log.add("note", signer=short)
    log.add("note", signer=short)


def key_added_by_a_writer(log: LogMaker) -> None:
    other = rows.Writer("writer-2", seed("writer-2"))
    log.add("key.add", key={"kid": other.kid, "pub": other.public.hex(), "role": "writer"})


def with_note(make: Callable[[LogMaker], str]) -> Callable[[Path], Case]:
    def build(directory: Path) -> Case:
        log = sample()
        log.write(directory)
        (directory / "checkpoint").write_text(make(log), "utf-8")
        return Case(directory, [], [log.verifier])

    return build


def bad_line(name: str, identity: bytes, signature: bytes) -> str:
    return f"\u2014 {name} {base64.b64encode(identity + signature).decode()}\n"


def bad_beside_good(log: LogMaker) -> str:
    return log.note() + bad_line(log.origin, log.verifier.id, bytes(64))


def of_another_type(log: LogMaker) -> str:
    text = notes.split_note(log.note())[0]
    return f"{text}\n" + Cosigner(log.origin, seed("log")).line(text, 1_795_000_000)


def with_foreign_signature(log: LogMaker) -> str:
    text = notes.split_note(log.note())[0]
    return f"{text}\n" + bad_line(log.origin, log.verifier.id, bytes.fromhex("d284") + bytes(62))


def confused_vkey(directory: Path) -> Case:
    log = sample()
    return Case(log.write(directory), [], [Verifier.of(log.origin, notes.COSIGNATURE, log.verifier.pub)])


def foreign_signature_in_row(log: LogMaker) -> list[bytes]:
    cose = bytes.fromhex("d2844e") + bytes(61)
    entry = log.entries[4].partition(b"\n")[0] + b"\n" + base64.b64encode(cose)
    return [*log.entries[:4], entry, *log.entries[5:]]


def malleated(log: LogMaker) -> list[bytes]:
    parsed = rows.parse_entry(log.entries[4])
    scalar = (int.from_bytes(parsed.sig[32:], "little") + ORDER).to_bytes(32, "little")
    entry = parsed.row_bytes + b"\n" + base64.b64encode(parsed.sig[:32] + scalar)
    return [*log.entries[:4], entry, *log.entries[5:]]


def flipped(pattern: str) -> Callable[[Path], Case]:
    """One bit of one stored file."""

    def build(directory: Path) -> Case:
        case = case_of(sample(600), directory)
        path = sorted(directory.glob(pattern))[0]
        data = bytearray(path.read_bytes())
        data[40] ^= 1
        path.write_bytes(data)
        return case

    return build


def two_heads(directory: Path) -> Case:
    one, other = sample(3), sample(2)
    other.decide("escalate")
    return Case(one.write(directory), [one.note(), other.note()], [one.verifier])


def back_dated(directory: Path) -> Case:
    log = sample()
    text = notes.split_note(log.note())[0]
    at = log.ts // 1_000_000 + 3600
    held = log.note() + WITNESS.line(text, at)
    log.decide("kill")
    return Case(log.write(directory), [held], [log.verifier, WITNESS.verifier])


def future_dated(directory: Path) -> Case:
    log = sample()
    at = (log.ts - STEP) // 1_000_000 - 3600
    note = log.note() + WITNESS.line(notes.split_note(log.note())[0], at)
    return Case(log.write(directory, note), [], [log.verifier, WITNESS.verifier])


def orphan(log: LogMaker) -> None:
    log.decide("allow", outcome_due=log.due(0))


def closed_by_the_worker(log: LogMaker) -> None:
    lost = log.decide("allow", outcome_due=log.due(0))
    log.decide("kill")
    log.decide("kill")
    log.finish(lost, "unknown")
    log.add("late", agent="agent-7", of=lost, status="ok")


def not_yet_due(log: LogMaker) -> None:
    log.decide("allow", outcome_due=log.due(86_400))


def second_outcome(log: LogMaker) -> None:
    log.finish(log.finish(log.decide("allow")) - 1)


def pruned(with_row: bool) -> Callable[[Path], Case]:
    def build(directory: Path) -> Case:
        log = sample(300)
        if with_row:
            log.add("prune", detail={"minimum": 256})
        log.decide("kill")
        case = case_of(log, directory)
        (directory / "tile/entries/000").unlink()
        return case

    return build


def unknown_version(log: LogMaker) -> None:
    log.add("note", change=lambda row: row.update(v="aegis.row/2"))


def unknown_critical(log: LogMaker) -> None:
    log.add("note", crit=["novelty"], novelty=1)


def other_genesis(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Case]:
    def build(directory: Path) -> Case:
        log = LogMaker()
        root = {"kid": log.root.kid, "pub": log.root.public.hex()}
        params = {"hash": rows.HASH_NAME, "log_vkey": log.vkey, "root": root}
        log.add("genesis", signer=log.root, params=params, change=change)
        log.add_key(log.writer)
        log.decide("kill")
        return case_of(log, directory)

    return build


def lying_row(change: Callable[[dict[str, Any]], Any]) -> Callable[[LogMaker], Any]:
    return lambda log: log.add("decision", agent="agent-7", verdict="kill", change=change)


ATTACKS: list[Any] = []


def attack(id: str, build: Callable[[Path], Case], exit: int, *expected: str, seq: int | None = None) -> None:
    ATTACKS.append(pytest.param(build, exit, set(expected), seq, id=id))


attack("RT01 a verdict flipped", rewritten(lambda log: replace(log, 4, lambda r: r.update(verdict="allow"))), 1,
       "E_SIG_ROW", "E_ROOT_MISMATCH", seq=4)  # fmt: skip
attack("RT02 a byte of an opaque member", rewritten(lambda log: replace(log, 4, lambda r: r.update(rid="x"))), 1,
       "E_SIG_ROW", "E_ROOT_MISMATCH", seq=4)  # fmt: skip
attack("RT04 rewritten with the writer's key", stolen_writer, 1, "E_ROOT_MISMATCH")
attack("RT05 rewritten with all keys, same size", rewriting_operator(0), 1, "E_FORK")
attack("RT06 rewritten with all keys, then grown", rewriting_operator(3), 1, "E_CONSISTENCY")
attack("RT08 a duplicate key, well signed", lying(raw_row(lambda b: b[:-1] + b',"verdict":"kill"}')), 1, "E_CANON",
       seq=16)  # fmt: skip
for name, old, new in [
    ("a fraction", b'"risk":970000', b'"risk":0.97'),
    ("NaN", b'"risk":970000', b'"risk":NaN'),
    ("an integer over 2^53", b'"risk":970000', b'"risk":9007199254740993'),
    ("a lone surrogate", b'"door":"decide"', b'"door":"\\ud800"'),
    ("a key that is not NFC", b'"door":"decide"', '"doo\u0308r":"decide"'.encode()),
    ("a space", b'"door":"decide"', b'"door": "decide"'),
]:
    attack(f"RT09 {name}, well signed", lying(raw_row(lambda b, o=old, n=new: b.replace(o, n))), 1, "E_CANON", seq=16)
attack("RT10 a malleated signature", rewritten(malleated), 1, "E_SIG_ROW", "E_ROOT_MISMATCH", seq=4)
attack("RT12 the tail deleted", truncated, 1, "E_TRUNCATED", seq=11)
attack("RT12 the last bundle deleted", truncated_bundle_only, 1, "E_TRUNCATED", seq=0)
attack("RT13 the tail deleted, an older checkpoint put back", rolled_back, 1, "E_ROLLBACK", seq=11)
attack("RT14 tail and checkpoint deleted, nothing held", without_checkpoint, 2, "W_NO_FRESH_EVIDENCE")
attack("RT14 an older checkpoint, fresh evidence asked for", stale, 2, "W_NO_FRESH_EVIDENCE")
attack("RT16 a forged row inserted", rewritten(inserted), 1, "E_SIG_ROW", "E_ROOT_MISMATCH")
attack("RT16 a row inserted twice", rewritten(inserted_without_renumbering), 1, "E_SEQ_DUP", "E_ROOT_MISMATCH", seq=5)
attack("RT17 a row of another tenant", foreign_row, 1, "E_ORIGIN", "E_ROOT_MISMATCH", seq=6)
attack("RT17 a row of another tenant, well signed", lying(well_signed_foreign_row), 1, "E_ORIGIN", seq=16)
attack("RT18 two rows with one sequence", lying(same_sequence_twice), 1, "E_SEQ_DUP", seq=17)
attack("RT18 a sequence left out", lying(lying_row(lambda r: r.update(seq=r["seq"] + 1))), 1, "E_SEQ_GAP", seq=16)
attack("RT20 all of it signed with own keys", own_keys, 1, "E_KEY_UNKNOWN")
attack("RT20 a row signed by a stranger", lying(lambda log: log.add("note", signer=rows.Writer("w", seed("w")))), 1,
       "E_KEY_UNKNOWN", seq=16)  # fmt: skip
attack("RT21 a revoked key used", lying(revoked_key_used), 1, "E_KEY_REVOKED", seq=19)
attack("RT21 a key used between loss and revocation", lying(suspect_rows), 2, "W_KEY_SUSPECT")
attack("RT22 a key used before it was added", lying(key_used_before_it_was_added), 1, "E_KEY_WINDOW", seq=16)
attack("RT22 a key used outside its range", lying(key_used_outside_its_range), 1, "E_KEY_WINDOW", seq=18)
attack("RT22 a key added by a writer", lying(key_added_by_a_writer), 1, "E_KEY_ROLE", seq=16)
attack("RT22 a plain row signed by root", lying(lambda log: log.add("note", signer=log.root)), 1, "E_KEY_ROLE", seq=16)
attack("RT24 a bad signature beside a good one", with_note(bad_beside_good), 1, "E_SIG_CHECKPOINT")
attack("RT25 a checkpoint signed by a cosigning key", with_note(of_another_type), 1, "E_SIG_CHECKPOINT")
attack("RT25 a vkey of another type", confused_vkey, 1, "E_SIG_CHECKPOINT")
attack("RT26 a foreign signature as the note's", with_note(with_foreign_signature), 1, "E_SIG_CHECKPOINT")
attack("RT26 a foreign signature as the row's", rewritten(foreign_signature_in_row), 1, "E_SIG_ROW", seq=4)
attack("RT34 a bit of a hash tile", flipped("tile/0/000"), 1, "E_TILE", seq=1)
attack("RT34 a bit of an upper tile", flipped("tile/1/000.p/*"), 1, "E_TILE")
attack("RT34 a bit of a bundle", flipped("tile/entries/000"), 1, "E_ROOT_MISMATCH", "E_TILE", seq=0)
attack("RT36 two heads for one size", two_heads, 1, "E_FORK")
attack("RT40 the clock back", lying(lying_row(lambda r: r.update(ts=iso(BEGIN)))), 1, "E_TIME_ORDER", seq=16)
attack("RT41 a row older than a cosigned tree without it", back_dated, 1, "E_TIME_BOUND", seq=16)
attack("RT42 a row younger than its cosignature", future_dated, 1, "E_TIME_BOUND", seq=15)
attack("RT48 a count that doesn't grow", lying(lying_row(lambda r: r["cum"].update(kill=r["cum"]["kill"] - 1))), 1,
       "E_COUNTER", seq=16)  # fmt: skip
attack("RT48 a count that grows twice", lying(lying_row(lambda r: r["cum"].update(allow=r["cum"]["allow"] + 1))), 1,
       "E_COUNTER", seq=16)  # fmt: skip
attack("an agent's ordinal left out", lying(lying_row(lambda r: r.update(an=r["an"] + 1))), 1, "E_AGENT_LINK", seq=16)
attack("an agent's link elsewhere", lying(lying_row(lambda r: r.update(ap=1))), 1, "E_AGENT_LINK", seq=16)
attack("a prev elsewhere", lying(lying_row(lambda r: r.update(prev=rows.NO_PREV))), 1, "E_PREV", seq=16)
attack("RT49 no outcome after its time", lying(orphan), 1, "E_ORPHAN", seq=16)
attack("RT49 closed with unknown, then late", lying(closed_by_the_worker), 0, "I_UNKNOWN_OUTCOME")
attack("RT49 not yet due", lying(not_yet_due), 0, "I_PENDING_OUTCOME")
attack("RT50 an outcome of no decision", lying(lambda log: log.finish(1)), 1, "E_NO_DECISION", seq=16)
attack("RT50 an outcome of a refusal", lying(lambda log: log.finish(4)), 1, "E_NO_DECISION", seq=16)
attack("RT50 an outcome of a later row", lying(lambda log: log.finish(900)), 1, "E_NO_DECISION", seq=16)
attack("RT50 two outcomes", lying(second_outcome), 1, "E_OUTCOME_DUP", seq=18)
attack("RT58 pruned, with a prune row", pruned(True), 0, "I_PRUNED")
attack("RT58 pruned, without one", pruned(False), 1, "E_PRUNED_UNPROVEN", seq=0)
attack("RT64 a row of an unknown version", lying(unknown_version), 3, "E_FORMAT_VERSION")
attack("RT64 an unknown critical member", lying(unknown_critical), 3, "E_FORMAT_VERSION")
attack("a genesis that names another log key",
       other_genesis(lambda r: r["params"].update(log_vkey=NoteSigner(ORIGIN, seed("thief")).vkey)), 1, "E_GENESIS",
       seq=0)  # fmt: skip
attack("a genesis of another root", other_genesis(lambda r: r["params"]["root"].update(pub="00" * 32)), 1, "E_SIG_ROW",
       seq=0)  # fmt: skip
attack("a genesis without a root", other_genesis(lambda r: r["params"].pop("root")), 1, "E_GENESIS", seq=0)
attack("a genesis later on", lying(lambda log: log.add("genesis", signer=log.root, params={})), 1, "E_GENESIS", seq=16)


@pytest.mark.parametrize(("build", "exit", "expected", "seq"), ATTACKS)
def test_an_attack_ends_as_it_must(
    build: Callable[[Path], Case], exit: int, expected: set[str], seq: int | None, tmp_path: Path
) -> None:
    report = build(tmp_path / "log").verify()
    assert codes(report) & expected, report.findings
    assert report.exit == exit, report.findings
    if seq is not None:
        assert report.first_bad == seq, report.findings


@pytest.mark.parametrize("more", [0, 1, 239, 240, 241, 600], ids=lambda n: f"{n + 16} rows")
def test_a_clean_log_verifies(more: int, tmp_path: Path) -> None:
    log = sample(more)
    report = case_of(log, tmp_path / "log", log.note(3), log.note()).verify()
    assert report.exit == 0, report.findings
    assert (report.size, report.root) == (more + 16, merkle.root_of(log.leaves))
    assert report.signatures == report.rows == more + 16
    assert f"up to size {more + 16} at time {iso(log.ts - STEP)}" in report.findings[-1].message


def test_a_brand_new_log_verifies(tmp_path: Path) -> None:
    report = case_of(LogMaker().begin(), tmp_path / "log").verify()
    assert codes(report) == {"I_VERIFIED"}


def test_a_log_with_only_genesis_verifies(tmp_path: Path) -> None:
    log = LogMaker().begin()
    assert Case(log.write(tmp_path / "log", log.note(1)), [], [log.verifier]).verify().exit == 0


def test_a_fork_is_given_as_two_notes_that_anyone_can_check(tmp_path: Path) -> None:
    report = two_heads(tmp_path / "log").verify()
    assert report.fork is not None
    opened = [notes.open_note(note, [LogMaker().verifier]).text for note in report.fork]
    heads = [notes.parse_checkpoint(text) for text in opened]
    assert heads[0].size == heads[1].size and heads[0].root != heads[1].root


def test_row_signatures_can_be_left_out_and_that_is_said(tmp_path: Path) -> None:
    case = case_of(sample(100), tmp_path / "log")
    for chosen, count in [(RowSignatures(0), 2), (RowSignatures(10), 13)]:
        report = case.verify(row_signatures=chosen)
        assert (report.exit, report.signatures) == (0, count)
        assert "I_NOT_CHECKED" in codes(report)


@pytest.mark.parametrize("text", ["", "sample", "sample:0", "sample:-1", "sample:x", "ALL", "sample:99999999999"])
def test_another_choice_of_row_signatures_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        RowSignatures.parse(text)


def test_a_checkpoint_that_is_held_stands_in_for_a_missing_one(tmp_path: Path) -> None:
    log = sample()
    case = case_of(log, tmp_path / "log", log.note())
    (case.directory / "checkpoint").unlink()
    assert case.verify().exit == 0


def test_a_held_checkpoint_of_another_log_is_said(tmp_path: Path) -> None:
    other = sample(origin="audit.aegis.example/t/beta")
    case = case_of(sample(), tmp_path / "log", other.note())
    case.trusted.append(other.verifier)
    assert "E_ORIGIN" in codes(case.verify())


def test_no_log_key_is_no_evidence(tmp_path: Path) -> None:
    case = case_of(sample(), tmp_path / "log")
    case.trusted = [WITNESS.verifier]
    assert "W_NO_TRUSTED_KEY" in codes(case.verify())
    assert case.verify().exit != 0


@pytest.mark.parametrize("make", [lambda p: None, lambda p: p.write_text("x")], ids=["absent", "a file"])
def test_what_is_no_directory_is_not_readable(make: Callable[[Path], Any], tmp_path: Path) -> None:
    make(tmp_path / "log")
    report = verify_log(tmp_path / "log", [LogMaker().verifier])
    assert (report.exit, codes(report)) == (3, {"E_UNREADABLE"})


def test_files_that_are_no_part_of_the_log_are_counted(tmp_path: Path) -> None:
    case = case_of(sample(), tmp_path / "log")
    (case.directory / "notes.txt").write_text("x")
    (case.directory / "tile/0/000.p/3").write_bytes(bytes(96))
    (found,) = [found for found in case.verify().findings if found.code == "I_EXTRA_FILES"]
    assert found.message.startswith("2 files")


def test_a_checkpoint_that_claims_a_huge_size_ends_at_once(tmp_path: Path) -> None:
    log = sample()
    log.write(tmp_path / "log")
    huge = log.signer.sign(notes.checkpoint(log.origin, 2**62, bytes(32)))
    (tmp_path / "log/checkpoint").write_text(huge, "utf-8")
    report = verify_log(tmp_path / "log", [log.verifier])
    assert (report.exit, "E_TRUNCATED" in codes(report)) == (1, True)


def test_many_findings_of_a_kind_are_shown_in_part(tmp_path: Path) -> None:
    log = sample(300)
    entries = [edited(entry, lambda row: row.update(rid="x")) for entry in log.entries]
    report = Case(force_write(tmp_path / "log", entries, log.note()), [], [log.verifier]).verify()
    assert len(report.findings) < 100
    assert any(found.message.endswith("more like this") for found in report.findings)


def test_progress_reaches_the_end(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    case_of(sample(600), tmp_path / "log").verify(progress=lambda done, size: seen.append((done, size)))
    assert seen[-1] == (616, 616)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Verifier, list[str]]:
    log = sample(270)
    directory = log.write(tmp_path_factory.mktemp("clean") / "log")
    return directory, log.verifier, sorted(str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file())


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_change_of_any_file_is_seen(
    clean: tuple[Path, Verifier, list[str]], data: st.DataObject, tmp_path: Path
) -> None:
    """Bytes changed, put in, taken out or cut off, and whole files gone: never exit 0, never a traceback."""
    directory, verifier, files = clean
    name = data.draw(st.sampled_from(files))
    original = (directory / name).read_bytes()
    at = data.draw(st.integers(0, len(original) - 1))
    match data.draw(st.sampled_from(["flip", "insert", "delete", "cut", "empty", "gone"])):
        case "flip":
            changed = original[:at] + bytes([original[at] ^ 1 << data.draw(st.integers(0, 7))]) + original[at + 1 :]
        case "insert":
            changed = original[:at] + data.draw(st.binary(min_size=1, max_size=3)) + original[at:]
        case "delete":
            changed = original[:at] + original[at + 1 :]
        case "cut":
            changed = original[:at]
        case "empty":
            changed = b""
        case _:
            changed = None
    copy = tmp_path / "copy"
    shutil.copytree(directory, copy, copy_function=os.link)
    (copy / name).unlink()
    if changed is not None:
        (copy / name).write_bytes(changed)
    report = verify_log(copy, [verifier], row_signatures=RowSignatures(0))
    shutil.rmtree(copy)
    assert report.exit != 0 or changed == original


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_row_that_an_operator_signs_makes_a_traceback(data: st.DataObject, tmp_path: Path) -> None:
    """Well signed, canonical, and any member of any type."""
    log = LogMaker().begin()
    allowed = log.decide("allow", outcome_due=log.due())
    values = st.recursive(
        st.booleans() | st.integers(-5, 5) | st.text(max_size=5) | st.just(allowed),
        lambda t: st.lists(t, max_size=2) | st.dictionaries(st.sampled_from(["kid", "pub", "last_seq", "a"]), t),
        max_leaves=4,
    )
    members = st.dictionaries(st.sampled_from(sorted(rows.MEMBERS)), values, max_size=4)
    for _ in range(3):
        kind = data.draw(st.sampled_from(sorted(rows.KINDS)))
        changed = data.draw(members)
        signer = data.draw(st.sampled_from([log.root, log.writer]))
        base = {"verdict": "kill", "status": "ok", "count": 1, "of": allowed, "key": {"kid": "k"}, "params": {}}
        log.add(kind, signer=signer, change=lambda row, c=changed: row.update(c), **base)  # type: ignore[misc]
    directory = tmp_path / "log"
    verify_log(log.write(directory), [log.verifier])
    shutil.rmtree(directory)


def test_every_code_that_a_finding_can_have_is_in_the_table() -> None:
    for code, (exit, meaning) in evidence.CODES.items():
        assert exit == {"E": exit if exit in (1, 3) else -1, "W": 2, "I": 0}[code[0]]
        assert meaning


@pytest.mark.parametrize(
    ("found", "exit"),
    [([], 0), (["I_PRUNED"], 0), (["W_NOT_INCLUDED", "I_PRUNED"], 2), (["E_UNREADABLE", "W_NOT_INCLUDED"], 3),
     (["E_FORMAT_VERSION", "E_SIG_ROW"], 1)],
)  # fmt: skip
def test_proof_of_tampering_outweighs_the_rest(found: list[str], exit: int) -> None:
    assert evidence.exit_code([evidence.finding(code) for code in found]) == exit


def test_shared_scenarios_of_logs_are_all_here() -> None:
    repository = Path(__file__).resolve().parents[2]
    path = Path(os.environ.get("AEGIS_SHARED", repository.parent / "shared")) / "vectors/redteam_scenarios.json"
    if not path.exists():
        pytest.skip("needs test vectors that are no part of this repository: nothing to do")
    elsewhere = {f"RT{n}" for n in (28, 29, 30, 32, 33, 56, 57, 61)}  # receipts
    not_yet = {f"RT{n}" for n in (37, 38, 44, 45, 46, 52, 53, 54, 60, 62, 65, 66, 68)}
    scenarios = {scenario["id"]: scenario for scenario in json.loads(path.read_text())["scenarios"]}
    tried = {param.id.split()[0]: param.values for param in ATTACKS if param.id.startswith("RT")}
    assert set(scenarios) == set(tried) | elsewhere | not_yet
    for name in tried:
        wanted = scenarios[name]
        assert any(
            set(wanted["expect"]) & param.values[2] and param.values[1] == wanted["exit"]
            for param in ATTACKS
            if param.id.split()[0] == name
        ), name


def test_a_log_that_the_gateways_own_code_places_verifies(tmp_path: Path) -> None:
    """What puts rows behind a head and what verifies them agree on counts, links, keys, time and tree."""
    keys = LogKeys(rows.Writer.of("root", seed("root")), rows.Writer.of("writer", seed("writer-1")), seed("log"),
                   seed("token"), seed("vault"))  # fmt: skip
    signer = NoteSigner(ORIGIN, keys.log_seed)
    empty = merkle.Frontier.empty()
    head = heads.Head("t", ORIGIN, bytes(32), empty, 0, dict.fromkeys(CLASSES, 0), 0, frozenset())

    def decided(verdict: str, agent: str) -> Draft:
        return Draft("t", "decision", "r", {"verdict": verdict}, agent=agent, counts=(verdict,))

    batches = [
        [decided("allow", "a"), decided("kill", "b"), decided("monitor", "a")],
        [Draft("t", "outcome", "r", {"of": 2, "status": "ok"}, agent="a", counts=("ok",))],
        [Draft("t", "throttled", "r", {"count": 30}, agent="b", counts=("throttle",), count=30)],
        [Draft("t", "kill", "r", {"scope": "tenant"}, raises_epoch=True), decided("escalate", "c")],
    ]
    entries: list[bytes] = []
    for n, batch in enumerate(batches):
        drafts = [(draft, len(entries) + k) for k, draft in enumerate(batch)]
        extension = heads.extend(head, drafts, keys, signer.vkey, "gw-1", BEGIN + n * STEP)
        entries += [placed.entry for placed in extension.rows]
        links = {**head.agents, **extension.links}
        head = dataclasses.replace(extension.after, agents=links)
        for placed, path in zip(extension.rows, extension.paths, strict=True):
            merkle.verify_inclusion(placed.leaf, placed.seq, head.size, path, head.frontier.root())
    note = signer.sign(notes.checkpoint(ORIGIN, head.size, head.frontier.root()))
    tiles.write_directory(tmp_path / "log", entries, note)
    report = verify_log(tmp_path / "log", [signer.verifier])
    assert (report.exit, report.size) == (0, 9), report.findings
