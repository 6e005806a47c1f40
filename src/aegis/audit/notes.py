"""Signed notes, verifier keys and checkpoints as C2SP writes them (signed-note, tlog-checkpoint, tlog-cosignature).

Two signature types are known: 0x01, Ed25519 over the note's text, which logs use; 0x04, the timestamped
cosignature of witnesses. One key never serves both, and neither is taken where the other is expected.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from aegis.audit import ed25519

ED25519 = 0x01
COSIGNATURE = 0x04
MAX_NOTE_BYTES = 1 << 20
MAX_SIGNATURES = 100
MAX_NAME = 256

_SIGNATURE_BYTES = {ED25519: 64, COSIGNATURE: 8 + 64}
_DASH = "\u2014 "
_VKEY = re.compile(r"([^+\s]{1,256})\+([0-9a-f]{8})\+([A-Za-z0-9+/]{4,256}={0,2})")
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteError(ValueError):
    """A note, key or checkpoint is not what it must be. `code` is the finding that it amounts to."""

    def __init__(self, message: str, code: str = "E_SIG_CHECKPOINT") -> None:
        super().__init__(message)
        self.code = code


def key_id(name: str, alg: int, pub: bytes) -> bytes:
    """The 4 bytes that name a key beside its name: SHA-256(name || LF || type || key), cut."""
    return hashlib.sha256(name.encode("utf-8") + b"\n" + bytes([alg]) + pub).digest()[:4]


@dataclass(frozen=True, slots=True)
class Verifier:
    """A trusted key: `name`, `alg` (one of the two types), the 32-byte public key and its 4-byte id."""

    name: str
    alg: int
    pub: bytes
    id: bytes

    @classmethod
    def of(cls, name: str, alg: int, pub: bytes) -> Verifier:
        return cls(name, alg, pub, key_id(name, alg, pub))

    @classmethod
    def from_vkey(cls, vkey: str) -> Verifier:
        """Parses `name+id+base64(type || key)`. Raises NoteError when the id doesn't fit or the type is unknown."""
        parts = _VKEY.fullmatch(vkey)
        if parts is None:
            raise NoteError("couldn't read the verifier key: expected name+id+key")
        name, identity, blob = parts[1], parts[2], _b64(parts[3])
        _check_name(name)
        if len(blob) != 33 or blob[0] not in _SIGNATURE_BYTES:
            raise NoteError(f"couldn't use the verifier key of {name}: expected Ed25519 (type 1 or 4) with 32 bytes")
        verifier = cls.of(name, blob[0], blob[1:])
        if verifier.id.hex() != identity:
            raise NoteError(f"couldn't use the verifier key of {name}: its id is not that of its name, type and key")
        return verifier

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(bytes([self.alg]) + self.pub).decode()}"

    def verify(self, text: str, signature: bytes) -> int | None:
        """The cosignature's time in seconds, None for type 0x01. Raises NoteError for a bad signature."""
        if len(signature) != _SIGNATURE_BYTES[self.alg]:
            raise NoteError(
                f"the signature of {self.name} has {len(signature)} bytes, expected {_SIGNATURE_BYTES[self.alg]}"
            )
        time = int.from_bytes(signature[:8], "big") if self.alg == COSIGNATURE else None
        message = text.encode("utf-8") if time is None else cosigned(text, time)
        if not ed25519.verify(self.pub, message, signature[-64:]):
            raise NoteError(f"the signature of {self.name} is not over this text")
        return time


def cosigned(text: str, time: int) -> bytes:
    """What a 0x04 cosignature signs; `time` in seconds since 1970."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


class NoteSigner:
    """Signs texts as `name` with type 0x01; `seed` is the 32-byte Ed25519 seed."""

    __slots__ = ("_key", "_prefix", "name", "verifier", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        _check_name(name)
        self._key = ed25519.SigningKey(seed)
        self.name = name
        self.verifier = Verifier.of(name, ED25519, self._key.public)
        self.vkey = self.verifier.vkey
        self._prefix = self.verifier.id

    def sign(self, text: str) -> str:
        """The note: `text`, a blank line, one signature line. Raises NoteError for a text that notes can't hold."""
        raw = _check_text(text)
        blob = base64.b64encode(self._prefix + self._key.sign(raw)).decode("ascii")
        return f"{text}\n{_DASH}{self.name} {blob}\n"


