"""How many secrets go and how much else stays, on labelled tool outputs.

    python bench/secrets_eval.py [FILE.jsonl ...]

Rows are `{"output", "secrets": [must go], "keep": [must stay], "label", "family"}`; without files, `secrets.jsonl` of
the shared vectors is read when it is there (AEGIS_SHARED, or `../shared` beside the repository).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import defaultdict
from pathlib import Path

from aegis.inspection.secrets import redact

SHARED = Path(os.environ.get("AEGIS_SHARED", Path(__file__).parents[2] / "shared"))


def main(arguments: list[str]) -> int:
    files = [Path(a) for a in arguments] or [SHARED / "eval" / "secrets.jsonl"]
    rows = [json.loads(line) for f in files if f.exists() for line in f.read_text("utf-8").splitlines()]
    if not rows:
        print("nothing to measure: no labelled outputs found")
        return 0
    tally: dict[tuple[str, str], list[bool]] = defaultdict(list)
    spent = 0.0
    for row in rows:
        began = time.perf_counter()
        redacted = redact(row["output"])
        spent += time.perf_counter() - began
        seen = redacted.output if isinstance(redacted.output, str) else json.dumps(redacted.output, ensure_ascii=False)
        leaked = [s for s in row.get("secrets", []) if s in seen]
        lost = [k for k in row.get("keep", []) if k not in seen]
        altered = row["label"] == "benign" and redacted.output != row["output"]
        tally[row["label"], row["family"]].append(not (leaked or lost or altered))
        if leaked or lost or altered:
            print(f"  {row['family']}: leaked {len(leaked)}, lost {lost}, now {seen[:300]!r}")
    for (label, family), rights in sorted(tally.items()):
        print(f"{label:7} {family:20} {sum(rights):3} of {len(rights)}")
    for wanted in ("attack", "benign"):
        rights = [r for (label, _), rs in tally.items() if label == wanted for r in rs]
        print(f"{wanted}: {sum(rights)} of {len(rights)}")
    print(f"{spent / len(rows) * 1e6:.0f} us an output")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
