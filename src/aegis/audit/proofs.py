"""Inclusion proofs as text: C2SP tlog-proof@v1, the offline-verifiable form that receipts carry."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass

HEADER = "c2sp.org/tlog-proof@v1"
MAX_PATH = 63
MAX_PROOF_BYTES = 1 << 20

_OTHER_VERSION = re.compile(r"c2sp\.org/tlog-proof@v[0-9]{1,9}")
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


class ProofTextError(ValueError):
    """The text is not a tlog-proof. `code` is the finding that it amounts to."""

    def __init__(self, message: str, code: str = "E_INCLUSION") -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Proof:
    """A parsed proof: nothing in it is verified. `checkpoint` is a signed note; `extra` bytes that nothing signs."""

    index: int
    path: tuple[bytes, ...]
    checkpoint: str
    extra: bytes | None = None


def format_proof(index: int, path: Sequence[bytes], checkpoint_note: str, extra: bytes | None = None) -> str:
    """The text of the proof; `path` from the leaf upwards, 32 bytes each."""
    lines = [HEADER]
    if extra is not None:
        lines.append("extra " + base64.b64encode(extra).decode("ascii"))
    lines.append(f"index {index}")
    lines.extend(base64.b64encode(sibling).decode("ascii") for sibling in path)
    return "\n".join(lines) + "\n\n" + checkpoint_note


def parse_proof(text: str) -> Proof:
    """The inverse of `format_proof`. Raises ProofTextError; an unknown version has the code `E_FORMAT_VERSION`."""
    if len(text) > MAX_PROOF_BYTES:
        raise ProofTextError(f"expected a proof of at most {MAX_PROOF_BYTES} bytes")
    head, blank, note = text.partition("\n\n")
    lines = head.split("\n")
    if lines[0] != HEADER:
        is_other_version = _OTHER_VERSION.fullmatch(lines[0]) is not None
        raise ProofTextError(f"expected the line {HEADER}", "E_FORMAT_VERSION" if is_other_version else "E_INCLUSION")
    if not blank or not note:
        raise ProofTextError("expected a blank line and a checkpoint")
    rest = lines[1:]
    extra = _b64(rest.pop(0)[6:]) if rest and rest[0].startswith("extra ") else None
    index = _INDEX.fullmatch(rest[0]) if rest else None
    if index is None or int(index[1]) >= 2**63:
        raise ProofTextError("expected the line: index <number>")
    path = tuple(_b64(line) for line in rest[1:])
    if len(path) > MAX_PATH:
        raise ProofTextError(f"expected at most {MAX_PATH} hashes, got {len(path)}")
    for sibling in path:
        if len(sibling) != 32:
            raise ProofTextError(f"expected hashes of 32 bytes, got one of {len(sibling)}")
    return Proof(int(index[1]), path, note, extra)


def _b64(text: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ProofTextError("expected base64") from None
    if base64.b64encode(raw).decode("ascii") != text:
        raise ProofTextError("expected base64 in its one padded form")
    return raw
