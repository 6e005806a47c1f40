"""The end of a tenant's log, and how rows are put behind it: pure, so that the lock is held for arithmetic only."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aegis.audit import merkle, rows
from aegis.audit.keys import LogKeys
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.record import CLASSES, Draft

NO_CLASSES = dict.fromkeys(CLASSES, 0)


@dataclass(frozen=True, slots=True)
class AgentLink:
    """The newest row of an agent: its sequence number, and how many rows the agent has."""

    seq: int
    ordinal: int


@dataclass(frozen=True, slots=True)
class Head:
    """What the next row must build upon.

    `agents` holds the links that this process knows (None: the agent has no row yet). It is the cache's own dict,
    shared by a head and its successors: the committer writes `Extension.links` into it after the commit.
    """

    tenant: str
    origin: str
    prev: bytes
    frontier: merkle.Frontier
    last_ts: MicroSeconds
    cum: Mapping[str, int]
    kill_epoch: int
    writers: frozenset[str]
    agents: dict[str, AgentLink | None] = field(default_factory=dict)

    @property
    def size(self) -> int:
        return self.frontier.size


@dataclass(frozen=True, slots=True)
class Placed:
    """A draft with its place, as signed bytes and their RFC 6962 leaf hash."""

    draft: Draft
    seq: int
    ts: MicroSeconds
    entry: bytes
    leaf: bytes


@dataclass(frozen=True, slots=True)
class Extension:
    """Rows for one tenant's log, and its head before and after them."""

    before: Head
    after: Head
    rows: tuple[Placed, ...]
    paths: tuple[tuple[bytes, ...], ...]
    """Inclusion paths of `rows` in the tree of `after.size`."""
    links: Mapping[str, AgentLink]
    """The newest row here of each agent that has one."""


def from_record(record: Mapping[str, Any]) -> Head:
    """The head as `log.lock_heads` returns it."""
    agents: dict[str, AgentLink | None] = {
        agent: AgentLink(seq, ordinal)
        for agent, seq, ordinal in zip(
            record["agents"] or (), record["last_seqs"] or (), record["ordinals"] or (), strict=True
        )
    }
    return Head(
        tenant=record["tenant"],
        origin=record["origin"],
        prev=record["prev"],
        frontier=merkle.Frontier.from_bytes(record["size"], record["frontier"]),
        last_ts=record["last_ts"],
        cum={**NO_CLASSES, **json.loads(record["cum"])},
        kill_epoch=record["kill_epoch"],
        writers=frozenset(record["writers"]),
        agents=agents,
    )


def extend(
    head: Head, drafts: Sequence[tuple[Draft, int]], keys: LogKeys, log_vkey: str, instance: str, now: MicroSeconds
) -> Extension:
    """Places the drafts, each with its instance sequence number, behind `head`.

    A log of size 0 begins with its genesis; a writer that this log doesn't know yet is added first.
    """
    place = _Place(head, keys, instance, max(now, head.last_ts))
    if head.size == 0:
        place.put(_genesis(head, keys, log_vkey), 0, keys.root)
    if keys.writer.kid not in head.writers:
        place.put(_key_add(head, keys), 0, keys.root)
    for draft, gseq in drafts:
        place.put(draft, gseq, keys.writer)
    frontier, paths = merkle.extend_with_proofs(head.frontier, [row.leaf for row in place.rows])
    after = Head(
        tenant=head.tenant,
        origin=head.origin,
        prev=place.prev,
        frontier=frontier,
        last_ts=place.ts,
        cum=place.cum,
        kill_epoch=place.kill_epoch,
        writers=head.writers | {keys.writer.kid},
        agents=head.agents,
    )
    return Extension(head, after, tuple(place.rows), tuple(tuple(path) for path in paths), place.links)


class _Place:
    def __init__(self, head: Head, keys: LogKeys, instance: str, ts: MicroSeconds) -> None:
        self.head, self.instance, self.ts = head, instance, ts
        self.time = iso(ts)
        self.prev, self.cum, self.kill_epoch = head.prev, dict(head.cum), head.kill_epoch
        self.links: dict[str, AgentLink] = {}
        self.rows: list[Placed] = []

    def put(self, draft: Draft, gseq: int, writer: rows.Writer) -> None:
        seq = self.head.size + len(self.rows)
        for counted in draft.counts:
            self.cum[counted] += draft.count
        row: dict[str, Any] = {
            **draft.fields,
            "v": rows.VERSION,
            "log": self.head.origin,
            "seq": seq,
            "prev": self.prev.hex(),
            "kind": draft.kind,
            "ts": self.time,
            "kid": writer.kid,
            "rid": draft.rid,
            "cum": dict(self.cum),
            "gw": self.instance,
            "gseq": gseq,
        }
        if draft.agent is not None:
            link = self.links.get(draft.agent) or self.head.agents.get(draft.agent)
            row["agent"] = draft.agent
            row["an"] = 1 if link is None else link.ordinal + 1
            if link is not None:
                row["ap"] = link.seq
            self.links[draft.agent] = AgentLink(seq, row["an"])
        if draft.raises_epoch:
            self.kill_epoch += 1
            row["epoch"] = self.kill_epoch
        entry = rows.seal(row, writer)
        leaf = merkle.leaf_hash(entry)
        self.prev = leaf
        self.rows.append(Placed(draft, seq, self.ts, entry, leaf))


def _genesis(head: Head, keys: LogKeys, log_vkey: str) -> Draft:
    params = {
        "hash": "sha256-rfc6962",
        "log_vkey": log_vkey,
        "root": {"kid": keys.root.kid, "pub": keys.root.public.hex()},
    }
    return Draft(head.tenant, "genesis", rid="genesis", fields={"params": params})


def _key_add(head: Head, keys: LogKeys) -> Draft:
    key = {"kid": keys.writer.kid, "pub": keys.writer.public.hex(), "role": "writer"}
    return Draft(head.tenant, "key.add", rid=f"key.add:{keys.writer.kid}", fields={"key": key})
