"""Receipts: a row, its signature and the proof that it stands under a signed checkpoint, as one JSON object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aegis.audit import proofs

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
