from __future__ import annotations

import base64
from typing import Any

import pytest
from audit_logs import seed
from audit_vectors import shared
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.audit import ed25519, notes
from aegis.audit.notes import COSIGNATURE, ED25519, Cosigner, NoteError, NoteSigner, Verifier

LOG = NoteSigner("audit.aegis.example/t/alpha", seed("log"))
WITNESS = Cosigner("witness.example/w1", seed("witness-1"))
TEXT = notes.checkpoint(LOG.name, 11, bytes(32))


def refused(note: str, *verifiers: Verifier) -> str:
    with pytest.raises(NoteError) as caught:
        notes.open_note(note, verifiers)
    return caught.value.code


def test_a_signed_note_opens_with_its_vkey() -> None:
    opened = notes.open_note(LOG.sign(TEXT), [Verifier.from_vkey(LOG.vkey)])
    assert opened.text == TEXT
    assert [s.verifier for s in opened.signatures] == [LOG.verifier]
    assert notes.parse_checkpoint(opened.text) == notes.Checkpoint(LOG.name, 11, bytes(32))


def test_a_cosignature_carries_its_time() -> None:
    note = LOG.sign(TEXT) + WITNESS.line(TEXT, 1_795_000_000)
    opened = notes.open_note(note, [LOG.verifier, WITNESS.verifier])
    assert [(s.verifier.alg, s.time) for s in opened.signatures] == [(ED25519, None), (COSIGNATURE, 1_795_000_000)]


def test_lines_by_strangers_are_passed_over() -> None:
    opened = notes.open_note(LOG.sign(TEXT) + WITNESS.line(TEXT, 1), [LOG.verifier])
    assert opened.unverified == (WITNESS.name,)


def bad_line(signer: NoteSigner, alg: int = ED25519, length: int = 64) -> str:
    blob = notes.key_id(signer.name, alg, signer.verifier.pub) + bytes(length)
    return f"\u2014 {signer.name} {base64.b64encode(blob).decode()}\n"


@pytest.mark.parametrize(
    ("note", "code"),
    [
        pytest.param(LOG.sign(TEXT) + bad_line(LOG), "E_SIG_CHECKPOINT", id="a bad signature behind a good one"),
        pytest.param(f"{TEXT}\n" + bad_line(LOG) + LOG.sign(TEXT)[len(TEXT) + 1 :], "E_SIG_CHECKPOINT",
                     id="a bad signature before a good one"),
        pytest.param(f"{TEXT}\n" + bad_line(LOG, length=72), "E_SIG_CHECKPOINT", id="a signature of another length"),
        pytest.param(LOG.sign(TEXT) + LOG.sign(TEXT)[len(TEXT) + 1 :], "E_SIG_CHECKPOINT", id="one key twice"),
        pytest.param(f"{TEXT}\n" + bad_line(LOG, alg=COSIGNATURE), "E_KEY_UNKNOWN", id="an id of another type"),
        pytest.param(NoteSigner(LOG.name, seed("thief")).sign(TEXT), "E_KEY_UNKNOWN", id="another key of that name"),
        pytest.param(LOG.sign(TEXT).replace("\n11\n", "\n12\n"), "E_SIG_CHECKPOINT", id="another text"),
        pytest.param(LOG.sign(TEXT)[:-1], "E_SIG_CHECKPOINT", id="no line end"),
        pytest.param(LOG.sign(TEXT).replace("\u2014", "-"), "E_SIG_CHECKPOINT", id="a plain dash"),
        pytest.param(LOG.sign(TEXT).replace("=\n", "\n"), "E_SIG_CHECKPOINT", id="base64 without padding"),
        pytest.param(f"{TEXT}\n" + bad_line(LOG) * 101, "E_SIG_CHECKPOINT", id="too many signatures"),
        pytest.param("x" * (notes.MAX_NOTE_BYTES + 1), "E_SIG_CHECKPOINT", id="too long"),
        pytest.param("", "E_SIG_CHECKPOINT", id="nothing"),
    ],
)  # fmt: skip
def test_a_note_is_refused(note: str, code: str) -> None:
    assert refused(note, LOG.verifier) == code


def test_a_log_signature_is_no_cosignature_of_the_same_key() -> None:
    confused = Verifier.of(LOG.name, COSIGNATURE, LOG.verifier.pub)
    assert refused(LOG.sign(TEXT), confused) == "E_KEY_UNKNOWN"


