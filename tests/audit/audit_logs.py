"""Builds logs for tests as the gateway would write them, with keys from fixed seeds, and breaks them on purpose."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aegis.audit import canonical, flight, merkle, notes, proofs, receipts, rows, tiles
from aegis.kernel.clock import from_iso, iso
from aegis.kernel.record import CLASSES

ORIGIN = "audit.aegis.example/t/alpha"
BEGIN = from_iso("2026-11-23T08:00:00Z")
STEP = 60_000_000


def seed(name: str) -> bytes:
    """The 32-byte seed of a test key: nobody's secret."""
    return hashlib.sha256(f"aegis test key {name}".encode()).digest()


def salt(name: str) -> bytes:
    return hashlib.sha256(f"aegis test salt {name}".encode()).digest()


class LogMaker:
    """A log in memory: `entries` grow by `add`; `note` signs any size of it.

    `change(row)` of `add` runs after the row is filled and before it is signed, so a lie can be properly signed.
    """

    def __init__(self, origin: str = ORIGIN) -> None:
        self.origin = origin
        self.root, self.writer = rows.Writer("root-1", seed("root")), rows.Writer("writer-1", seed("writer-1"))
        self.signer = notes.NoteSigner(origin, seed("log"))
        self.entries: list[bytes] = []
        self.cum = dict.fromkeys(CLASSES, 0)
        self.agents: dict[str, tuple[int, int]] = {}
        self.prev = rows.NO_PREV
        self.ts = BEGIN

    @property
    def vkey(self) -> str:
        return self.signer.vkey

    @property
    def verifier(self) -> notes.Verifier:
        return self.signer.verifier

    def begin(self) -> LogMaker:
        """Genesis and the writer's key: what every log begins with."""
        root = {"kid": self.root.kid, "pub": self.root.public.hex()}
        params = {"hash": rows.HASH_NAME, "log_vkey": self.vkey, "root": root}
        self.add("genesis", signer=self.root, params=params)
        self.add_key(self.writer)
        return self

    def add_key(self, writer: rows.Writer, role: str = "writer", **window: int) -> int:
        return self.add(
            "key.add", signer=self.root, key={"kid": writer.kid, "pub": writer.public.hex(), "role": role, **window}
        )

    def add(
        self,
        kind: str,
        *,
        signer: rows.Writer | None = None,
        change: Callable[[dict[str, Any]], None] | None = None,
        agent: str | None = None,
        **members: Any,
    ) -> int:
        """Appends a row and returns its sequence number."""
        seq = len(self.entries)
        signer = signer or self.writer
        row: dict[str, Any] = {
            "v": rows.VERSION,
            "log": self.origin,
            "seq": seq,
            "prev": self.prev,
            "kind": kind,
            "ts": iso(self.ts),
            "kid": signer.kid,
            "rid": f"0192f3b1-7c2a-7b1e-9d2c-{seq:012d}",
            "gw": "gw-1",
            "gseq": seq,
            **members,
        }
        if agent is not None:
            last, ordinal = self.agents.get(agent, (None, 0))
            row |= {"agent": agent, "an": ordinal + 1} | ({} if last is None else {"ap": last})
            self.agents[agent] = (seq, ordinal + 1)
        grown = rows.counted_class(row)
        if grown is not None:
            self.cum[grown] += row.get("count", 1)
        row["cum"] = dict(self.cum)
        if change is not None:
            change(row)
        return self.put(signed(row, signer))

    def put(self, entry: bytes) -> int:
        """Appends an entry as it is."""
        self.entries.append(entry)
        self.prev = merkle.leaf_hash(entry).hex()
        self.ts += STEP
        return len(self.entries) - 1

    def decide(self, verdict: str = "allow", *, agent: str = "agent-7", **members: Any) -> int:
        """A decision row with commitments to `inputs` and to the action's digest."""
        seq = len(self.entries)
        stages = flight_of(verdict)
        filled: dict[str, Any] = {
            "eid": f"0192f3b1-7c2a-7b1e-9d2c-{seq:012d}",
            "door": "decide",
            "tool": "db.query",
            "digest": rows.commitment(salt(f"digest {seq}"), b'"sha256:%064x"' % seq),
            "inputs": rows.commitment(salt(f"inputs {seq}"), b'{"n":%d,"tool":"db.query"}' % seq),
            "verdict": verdict,
            "risk": 0 if verdict == "allow" else 970_000,
            "rule": "" if verdict == "allow" else "aegis.sql.destructive",
            "findings": [] if verdict == "allow" else [{"code": "sql.destructive", "rule": "aegis.sql.destructive"}],
            "policy": "sha256:" + "0f" * 32,
            "engine": "opa/1.20.2",
            "stages": flight_root(stages),
            **members,
        }
        return self.add("decision", agent=agent, **filled)

    def finish(self, of: int, status: str = "ok", *, agent: str = "agent-7", **members: Any) -> int:
        return self.add("outcome", agent=agent, of=of, status=status, **members)

    def due(self, seconds: int = 300) -> str:
        """An `outcome_due` so long after the next row's time."""
        return iso(self.ts + seconds * 1_000_000)

    @property
    def leaves(self) -> list[bytes]:
        return [merkle.leaf_hash(entry) for entry in self.entries]

    def note(self, size: int | None = None, signer: notes.NoteSigner | None = None) -> str:
        size = len(self.entries) if size is None else size
        root = merkle.root_of(self.leaves[:size])
        return (signer or self.signer).sign(notes.checkpoint(self.origin, size, root))

    def path(self, index: int, size: int | None = None) -> list[bytes]:
        leaves = self.leaves[: len(self.entries) if size is None else size]
        return merkle.extend_with_proofs(merkle.Frontier.empty(), leaves)[1][index]

    def proof(self, index: int, size: int | None = None, extra: bytes | None = None) -> str:
        return proofs.format_proof(index, self.path(index, size), self.note(size), extra)

    def receipt(self, index: int, *, with_keys: bool = True, **members: Any) -> dict[str, Any]:
        keys = {"writer": self.proof(1, extra=self.entries[1]), "root": self.proof(0, extra=self.entries[0])}
        made = receipts.receipt(
            entry=self.entries[index],
            index=index,
            path=self.path(index),
            note=self.note(),
            origin=self.origin,
            url=f"/v1/decisions/{index}/receipt",
            keys=keys if with_keys else None,
        )
        return {**made, **members}

    def write(self, directory: Path, note: str | None = None) -> Path:
        tiles.write_directory(directory, self.entries, note or self.note())
        return directory


