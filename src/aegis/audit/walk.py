"""Row by row through a log: what each row claims against what the rows before it make true.

For each row the signature comes before its meaning. A row that can't be read is one finding, not a cascade: what
depends on state that it hid starts anew behind it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from aegis.audit import notes, rows
from aegis.audit.evidence import Finding, finding
from aegis.audit.rows import RowError
from aegis.kernel.clock import MicroSeconds, from_iso
from aegis.kernel.record import CLASSES

ORPHAN_GRACE: MicroSeconds = 30_000_000
"""How long after `outcome_due` the worker may take to close an execution before its absence is an orphan."""

SHOWN_PER_CODE = 20

_OPEN, _REFUSED, _CLOSED, _CLOSED_UNKNOWN = 1, 2, 3, 4


class Findings:
    """Collects findings, the first 20 of each code in full and the rest as a number."""

    def __init__(self) -> None:
        self._shown: list[Finding] = []
        self._counts: Counter[str] = Counter()
        self.first_bad: int | None = None
        """The lowest sequence number that an exit-1 finding names."""

    def add(self, code: str, message: str = "", seq: int | None = None) -> None:
        self.take(finding(code, message, seq))

    def take(self, found: Finding) -> None:
        self._counts[found.code] += 1
        if found.exit == 1 and found.seq is not None:
            self.first_bad = found.seq if self.first_bad is None else min(self.first_bad, found.seq)
        if self._counts[found.code] <= SHOWN_PER_CODE:
            self._shown.append(found)

    def all(self) -> list[Finding]:
        more = [
            finding(code, f"{count - SHOWN_PER_CODE} more like this")
            for code, count in self._counts.items()
            if count > SHOWN_PER_CODE
        ]
        return self._shown + more


@dataclass(slots=True)
class Key:
    """A key as the log's own key rows say: may sign rows `first..last`; `revoked_at` is the revoking row."""

    public: bytes
    role: str
    first: int
    last: int | None = None
    newest: int = -1
    revoked_at: int | None = None
    revoked_last: int | None = None


