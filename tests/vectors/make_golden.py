"""Makes the golden vectors of the audit log's format: `python tests/vectors/make_golden.py`.

Everything comes from fixed seeds and times, so a rerun changes no byte. A difference means that the format changed,
which old logs and receipts would not survive.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "audit"))

from audit_logs import BEGIN, LogMaker, flight_of, salt, sample, seed  # noqa: E402

from aegis.audit import merkle, notes, rows  # noqa: E402

SHOWN = (0, 1, 2, 4, 13, 15)
OLD_SIZES = (1, 2, 7, 8, 11)


def golden(log: LogMaker) -> dict[str, Any]:
    """Each step from rows to receipts, so that another implementation sees where it parts ways."""
    size, leaves = len(log.entries), log.leaves
    witness = notes.Cosigner("witness.example/w1", seed("witness-1"))
    text = notes.split_note(log.note())[0]
    return {
        "format": rows.VERSION,
        "seeds": 'sha256("aegis test key " + name) for root, writer-1, log, witness-1',
        "origin": log.origin,
        "vkeys": {"log": log.vkey, "witness": witness.vkey},
        "keys": {"root-1": log.root.public.hex(), "writer-1": log.writer.public.hex()},
        "entries": [entry.decode() for entry in log.entries],
        "leaf_hashes": [leaf.hex() for leaf in leaves],
        "roots_by_size": [merkle.root_of(leaves[:n]).hex() for n in range(size + 1)],
        "checkpoint": log.note(),
        "cosigned": log.note() + witness.line(text, BEGIN // 1_000_000 + 3600),
        "proofs": {str(index): log.proof(index) for index in SHOWN},
        "consistency": [
            {"from": old, "to": size, "path": [node.hex() for node in consistency(leaves, old)]} for old in OLD_SIZES
        ],
        "commitment": {
            "salt": salt("inputs 4").hex(),
            "payload": {"n": 4, "tool": "db.query"},
            "made": rows.parse_entry(log.entries[4]).row["inputs"],
        },
        "pseudonym": {"key": salt("label").hex(), "kind": "user", "value": "ada@example.com",
                      "made": rows.pseudonym(salt("label"), "user", "ada@example.com")},
        "flight": {"stages": flight_of("kill"), "root": rows.parse_entry(log.entries[4]).row["stages"]},
    }  # fmt: skip


def consistency(leaves: list[bytes], old: int) -> list[bytes]:
    def read(level: int, index: int) -> bytes:
        return merkle.root_of(leaves[index << level : (index + 1) << level])

    return merkle.consistency_proof(old, len(leaves), read)


def receipt_with_openings(log: LogMaker) -> dict[str, Any]:
    return log.receipt(
        4,
        openings={
            "inputs": {"salt": salt("inputs 4").hex(), "payload": {"n": 4, "tool": "db.query"}},
            "digest": {"salt": salt("digest 4").hex(), "payload": f"sha256:{4:064x}"},
            "stages": flight_of("kill"),
        },
    )


def write(folder: Path) -> None:
    log = sample()
    shutil.rmtree(folder, ignore_errors=True)
    log.write(folder / "log")
    for name, tree in [("golden", golden(log)), ("receipt", receipt_with_openings(log))]:
        (folder / f"{name}.json").write_text(json.dumps(tree, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    write(HERE / "audit")
