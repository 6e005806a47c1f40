"""A checkpoint that a trusted log key signed, and why one is not such: the first step of all verification."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aegis.audit import notes
from aegis.audit.evidence import Finding, finding
from aegis.audit.notes import COSIGNATURE, ED25519, Checkpoint, NoteError, Verifier


@dataclass(frozen=True, slots=True)
class SignedHead:
    """A verified checkpoint with its note; `cosigned_at` holds the verified cosignatures' times in seconds."""

    checkpoint: Checkpoint
    note: str
    cosigned_at: tuple[tuple[str, int], ...] = ()


def open_head(note: str, verifiers: Sequence[Verifier], what: str = "the checkpoint") -> SignedHead | list[Finding]:
    """The head that `note` signs, or what is wrong with it. `what` names it in messages.

    The log's own key must have signed with type 0x01 under the name that is the origin; a bad signature by any
    trusted key spoils the note.
    """
    try:
        text, _ = notes.split_note(note)
        head = notes.parse_checkpoint(text)
    except NoteError as error:
        return [finding(error.code, f"{what}: {error}")]
    try:
        opened = notes.open_note(note, verifiers)
    except NoteError as error:
        return [finding(error.code, f"{what}: {error}"), *_why(note, head, verifiers, what, error.code)]
    if not any(s.verifier.alg == ED25519 and s.verifier.name == head.origin for s in opened.signatures):
        by_log = any(s.verifier.alg == ED25519 for s in opened.signatures)
        return [
            finding("E_ORIGIN", f"{what}: signed by a log key of another name than the origin")
            if by_log
            else finding("E_SIG_CHECKPOINT", f"{what}: cosigned, but not signed by the log's own key")
        ]
    cosigned = [(s.verifier.name, s.time) for s in opened.signatures if s.time is not None]
    return SignedHead(head, note, tuple(cosigned))


def _why(note: str, head: Checkpoint, verifiers: Sequence[Verifier], what: str, code: str) -> list[Finding]:
    """More on a note without a trusted signature: another log's, or one by the wrong type of key."""
    if code != "E_KEY_UNKNOWN":
        return []
    found = []
    logs = {verifier.name for verifier in verifiers if verifier.alg == ED25519}
    if logs and head.origin not in logs:
        found.append(finding("E_ORIGIN", f"{what}: its origin is not that of a log whose key you gave"))
    other_type = {
        (v.name, notes.key_id(v.name, alg, v.pub)) for v in verifiers for alg in (ED25519, COSIGNATURE) if alg != v.alg
    }
    for name, identity, signature in notes.split_note(note)[1]:
        if (name, identity) in other_type or (name in logs and len(signature) != 64):
            found.append(finding("E_SIG_CHECKPOINT", f"{what}: a signature is of another type than a log's"))
            break
    return found
