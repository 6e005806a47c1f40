"""Each attack starts from a good receipt; verification must end with the exit and name the finding."""

from __future__ import annotations

import base64
import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from audit_logs import ORIGIN, LogMaker, flight_of, salt, sample, sealed, seed
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit import canonical, merkle, notes, proofs, receipts, rows
from aegis.audit.evidence import Finding, exit_code
from aegis.audit.notes import COSIGNATURE, Cosigner, NoteSigner, Verifier
from aegis.kernel import jsontree

LOG = sample()
OTHER = sample(origin="audit.aegis.example/t/beta")
KILLED = 4
GOOD = LOG.receipt(KILLED)
Receipt = dict[str, Any]


def verify(receipt: object, *verifiers: Verifier) -> list[Finding]:
    return receipts.verify_receipt(receipt, verifiers or (LOG.verifier,))


def codes(found: list[Finding]) -> set[str]:
    return {each.code for each in found}


def with_proof(change: Callable[[proofs.Proof], tuple[int, list[bytes], str]]) -> Receipt:
    return {**GOOD, "proof": proofs.format_proof(*change(proofs.parse_proof(GOOD["proof"])))}


def with_path(change: Callable[[list[bytes]], list[bytes]]) -> Receipt:
    return with_proof(lambda p: (p.index, change(list(p.path)), p.checkpoint))


def with_note(note: str) -> Receipt:
    return with_proof(lambda p: (p.index, list(p.path), note))


def second_preimage() -> Receipt:
    """An inner node as if it were a leaf: its children's hashes can't be the bytes of an entry."""
    path = [*proofs.parse_proof(GOOD["proof"]).path][1:]
    inner = merkle.node_hash(LOG.leaves[4], LOG.leaves[5])
    return {**GOOD, "row": inner.hex(), "proof": proofs.format_proof(2, path, LOG.note()), "index": 2}


def of_a_log_with(add: Callable[[LogMaker], int], **members: Any) -> Receipt:
    log = sample()
    index = add(log)
    log.decide("kill")
    return log.receipt(index, **members)


def raw(make: Callable[[bytes], bytes]) -> Callable[[LogMaker], int]:
    def add(log: LogMaker) -> int:
        log.decide("kill")
        return log.put(sealed(make(rows.parse_entry(log.entries.pop()).row_bytes), log.writer))

    return add


def opened(**openings: Any) -> Receipt:
    return {**GOOD, "openings": openings}


def erased(log: LogMaker) -> Receipt:
    seq = log.decide("kill")
    erase = log.add("erase", detail={"seqs": [seq], "basis": "request"})
    proof = log.proof(erase, extra=log.entries[erase])
    return log.receipt(seq, openings={"inputs": {"erased": proof}})


def erased_for_another(log: LogMaker) -> Receipt:
    seq = log.decide("kill")
    erase = log.add("erase", detail={"seqs": [seq + 1]})
    return log.receipt(seq, openings={"inputs": {"erased": log.proof(erase, extra=log.entries[erase])}})


def late_writer(log: LogMaker) -> Receipt:
    """The key row that the receipt brings stands behind the row that the key signed."""
    early = rows.Writer("writer-2", seed("writer-2"))
    seq = log.add("note", signer=early)
    added = log.add_key(early)
    made = log.receipt(seq)
    return {**made, "keys": {**made["keys"], "writer": log.proof(added, extra=log.entries[added])}}


def other_writer(log: LogMaker) -> Receipt:
    added = log.add_key(rows.Writer("writer-2", seed("writer-2")))
    seq = log.decide("kill")
    made = log.receipt(seq)
    return {**made, "keys": {"writer": log.proof(added, extra=log.entries[added])}}


def self_made_key(log: LogMaker) -> Receipt:
    """A key row signed by the writer itself, well placed in the tree."""
    thief = rows.Writer("writer-2", seed("writer-2"))
    added = log.add("key.add", signer=thief, key={"kid": thief.kid, "pub": thief.public.hex(), "role": "writer"})
    seq = log.add("note", signer=thief)
    made = log.receipt(seq)
    return {**made, "keys": {**made["keys"], "writer": log.proof(added, extra=log.entries[added])}}


def bad_line() -> str:
    blob = LOG.verifier.id + bytes(64)
    return f"\u2014 {LOG.origin} {base64.b64encode(blob).decode()}\n"


