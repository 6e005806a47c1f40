"""The golden vectors: made again byte for byte, and verified as a stranger would."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from aegis.audit import receipts
from aegis.audit.evidence import exit_code
from aegis.audit.notes import Verifier
from aegis.audit.verifier import verify_log
from aegis.kernel import jsontree

VECTORS = Path(__file__).parents[1] / "vectors"
GOLDEN: dict[str, Any] = json.loads((VECTORS / "audit/golden.json").read_text("utf-8"))


def files(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_generator_makes_the_same_bytes_again(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("make_golden", VECTORS / "make_golden.py")
    assert spec is not None and spec.loader is not None
    generator = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(generator)
    generator.write(tmp_path / "audit")
    assert files(tmp_path / "audit") == files(VECTORS / "audit")


def test_the_golden_log_and_receipt_verify() -> None:
    verifiers = [Verifier.from_vkey(vkey) for vkey in GOLDEN["vkeys"].values()]
    report = verify_log(VECTORS / "audit/log", verifiers, held=[("cosigned", GOLDEN["cosigned"])])
    assert (report.exit, report.size) == (0, 16), report.findings
    receipt = jsontree.parse((VECTORS / "audit/receipt.json").read_bytes())
    assert exit_code(receipts.verify_receipt(receipt, verifiers)) == 0


def test_the_golden_rows_hold_by_the_description_alone() -> None:
    """Nothing of ours but the words of the format: hashes by hashlib, signatures by another library."""
    prev = "0" * 64
    for entry, leaf in zip(GOLDEN["entries"], GOLDEN["leaf_hashes"], strict=True):
        text, _, signature = entry.partition("\n")
        row = json.loads(text)
        assert text == json.dumps(row, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(GOLDEN["keys"][row["kid"]]))
        key.verify(base64.b64decode(signature), b"aegis.row/1\n" + text.encode())
        assert row["prev"] == prev
        prev = hashlib.sha256(b"\x00" + entry.encode()).hexdigest()
        assert prev == leaf


def test_the_golden_root_holds_by_the_definition_alone() -> None:
    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1
        while split * 2 < len(leaves):
            split *= 2
        return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    leaves = [bytes.fromhex(leaf) for leaf in GOLDEN["leaf_hashes"]]
    for size in range(1, len(leaves) + 1):
        assert tree(leaves[:size]).hex() == GOLDEN["roots_by_size"][size]
    assert base64.b64encode(tree(leaves)).decode() == GOLDEN["checkpoint"].split("\n")[2]
