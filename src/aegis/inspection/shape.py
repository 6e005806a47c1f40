"""Stage 3, request-shape risk: size, depth, width, characters and randomness of a call's arguments, in one pass.

The walk stops at `NODES` nodes and reads at most `CHARACTERS` characters, so its time has a ceiling whatever comes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator

import re2

from aegis.inspection.confusables import INVISIBLE
from aegis.inspection.normalise import encodable
from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import JsonTree

SIZE_BYTES = 65_536
DEPTH = 16
MEMBERS = 1_000
NODES = 20_000
CHARACTERS = 1_048_576
ENTROPY_BITS = 4.8
ENTROPY_LENGTH = 64

_ODD = re2.compile(
    r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x{9f}]|["
    + "".join(sorted(c for c in INVISIBLE if not "\ufe00" <= c <= "\ufe0f" and c not in "\u200d\u200c\ufeff\u00ad"))
    + "]"
)
_RUN = re2.compile(r"[A-Za-z0-9+/=_\-]{64,512}")


def shape(arguments: JsonTree, size_bytes: int) -> tuple[Finding, ...]:
    """At most one finding of each `shape.*` code, in the table's order; paths are JSON pointers from `/arguments`."""
    found: dict[str, Finding] = {}
    if size_bytes > SIZE_BYTES:
        found["size"] = finding(
            "shape.oversized", path="/arguments", score=_graded(size_bytes, SIZE_BYTES), size=size_bytes
        )
    deepest, widest, total, read = 0, 0, 0, 0
    for node, path, depth in _walk(arguments):
        total += 1
        if isinstance(node, str):
            if read < CHARACTERS:
                _text(encodable(node[: CHARACTERS - read]), path, found)
                read += len(node)
            continue
        deepest, widest = max(deepest, depth), max(widest, len(node))
    if deepest > DEPTH:
        found["deep"] = finding("shape.deep", path="/arguments", score=_graded(deepest, DEPTH), depth=deepest)
    if widest > MEMBERS or total >= NODES:
        count = max(widest, total)
        found["wide"] = finding("shape.wide", path="/arguments", score=_graded(count, MEMBERS), count=count)
    return tuple(found[name] for name in ("size", "deep", "wide", "odd", "random") if name in found)


def entropy_bits(text: str) -> float:
    """Shannon entropy in bits per character; 0 for an empty text."""
    if not text:
        return 0.0
    size = len(text)
    return math.log2(size) - sum(n * math.log2(n) for n in Counter(text).values()) / size


def _walk(tree: JsonTree) -> Iterator[tuple[str | dict[str, JsonTree] | list[JsonTree], str, int]]:
    """Strings, keys and containers of `tree` with path and depth, at most NODES of them; numbers don't count."""
    stack: list[tuple[JsonTree, str, int]] = [(tree, "/arguments", 1)]
    left = NODES
    while stack and left > 0:
        node, path, depth = stack.pop()
        left -= 1
        if isinstance(node, str):
            yield node, path, depth
        elif isinstance(node, dict):
            yield node, path, depth
            for key, value in list(node.items())[:left]:
                if len(key) > 32 or not key.isascii() or not key.isprintable():
                    stack.append((key, path, depth))
                if isinstance(value, (str, dict, list)):
                    stack.append((value, f"{path}/{_pointer(key)}" if len(path) < 256 else path, depth + 1))
        elif isinstance(node, list):
            yield node, path, depth
            stack.extend(
                (value, f"{path}/{at}" if len(path) < 256 else path, depth + 1)
                for at, value in enumerate(node[:left])
                if isinstance(value, (str, dict, list))
            )


def _text(text: str, path: str, found: dict[str, Finding]) -> None:
    if "odd" not in found and not (text.isascii() and text.isprintable()):
        hit = _ODD.search(text)
        if hit is not None:
            found["odd"] = finding(
                "shape.control_characters",
                path=path,
                evidence={"offset": hit.start(), "code_point": f"U+{ord(hit.group()):04X}"},
            )
    if "random" not in found and len(text) >= ENTROPY_LENGTH:
        run = _RUN.search(text)
        if run is not None and entropy_bits(run.group()) >= ENTROPY_BITS:
            found["random"] = finding("shape.high_entropy", path=path, evidence={"offset": run.start()})


def _pointer(key: str) -> str:
    return key[:64].replace("~", "~0").replace("/", "~1")


def _graded(value: int, limit: int) -> float:
    """0.4 just above the limit, 0.1 more for each doubling, 0.8 at most."""
    return min(0.8, 0.4 + 0.1 * math.log2(value / limit))
