from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest
from audit_logs import BEGIN, ORIGIN, sample, seed, signed
from audit_vectors import shared

from aegis.audit import canonical, merkle, notes, proofs, rows
from aegis.audit.rows import RowError, Writer
from aegis.kernel.clock import iso
from aegis.kernel.record import CLASSES

WRITER = Writer("writer-1", seed("writer-1"))


def decision(**members: Any) -> dict[str, Any]:
    row = {
        "v": rows.VERSION,
        "log": ORIGIN,
        "seq": 3,
        "prev": rows.NO_PREV,
        "kind": "decision",
        "ts": iso(BEGIN),
        "kid": WRITER.kid,
        "rid": "0192f3b1-7c2a-7b1e-9d2c-000000000003",
        "agent": "agent-7",
        "an": 1,
        "verdict": "kill",
        "cum": dict.fromkeys(CLASSES, 0),
        **members,
    }
    return {name: value for name, value in row.items() if value is not ...}


def test_an_entry_is_the_canonical_row_and_its_signature() -> None:
    row = decision(risk=970_000)
    entry = rows.seal(row, WRITER)
    parsed = rows.parse_entry(entry)
    assert parsed.row == row
    assert entry == canonical.encode(row) + b"\n" + base64.b64encode(parsed.sig)
    assert rows.verify_signature(WRITER.public, parsed.row_bytes, parsed.sig)
    assert not rows.verify_signature(WRITER.public, parsed.row_bytes + b" ", parsed.sig)
    assert not rows.verify_signature(Writer("x", seed("x")).public, parsed.row_bytes, parsed.sig)


def test_the_signature_is_over_the_version_and_the_row() -> None:
    parsed = rows.parse_entry(rows.seal(decision(), WRITER))
    assert parsed.sig == WRITER.sign(parsed.row_bytes)
    assert notes.Verifier.of("x", 1, WRITER.public)
    with pytest.raises(notes.NoteError):  # no signature of a row is one of a note
        notes.Verifier.of("x", 1, WRITER.public).verify(parsed.row_bytes.decode() + "\n", parsed.sig)


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"seq": -1}, id="a negative sequence"),
        pytest.param({"seq": True}, id="a boolean sequence"),
        pytest.param({"seq": ...}, id="no sequence"),
        pytest.param({"prev": "0" * 63}, id="a short prev"),
        pytest.param({"prev": "A" * 64}, id="upper-case hex"),
        pytest.param({"ts": "2026-11-23T08:00:00Z"}, id="a time without microseconds"),
        pytest.param({"ts": "2026-02-30T08:00:00.000000Z"}, id="a day that isn't"),
        pytest.param({"kind": "decisions"}, id="an unknown kind"),
        pytest.param({"verdict": "deny"}, id="an unknown verdict"),
        pytest.param({"verdict": ...}, id="a decision without verdict"),
        pytest.param({"agent": ...}, id="an ordinal without agent"),
        pytest.param({"an": ...}, id="an agent without ordinal"),
        pytest.param({"an": 2}, id="a second row of an agent without link"),
        pytest.param({"ap": 1}, id="a first row of an agent with link"),
        pytest.param({"risk": 1_000_001}, id="a risk over one"),
        pytest.param({"digest": "sha256:" + "0" * 64}, id="a digest that is no commitment"),
        pytest.param({"findings": [{"code": "a.b"}] * 33}, id="33 findings"),
        pytest.param({"findings": ["a.b"]}, id="a finding that is text"),
        pytest.param({"cum": {"allow": 1}}, id="some of the counts"),
        pytest.param({"cum": {**dict.fromkeys(CLASSES, 0), "deny": 0}}, id="a count too many"),
        pytest.param({"client_seen": {"size": 1}}, id="a seen size without root"),
        pytest.param({"user": 7}, id="a user that is a number"),
    ],
)
def test_a_row_that_breaks_the_format_is_not_sealed(members: dict[str, Any]) -> None:
    with pytest.raises(RowError) as caught:
        rows.seal(decision(**members), WRITER)
    assert caught.value.code == "E_ROW_FIELDS"


@pytest.mark.parametrize(
    "members",
    [
        pytest.param({"v": "aegis.row/2"}, id="another version"),
        pytest.param({"v": ...}, id="no version"),
        pytest.param({"crit": ["novelty"], "novelty": 1}, id="a critical member that is not known"),
        pytest.param({"crit": "agent"}, id="crit that is no list"),
    ],
)
def test_what_must_be_understood_and_is_not_is_a_format_version(members: dict[str, Any]) -> None:
    with pytest.raises(RowError) as caught:
        rows.check(decision(**members))
    assert caught.value.code == "E_FORMAT_VERSION"


def test_other_members_are_let_be() -> None:
    rows.check(decision(novelty={"a": 1}, crit=["agent"]))


def test_every_kind_states_what_it_needs() -> None:
    for kind, needed in rows.KINDS.items():
        assert set(needed) <= set(rows.MEMBERS), kind


