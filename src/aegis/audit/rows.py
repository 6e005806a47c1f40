"""The log's rows: their members, their bytes and their signatures.

An entry is `JCS(row) LF base64(signature)`, the signature Ed25519 over `aegis.row/1 LF JCS(row)`. It stands inside
the Merkle leaf, so it can't be exchanged; `prev` is the leaf hash of the entry before, so chain and tree are one.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aegis.audit import canonical, ed25519
from aegis.kernel.clock import from_iso
from aegis.kernel.record import CLASSES, OUTCOME_CLASSES, VERDICT_CLASSES

VERSION = "aegis.row/1"
DOMAIN = VERSION.encode() + b"\n"
MAX_ENTRY_BYTES = 16 * 1024
MAX_FINDINGS = 32
NO_PREV = "0" * 64
HASH_NAME = "sha256-rfc6962"


class RowError(ValueError):
    """An entry or row breaks the format. `code` is the finding that it amounts to."""

    def __init__(self, message: str, code: str = "E_ROW_FIELDS") -> None:
        super().__init__(message)
        self.code = code


class Writer:
    """A key that signs rows as `kid`; `seed` is its 32-byte Ed25519 seed, `public` the public half."""

    __slots__ = ("_key", "kid", "public")

    def __init__(self, kid: str, seed: bytes) -> None:
        self.kid = kid
        self._key = ed25519.SigningKey(seed)
        self.public = self._key.public

    @classmethod
    def of(cls, role: str, seed: bytes) -> Writer:
        """A writer whose `kid` is the role and the first 16 hex digits of SHA-256 over the public key."""
        public = ed25519.SigningKey(seed).public
        return cls(f"{role}-{hashlib.sha256(public).hexdigest()[:16]}", seed)

    def sign(self, row_bytes: bytes) -> bytes:
        return self._key.sign(DOMAIN + row_bytes)


@dataclass(frozen=True, slots=True)
class Entry:
    """A parsed entry: `row` is what `row_bytes` say, `sig` the 64 bytes beside them, not verified."""

    row: dict[str, Any]
    row_bytes: bytes
    sig: bytes


def seal(row: dict[str, Any], writer: Writer) -> bytes:
    """The signed entry of `row`. Raises RowError or canonical.CanonError for a row that the format doesn't take."""
    check(row)
    row_bytes = canonical.encode(row)
    entry = row_bytes + b"\n" + binascii.b2a_base64(writer.sign(row_bytes), newline=False)
    if len(entry) > MAX_ENTRY_BYTES:
        raise RowError(f"expected an entry of at most {MAX_ENTRY_BYTES} bytes, got {len(entry)}", "E_ENTRY_SIZE")
    return entry


def split_entry(entry: bytes) -> tuple[bytes, bytes]:
    """Row bytes and signature of `entry`, neither looked into. Raises RowError."""
    if len(entry) > MAX_ENTRY_BYTES:
        raise RowError(f"expected an entry of at most {MAX_ENTRY_BYTES} bytes, got {len(entry)}", "E_ENTRY_SIZE")
    row_bytes, newline, text = entry.partition(b"\n")
    if not newline:
        raise RowError("expected a row, a line feed and a signature", "E_CANON")
    return row_bytes, decode_signature(text)


def decode_signature(text: bytes) -> bytes:
    """The 64 bytes of a base64 signature in its one padded form. Raises RowError."""
    try:
        sig = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        sig = b""
    if len(sig) != 64 or base64.b64encode(sig) != text:
        raise RowError("expected the base64 of a signature of 64 bytes", "E_SIG_ROW")
    return sig


def parse_entry(entry: bytes) -> Entry:
    """The entry's row, which is canonical, and its signature, which is not verified. Raises RowError."""
    row_bytes, sig = split_entry(entry)
    return Entry(parse_row(row_bytes), row_bytes, sig)


def parse_row(row_bytes: bytes) -> dict[str, Any]:
    """The row of canonical bytes; its members are not checked. Raises RowError with the code E_CANON."""
    try:
        return canonical.decode(row_bytes, max_bytes=MAX_ENTRY_BYTES)
    except canonical.CanonError as error:
        raise RowError(str(error), "E_CANON") from None


def verify_signature(public: bytes, row_bytes: bytes, sig: bytes) -> bool:
    return ed25519.verify(public, DOMAIN + row_bytes, sig)


