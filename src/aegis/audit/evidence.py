"""What verification found: one table of codes with their meaning and exit, and the exit of them all.

Exit 0: verified. 1: tampering is proven, or a rule of the format is broken. 2: the evidence does not suffice.
3: the container can't be read, or its version is unknown. A code never changes its meaning.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

CODES: dict[str, tuple[int, str]] = {
    "E_SIG_CHECKPOINT": (1, "the checkpoint is not signed as it must be"),
    "E_KEY_UNKNOWN": (1, "signed by a key that nothing trusted names"),
    "E_ORIGIN": (1, "belongs to another log"),
    "E_FORK": (1, "two signed roots for one size"),
    "E_CONSISTENCY": (1, "a signed older tree is not the beginning of this one"),
    "E_ROLLBACK": (1, "the log is shorter than a checkpoint that was signed"),
    "E_TRUNCATED": (1, "entries that the checkpoint covers are missing"),
    "E_ROOT_MISMATCH": (1, "the entries do not lead to the signed root"),
    "E_TILE": (1, "a stored tile differs from what the entries say"),
    "E_ENTRY_SIZE": (1, "an entry or bundle is larger than the format allows, or not well framed"),
    "E_CANON": (1, "the row's bytes are not canonical"),
    "E_SIG_ROW": (1, "the row's signature does not hold"),
    "E_ROW_FIELDS": (1, "a member of the row is not what the format says"),
    "E_GENESIS": (1, "the log does not begin as a log must"),
    "E_KEY_WINDOW": (1, "the row is outside the range of its key"),
    "E_KEY_REVOKED": (1, "the row was signed after its key was revoked"),
    "E_KEY_ROLE": (1, "a key signed what its role may not sign"),
    "E_SEQ_DUP": (1, "a sequence number stands twice"),
    "E_SEQ_GAP": (1, "a sequence number is missing"),
    "E_PREV": (1, "the row does not follow the entry before it"),
    "E_TIME_ORDER": (1, "the clock ran backwards"),
    "E_TIME_BOUND": (1, "the row's time is outside what cosigned times allow"),
    "E_COUNTER": (1, "the running counts did not grow by exactly this row"),
    "E_AGENT_LINK": (1, "the agent's chain of rows is broken"),
    "E_NO_DECISION": (1, "an outcome without a decision that allowed it"),
    "E_OUTCOME_DUP": (1, "a second outcome of one decision"),
    "E_ORPHAN": (1, "an allowed decision is past its time without an outcome"),
    "E_PRUNED_UNPROVEN": (1, "entries are missing and no prune row covers them"),
    "E_INCLUSION": (1, "the proof does not lead from the row to the signed root"),
    "E_RECEIPT_FIELDS": (1, "a member of the receipt differs from what is signed"),
    "E_OPENING": (1, "an opening does not match its commitment"),
    "E_ERASURE_UNPROVEN": (1, "called erased, and no erasure row says so"),
    "E_FLIGHT_ROOT": (1, "the stages do not lead to the row's flight root"),
    "E_FORMAT_VERSION": (3, "a version or a critical member that this verifier does not know"),
    "E_UNREADABLE": (3, "the container can't be read"),
    "W_NO_FRESH_EVIDENCE": (2, "nothing that is held says how far the log reached"),
    "W_NO_ROW": (2, "the receipt carries no row"),
    "W_NOT_INCLUDED": (2, "the receipt carries no proof of inclusion"),
    "W_KEY_SUSPECT": (2, "signed between the last trusted sequence of a key and its revocation"),
    "W_NO_TRUSTED_KEY": (2, "no verifier key for a log was given"),
    "I_UNKNOWN_OUTCOME": (0, "closed with an unknown outcome"),
    "I_PENDING_OUTCOME": (0, "allowed, its outcome not yet due"),
    "I_ERASED": (0, "erased lawfully; the row still verifies"),
    "I_PRUNED": (0, "entries pruned by retention; roots and proofs still verify"),
    "I_NOT_CHECKED": (0, "not checked"),
    "I_EXTRA_FILES": (0, "files that are no part of the log"),
    "I_VERIFIED": (0, "verified"),
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that verification found. `seq` is the row it concerns, where it concerns one."""

    code: str
    message: str
    seq: int | None = None

    @property
    def exit(self) -> int:
        return CODES[self.code][0]

    @property
    def meaning(self) -> str:
        return CODES[self.code][1]

    def public(self) -> dict[str, object]:
        where = {} if self.seq is None else {"seq": self.seq}
        return {"code": self.code, "exit": self.exit, "message": self.message, **where}


def finding(code: str, message: str = "", seq: int | None = None) -> Finding:
    """A finding of the table's `code`; raises KeyError for a code that is not in it."""
    return Finding(code, message or CODES[code][1], seq)


def exit_code(findings: Iterable[Finding]) -> int:
    """1 before 3 before 2 before 0: proof of tampering outweighs an unknown version, and that a lack of evidence."""
    exits = {found.exit for found in findings}
    return next((code for code in (1, 3, 2) if code in exits), 0)