THIEF = NoteSigner(ORIGIN, seed("thief"))
TEXT = notes.split_note(LOG.note())[0]
FLIPPED = GOOD["row"].replace('"verdict":"kill"', '"verdict":"allow"')
COSE = base64.b64encode(bytes.fromhex("d2844e") + bytes(61)).decode()

ATTACKS = [
    pytest.param({**GOOD, "row": FLIPPED}, 1, "E_INCLUSION", id="RT01 verdict flipped"),
    pytest.param({**GOOD, "row": FLIPPED}, 1, "E_SIG_ROW", id="RT01 row signature"),
    pytest.param({**GOOD, "sig": COSE}, 1, "E_SIG_ROW", id="RT26 a foreign signature as the row's"),
    pytest.param({**GOOD, "sig": "0oRNow=="}, 1, "E_SIG_ROW", id="RT26 a signature of another length"),
    pytest.param(with_note(f"{TEXT}\n" + bad_line()), 1, "E_SIG_CHECKPOINT", id="RT26 a foreign signature of the note"),
    pytest.param(with_note(LOG.note() + bad_line()), 1, "E_SIG_CHECKPOINT", id="RT24 a bad signature beside a good"),
    pytest.param(with_note(f"{TEXT}\n" + Cosigner(ORIGIN, seed("log")).line(TEXT, 1)), 1, "E_SIG_CHECKPOINT",
                 id="RT25 signed with another type of key"),
    pytest.param(with_note(THIEF.sign(TEXT)), 1, "E_KEY_UNKNOWN", id="RT20 signed with own keys"),
    pytest.param(with_proof(lambda p: (p.index + 1, list(p.path), p.checkpoint)), 1, "E_INCLUSION",
                 id="RT28 the sibling's index"),
    pytest.param(with_proof(lambda p: (16, list(p.path), p.checkpoint)), 1, "E_INCLUSION", id="RT28 an index = size"),
    pytest.param(second_preimage(), 1, "E_INCLUSION", id="RT29 an inner node as leaf"),
    pytest.param(with_path(lambda path: [*path, bytes(32)]), 1, "E_INCLUSION", id="RT30 a hash too many"),
    pytest.param(with_path(lambda path: path[:-1]), 1, "E_INCLUSION", id="RT30 a hash missing"),
    pytest.param(with_path(lambda path: [path[0][:31], *path[1:]]), 1, "E_INCLUSION", id="RT30 a hash of 31 bytes"),
    pytest.param(with_path(lambda path: path[::-1]), 1, "E_INCLUSION", id="RT30 hashes in another order"),
    pytest.param(with_path(lambda path: []), 1, "E_INCLUSION", id="RT30 no hashes"),
    pytest.param({**GOOD, "proof": "x"}, 1, "E_INCLUSION", id="a proof that is none"),
    pytest.param({**GOOD, "proof": 7}, 1, "E_RECEIPT_FIELDS", id="a proof that is no text"),
    pytest.param({**GOOD, "index": 5}, 1, "E_RECEIPT_FIELDS", id="RT32 another index"),
    pytest.param({**GOOD, "index": 4.0}, 1, "E_RECEIPT_FIELDS", id="RT32 an index that is no integer"),
    pytest.param({k: v for k, v in GOOD.items() if k != "index"}, 1, "E_RECEIPT_FIELDS", id="RT32 no index"),
    pytest.param({**GOOD, "tree_size": 17}, 1, "E_RECEIPT_FIELDS", id="RT32 another size"),
    pytest.param({**GOOD, "root": "00" * 32}, 1, "E_RECEIPT_FIELDS", id="RT32 another root"),
    pytest.param({**GOOD, "log": OTHER.origin}, 1, "E_RECEIPT_FIELDS", id="RT32 another log"),
    pytest.param({**GOOD, "level": "certain"}, 1, "E_RECEIPT_FIELDS", id="an unknown level"),
    pytest.param(with_note(OTHER.note()), 1, "E_ORIGIN", id="RT33 under another tenant's checkpoint"),
    pytest.param(of_a_log_with(lambda log: log.add("note", change=lambda row: row.update(log=OTHER.origin))), 1,
                 "E_ORIGIN", id="RT33 a row of another log, well signed"),
    pytest.param(of_a_log_with(raw(lambda b: b[:-1] + b',"verdict":"kill"}')), 1, "E_CANON", id="RT08 a duplicate key"),
    pytest.param(of_a_log_with(raw(lambda b: b.replace(b"970000", b"0.97"))), 1, "E_CANON", id="RT09 a fraction"),
    pytest.param(of_a_log_with(lambda log: log.add("note", change=lambda row: row.update(seq=900))), 1,
                 "E_RECEIPT_FIELDS", id="a sequence that is not the index"),
    pytest.param(of_a_log_with(lambda log: log.decide(change=lambda row: row.update(verdict="deny"))), 1,
                 "E_ROW_FIELDS", id="a verdict that there isn't"),
    pytest.param({**GOOD, "v": "aegis.receipt/2"}, 3, "E_FORMAT_VERSION", id="RT64 a receipt of another version"),
    pytest.param({**GOOD, "proof": GOOD["proof"].replace("@v1", "@v2")}, 3, "E_FORMAT_VERSION",
                 id="RT64 a proof of another version"),
    pytest.param(of_a_log_with(lambda log: log.add("note", change=lambda row: row.update(v="aegis.row/2"))), 3,
                 "E_FORMAT_VERSION", id="RT64 a row of another version"),
    pytest.param(of_a_log_with(lambda log: log.add("note", crit=["novelty"], novelty=1)), 3, "E_FORMAT_VERSION",
                 id="RT64 a critical member"),
    pytest.param({**of_a_log_with(lambda log: log.add("note", crit=["novelty"])), "sig": COSE}, 1, "E_SIG_ROW",
                 id="RT64 signatures come before meaning"),
    pytest.param([], 3, "E_UNREADABLE", id="no object"),
    pytest.param({k: v for k, v in GOOD.items() if k != "proof"} | {"level": "durable"}, 2, "W_NOT_INCLUDED",
                 id="durable only"),
    pytest.param({k: v for k, v in GOOD.items() if k not in ("row", "sig")}, 2, "W_NO_ROW", id="no row"),
    pytest.param(opened(inputs={"salt": salt("inputs 4").hex(), "payload": {"n": 5, "tool": "db.query"}}), 1,
                 "E_OPENING", id="another payload"),
    pytest.param(opened(inputs={"salt": salt("inputs 5").hex(), "payload": {"n": 4, "tool": "db.query"}}), 1,
                 "E_OPENING", id="another salt"),
    pytest.param(opened(state={"salt": salt("inputs 4").hex(), "payload": {"n": 4, "tool": "db.query"}}), 1,
                 "E_OPENING", id="an opening of a commitment that the row doesn't hold"),
    pytest.param(opened(inputs={"salt": "00", "payload": 1}), 1, "E_OPENING", id="a short salt"),
    pytest.param(opened(inputs=None), 1, "E_OPENING", id="an opening that is none"),
    pytest.param({**GOOD, "openings": []}, 1, "E_RECEIPT_FIELDS", id="openings that are none"),
    pytest.param(opened(inputs={"erased": True}), 1, "E_ERASURE_UNPROVEN", id="RT56 called erased"),
    pytest.param(erased_for_another(sample()), 1, "E_ERASURE_UNPROVEN", id="RT56 erased, but another row"),
    pytest.param(erased(sample()), 0, "I_ERASED", id="RT57 erased lawfully"),
    pytest.param(opened(stages=flight_of("kill")[1:]), 1, "E_FLIGHT_ROOT", id="RT61 a stage removed"),
    pytest.param(opened(stages=flight_of("kill")[::-1]), 1, "E_FLIGHT_ROOT", id="RT61 stages in another order"),
    pytest.param(opened(stages="x"), 1, "E_FLIGHT_ROOT", id="RT61 stages that are none"),
    pytest.param(late_writer(sample()), 1, "E_KEY_WINDOW", id="RT22 a key used before it was added"),
    pytest.param(other_writer(sample()), 1, "E_KEY_UNKNOWN", id="the key row of another key"),
    pytest.param(self_made_key(sample()), 1, "E_SIG_ROW", id="a key row that root didn't sign"),
    pytest.param({**GOOD, "keys": {"writer": OTHER.proof(1, extra=OTHER.entries[1])}}, 1, "E_ORIGIN",
                 id="a key row of another log"),
    pytest.param({**GOOD, "keys": {"writer": LOG.proof(1)}}, 1, "E_INCLUSION", id="a key row without its bytes"),
    pytest.param({**GOOD, "keys": {"writer": LOG.proof(0, extra=LOG.entries[0])}}, 1, "E_RECEIPT_FIELDS",
                 id="genesis as a key row"),
    pytest.param({**GOOD, "keys": 1}, 1, "E_RECEIPT_FIELDS", id="keys that are none"),
]  # fmt: skip


