"""Receipts: a row, its signature and the proof that it stands under a signed checkpoint, as one JSON object."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from aegis.audit import canonical, flight, merkle, proofs, rows
from aegis.audit.evidence import Finding, finding
from aegis.audit.notes import Checkpoint, Verifier
from aegis.audit.rows import RowError
from aegis.audit.signed_head import SignedHead, open_head
from aegis.kernel import jsontree

VERSION = "aegis.receipt/1"
LEVELS = ("durable", "included", "witnessed", "anchored")


def receipt(
    *,
    entry: bytes,
    index: int,
    path: Sequence[bytes],
    note: str,
    origin: str,
    url: str,
    level: str = "included",
    openings: Mapping[str, Any] | None = None,
    keys: Mapping[str, str] | None = None,
    l0: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The receipt of `entry` at `index`; `path` leads from its leaf to the root that `note` signs."""
    row_bytes, _, sig = entry.partition(b"\n")
    made: dict[str, Any] = {
        "v": VERSION,
        "level": level,
        "log": origin,
        "index": index,
        "proof": proofs.format_proof(index, path, note),
        "row": row_bytes.decode("utf-8"),
        "sig": sig.decode("ascii"),
        "openings": dict(openings or {}),
        "url": url,
    }
    if keys:
        made["keys"] = dict(keys)
    if l0:
        made["l0"] = dict(l0)
    return made


def verify_receipt(obj: object, verifiers: Sequence[Verifier]) -> list[Finding]:
    """What is wrong with the receipt, what could not be checked, and last `I_VERIFIED` when nothing is wrong.

    `obj` is the parsed JSON (by `jsontree.parse`, which keeps exact numbers). The log's key alone suffices: the row
    stands in the tree that it signed. Sizes and roots come from the signed checkpoint only.
    """
    if not isinstance(obj, dict):
        return [finding("E_UNREADABLE", "expected a receipt, which is a JSON object")]
    if obj.get("v") != VERSION:
        return [finding("E_FORMAT_VERSION", f"expected a receipt of version {VERSION}")]
    if obj.get("level") not in LEVELS:
        return [finding("E_RECEIPT_FIELDS", f"expected a level of {', '.join(LEVELS)}")]
    if "proof" not in obj:
        return [finding("W_NOT_INCLUDED")]
    return _Receipt(obj, verifiers).verify()


@dataclass(frozen=True, slots=True)
class _Proven:
    """An entry that stands at `index` of the tree that `head` signs."""

    entry: bytes
    index: int
    head: SignedHead