def test_an_entry_over_16_kib_is_refused_both_ways() -> None:
    with pytest.raises(RowError) as caught:
        rows.seal(decision(detail={"text": "x" * rows.MAX_ENTRY_BYTES}), WRITER)
    assert caught.value.code == "E_ENTRY_SIZE"
    with pytest.raises(RowError) as caught:
        rows.parse_entry(bytes(rows.MAX_ENTRY_BYTES + 1))
    assert caught.value.code == "E_ENTRY_SIZE"


@pytest.mark.parametrize(
    ("entry", "code"),
    [
        pytest.param(b"{}", "E_CANON", id="no line feed"),
        pytest.param(b"{}\n", "E_SIG_ROW", id="no signature"),
        pytest.param(b"{}\n" + base64.b64encode(bytes(63)), "E_SIG_ROW", id="63 bytes"),
        pytest.param(b"{}\n" + base64.b64encode(bytes(64)) + b"\n", "E_SIG_ROW", id="a line feed behind"),
        pytest.param(b"{}\n" + base64.b64encode(bytes(64))[:-3] + b"B==", "E_SIG_ROW", id="spare bits"),
        pytest.param(b"{} \n" + base64.b64encode(bytes(64)), "E_CANON", id="a space in the row"),
    ],
)
def test_an_entry_of_another_form_is_refused(entry: bytes, code: str) -> None:
    with pytest.raises(RowError) as caught:
        rows.parse_entry(entry)
    assert caught.value.code == code


def test_classes_are_those_that_the_row_counts() -> None:
    counted = {
        rows.counted_class(row)
        for row in [
            *({"kind": "decision", "verdict": word} for word in ("allow", "monitor", "throttle", "escalate", "kill")),
            *({"kind": "outcome", "status": word} for word in ("ok", "error", "cancelled", "unknown")),
            {"kind": "late", "status": "ok"},
            {"kind": "gap"},
        ]
    }
    assert counted == set(CLASSES)
    assert rows.counted_class({"kind": "throttled"}) == "throttle"
    assert rows.counted_class({"kind": "heartbeat"}) is None


def test_a_commitment_is_the_keyed_hash_of_the_payload() -> None:
    made = rows.commitment(bytes(32), b"{}")
    assert made == "c1:" + hmac.new(bytes(32), b"{}", hashlib.sha256).hexdigest()
    with pytest.raises(ValueError, match="32 bytes"):
        rows.commitment(bytes(16), b"{}")


def test_pseudonyms_are_stable_and_differ_by_kind_and_tenant() -> None:
    made = {rows.pseudonym(key, kind, "ada") for key in (bytes(32), b"k" * 32) for kind in ("user", "resource")}
    assert len(made) == 4
    assert rows.pseudonym(bytes(32), "user", "ada") in made
    assert all(len(text) == 29 and text.startswith("p1:") for text in made)


def test_a_writer_is_named_after_its_role_and_key() -> None:
    writer = Writer.of("writer", seed("writer-1"))
    assert writer.public == WRITER.public
    assert writer.kid == "writer-" + hashlib.sha256(WRITER.public).hexdigest()[:16]


def test_the_sample_log_is_sealed_as_the_gateway_seals() -> None:
    for entry in sample().entries:
        row = rows.parse_entry(entry).row
        writer = Writer("root-1", seed("root")) if row["kid"] == "root-1" else WRITER
        assert rows.seal(row, writer) == entry == signed(row, writer)


@pytest.mark.parametrize("vector", shared("80_aegis_golden_proposal.json"))
def test_the_construction_of_the_shared_golden_rows(vector: dict[str, Any]) -> None:
    """Their words are older than this format; bytes, signatures, leaves, tree, note and proof are built the same."""
    public = bytes.fromhex(vector["keys"]["writer-1_pub_hex"])
    leaves = []
    for item in vector["rows"]:
        entry = rows.parse_entry(item["entry"].encode())
        assert rows.verify_signature(public, entry.row_bytes, entry.sig)
        assert entry.row["prev"] == (leaves[-1].hex() if leaves else rows.NO_PREV)
        leaves.append(merkle.leaf_hash(item["entry"].encode()))
        assert leaves[-1].hex() == item["leaf_hash"]
        opening = item["inputs_opening"]
        if opening is not None:
            payload = canonical.encode(opening["payload"])
            assert rows.commitment(bytes.fromhex(opening["salt_hex"]), payload) == entry.row["inputs"]
    assert [merkle.root_of(leaves[:n]).hex() for n in range(len(leaves) + 1)] == vector["roots_by_size_hex"]
    verifiers = [notes.Verifier.from_vkey(vector["keys"][name]) for name in ("log_vkey", "witness_vkey")]
    opened = notes.open_note(vector["checkpoint"], verifiers)
    assert len(opened.signatures) == 2
    head = notes.parse_checkpoint(opened.text)
    proof = proofs.parse_proof(vector["tlog_proof"])
    assert [base64.b64encode(h).decode() for h in proof.path] == vector["inclusion"]["proof_b64"]
    merkle.verify_inclusion(leaves[proof.index], proof.index, head.size, proof.path, head.root)
    grown = vector["consistency"]
    path = [base64.b64decode(text) for text in grown["proof_b64"]]
    merkle.verify_consistency(grown["size1"], grown["size2"], path, bytes.fromhex(grown["root1_hex"]), head.root)