def signed(row: dict[str, Any], writer: rows.Writer) -> bytes:
    """The entry of `row`, whether or not the format takes it: for lies that are well signed."""
    return sealed(canonical.encode(row), writer)


def sealed(row_bytes: bytes, writer: rows.Writer) -> bytes:
    return row_bytes + b"\n" + base64.b64encode(writer.sign(row_bytes))


def flight_of(verdict: str) -> list[dict[str, Any]]:
    return [
        {"n": n, "name": name, "start": iso(BEGIN), "us": 3, "verdict": word, "codes": []}
        for n, (name, word) in enumerate([("kill_switch", "allow"), ("authenticate", "allow"), ("policy", verdict)])
    ]


def flight_root(stages: list[dict[str, Any]]) -> str:
    return flight.root(stages)


def force_write(directory: Path, entries: Iterable[bytes], note: str) -> Path:
    """Writes tiles of `entries` under `note`, whether or not they belong together."""
    kept = list(entries)
    leaves = [merkle.leaf_hash(entry) for entry in kept]
    other = notes.NoteSigner("x", seed("x"))
    tiles.write_directory(directory, kept, other.sign(notes.checkpoint("x", len(kept), merkle.root_of(leaves))))
    (directory / "checkpoint").write_text(note, "utf-8")
    return directory


def sample(rows_more: int = 0, origin: str = ORIGIN) -> LogMaker:
    """A clean log with every kind of row that verification looks into."""
    log = LogMaker(origin).begin()
    allowed = log.decide("allow", outcome_due=log.due())
    log.finish(allowed)
    log.decide("kill")
    log.decide("throttle", agent="agent-8")
    log.decide("escalate", agent="agent-8")
    watched = log.decide("monitor", outcome_due=log.due())
    log.finish(watched, "error")
    log.add("throttled", agent="agent-8", count=25, verdict="throttle")
    log.add("gap", count=2)
    log.add("late", agent="agent-7")
    lost = log.decide("allow", outcome_due=log.due(30))
    log.finish(lost, "unknown")
    log.add("heartbeat")
    log.add("kill", scope="agent:agent-8", epoch=1)
    for _ in range(rows_more):
        log.decide("kill")
    return log