class Cosigner:
    """Cosigns checkpoints as `name` with type 0x04; the time comes in, in seconds since 1970."""

    __slots__ = ("_key", "name", "verifier", "vkey")

    def __init__(self, name: str, seed: bytes) -> None:
        _check_name(name)
        self._key = ed25519.SigningKey(seed)
        self.name = name
        self.verifier = Verifier.of(name, COSIGNATURE, self._key.public)
        self.vkey = self.verifier.vkey

    def line(self, text: str, time: int) -> str:
        """The signature line to put under a note with the text `text`."""
        _check_text(text)
        blob = self.verifier.id + time.to_bytes(8, "big") + self._key.sign(cosigned(text, time))
        return f"{_DASH}{self.name} {base64.b64encode(blob).decode('ascii')}\n"


@dataclass(frozen=True, slots=True)
class Signature:
    """A verified signature line; `time` in seconds for cosignatures, else None."""

    verifier: Verifier
    time: int | None


@dataclass(frozen=True, slots=True)
class Note:
    """A note whose `signatures` are verified; `unverified` holds the names of lines by keys that aren't trusted."""

    text: str
    signatures: tuple[Signature, ...]
    unverified: tuple[str, ...]


def open_note(note: str, verifiers: Sequence[Verifier]) -> Note:
    """The note's text with at least one verified signature.

    Raises NoteError: `E_SIG_CHECKPOINT` for a malformed note and for any bad signature by a trusted key, even beside
    good ones; `E_KEY_UNKNOWN` when no line is by a trusted key.
    """
    text, lines = split_note(note)
    known = {(verifier.name, verifier.id): verifier for verifier in verifiers}
    found: dict[Verifier, Signature] = {}
    unverified = []
    for name, identity, signature in lines:
        verifier = known.get((name, identity))
        if verifier is None:
            unverified.append(name)
        elif verifier not in found:
            found[verifier] = Signature(verifier, verifier.verify(text, signature))
        else:
            raise NoteError(f"expected one signature by each key, got two by {name}")
    if not found:
        raise NoteError("no signature is by a key that you trust", "E_KEY_UNKNOWN")
    return Note(text, tuple(found.values()), tuple(unverified))


def split_note(note: str) -> tuple[str, list[tuple[str, bytes, bytes]]]:
    """The text and the lines `(name, key id, signature)`, nothing verified. Raises NoteError for a malformed note."""
    if len(note) > MAX_NOTE_BYTES:
        raise NoteError(f"expected a note of at most {MAX_NOTE_BYTES} bytes")
    at = note.rfind("\n\n")
    if at < 0 or not note.endswith("\n"):
        raise NoteError("expected a text, a blank line and signatures, each line with its end")
    text, block = note[: at + 1], note[at + 2 :]
    _check_text(text)
    lines = block.split("\n")[:-1]
    if not 1 <= len(lines) <= MAX_SIGNATURES:
        raise NoteError(f"expected 1 to {MAX_SIGNATURES} signatures, got {len(lines)}")
    return text, [_signature_line(line) for line in lines]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's head: `root` is the 32-byte tree hash at `size`."""

    origin: str
    size: int
    root: bytes


def checkpoint(origin: str, size: int, root: bytes) -> str:
    """The checkpoint's text, without extension lines."""
    return f"{origin}\n{size}\n{base64.b64encode(root).decode('ascii')}\n"


def parse_checkpoint(body: str) -> Checkpoint:
    """The inverse of `checkpoint`. Raises NoteError for extension lines, other sizes of hash, and odd forms."""
    lines = body.split("\n")
    if len(lines) != 4 or lines[3]:
        raise NoteError("expected origin, size and root, each on a line, and nothing else")
    origin, size, root = lines[0], lines[1], _b64(lines[2])
    if not origin or _SIZE.fullmatch(size) is None or int(size) >= 2**63:
        raise NoteError("expected an origin and a decimal size")
    if len(root) != 32:
        raise NoteError(f"expected a root of 32 bytes, got {len(root)}")
    return Checkpoint(origin, int(size), root)


@lru_cache(maxsize=4096)
def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME or "+" in name or any(c.isspace() or c < " " for c in name):
        raise NoteError("expected a key name without spaces and plus signs")


def _check_text(text: str) -> bytes:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise NoteError("expected a text of whole lines without control characters")
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        raise NoteError("expected Unicode text, got a lone surrogate") from None


def _signature_line(line: str) -> tuple[str, bytes, bytes]:
    name, _, blob = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH):
        raise NoteError("expected a signature line that begins with an em dash")
    _check_name(name)
    raw = _b64(blob)
    if len(raw) < 5:
        raise NoteError(f"expected a key id and a signature from {name}")
    return name, raw[:4], raw[4:]


def _b64(text: str) -> bytes:
    """Strict base64: padded, without foreign characters, with zero spare bits."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if base64.b64encode(raw).decode("ascii") != text:
        raise NoteError("expected base64 in its one padded form")
    return raw
