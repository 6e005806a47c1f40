"""Writes the vectors of the action digest: the request as JSON text, its canonical form, its digest.

    python tests/vectors/make_action_digests.py

The expected canonical text of each case is written by hand here; only the SHA-256 over it is computed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

CASES = (
    ("members are sorted", '{"tool":"t","arguments":{"b":1,"a":2}}', '{"arguments":{"a":2,"b":1},"tool":"t"}'),
    (
        "a resource is part of it only where it is given",
        '{"tool":"t","arguments":{},"resource":"r"}',
        '{"arguments":{},"resource":"r","tool":"t"}',
    ),
    ("white space says nothing", '{ "tool" : "t" , "arguments" : { } }', '{"arguments":{},"tool":"t"}'),
    ("one is one", '{"tool":"t","arguments":{"n":1.0}}', '{"arguments":{"n":1},"tool":"t"}'),
    ("minus nought is nought", '{"tool":"t","arguments":{"n":-0.0}}', '{"arguments":{"n":0},"tool":"t"}'),
    ("a short fraction stays", '{"tool":"t","arguments":{"n":12.50}}', '{"arguments":{"n":12.5},"tool":"t"}'),
    (
        "exponents as ECMAScript writes them",
        '{"tool":"t","arguments":{"n":1E-7}}',
        '{"arguments":{"n":1e-7},"tool":"t"}',
    ),
    ("large whole numbers", '{"tool":"t","arguments":{"n":1e21}}', '{"arguments":{"n":1e+21},"tool":"t"}'),
    (
        "the largest whole number that all doubles hold",
        '{"tool":"t","arguments":{"n":9007199254740992}}',
        '{"arguments":{"n":9007199254740992},"tool":"t"}',
    ),
    (
        "one more is not a double's",
        '{"tool":"t","arguments":{"n":9007199254740993}}',
        '{"arguments":{"n":{"$num":"9007199254740993"}},"tool":"t"}',
    ),
    (
        "a fraction with more digits than a double holds",
        '{"tool":"t","arguments":{"n":0.1000000000000000055511151231257827}}',
        '{"arguments":{"n":{"$num":"0.1000000000000000055511151231257827"}},"tool":"t"}',
    ),
    (
        "too small to be told from nought",
        '{"tool":"t","arguments":{"n":1e-400}}',
        '{"arguments":{"n":{"$num":"1e-400"}},"tool":"t"}',
    ),
    (
        "keys are sorted by UTF-16 code units",
        '{"tool":"t","arguments":{"\\ud83d\\ude02":1,"\\ufb33":2}}',
        '{"arguments":{"\U0001f602":1,"\ufb33":2},"tool":"t"}',
    ),
    (
        "control characters in their short form",
        '{"tool":"t","arguments":{"s":"\\u0008\\u0000\\u001f\\/\\""}}',
        '{"arguments":{"s":"\\b\\u0000\\u001f/\\""},"tool":"t"}',
    ),
)


def vectors() -> list[dict[str, str]]:
    made = []
    for name, request, canonical in CASES:
        digest = "sha256:" + hashlib.sha256(canonical.encode("utf-8")).hexdigest()
        made.append({"name": name, "request": request, "canonical": canonical, "digest": digest})
    return made


if __name__ == "__main__":
    text = json.dumps(vectors(), indent=1, ensure_ascii=True) + "\n"
    Path(__file__).with_name("action_digests.json").write_text(text, "utf-8")