def check(row: dict[str, Any]) -> None:
    """Raises RowError unless version, members and kind fit the format; other members than the known are let be."""
    check_version(row)
    for name in _ALWAYS:
        if name not in row:
            raise RowError(f"expected the member {name} in every row")
    for name, value in row.items():
        fits = MEMBERS.get(name)
        if fits is not None and not fits(value):
            raise RowError(f"the member {name} is not what the format says")
    needed = KINDS.get(row["kind"])
    if needed is None:
        raise RowError("the member kind names no kind of row")
    for name in needed:
        if name not in row:
            raise RowError(f"expected the member {name} in a row of kind {row['kind']}")
    if ("an" in row) != ("agent" in row) or ("ap" in row) != (row.get("an", 1) > 1):
        raise RowError("expected an beside agent, and ap from the agent's second row on")


def check_version(row: dict[str, Any]) -> None:
    """Raises RowError with the code E_FORMAT_VERSION for another version or an unknown member that `crit` names."""
    if row.get("v") != VERSION:
        raise RowError(f"expected the version {VERSION}", "E_FORMAT_VERSION")
    crit = row.get("crit", ())
    if not isinstance(crit, list | tuple) or not all(isinstance(name, str) and name in MEMBERS for name in crit):
        raise RowError("a member that must be understood is not known", "E_FORMAT_VERSION")


def counted_class(row: dict[str, Any]) -> str | None:
    """The class of `cum` that this row grows, by its `count` or by 1; None for a row that isn't counted."""
    match row["kind"]:
        case "decision":
            return str(row["verdict"])
        case "throttled":
            return "throttle"
        case "outcome":
            return str(row["status"])
        case "late" | "gap" as kind:
            return str(kind)
        case _:
            return None


def public_key(key: object) -> bytes | None:
    """The 32 bytes of a key `{kid, pub}` as key rows and genesis hold it; None when it isn't one."""
    if not isinstance(key, dict) or not isinstance(key.get("kid"), str) or not _hash(key.get("pub")):
        return None
    return bytes.fromhex(key["pub"])


def commitment(salt: bytes, payload_bytes: bytes) -> str:
    """`c1:` and the hex HMAC-SHA256 of the payload's canonical bytes under the 32-byte salt."""
    if len(salt) != 32:
        raise ValueError(f"couldn't commit: expected a salt of 32 bytes, got {len(salt)}")
    return "c1:" + hmac.digest(salt, payload_bytes, "sha256").hex()


def pseudonym(label_key: bytes, kind: str, value: str) -> str:
    """`p1:` and 26 characters that stand for `value` as a `kind`, the same each time while the tenant's key lives."""
    return "p1:" + _short(label_key, kind.encode("ascii") + b"\x00" + value.encode("utf-8"))


def log_label(label_key: bytes, tenant: str) -> str:
    """The tenant's part of its log's origin: 26 characters that don't tell the tenant."""
    return _short(label_key, tenant.encode("utf-8"))


def _short(key: bytes, message: bytes) -> str:
    return base64.b32encode(hmac.digest(key, message, "sha256")).decode("ascii")[:26].lower()


# The table of members. One that isn't here is let be, unless `crit` names it.

_HEX64 = re.compile(r"[0-9a-f]{64}").fullmatch
_COMMITMENT = re.compile(r"c1:[0-9a-f]{64}").fullmatch
_TIME = re.compile(
    r"[1-9]\d{3}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12]\d|3[01])T(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d\.\d{6}Z", re.ASCII
).fullmatch


