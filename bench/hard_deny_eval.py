"""Recall and false alarms of the hard-deny analysers on the shared development vectors, family by family.

Reads `$AEGIS_SHARED/eval` (or `../shared/eval` beside the repository) and prints nothing but a note without it.
Run: `python bench/hard_deny_eval.py [--misses] [name ...]`
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from aegis.policy.hard_deny.analyse import analyse, request_for
from aegis.policy.kinds import kinds

CORPORA = ("sql", "shell", "cloud_k8s", "path_ssrf", "pii_bulk", "benign_traces")


def calls(path: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """(label, family, call) of each record; a session gives each of its steps."""
    for line in path.read_text().splitlines():
        row = json.loads(line)
        if "steps" in row:
            for step in row["steps"]:
                yield step.get("label", row["label"]), row["family"], step["call"]
        else:
            yield row["label"], row["family"], row


def denied(call: dict[str, Any]) -> list[str]:
    """Codes that stop the call by themselves."""
    context = call.get("context") or {}
    arguments = kinds(None, call["tool"], call["arguments"])
    request = request_for(arguments, call["tool"], call["arguments"], workspace=context.get("workspace"))
    answer = analyse(request)
    return [f["code"] for f in answer["findings"] if f["kills"]]


def main() -> None:
    shared = Path(os.environ.get("AEGIS_SHARED", Path(__file__).resolve().parents[2] / "shared")) / "eval"
    if not shared.is_dir():
        print("the shared vectors are not here: set AEGIS_SHARED")
        return
    misses = "--misses" in sys.argv
    wanted = [a for a in sys.argv[1:] if not a.startswith("-")] or CORPORA
    for name in wanted:
        total: Counter[tuple[str, str]] = Counter()
        hits: Counter[tuple[str, str]] = Counter()
        took = []
        for label, family, call in calls(shared / f"{name}.jsonl"):
            began = time.perf_counter()
            codes = denied(call)
            took.append(time.perf_counter() - began)
            total[label, family] += 1
            hits[label, family] += bool(codes)
            if misses and bool(codes) != (label == "attack"):
                print(f"  {label} {family}: {codes} {call['tool']} {json.dumps(call['arguments'])[:240]}")
        for label in ("attack", "benign"):
            n = sum(v for (lb, _), v in total.items() if lb == label)
            h = sum(v for (lb, _), v in hits.items() if lb == label)
            if n:
                print(f"{name:14} {label}: stopped {h} of {n} = {h / n:.3f}")
        for key in sorted(total):
            if (hits[key] != total[key]) == (key[0] == "attack") and (key[0] == "attack" or hits[key]):
                print(f"    {key[0]} {key[1]}: stopped {hits[key]} of {total[key]}")
        took.sort()
        print(f"    per call p50 {took[len(took) // 2] * 1e3:.2f} ms, p99 {took[int(len(took) * 0.99)] * 1e3:.2f} ms")


if __name__ == "__main__":
    main()
