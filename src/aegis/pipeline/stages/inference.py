"""Stage 3, inference: is the tool what it seems, is the request shaped like one, does its text give orders?

Arguments are the agent's own words: orders in them are a sign that it was taken over, and weigh half of what they
weigh in a document. Short texts are scanned here, in linear time; long ones in a child process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Protocol

from aegis.identity.sessions import SessionTool
from aegis.inspection.injection import Scan, Scanner
from aegis.inspection.shape import shape
from aegis.inspection.tool_guard import definition_digest, judge_definition, judge_tool
from aegis.kernel.call import Call
from aegis.kernel.findings import Finding
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.pipeline.stage import SoFar
from aegis.tenants.pins import Pins

IN_PROCESS_CHARACTERS = 2048
SCANNED_CHARACTERS = 256 * 1024
SHORTEST = 12
OWN_WORDS = 0.45
"""Weight of orders in arguments: marks the call for review, and stops it only beside something else."""


class FarScanner(Protocol):
    """The same scanner in a child process."""

    async def scan(self, text: str, source: str) -> Scan: ...


@dataclass(frozen=True, slots=True)
class Facts:
    listed: tuple[str, ...] | None
    """The session's closed list."""
    registered: tuple[str, ...]
    definition: SessionTool | None
    digest: str | None
    pinned: str | None


@dataclass(frozen=True, slots=True)
class Analysis:
    scans: tuple[tuple[str, Scan], ...]
    poisoned: tuple[Finding, ...]


class Inference:
    name = "inference"
    deadline_s = 3.0
    failure = "inference.unavailable"

    def __init__(self, scanner: Scanner, far: FarScanner, pins: Pins) -> None:
        self._scanner, self._far, self._pins = scanner, far, pins
        self._definition = lru_cache(maxsize=4096)(self._judge_definition)

    async def gather(self, call: Call, so_far: SoFar) -> Facts:
        session = so_far.facts["authenticate"].session
        listed = None if session is None or session.tools is None else tuple(t.name for t in session.tools)
        registered = tuple(so_far.view.tools)
        definition = next((t for t in (session.tools or ()) if t.name == call.action.asked), None) if session else None
        if definition is None or not (definition.description or definition.input_schema):
            return Facts(listed, registered, definition, None, None)
        digest = definition_digest(definition.description, definition.input_schema)
        known = so_far.view.tools.get(call.action.tool)
        pinned = known.pinned if known is not None else None
        if pinned is None:
            pinned = await self._pins.pinned(call.tenant, session.agent, definition.name, digest)
        return Facts(listed, registered, definition, digest, pinned)

    async def analyse(self, call: Call, facts: Facts, so_far: SoFar) -> Analysis:
        poisoned: tuple[Finding, ...] = ()
        if facts.definition is not None and facts.digest is not None:
            schema = dumps(facts.definition.input_schema) if facts.definition.input_schema else b""
            poisoned = self._definition(facts.digest, facts.definition.description, schema)
        scans = []
        for path, text in texts(call.action.arguments):
            if len(text) <= IN_PROCESS_CHARACTERS:
                scan = self._scanner.scan(text, "argument")
            else:
                scan = await self._far.scan(text[:SCANNED_CHARACTERS], "argument")
            if scan.findings:
                scans.append((path, scan))
        return Analysis(tuple(scans), poisoned)

    def judge(self, call: Call, facts: Facts, analysis: Analysis, so_far: SoFar) -> tuple[Finding, ...]:
        known = facts.listed if facts.listed is not None else facts.registered
        found = list(
            judge_tool(
                call.action.asked,
                known,
                closed=facts.listed is not None,
                pinned_digest=facts.pinned,
                digest=facts.digest,
                poisoned=analysis.poisoned,
                trusted=facts.registered,
            )
        )
        found += shape(call.action.arguments, call.size_bytes)
        for path, scan in analysis.scans:
            found += [replace(f, path=path, score=f.score * OWN_WORDS, force=None) for f in scan.findings]
        return tuple(found)

    def features(self, facts: Facts, analysis: Analysis) -> Mapping[str, Any]:
        made: dict[str, Any] = {}
        if facts.digest is not None:
            made = {"digest": facts.digest, "pinned": facts.pinned}
        if facts.listed is not None:
            made["listed"] = len(facts.listed)
        return made

    def _judge_definition(self, digest: str, description: str, schema: bytes) -> tuple[Finding, ...]:
        from aegis.kernel.jsontree import parse

        return judge_definition(description, parse(schema) if schema else None, self._scanner)


def texts(tree: JsonTree, path: str = "/arguments") -> Iterator[tuple[str, str]]:
    """The strings of `tree` that are long enough to hold an order, with their JSON pointers."""
    stack: list[tuple[JsonTree, str]] = [(tree, path)]
    while stack:
        node, at = stack.pop()
        if isinstance(node, str):
            if len(node) >= SHORTEST:
                yield at, node
        elif isinstance(node, dict):
            stack += [(value, f"{at}/{key[:64].replace('~', '~0').replace('/', '~1')}") for key, value in node.items()]
        elif isinstance(node, list):
            stack += [(value, f"{at}/{index}") for index, value in enumerate(node)]