@pytest.mark.parametrize(("receipt", "exit", "expected"), ATTACKS)
def test_an_attack_ends_as_it_must(receipt: object, exit: int, expected: str) -> None:
    found = verify(receipt)
    assert expected in codes(found), found
    assert exit_code(found) == exit, found
    assert ("I_VERIFIED" in codes(found)) == (exit == 0)


def test_the_log_key_alone_is_enough() -> None:
    found = verify(LOG.receipt(KILLED, with_keys=False))
    assert exit_code(found) == 0
    assert "I_VERIFIED" in codes(found)
    assert any("own signature" in each.message for each in found)


@pytest.mark.parametrize("index", range(16))
def test_every_row_has_a_receipt_that_verifies(index: int) -> None:
    found = verify(LOG.receipt(index))
    assert exit_code(found) == 0, found
    assert not any("own signature" in each.message for each in found)


def test_a_receipt_survives_json() -> None:
    assert codes(verify(jsontree.parse(json.dumps(GOOD).encode()))) == codes(verify(GOOD))


def test_openings_that_match_verify() -> None:
    number = jsontree.parse(b'{"n":123456789012345678901234567890.5}')
    log = sample()
    commitment = rows.commitment(salt("x"), jsontree.canonical(number).encode())
    seq = log.decide("kill", inputs=commitment)
    openings = {
        "inputs": {"salt": salt("x").hex(), "payload": number},
        "digest": {"salt": salt(f"digest {seq}").hex(), "payload": f"sha256:{seq:064x}"},
        "stages": flight_of("kill"),
    }
    receipt = log.receipt(seq, openings=openings)
    assert exit_code(verify(receipt)) == 0, verify(receipt)
    assert exit_code(verify(jsontree.parse(jsontree.dumps(receipt)))) == 0