@pytest.mark.parametrize(
    "vkey",
    [
        pytest.param(LOG.vkey.replace("+AZ", "+BJ", 1) if "+AZ" in LOG.vkey else LOG.vkey[:-4] + "AAAA", id="key"),
        pytest.param(LOG.vkey.replace("alpha", "beta"), id="name"),
        pytest.param(LOG.vkey.replace("+", "-"), id="no parts"),
        pytest.param(f"{LOG.name}+{notes.key_id(LOG.name, 6, bytes(32)).hex()}+"
                     + base64.b64encode(b"\x06" + bytes(32)).decode(), id="type"),
        pytest.param(f"{LOG.name}+{notes.key_id(LOG.name, 1, bytes(31)).hex()}+"
                     + base64.b64encode(b"\x01" + bytes(31)).decode(), id="length"),
        pytest.param("", id="empty"),
    ],
)  # fmt: skip
def test_a_vkey_with_another_part_is_refused(vkey: str) -> None:
    with pytest.raises(NoteError):
        Verifier.from_vkey(vkey)


@pytest.mark.parametrize("name", ["", "a b", "a+b", "a\u00a0b", "a\nb", "x" * 257])
def test_a_key_name_is_one_word_without_plus(name: str) -> None:
    with pytest.raises(NoteError):
        NoteSigner(name, seed("log"))


@pytest.mark.parametrize("text", ["", "a", "a\r\n", "\x00\n", "a\tb\n", "\ud800\n"], ids=ascii)
def test_a_text_that_notes_cannot_hold_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        LOG.sign(text)


@pytest.mark.parametrize(
    "body",
    [
        "o\n1\n" + base64.b64encode(bytes(32)).decode() + "\nextension\n",
        "o\n1\n" + base64.b64encode(bytes(31)).decode() + "\n",
        "o\n01\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n+1\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n\u0661\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n9223372036854775808\n" + base64.b64encode(bytes(32)).decode() + "\n",
        "o\n1\n" + base64.b64encode(bytes(32)).decode(),
    ],
    ids=["extension lines", "a short root", "a leading zero", "a sign", "other digits", "2^63", "no line end"],
)
def test_a_checkpoint_in_another_form_is_refused(body: str) -> None:
    with pytest.raises(NoteError):
        notes.parse_checkpoint(body)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_is_refused_without_another_error(text: str) -> None:
    refused(text, LOG.verifier)


@settings(deadline=None)
@given(st.integers(0, len(LOG.sign(TEXT)) - 1), st.characters())
def test_no_changed_character_goes_unseen(at: int, character: str) -> None:
    note = LOG.sign(TEXT)
    changed = note[:at] + character + note[at + 1 :]
    if changed != note:
        refused(changed, LOG.verifier)


@pytest.mark.parametrize("vector", shared("20_signed_note.json"))
def test_shared_notes(vector: dict[str, Any]) -> None:
    if vector["want"] == "reject-vkey":
        with pytest.raises(NoteError):
            Verifier.from_vkey(vector["vkey"])
        return
    verifiers = [Verifier.from_vkey(vkey) for vkey in vector["vkeys"]]
    if vector["want"] == "ok":
        assert len(notes.open_note(vector["note"], verifiers).signatures) >= 1
    else:
        refused(vector["note"], *verifiers)


@pytest.mark.parametrize("vector", shared("21_checkpoint_body.json"))
def test_shared_checkpoint_bodies(vector: dict[str, Any]) -> None:
    """Theirs may have roots of any length and extension lines; ours may not."""
    lines = vector["checkpoint_body"].split("\n")
    if vector["upstream_want"] == "ok" and len(lines) == 4 and len(base64.b64decode(lines[2])) == 32:
        notes.parse_checkpoint(vector["checkpoint_body"])
    else:
        with pytest.raises(NoteError):
            notes.parse_checkpoint(vector["checkpoint_body"])


@pytest.mark.parametrize("vector", shared("50_ed25519_verify.json"))
def test_shared_ed25519_signatures(vector: dict[str, Any]) -> None:
    public, message, signature = (bytes.fromhex(vector[name]) for name in ("pk", "msg", "sig"))
    assert ed25519.verify(public, message, signature) == (vector["result"] == "valid")
