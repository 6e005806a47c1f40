"""What the log takes and gives back: a draft goes in, an appended row with its proof comes out.

The log itself is `audit`; capabilities that must write a row in their own transaction get it as the port `Ledger`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from aegis.kernel.clock import MicroSeconds

VERDICT_CLASSES = ("allow", "monitor", "throttle", "escalate", "kill")
OUTCOME_CLASSES = ("ok", "error", "cancelled", "unknown")
CLASSES = (*VERDICT_CLASSES, *OUTCOME_CLASSES, "late", "gap")


@dataclass(frozen=True, slots=True)
class Usage:
    """What a row adds to the tenant's bill; it stands or falls with the row."""

    requests: int = 0
    micro_usd: int = 0
    input_tokens: int = 0
    output_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Draft:
    """A row before the log gives it its place.

    `fields` holds the row's members besides `v log seq prev ts kid ap an cum gw gseq kind rid agent`, which the log
    fills. The columns below (`team` .. `codes`) are for look-ups only and repeat what the row says; `user` is
    the tenant's pseudonym. `counts` are the classes of `cum` that grow by `count`.

    `judged_epoch`: the kill epoch that an allow was judged under; the log refuses it with `Stale` when a switch
    was engaged since. `raises_epoch`: this row is a kill order.
    """

    tenant: str
    kind: str
    rid: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    agent: str | None = None
    team: str | None = None
    user: str | None = None
    session: str | None = None
    tool: str | None = None
    verdict: str | None = None
    rule: str | None = None
    risk_ppm: int | None = None
    codes: tuple[str, ...] = ()
    of_seq: int | None = None
    outcome_due: MicroSeconds | None = None
    counts: tuple[str, ...] = ()
    count: int = 1
    body: bytes | None = None
    usage: Usage | None = None
    judged_epoch: int | None = None
    raises_epoch: bool = False


@dataclass(frozen=True, slots=True)
class Appended:
    """A durable row and the proof that it stands in the log: `path` leads from `leaf` to the note's root."""

    seq: int
    ts: MicroSeconds
    entry: bytes
    leaf: bytes
    size: int
    path: tuple[bytes, ...]
    note: str
    origin: str
    kill_epoch: int


class Stale(Exception):
    """A kill switch was engaged after this allow was judged: judge again under `epoch`. Nothing was written."""

    def __init__(self, epoch: int) -> None:
        super().__init__(f"expected a judgement under kill epoch {epoch}")
        self.epoch = epoch


class Unavailable(Exception):
    """The record could not be made durable; nothing may run. What was meant to be written may or may not stand."""


class Conflict(Exception):
    """The decision already has its outcome."""


class LedgerTransaction(Protocol):
    """A transaction that changes a tenant's set-up and logs it. All of it commits together or not at all."""

    connection: Any
    """Scoped to the tenant. Do the change first and append last: the append locks the log's head."""

    async def lock(self) -> int:
        """Locks the log's head until commit and returns its kill epoch: the next row with `raises_epoch` that this
        transaction appends bears that epoch + 1 (as the member `epoch`)."""
        ...

    async def append(self, *drafts: Draft) -> None:
        """Written when the block is left."""
        ...

    appended: list[Appended]
    """Filled, in the order of the drafts, once the block is left without an exception."""


class Ledger(Protocol):
    async def append(self, draft: Draft) -> Appended:
        """Durable when it returns. Raises Stale, Conflict or Unavailable."""
        ...

    def transaction(self, tenant: str) -> AbstractAsyncContextManager[LedgerTransaction]:
        """Raises Unavailable on leaving when it couldn't commit."""
        ...