def test_repeated_members_that_agree_verify() -> None:
    head = notes.parse_checkpoint(TEXT)
    same = {"tree_size": 16, "size": 16, "root": head.root.hex(), "root_hash": base64.b64encode(head.root).decode()}
    assert exit_code(verify({**GOOD, **same, "origin": ORIGIN, "checkpoint": LOG.note()})) == 0


def test_another_tenants_receipt_with_both_keys_trusted_is_still_of_another_log() -> None:
    assert "E_ORIGIN" in codes(verify(with_note(OTHER.note()), LOG.verifier, OTHER.verifier))


def test_a_key_of_another_type_does_not_verify_a_receipt() -> None:
    found = verify(GOOD, Verifier.of(ORIGIN, COSIGNATURE, LOG.verifier.pub))
    assert (exit_code(found), "E_SIG_CHECKPOINT" in codes(found)) == (1, True)


def test_a_witnessed_receipt_says_whether_a_witness_was_checked() -> None:
    witness = Cosigner("witness.example/w1", seed("witness-1"))
    receipt = {**with_note(LOG.note() + witness.line(TEXT, 1_795_000_000)), "level": "witnessed"}
    assert any("witness" in each.message for each in verify(receipt))
    assert not any("witness" in each.message for each in verify(receipt, LOG.verifier, witness.verifier))


junk = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda t: st.lists(t, max_size=3) | st.dictionaries(st.text(max_size=6), t, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(st.sampled_from([*GOOD, "size", "root", "decision_id", "l0"]), junk)
def test_no_member_of_any_type_makes_a_traceback(name: str, value: Any) -> None:
    found = verify({**GOOD, name: value})
    if name in ("row", "sig", "proof", "index", "v", "level", "log") and value != GOOD[name]:
        assert exit_code(found) != 0


@settings(deadline=None)
@given(st.sampled_from(["row", "sig", "proof"]), st.data())
def test_no_changed_character_goes_unseen(name: str, data: st.DataObject) -> None:
    text = GOOD[name]
    at = data.draw(st.integers(0, len(text) - 1))
    character = data.draw(st.characters())
    if text[at] != character:
        assert exit_code(verify({**GOOD, name: text[:at] + character + text[at + 1 :]})) == 1 or name == "proof"
        assert exit_code(verify({**GOOD, name: text[:at] + character + text[at + 1 :]})) != 0


def test_verification_does_not_change_the_receipt() -> None:
    before = copy.deepcopy(GOOD)
    verify(GOOD)
    assert before == GOOD


def test_a_receipt_is_what_the_interface_promises() -> None:
    assert set(GOOD) == {"v", "level", "log", "index", "proof", "row", "sig", "openings", "url", "keys"}
    assert canonical.decode(GOOD["row"].encode())["seq"] == GOOD["index"] == KILLED