def _text(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 1024


def _maybe_text(value: object) -> bool:
    return type(value) is str and len(value) <= 1024


def _short_text(value: object) -> bool:
    return type(value) is str and 0 < len(value) <= 256


def _count(value: object) -> bool:
    return type(value) is int and value >= 0


def _positive(value: object) -> bool:
    return type(value) is int and value >= 1


def _hash(value: object) -> bool:
    return type(value) is str and _HEX64(value) is not None


def _committed(value: object) -> bool:
    return type(value) is str and _COMMITMENT(value) is not None


def _time(value: object) -> bool:
    return type(value) is str and _TIME(value) is not None and (value[8:10] <= "28" or _is_day(value))


def _is_day(value: str) -> bool:
    try:
        from_iso(value)
    except ValueError:
        return False
    return True


def _one_of(*words: str) -> Callable[[object], bool]:
    return lambda value: type(value) is str and value in words


def _person(value: object) -> bool:
    return _short_text(value) or (type(value) is dict and _short_text(value.get("id")))


def _object(value: object) -> bool:
    return type(value) is dict


def _millionths(value: object) -> bool:
    return type(value) is int and 0 <= value <= 1_000_000


def _findings(value: object) -> bool:
    return (
        type(value) is list
        and len(value) <= MAX_FINDINGS
        and all(type(item) is dict and _short_text(item.get("code")) for item in value)
    )


def _counters(value: object) -> bool:
    if type(value) is not dict or value.keys() != _CLASS_SET:
        return False
    numbers = value.values()
    return set(map(type, numbers)) == {int} and min(numbers) >= 0


def _seen(value: object) -> bool:
    return type(value) is dict and _count(value.get("size")) and _hash(value.get("root"))


def _words(value: object) -> bool:
    return type(value) is list and all(_short_text(word) for word in value)


def _key(value: object) -> bool:
    return type(value) is dict and _short_text(value.get("kid"))


_CLASS_SET = frozenset(CLASSES)

MEMBERS: dict[str, Callable[[object], bool]] = {
    "v": _short_text,  # aegis.row/1
    "log": _short_text,  # the log's origin
    "seq": _count,
    "prev": _hash,  # leaf hash of the entry before; 64 zeros in genesis
    "kind": _short_text,  # one of KINDS
    "ts": _time,  # UTC with microseconds, never less than the row before
    "kid": _short_text,  # the key that signed
    "rid": _short_text,  # the row's own id, a UUIDv7 for calls
    "eid": _short_text,  # the execution
    "agent": _short_text,
    "ap": _count,  # sequence of this agent's row before; absent in its first
    "an": _positive,  # ordinal of this row among the agent's
    "team": _short_text,
    "user": _person,  # pseudonym, or {id, known: verified | asserted}
    "session": _short_text,
    "parent": _short_text,
    "door": _short_text,
    "action": _text,
    "tool": _text,
    "resource": _text,  # pseudonym
    "digest": _committed,  # to the action's digest; one salt with `executed`, so that equality shows
    "executed": _committed,
    "of": _count,  # sequence of the decision that this row belongs to
    "count": _positive,  # of summed rows
    "scope": _text,  # of a kill
    "epoch": _count,  # the kill epoch after this row
    "verdict": _one_of(*VERDICT_CLASSES),
    "status": _one_of(*OUTCOME_CLASSES),
    "by": _short_text,  # whose word an outcome is: caller or aegis
    "effect": _short_text,
    "risk": _millionths,
    "rule": _maybe_text,  # empty where no rule decided
    "findings": _findings,  # [{code, rule, path}], at most 32
    "more": _count,  # how many more there were
    "approval": _text,
    "rewrites": _committed,
    "outcome_due": _time,
    "stages": _hash,  # root of the flight recorder
    "policy": _text,
    "engine": _text,
    "inputs": _committed,
    "state": _committed,
    "outputs": _committed,
    "usage": _object,
    "cum": _counters,  # every class, after this row
    "client_seen": _seen,
    "gw": _short_text,
    "gseq": _count,
    "crit": _words,  # members that a reader must understand
    "params": _object,  # genesis: {hash, root: {kid, pub}, log_vkey}
    "key": _key,  # key.add: {kid, pub, role, first_seq?, last_seq?}; key.revoke: {kid, last_seq}
    "detail": _object,  # what is particular to the kind: minimum of a prune, seqs of an erasure, reasons
}

COMMITMENTS = frozenset(name for name, fits in MEMBERS.items() if fits is _committed)

_ALWAYS = ("v", "log", "seq", "prev", "kind", "ts", "kid", "cum")

KINDS: dict[str, tuple[str, ...]] = {
    "genesis": ("params",),
    "decision": ("rid", "agent", "verdict"),
    "outcome": ("of", "status"),
    "late": (),
    "throttled": ("count",),
    "approval": (),
    "access": (),
    "config": (),
    "gap": ("count",),
    "heartbeat": (),
    "heads": (),
    "seal": (),
    "kill": ("scope",),
    "policy": (),
    "key.add": ("key",),
    "key.revoke": ("key",),
    "erase": (),
    "prune": (),
    "export": (),
    "loss": (),
    "note": (),
}
