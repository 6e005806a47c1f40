"""One call's arguments, each judged by what it is: the findings that no policy can outvote, and features for policies.

Pure: what it knows comes in the request. Every text has a bound, and what is beyond it is refused, not skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import orjson

from aegis.kernel.codes import CODES
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.verdict import Verdict
from aegis.policy.hard_deny import cloud, command_line, kubectl, paths, pii, sql, urls
from aegis.policy.kinds import PROSE_NAMES, Argument, folded, member, tool_words

MAX_CHARACTERS = 256 * 1024
MAX_FINDINGS = 64
DAY_US = 86_400_000_000
NOW_DAYS = 20820.0
"""1 January 2027, for callers that give no time."""
COMPANY = frozenset({"example.com", "localhost"})
_STRICT_SQL_NAMES = frozenset(
    {"sql", "query", "statement", "stmt", "sql_query", "raw_sql", "sql_text", "ddl", "dml", "query_sql"}
)
_CODE_LANGUAGES = {
    "python": "python",
    "node": "node",
    "javascript": "node",
    "ruby": "ruby",
    "perl": "perl",
    "php": "php",
    "jupyter": "python",
    "interpreter": "python",
    "repl": "python",
}


def request_for(
    arguments: Iterable[Argument],
    tool: str,
    tool_arguments: JsonTree,
    *,
    workspace: str | None = None,
    environment: str | None = None,
    namespaces: Iterable[str] = (),
    branches: Iterable[str] = (),
    company: Iterable[str] = (),
    now_us: int | None = None,
) -> dict[str, Any]:
    """The request that `analyse` takes, as a JSON object. `now_us` are microseconds since 1970; `company` are domains
    whose people and hosts are no strangers."""
    return {
        "arguments": [
            {"path": a.path, "kind": a.kind, "text": a.text, "declared": a.declared}
            for a in arguments
            if a.kind not in ("text", "recipient", "money")
        ],
        "tool": tool,
        "tool_arguments": tool_arguments,
        "workspace": workspace,
        "environment": environment,
        "protected": {"namespaces": list(namespaces), "branches": list(branches)},
        "company": list(company),
        "now_us": now_us,
    }


def analyse(request: Mapping[str, Any]) -> dict[str, Any]:
    """`{"findings": [{code, path, score, kills, values}], "features": {...}}`; no content makes it raise.

    `kills` says that the code alone refuses the call; `score` is its weight otherwise (`kernel.codes`).
    """
    judged = _Judged(request)
    for argument in request.get("arguments", ()):
        judged.argument(
            str(argument["path"]), str(argument["kind"]), str(argument["text"]), bool(argument.get("declared"))
        )
    judged.call()
    return {"findings": judged.findings[:MAX_FINDINGS], "features": judged.features}


class _Judged:
    """Collects what one request's arguments show."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.tool = str(request.get("tool", ""))
        self.words = tool_words(self.tool)
        self.tool_arguments = request.get("tool_arguments")
        self.workspace = request.get("workspace") or None
        self.environment = str(request.get("environment") or "")
        protected = request.get("protected") or {}
        self.namespaces = frozenset(str(n).lower() for n in protected.get("namespaces", ()))
        self.branches = frozenset(map(str, protected.get("branches", ())))
        self.company = COMPANY | frozenset(str(c).lower() for c in request.get("company") or ())
        now_us = request.get("now_us")
        self.now = now_us / DAY_US if isinstance(now_us, (int, float)) and now_us > 0 else NOW_DAYS
        self.findings: list[dict[str, Any]] = []
        self.features: dict[str, Any] = {"kinds": [], "sql": [], "shell": []}

    def add(self, code: str, path: str, values: Mapping[str, str]) -> None:
        if any(f["code"] == code and f["path"] == path for f in self.findings):
            return
        row = CODES[code]
        self.findings.append(
            {"code": code, "path": path, "score": row.score, "kills": row.force is Verdict.KILL, "values": dict(values)}
        )

    def argument(self, path: str, kind: str, text: str, declared: bool) -> None:
        self.features["kinds"].append([path, kind])
        if len(text) > MAX_CHARACTERS:
            if kind not in ("text", "recipient", "money"):
                self.add("analysis.oversized", path, {"size": str(len(text))})
            return
        family, _, dialect = kind.partition(":")
        match family:
            case "sql":
                self._sql(path, text, dialect or None, declared)
            case "shell":
                self._shell(path, text)
            case "code":
                self._code(path, text)
            case "path":
                if (code := paths.judge(text, self.workspace)) is not None:
                    self.add(code, path, {})
            case "url":
                self._url(path, text)
            case "k8s":
                self._structured(path, text, "k8s")
            case "cloud":
                self._structured(path, text, "cloud")

    def _sql(self, path: str, text: str, dialect: str | None, declared: bool) -> None:
        if not text.strip():
            return
        name = member(path)
        reading = sql.read(text, dialect, self.now)
        named = declared or name in _STRICT_SQL_NAMES
        for code, values in reading.findings:
            if code == "sql.unparseable" and not named:
                continue
            if name in PROSE_NAMES and not declared and (code == "pii.bulk_export" or not reading.parsed):
                continue
            self.add(code, path, values)
        self.features["sql"].append({"path": path, **reading.features()})

    def _shell(self, path: str, text: str) -> None:
        reading = command_line.read(text, self.workspace, self.branches, self.namespaces, self.now)
        plain = folded(text)
        if plain != text:
            for code, values in command_line.read(
                plain, self.workspace, self.branches, self.namespaces, self.now
            ).findings:
                self.add(code, path, values)
        for code, values in reading.findings:
            self.add(code, path, values)
        self.features["shell"].append({"path": path, "commands": reading.commands[:64]})

    def _code(self, path: str, text: str) -> None:
        language = next((_CODE_LANGUAGES[w] for w in sorted(self.words) if w in _CODE_LANGUAGES), "")
        reading = command_line.read_program(language, text, self.workspace, self.branches, self.namespaces, self.now)
        for code, values in reading.findings:
            self.add(code, path, values)

    def _url(self, path: str, text: str) -> None:
        judged = urls.judge(text)
        if judged.code is not None:
            self.add(judged.code, path, {"scheme": judged.scheme})

    def _structured(self, path: str, text: str, family: str) -> None:

        try:
            call = orjson.loads(text)
        except orjson.JSONDecodeError:
            return
        if not isinstance(call, dict):
            return
        found = (
            kubectl.judge_call(self.words, call, self.namespaces)
            if family == "k8s"
            else cloud.judge_call(self.words, call)
        )
        for code, values in found:
            self.add(code, path, values)

    def call(self) -> None:
        """What only the call as a whole shows: exports of persons, and what is sent to strangers."""
        for code, values in pii.judge(self.words, self.tool_arguments, self.company):
            self.add(code, "/arguments", values)