class _Receipt:
    def __init__(self, obj: dict[str, Any], verifiers: Sequence[Verifier]) -> None:
        self.obj, self.verifiers = obj, verifiers
        self.found: list[Finding] = []

    def verify(self) -> list[Finding]:
        text, sig = self.obj.get("row"), self.obj.get("sig")
        if text is None:
            self._open(self.obj["proof"], "the proof")
            self.found.append(finding("W_NO_ROW", "the receipt carries no row: only its place in the log is known"))
            return self.found
        if not isinstance(text, str) or not isinstance(sig, str):
            return [finding("E_RECEIPT_FIELDS", "expected row and sig as text")]
        try:
            row_bytes = text.encode("utf-8")
            entry = row_bytes + b"\n" + sig.encode("utf-8")
        except UnicodeEncodeError:
            return [finding("E_CANON", "expected the row as Unicode text, got a lone surrogate")]
        # signatures before meaning: (1) checkpoint and inclusion, (2) the row's own signature, (3) what it says
        opened = self._open(self.obj["proof"], "the proof")
        proven = self._place(opened, entry, "the proof") if opened is not None else None
        try:
            signature = rows.split_entry(entry)[1]
            row = rows.parse_row(row_bytes)
        except RowError as error:
            self._add(error.code, str(error), proven)
            return self.found
        self._repeated(row, opened)
        if row.get("v") == rows.VERSION:
            self._signature(row, row_bytes, signature, proven)
        try:
            rows.check(row)
        except RowError as error:
            self._add(error.code, str(error), proven)
            return self.found
        self._openings(row, proven)
        self._unchecked(proven)
        if proven is not None and all(f.exit == 0 for f in self.found):
            head = proven.head.checkpoint
            message = f"row {proven.index} of {head.origin} stands under the signed tree of size {head.size}"
            self.found.append(finding("I_VERIFIED", message, proven.index))
        return self.found

    def _add(self, code: str, message: str, proven: _Proven | None = None) -> None:
        self.found.append(finding(code, message, proven.index if proven else None))

    # (1) the proof

    def _open(self, text: object, what: str) -> tuple[proofs.Proof, SignedHead] | None:
        """The proof and the head that it leads to, which is signed; nothing of the path is verified yet."""
        if not isinstance(text, str):
            self._add("E_RECEIPT_FIELDS", f"{what}: expected text")
            return None
        try:
            proof = proofs.parse_proof(text)
        except proofs.ProofTextError as error:
            self._add(error.code, f"{what}: {error}")
            return None
        head = open_head(proof.checkpoint, self.verifiers, f"{what}'s checkpoint")
        if isinstance(head, SignedHead):
            return proof, head
        self.found.extend(head)
        return None

    def _place(self, opened: tuple[proofs.Proof, SignedHead], entry: bytes, what: str) -> _Proven | None:
        """The entry with its place, or None and a finding when the path doesn't lead from it to the signed root."""
        proof, head = opened
        signed = head.checkpoint
        try:
            merkle.verify_inclusion(merkle.leaf_hash(entry), proof.index, signed.size, proof.path, signed.root)
        except merkle.ProofError as error:
            self.found.append(finding("E_INCLUSION", f"{what}: {error}", proof.index))
            return None
        return _Proven(entry, proof.index, head)

    # (2) the row's signature, where the receipt brings its key

    def _signature(self, row: dict[str, Any], row_bytes: bytes, sig: bytes, proven: _Proven | None) -> None:
        keys = self.obj.get("keys", {})
        if not isinstance(keys, dict):
            self._add("E_RECEIPT_FIELDS", "expected keys as an object")
            return
        root = self._root_key(keys.get("root"))
        if row.get("kind") in ("genesis", "key.add", "key.revoke"):
            public = root[1] if root is not None and root[0] == row.get("kid") else None
        else:
            public = self._writer_key(keys.get("writer"), row, root)
        if public is None:
            if not any(f.exit for f in self.found):
                self._add("I_NOT_CHECKED", "the row's own signature: the receipt doesn't bring its key", proven)
        elif not rows.verify_signature(public, row_bytes, sig):
            self._add("E_SIG_ROW", "the signature is not that of the row's key over this row", proven)

    def _root_key(self, text: object) -> tuple[str, bytes] | None:
        if text is None:
            return None
        entry = self._key_row(text, "keys.root", "genesis")
        if entry is None:
            return None
        root = entry.row["params"].get("root")
        public = rows.public_key(root)
        if entry.row["seq"] != 0 or public is None or root["kid"] != entry.row["kid"]:
            self._add("E_GENESIS", "keys.root: expected genesis with its root key")
            return None
        if not rows.verify_signature(public, entry.row_bytes, entry.sig):
            self._add("E_SIG_ROW", "keys.root: genesis is not signed by the root key that it names")
            return None
        return root["kid"], public

    def _writer_key(self, text: object, row: dict[str, Any], root: tuple[str, bytes] | None) -> bytes | None:
        if text is None:
            return None
        entry = self._key_row(text, "keys.writer", "key.add")
        if entry is None:
            return None
        key = entry.row["key"]
        public = rows.public_key(key)
        if public is None or key["kid"] != row.get("kid"):
            self._add("E_KEY_UNKNOWN", "keys.writer: the key row names another key than the row")
            return None
        if key.get("role") != "writer":
            self._add("E_KEY_ROLE", "keys.writer: the key's role is not that of a writer")
        seq = row.get("seq")
        first, last = key.get("first_seq", 0), key.get("last_seq", seq)
        if not _all_integers(seq, first, last) or not max(first, entry.row["seq"] + 1) <= seq <= last:
            self._add("E_KEY_WINDOW", "keys.writer: the row is outside the range of its key")
        if root is None:
            self._add("I_NOT_CHECKED", "who added the writer's key: the receipt doesn't bring genesis")
        elif root[0] != entry.row["kid"] or not rows.verify_signature(root[1], entry.row_bytes, entry.sig):
            self._add("E_SIG_ROW", "keys.writer: the key row is not signed by the log's root key")
        self._add("I_NOT_CHECKED", "whether the writer's key was revoked later: only the log says so")
        return public

    def _key_row(self, text: object, what: str, kind: str) -> rows.Entry | None:
        """The row of `kind` that a tlog-proof carries as its extra bytes, proven to stand in the same log."""
        opened = self._open(text, what)
        proven = self._place(opened, opened[0].extra or b"", what) if opened is not None else None
        if proven is None:
            return None
        try:
            entry = rows.parse_entry(proven.entry)
            rows.check(entry.row)
        except RowError as error:
            self._add(error.code, f"{what}: {error}")
            return None
        if entry.row["kind"] != kind or entry.row["seq"] != proven.index:
            self._add("E_RECEIPT_FIELDS", f"{what}: expected the row of kind {kind} at its own index")
            return None
        if not entry.row["log"] == proven.head.checkpoint.origin == self.obj.get("log"):
            self._add("E_ORIGIN", f"{what}: belongs to another log")
            return None
        return entry

    # (3) what it says

    def _repeated(self, row: dict[str, Any], opened: tuple[proofs.Proof, SignedHead] | None) -> None:
        """Members that repeat what is signed must say the same; they are never used instead of it."""
        self._same("log", row.get("log"))
        if "decision_id" in self.obj:
            self._same("decision_id", row.get("eid", row.get("rid")))
        if opened is None:
            return
        proof, head = opened
        signed = head.checkpoint
        if row.get("log") != signed.origin:
            self._add("E_ORIGIN", "the row belongs to another log than the checkpoint")
        if row.get("seq") != proof.index:
            self._add("E_RECEIPT_FIELDS", "the row's sequence is not the proof's index")
        if self.obj.get("index") != proof.index or type(self.obj.get("index")) is not int:
            self._add("E_RECEIPT_FIELDS", "the member index is not the proof's")
        self._same("origin", signed.origin)
        for name in ("size", "tree_size"):
            self._same(name, signed.size)
        for name in ("root", "root_hash"):
            if name in self.obj and self.obj[name] not in _forms(signed):
                self._add("E_RECEIPT_FIELDS", f"the member {name} is not what the checkpoint signs")
        self._same("checkpoint", head.note)

    def _same(self, name: str, signed: object) -> None:
        if name in self.obj and (self.obj[name] != signed or type(self.obj[name]) is not type(signed)):
            self._add("E_RECEIPT_FIELDS", f"the member {name} is not what is signed")

    def _openings(self, row: dict[str, Any], proven: _Proven | None) -> None:
        openings = self.obj.get("openings", {})
        if not isinstance(openings, dict):
            self._add("E_RECEIPT_FIELDS", "expected openings as an object")
            return
        for name, opening in openings.items():
            if name == "stages":
                self._stages(row, opening, proven)
            elif isinstance(opening, dict) and "erased" in opening:
                self._erased(name, opening["erased"], proven)
            else:
                self._opening(row, name, opening, proven)

    def _opening(self, row: dict[str, Any], name: str, opening: object, proven: _Proven | None) -> None:
        """An opening is `{salt, payload}`; the commitment is over the payload's RFC 8785 form."""
        shown = name if name in rows.MEMBERS else "(another member)"
        try:
            if not isinstance(opening, dict) or not isinstance(opening["salt"], str):
                raise ValueError("expected {salt, payload}")
            payload = jsontree.canonical(opening["payload"]).encode("utf-8")
            made = rows.commitment(bytes.fromhex(opening["salt"]), payload)
        except (KeyError, ValueError, RecursionError):
            self._add("E_OPENING", f"the opening of {shown} is not {{salt, payload}}, the salt 64 hex digits", proven)
            return
        if name not in rows.COMMITMENTS or row.get(name) != made:
            self._add("E_OPENING", f"the opening of {shown} does not match the row's commitment", proven)

    def _stages(self, row: dict[str, Any], stages: object, proven: _Proven | None) -> None:
        """`openings.stages` is the list of stage leaves in their order."""
        leaves = stages.get("payload") if isinstance(stages, dict) else stages
        try:
            if not isinstance(leaves, list) or flight.root(leaves) != row.get("stages"):
                raise ValueError("another root")
        except (canonical.CanonError, ValueError):
            self._add("E_FLIGHT_ROOT", "the stages do not lead to the row's flight root", proven)

    def _erased(self, name: str, proof: object, proven: _Proven | None) -> None:
        """`{"erased": <tlog-proof of the erase row>}`: that row's `detail.seqs` must hold this row's sequence."""
        shown = name if name in rows.COMMITMENTS else "(another member)"
        entry = self._key_row(proof, "the erasure", "erase") if isinstance(proof, str) else None
        seqs = entry.row.get("detail", {}).get("seqs") if entry is not None else None
        if proven is not None and isinstance(seqs, list) and proven.index in seqs:
            self._add("I_ERASED", f"{shown} was erased by row {entry.row['seq'] if entry else None}", proven)
        else:
            self._add("E_ERASURE_UNPROVEN", f"{shown} is called erased, and no erasure row names it", proven)

    def _unchecked(self, proven: _Proven | None) -> None:
        if self.obj["level"] in ("witnessed", "anchored") and (proven is None or not proven.head.cosigned_at):
            self._add("I_NOT_CHECKED", f"the level {self.obj['level']}: no cosignature by a witness whose key you gave")
        if "l0" in self.obj:
            self._add("I_NOT_CHECKED", "the head in the installation's own log (member l0)")
        self._add("I_NOT_CHECKED", "rows after this one: the receipt says nothing about them")


def _forms(head: Checkpoint) -> tuple[str, str]:
    return head.root.hex(), base64.b64encode(head.root).decode("ascii")


def _all_integers(*values: object) -> bool:
    return all(type(value) is int for value in values)