class Walk:
    """Takes entries in order from sequence 0 (or after `skip`). `origin` is the signed one, or None when unknown.

    `checks_signature` says for which sequence numbers the row signature is verified; genesis and key rows always are.
    `log_vkeys` are those of the trusted keys that genesis may name as the log's.
    """

    def __init__(
        self,
        found: Findings,
        origin: str | None,
        *,
        checks_signature: Callable[[int], bool],
        log_vkeys: frozenset[str] = frozenset(),
        watched: frozenset[int] = frozenset(),
    ) -> None:
        self.found, self.origin = found, origin
        self.times: dict[int, str] = {}
        """The times of the `watched` rows."""
        self._watched = watched
        self._checks_signature, self._log_vkeys = checks_signature, log_vkeys
        self.position, self.rows, self.signatures = 0, 0, 0
        self.unchecked_keys = 0
        """Rows whose key row was pruned, so that their signatures couldn't be checked."""
        self.pruned_below = 0
        self.last_ts: str | None = None
        self._keys: dict[str, Key] = {}
        self._publics: dict[bytes, str] = {}
        self._root: str | None = None
        self._strangers: dict[str, int] = {}
        self._expected = 0
        self._prev: str | None = rows.NO_PREV
        self._cum: dict[str, int] | None = dict.fromkeys(CLASSES, 0)
        self._agents: dict[str, tuple[int, int]] = {}
        self._knows_agents = True
        self._has_genesis = True
        self._decisions = bytearray()
        self._blind: list[tuple[int, int]] = []
        self._due: list[tuple[str, int]] = []

    def skip(self, leaves: list[bytes]) -> None:
        """Passes over entries that aren't there and are known by their leaf hashes only."""
        if not leaves:
            return
        if self.position == 0:
            self._has_genesis = False
        self._blind.append((self.position, self.position + len(leaves)))
        self.position += len(leaves)
        self._decisions.extend(bytes(len(leaves)))
        self._expected = self.position
        self._prev = leaves[-1].hex()
        self._forget()

    def feed(self, entry: bytes, leaf: bytes) -> None:
        """One entry and its leaf hash."""
        position = self.position
        self.position += 1
        self.rows += 1
        self._decisions.append(0)
        prev, self._prev = self._prev, leaf.hex()
        try:
            parsed = rows.parse_entry(entry)
        except RowError as error:
            self._hide(error.code, str(error), position)
            return
        row = parsed.row
        if row.get("v") != rows.VERSION:
            self._hide("E_FORMAT_VERSION", f"expected the version {rows.VERSION}", position)
            return
        self._signature(parsed, position)
        try:
            rows.check(row)
        except RowError as error:
            self._hide(error.code, str(error), position)
            return
        self._place(row, position, prev)
        self._count(row, position)
        self._agent(row, position)
        self._meaning(row, position)

    def finish(self) -> None:
        """What only the end shows: keys that no row named, executions that nothing closed."""
        for kid, position in self._strangers.items():
            self.found.add("E_KEY_UNKNOWN", f"no key row of this log names the key {kid[:64]}", position)
        if self.last_ts is None:
            return
        late = from_iso(self.last_ts) - ORPHAN_GRACE
        pending = 0
        while self._due:
            due, position = heapq.heappop(self._due)
            if self._decisions[position] != _OPEN:
                continue
            if from_iso(due) < late:
                self.found.add("E_ORPHAN", f"its outcome was due at {due}, the log goes on to {self.last_ts}", position)
            else:
                pending += 1
        if pending:
            self.found.add("I_PENDING_OUTCOME", f"{pending} allowed decisions had no outcome yet, none overdue")

    def key(self, kid: str) -> Key | None:
        return self._keys.get(kid)

    # -- a row's own bytes

    def _hide(self, code: str, message: str, position: int) -> None:
        self.found.add(code, message, position)
        self._blind.append((position, position + 1))
        self._expected = position + 1
        self._forget()

    def _forget(self) -> None:
        self._cum = None
        self._agents.clear()
        self._knows_agents = False

    def _signature(self, entry: rows.Entry, position: int) -> None:
        row, kid, kind = entry.row, entry.row.get("kid"), entry.row.get("kind")
        if not isinstance(kid, str):
            return  # the table of members says so
        if kind == "genesis" and position == 0:
            self._begin(row, position)
        key = self._keys.get(kid)
        if key is None:
            self._stranger(kid, position)
            return
        self._window(key, kid, position)
        key.newest = position
        by_root = kid == self._root
        if by_root != (kind in _ROOT_KINDS):
            self.found.add("E_KEY_ROLE", f"a row of kind {str(kind)[:32]} signed by a key of role {key.role}", position)
        elif key.role not in ("root", "writer"):
            self.found.add("E_KEY_ROLE", f"a row signed by a key of role {key.role}", position)
        if kind in _ROOT_KINDS or self._checks_signature(position):
            self.signatures += 1
            if not rows.verify_signature(key.public, entry.row_bytes, entry.sig):
                self.found.add("E_SIG_ROW", f"the signature is not that of the key {kid[:64]} over this row", position)

    def _stranger(self, kid: str, position: int) -> None:
        if not self._has_genesis:
            self.unchecked_keys += 1
        elif len(self._strangers) < SHOWN_PER_CODE:
            self._strangers.setdefault(kid, position)

    def _window(self, key: Key, kid: str, position: int) -> None:
        if key.revoked_at is not None and position > max(key.revoked_at, key.revoked_last or 0):
            self.found.add("E_KEY_REVOKED", f"the key {kid[:64]} was revoked by row {key.revoked_at}", position)
        elif position < key.first or (key.last is not None and position > key.last):
            self.found.add("E_KEY_WINDOW", f"the key {kid[:64]} may sign from {key.first} to {key.last}", position)

    # -- its place

    def _place(self, row: dict[str, Any], position: int, prev: str | None) -> None:
        if self.origin is None:
            self.origin = row["log"]
        elif row["log"] != self.origin:
            self.found.add("E_ORIGIN", "the row names another log", position)
        seq, expected = row["seq"], self._expected
        if seq < expected:
            self.found.add("E_SEQ_DUP", f"the row says sequence {seq}, which the log had already", position)
        elif seq > expected:
            self.found.add("E_SEQ_GAP", f"the row says sequence {seq}, expected {expected}", position)
        self._expected = seq + 1
        if prev is not None and row["prev"] != prev:
            self.found.add("E_PREV", "the row follows another entry than the one before it", position)
        if self.last_ts is not None and row["ts"] < self.last_ts:
            self.found.add("E_TIME_ORDER", f"the row's time {row['ts']} is before {self.last_ts}", position)
        else:
            self.last_ts = row["ts"]
        if position in self._watched:
            self.times[position] = row["ts"]
        if (row["kind"] == "genesis") != (position == 0):
            self.found.add("E_GENESIS", "expected genesis as the first row and nowhere else", position)

    # -- its counts and links

    def _count(self, row: dict[str, Any], position: int) -> None:
        grown = rows.counted_class(row)
        if self._cum is not None:
            expected = self._cum
            if grown is not None:
                expected[grown] += row.get("count", 1)
            if row["cum"] != expected:
                wrong = sorted(name for name in CLASSES if row["cum"][name] != expected[name])
                self.found.add("E_COUNTER", f"the counts of {', '.join(wrong)} don't grow by this row", position)
        self._cum = row["cum"]

    def _agent(self, row: dict[str, Any], position: int) -> None:
        agent = row.get("agent")
        if agent is None:
            return
        known = self._agents.get(agent)
        if known is not None or self._knows_agents:
            last, ordinal = known or (None, 0)
            if row["an"] != ordinal + 1 or row.get("ap") != last:
                self.found.add("E_AGENT_LINK", f"expected the agent's row {ordinal + 1} after {last}", position)
        self._agents[agent] = (row["seq"], row["an"])

    # -- its meaning

    def _meaning(self, row: dict[str, Any], position: int) -> None:
        match row["kind"]:
            case "decision":
                self._decided(row, position)
            case "outcome" | "late":
                self._ended(row, position)
            case "key.add":
                self._add_key(row, position)
            case "key.revoke":
                self._revoke_key(row, position)
            case "prune":
                minimum = row.get("detail", {}).get("minimum")
                if type(minimum) is int:
                    self.pruned_below = max(self.pruned_below, minimum)

    def _decided(self, row: dict[str, Any], position: int) -> None:
        if row["verdict"] not in ("allow", "monitor"):
            self._decisions[position] = _REFUSED
            return
        self._decisions[position] = _OPEN
        if "outcome_due" in row:
            heapq.heappush(self._due, (row["outcome_due"], position))

    def _ended(self, row: dict[str, Any], position: int) -> None:
        of = row.get("of")
        if of is None:
            return  # a refusal that waited out a dead store: it has no decision row
        state = self._decisions[of] if of < position else 0
        if state == 0 and any(begin <= of < end for begin, end in self._blind):
            return
        if state in (0, _REFUSED):
            self.found.add("E_NO_DECISION", f"row {of} is no decision that allowed anything", position)
        elif row["kind"] == "late":
            self._decisions[of] = _CLOSED
        elif state != _OPEN:
            self.found.add("E_OUTCOME_DUP", f"the decision {of} had its outcome already", position)
        elif row["status"] == "unknown":
            self._decisions[of] = _CLOSED_UNKNOWN
            self.found.add("I_UNKNOWN_OUTCOME", f"the decision {of} was closed with an unknown outcome", position)
        else:
            self._decisions[of] = _CLOSED

    # -- keys

    def _begin(self, row: dict[str, Any], position: int) -> None:
        params = row.get("params")
        root = params.get("root") if isinstance(params, dict) else None
        public = rows.public_key(root)
        if not isinstance(params, dict) or not isinstance(root, dict) or public is None:
            self.found.add("E_GENESIS", "expected params with a root key {kid, pub}", position)
            return
        self._root = str(root["kid"])
        self._keys[self._root] = Key(public, "root", 0)
        self._publics[public] = self._root
        if params.get("hash") != rows.HASH_NAME:
            self.found.add("E_FORMAT_VERSION", f"expected the hash {rows.HASH_NAME}", position)
        vkey = params.get("log_vkey")
        if self._log_vkeys and vkey not in self._log_vkeys:
            self.found.add("E_GENESIS", "genesis names another log key than the trusted one", position)
        elif isinstance(vkey, str):
            self._pin_log_key(vkey, position)

    def _pin_log_key(self, vkey: str, position: int) -> None:
        try:
            public = notes.Verifier.from_vkey(vkey).pub
        except notes.NoteError:
            return  # unknown here and trusted by nobody
        if public in self._publics:
            self.found.add("E_KEY_ROLE", "one key serves as root and as the log's key", position)
        self._publics[public] = _LOG_KEY

    def _add_key(self, row: dict[str, Any], position: int) -> None:
        key, public = row["key"], rows.public_key(row["key"])
        kid, first, last = key["kid"], key.get("first_seq", position + 1), key.get("last_seq")
        if public is None or not isinstance(key.get("role"), str) or type(first) is not int:
            self.found.add("E_ROW_FIELDS", "expected key {kid, pub, role}", position)
            return
        if self._publics.get(public, kid) != kid or (kid in self._keys and self._keys[kid].public != public):
            self.found.add("E_KEY_ROLE", f"the key {kid[:64]} stands under two names or two keys under one", position)
            return
        if kid in self._keys:
            if self._keys[kid].revoked_at is not None:
                self.found.add("E_KEY_REVOKED", f"the key {kid[:64]} is added again after its revocation", position)
            return
        self._publics[public] = kid
        self._keys[kid] = Key(public, key["role"], max(first, position + 1), last if type(last) is int else None)
        if kid in self._strangers:
            used = self._strangers.pop(kid)
            self.found.add("E_KEY_WINDOW", f"signed by {kid[:64]} before row {position} added it", used)

    def _revoke_key(self, row: dict[str, Any], position: int) -> None:
        kid, last = row["key"]["kid"], row["key"].get("last_seq")
        key = self._keys.get(kid)
        if type(last) is not int or kid == self._root or (key is None and self._has_genesis):
            self.found.add("E_ROW_FIELDS", "expected key {kid, last_seq} of a key that was added", position)
            return
        if key is None:
            return
        if key.revoked_at is None:
            key.revoked_at, key.revoked_last = position, last
            if key.newest > last:
                suspect = f"{kid[:64]} signed some of the rows {last + 1} to {key.newest} after it was lost"
                self.found.add("W_KEY_SUSPECT", suspect, last + 1)


_LOG_KEY = ""  # a name that no kid has: the table of members wants at least one character
_ROOT_KINDS = ("genesis", "key.add", "key.revoke")
