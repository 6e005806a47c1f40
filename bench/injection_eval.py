"""Recall and false alarms of the shipped scanner on labelled texts, by family.

    python bench/injection_eval.py [FILE.jsonl ...] [--misses]

Rows are `{"text", "as", "label", "family"}`. Without files, `pi_text.jsonl` of the shared vectors is read when it is
there (AEGIS_SHARED, or `../shared` beside the repository).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

from aegis.inspection.injection import RuleScanner

SHARED = Path(os.environ.get("AEGIS_SHARED", Path(__file__).parents[2] / "shared"))


def main(arguments: list[str]) -> int:
    show = "--misses" in arguments
    files = [Path(a) for a in arguments if not a.startswith("--")] or [SHARED / "eval" / "pi_text.jsonl"]
    files = [f for f in files if f.exists()]
    if not files:
        print("nothing to measure: no labelled texts found")
        return 0
    rows = [json.loads(line) for f in files for line in f.read_text("utf-8").splitlines()]
    scanner = RuleScanner()
    tally: dict[tuple[str, str], list[bool]] = defaultdict(list)
    spent = 0.0
    for row in rows:
        began = time.perf_counter()
        scan = scanner.scan(row["text"], row["as"])
        spent += time.perf_counter() - began
        right = scan.flagged == (row["label"] == "attack")
        tally[row["label"], row["family"]].append(right)
        if show and not right:
            rules = [f.evidence.get("rules") for f in scan.findings[:1]]
            print(f"  {row['label']} {row['family']} {scan.score:.2f} {rules} {row['text'][:240]!r}")
    for (label, family), rights in sorted(tally.items()):
        print(f"{label:7} {family:24} {sum(rights):4} of {len(rights)}")
    for label in ("attack", "benign"):
        all_rights = [r for (lab, _), rs in tally.items() if lab == label for r in rs]
        if all_rights:
            print(f"{label}: {sum(all_rights)} of {len(all_rights)} = {sum(all_rights) / len(all_rights):.4f}")
    print(f"{spent / len(rows) * 1e6:.0f} us a text")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
