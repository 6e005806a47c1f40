"""Stage 9, output filter: secrets leave a result before the agent sees it, and orders in it are found.

Short results are read here, long ones in a child process. What can't be read in time is withheld, never shown as it is.
"""

from __future__ import annotations

from typing import Any

import orjson

from aegis.children.pool import ChildCrashed, ChildTimeout, ChildUnavailable
from aegis.inspection.child import redacted_of, scan_of
from aegis.inspection.injection import Scan, Scanner
from aegis.inspection.secrets import Redacted, redact
from aegis.kernel.findings import finding
from aegis.kernel.jsontree import JsonError, JsonTree, dumps, parse
from aegis.kernel.tenancy import Tool
from aegis.pipeline.analysts import Analysts
from aegis.pipeline.run import Shown
from aegis.pipeline.stages.inference import texts

IN_PROCESS_BYTES = 8 * 1024
SCANNED_CHARACTERS = 256 * 1024
FAILED = (ChildTimeout, ChildCrashed, ChildUnavailable, JsonError, KeyError)


class FilterOutput:
    """`far`: children that serve `inspection.child`."""

    def __init__(self, scanner: Scanner, far: Analysts) -> None:
        self._scanner, self._far = scanner, far

    async def show(self, output: JsonTree, tool: Tool | None) -> Shown:
        """The result without its secrets. Findings name kinds and places, never what was found."""
        if output is None:
            return Shown(None, (), ())
        try:
            size = len(dumps(output))
            redacted = redact(output) if size <= IN_PROCESS_BYTES else await self._redact(output)
            scan = None if tool is not None and tool.output_trust == "trusted" else await self._scan(redacted.output)
        except FAILED:
            return Shown(None, (), (finding("output.unfiltered"),))
        found = list(redacted.findings)
        if scan is not None and scan.flagged:
            kinds = sorted({f.code for f in scan.findings})
            found.append(finding("output.injection", path="/output", score=scan.score, evidence={"codes": kinds}))
            found += scan.findings
        redactions = tuple({"path": r.path, "kind": r.kind, "count": r.count} for r in redacted.redactions)
        return Shown(redacted.output, redactions, tuple(found))

    async def _redact(self, output: JsonTree) -> Redacted:
        answer = await self._far.ask(dumps({"op": "redact", "tree": output}))
        return redacted_of(parse(answer))

    async def _scan(self, output: JsonTree) -> Scan:
        text = "\n".join(each for _, each in texts(output, ""))[:SCANNED_CHARACTERS]
        if len(text) <= IN_PROCESS_BYTES:
            return self._scanner.scan(text, "tool")
        return await FarInspection(self._far).scan(text, "tool")


class FarInspection:
    """The scanner in a child process. Raises what the pool raises: the stage that asks fails with its code."""

    def __init__(self, far: Analysts) -> None:
        self._far = far

    async def scan(self, text: str, source: str) -> Scan:
        answer: dict[str, Any] = orjson.loads(
            await self._far.ask(dumps({"op": "scan", "text": text, "source": source}))
        )
        return scan_of(answer)
