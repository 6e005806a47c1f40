"""What each argument is: SQL, a command line, a path, an address, a recipient, an amount.

What the tool declares comes first; where it is silent, schema, name and content decide, and content can make an
argument stricter than its name. Pure and linear in the size of the arguments.
"""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.tenancy import Tool

NESTED_JSON_CHARACTERS = 64 * 1024
NESTED_JSON_LEVELS = 3


@dataclass(frozen=True, slots=True)
class Argument:
    """`path` is a JSON pointer from the call (`/arguments/query`); inside a string that holds JSON it goes on.

    `kind`: `sql`, `sql:<dialect>`, `shell`, `code` (another language's source), `path`, `url`, `recipient`, `money`,
    `k8s` and `cloud` (`text` is the JSON of the whole object), or `text`.
    """

    path: str
    kind: str
    text: str
    declared: bool


_SQL_NAMES = frozenset(
    {"sql", "sql_query", "sqlquery", "sql_text", "raw_sql", "query_sql", "sql_statement", "ddl", "dml"}
)
_QUERY_NAMES = frozenset({"query", "statement", "stmt", "q", "queries", "statements", "expression", "text", "command"})
_SHELL_NAMES = frozenset(
    {
        "command",
        "cmd",
        "shell",
        "bash",
        "commands",
        "cmds",
        "command_line",
        "commandline",
        "cmdline",
        "shell_command",
        "exec",
        "argv",
        "run",
        "entrypoint",
        "script",
        "cmd_line",
    }
)
_CODE_NAMES = frozenset({"code", "source_code", "python", "javascript", "program", "snippet"})
_PATH_NAMES = frozenset(
    {
        "path",
        "paths",
        "file",
        "files",
        "file_path",
        "filepath",
        "filename",
        "file_name",
        "dir",
        "directory",
        "folder",
        "filepaths",
        "file_paths",
        "output_path",
        "input_path",
        "src_path",
        "dst_path",
        "source_path",
        "target_path",
        "destination_path",
        "output_file",
        "input_file",
        "local_path",
        "notebook_path",
        "old_path",
        "new_path",
        "cwd",
        "workdir",
        "working_directory",
        "absolute_path",
        "relative_path",
    }
)
_URL_NAMES = frozenset(
    {
        "url",
        "urls",
        "uri",
        "link",
        "href",
        "endpoint",
        "webhook",
        "webhook_url",
        "callback",
        "callback_url",
        "base_url",
        "target_url",
        "image_url",
        "source_url",
        "redirect_url",
        "redirect_uri",
        "site",
        "website",
        "feed",
        "host",
        "hostname",
        "origin",
        "remote_url",
        "proxy",
        "location",
    }
)
_RECIPIENT_NAMES = frozenset({"to", "cc", "bcc", "recipient", "recipients", "reply_to", "forward_to", "email_to"})
_MONEY_NAMES = frozenset(
    {"amount", "amount_usd", "amount_eur", "amount_cents", "price", "total", "sum", "payment_amount"}
)
PROSE_NAMES = frozenset(
    {
        "note",
        "notes",
        "body",
        "content",
        "contents",
        "text",
        "message",
        "description",
        "subject",
        "title",
        "comment",
        "summary",
        "prompt",
        "caption",
        "reason",
        "label",
        "name",
        "question",
        "answer",
        "html",
        "markdown",
        "reply",
        "file_text",
        "new_str",
        "old_str",
        "new_string",
        "old_string",
        "abstract",
        "details",
    }
)
"""Names of members that hold writing: what looks like a command there is quoted, not run."""

_SQL_TOOL = frozenset(
    {
        "sql",
        "postgres",
        "postgresql",
        "pg",
        "psql",
        "mysql",
        "mariadb",
        "sqlite",
        "mssql",
        "tsql",
        "oracle",
        "snowflake",
        "bigquery",
        "redshift",
        "database",
        "db",
        "duckdb",
        "clickhouse",
        "warehouse",
        "trino",
        "presto",
        "athena",
        "databricks",
        "cockroach",
        "sqlserver",
    }
)
_DIALECTS = {
    "postgres": "postgres",
    "postgresql": "postgres",
    "pg": "postgres",
    "psql": "postgres",
    "cockroach": "postgres",
    "mysql": "mysql",
    "mariadb": "mysql",
    "sqlite": "sqlite",
    "mssql": "tsql",
    "tsql": "tsql",
    "sqlserver": "tsql",
    "oracle": "oracle",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "duckdb": "duckdb",
    "clickhouse": "clickhouse",
    "trino": "trino",
    "presto": "presto",
    "athena": "athena",
    "databricks": "databricks",
}
_SHELL_TOOL = frozenset(
    {
        "shell",
        "bash",
        "terminal",
        "exec",
        "command",
        "ssh",
        "sh",
        "zsh",
        "powershell",
        "pwsh",
        "cli",
        "console",
        "kubectl",
        "process",
        "subprocess",
        "run_command",
        "cmd",
        "tty",
        "computer",
    }
)
_CODE_TOOL = frozenset(
    {"python", "node", "javascript", "ruby", "perl", "code", "interpreter", "jupyter", "repl", "php"}
)
_K8S_TOOL = frozenset({"k8s", "kubernetes", "kube", "kubectl", "helm", "openshift", "oc", "cluster"})
_CLOUD_TOOL = frozenset(
    {
        "aws",
        "gcp",
        "azure",
        "gcloud",
        "cloud",
        "boto3",
        "boto",
        "iam",
        "ec2",
        "s3",
        "rds",
        "terraform",
        "pulumi",
        "az",
        "lambda",
        "eks",
        "gke",
        "aks",
    }
)
_SENDS = frozenset(
    {"mail", "email", "send", "message", "sms", "chat", "notify", "forward", "transfer", "pay", "payment"}
)
_K8S_MEMBERS = frozenset(
    {
        "kind",
        "namespace",
        "manifest",
        "manifests",
        "resource_type",
        "resourcetype",
        "resource",
        "verb",
        "replicas",
        "deployment",
        "yaml",
        "apiversion",
        "metadata",
        "release",
        "node",
        "pod",
    }
)
_OPERATION_MEMBERS = ("operation", "action", "api", "method", "operation_name")
_HTTP_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_GAP = r"(?:\s|/\*.*?\*/|--[^\n]*\n)"
_OBJECT = (
    r"(?:table|database|schema|view|index|user|role|login|function|procedure|trigger|extension|materialized|sequence|"
    r"type|domain|system|policy|server|foreign|temp|temporary|unique|or|column|constraint|owned|event|tablespace|"
    r"publication|subscription|language|rule|group|external|session|default|stage|warehouse|global|package|synonym)\b"
)
_STATEMENT = (
    rf"(?:select(?:{_GAP}|[('\"*@\d])|with{_GAP}+(?:recursive{_GAP}+)?[\w\"`\[]+{_GAP}*(?:\([^)]*\){_GAP}*)?as{_GAP}*"
    rf"(?:not{_GAP}+|materialized{_GAP}*)*\(|insert{_GAP}+(?:overwrite|ignore|or{_GAP}+\w+|into)\b|replace{_GAP}+into\b|"
    rf"update{_GAP}+(?:only{_GAP}+)?[\w.\"`\[\]]+(?:{_GAP}+(?:as{_GAP}+)?\w+)?{_GAP}+set\b|delete{_GAP}+(?:\w+{_GAP}+)?from\b|"
    rf"merge{_GAP}+into\b|(?:drop|create|alter){_GAP}+{_OBJECT}|"
    rf"truncate{_GAP}+(?:table\b|only\b|[\w.\"`]+{_GAP}*(?:;|,|$|cascade|restart))|"
    rf"grant{_GAP}+.{{1,200}}?\bto\b|revoke{_GAP}+.{{1,200}}?\bfrom\b|copy{_GAP}+[\w.\"(]|exec(?:ute)?{_GAP}*(?:\(|immediate\b|"
    rf"(?:\w+\.)*(?:sp_|xp_))|do{_GAP}+(?:language{_GAP}+\w+{_GAP}+)?\$|attach{_GAP}+database|load{_GAP}+data\b|"
    rf"set{_GAP}+role\b|vacuum\b{_GAP}*(?:\(|into|full|$|;)|explain{_GAP}+(?:analyze{_GAP}+)?select|"
    rf"declare{_GAP}+@|begin{_GAP}*;|rename{_GAP}+table|/\*!)"
)
_IS_SQL = re.compile(rf"(?:[\s;(]|/\*(?!!).*?\*/|--[^\n]*\n|#[^\n]*\n)*{_STATEMENT}", re.IGNORECASE | re.DOTALL)
_STACKED_SQL = re.compile(
    rf";{_GAP}*(?:drop|delete|truncate|alter|update|grant|exec|insert|create|shutdown|copy)\b", re.I
)
_FIRST_WORD = re.compile(r"[\s;(/*\-!#]*([A-Za-z]{2,8})")
_SQL_FIRST = frozenset(
    "select with insert replace update delete merge drop create alter truncate grant revoke copy exec execute do attach"
    " load set vacuum explain declare begin rename".split()
)
_SHOUTED_OR_ENDED = re.compile(r"\s*(?:/\*.*?\*/\s*)?[A-Z]{2,}\b|.*;\s*(?:--.*)?\Z", re.DOTALL)

_IS_URL = re.compile(
    r"\s*(?:[A-Za-z][A-Za-z0-9+.\-]{1,20}://|(?:javascript|data|jar|view-source|blob|netdoc|file):)", re.I
)
_IS_PATH = re.compile(
    r"(?:~|\$HOME|\$\{HOME\})?/[^\s/]|\.{1,2}[/\\]|[A-Za-z]:[\\/]|\\\\[^\\]|.*(?:\.\.[/\\]|%(?:25)*2e%(?:25)*2e|\.\.%)",
    re.I | re.S,
)
_IS_SHELL = re.compile(
    r"\s*(?:#!\s*/|\\?(?:sudo|doas|nohup|env)\s+\S|\\?(?:rm|dd|chmod|chown|mkfs[.\w]*|shred|wipefs|mv|cp|ln|tar)\s+(?:-|/|~|if=|of=|\.)|"
    r"(?:curl|wget)\s+[^|]*(?:https?:|-)|(?:bash|sh|zsh|python3?|perl|ruby|node)\s+-[a-z]*[ce]\b|eval\s|"
    r"(?:kubectl|helm|aws|gcloud|az|terraform|docker|git|systemctl|crontab|nc|ncat|socat|find|xargs)\s+\S+|"
    r"/(?:usr/)?s?bin/\w|:\(\)\s*\{|(?:powershell|pwsh|cmd)(?:\.exe)?\s+[-/]|Remove-Item\s)",
    re.I,
)
_WORDS = re.compile(r"[A-Z]?[a-z0-9]+|[A-Z]+(?![a-z])")


def kinds(tool: Tool | None, tool_name: str, arguments: JsonTree) -> tuple[Argument, ...]:
    """Every string (and amount) of `arguments` with its kind, in document order, declared ones first."""
    found: list[Argument] = []
    declared: frozenset[str] = frozenset()
    schema: Mapping[str, Any] = {}
    if tool is not None:
        if tool.kinds:
            declared = _declared(tool.kinds, arguments, found)
        if tool.input_schema:
            properties = tool.input_schema.get("properties")
            schema = properties if isinstance(properties, Mapping) else {}
    _Walk(tool_words(tool_name), declared, schema, found).enter(arguments)
    return tuple(found)


@lru_cache(maxsize=4096)
def tool_words(name: str) -> frozenset[str]:
    """The lower-case words of a tool's name: `Sql.runQuery` gives sql, run, query."""
    return frozenset(w.lower() for w in _WORDS.findall(name[:256]))


def folded(text: str) -> str:
    """`text` with compatibility forms folded (NFKC) and invisible format characters removed."""
    if text.isascii():
        return text
    plain = unicodedata.normalize("NFKC", text)
    return "".join(c for c in plain if unicodedata.category(c) != "Cf")


def member(path: str) -> str:
    """The last name in a JSON pointer that is not an index, in lower case with underscores."""
    for part in reversed(path.split("/")):
        if part and not part.isdigit():
            return _name(part)
    return ""


def is_statement(text: str) -> bool:
    """Whether `text` begins like an SQL statement, or carries one after a semicolon."""
    plain = folded(text)
    return _begins_statement(plain) or (";" in plain and _STACKED_SQL.search(plain) is not None)


def _begins_statement(plain: str) -> bool:
    first = _FIRST_WORD.match(plain)
    begins = (first is not None and first[1].lower() in _SQL_FIRST) or "/*!" in plain
    return begins and _IS_SQL.match(plain) is not None


def _name(key: str) -> str:
    return (key if key.islower() else "_".join(_WORDS.findall(key)).lower()).replace("-", "_")


def _escape(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1") if "~" in key or "/" in key else key


def _declared(declared: Mapping[str, str], arguments: JsonTree, found: list[Argument]) -> frozenset[str]:
    paths = set()
    for pointer, kind in declared.items():
        node = arguments
        for part in pointer.split("/")[1:]:
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(node, dict) and key in node:
                node = node[key]
            elif isinstance(node, list) and key.isdigit() and int(key) < len(node):
                node = node[int(key)]
            else:
                break
        else:
            path = "/arguments" + pointer
            paths.add(path)
            found.extend(_expand(path, kind, node))
    return frozenset(paths)


def _expand(path: str, kind: str, node: JsonTree) -> Iterator[Argument]:
    """The declared kind holds for everything below the pointer; a list of words is one command line."""
    if kind == "shell" and isinstance(node, list) and all(isinstance(x, str) for x in node):
        yield Argument(path, kind, _command_line(node), True)
        return
    if isinstance(node, str):
        yield Argument(path, kind, node, True)
    elif isinstance(node, bool) or node is None:
        return
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from _expand(f"{path}/{_escape(key)}", kind, value)
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _expand(f"{path}/{index}", kind, value)
    else:
        yield Argument(path, kind, str(node), True)


_TAKE_CODE = frozenset("sh bash zsh dash ksh python python3 perl ruby node env sudo".split())


def _command_line(words: list[str]) -> str:
    """An argv is quoted as it would be passed; a list of whole lines is a script."""
    spaced = sum(" " in w.strip() for w in words)
    is_script = len(words) > 1 and spaced > len(words) // 2 and not words[0].startswith("-")
    if is_script and words[0].rsplit("/", 1)[-1] not in _TAKE_CODE:
        return "\n".join(words)
    return words[0] if len(words) == 1 and " " in words[0] else shlex.join(words)


class _Walk:
    """One pass over the arguments. Holds what doesn't change on the way."""

    __slots__ = ("declared", "found", "in_code", "in_shell", "in_sql", "levels", "schema", "sql_kind", "words")

    def __init__(
        self, words: frozenset[str], declared: frozenset[str], schema: Mapping[str, Any], found: list[Argument]
    ) -> None:
        self.words = words
        self.declared = declared
        self.schema = schema
        self.found = found
        self.levels = 0
        self.in_sql = not _SQL_TOOL.isdisjoint(words)
        self.in_shell = not _SHELL_TOOL.isdisjoint(words)
        self.in_code = not _CODE_TOOL.isdisjoint(words)
        self.sql_kind = "sql"
        if self.in_sql:
            for word in words:
                if word in _DIALECTS:
                    self.sql_kind = "sql:" + _DIALECTS[word]

    def enter(self, arguments: JsonTree) -> None:
        if isinstance(arguments, dict):
            self._object("/arguments", arguments)
        else:
            self._value("/arguments", "", arguments, None)

    def _object(self, path: str, node: dict[str, JsonTree]) -> None:
        self._structured(path, node)
        skip = self._split_command(path, node)
        is_request = False
        if "path" in node:
            method = node.get("method") or node.get("verb")
            is_request = isinstance(method, str) and method.upper() in _HTTP_METHODS
        for key, value in node.items():
            if key in skip:
                continue
            name = _name(key)
            if is_request and name == "path" and isinstance(value, str):
                self.found.append(Argument(f"{path}/{_escape(key)}", "url", value, False))
                continue
            self._value(f"{path}/{_escape(key)}", name, value, node)

    def _value(self, path: str, name: str, value: JsonTree, parent: dict[str, JsonTree] | None) -> None:
        if self.declared and path in self.declared:
            return
        if isinstance(value, str):
            self._string(path, name, value)
        elif isinstance(value, dict):
            self._object(path, value)
        elif isinstance(value, list):
            self._list(path, name, value)
        elif name in _MONEY_NAMES and value is not None and value is not True and value is not False:
            self.found.append(Argument(path, "money", str(value), False))

    def _list(self, path: str, name: str, value: list[JsonTree]) -> None:
        words = [x for x in value if isinstance(x, str)]
        if words and len(words) == len(value):
            if (name in _SHELL_NAMES and not self.in_sql) or (name == "args" and self.in_shell):
                self.found.append(Argument(path, "shell", _command_line(words), False))
                return
            if len(words) > 1 and name not in PROSE_NAMES and _IS_SHELL.match(" ".join(words)):
                self.found.append(Argument(path, "shell", shlex.join(words), False))
        for index, item in enumerate(value):
            self._value(f"{path}/{index}", name, item, None)

    def _split_command(self, path: str, node: dict[str, JsonTree]) -> tuple[str, ...]:
        """`{"command": "rm", "args": ["-rf", "/"]}` is one command line."""
        for key in ("command", "cmd", "program", "executable", "binary", "exec"):
            head = node.get(key)
            if isinstance(head, str):
                for rest in ("args", "arguments", "argv", "params", "parameters"):
                    tail = node.get(rest)
                    if isinstance(tail, list) and all(isinstance(x, str) for x in tail):
                        if f"{path}/{key}" in self.declared:
                            return ()
                        line = f"{head} {shlex.join(tail)}"
                        self.found.append(Argument(f"{path}/{key}", "shell", line, False))
                        return key, rest
        return ()

    def _structured(self, path: str, node: dict[str, JsonTree]) -> None:
        names = {_name(k) for k in node}
        text = None
        if "path" in names or "url" in names:
            target = node.get("path", node.get("url"))
            if isinstance(target, str) and ("/api" in target or "%" in target) and _is_kubernetes(target):
                text = _json(node)
                self.found.append(Argument(path, "k8s", text, False))
                return
        if (not _K8S_TOOL.isdisjoint(self.words) and not _K8S_MEMBERS.isdisjoint(names)) or (
            ("apiversion" in names or "api_version" in names) and "kind" in names
        ):
            self.found.append(Argument(path, "k8s", _json(node), False))
        operation = next((node[k] for k in _OPERATION_MEMBERS if isinstance(node.get(k), str)), None)
        if (
            operation is not None and (isinstance(node.get("service"), str) or not _CLOUD_TOOL.isdisjoint(self.words))
        ) or (
            path == "/arguments"
            and len(self.words) > 1
            and not self.in_shell
            and not _CLOUD_TOOL.isdisjoint(self.words)
        ):
            self.found.append(Argument(path, "cloud", _json(node), False))

    def _string(self, path: str, name: str, text: str) -> None:
        found = self.found
        kind = self._kind(name, text)
        if (
            (
                kind == "text"
                and len(text) > 1
                and text[:64].lstrip()[:1] in ("{", "[")
                and self.levels < NESTED_JSON_LEVELS
            )
            and len(text) <= NESTED_JSON_CHARACTERS
            and self._nested(path, name, text)
        ):
            return
        found.append(Argument(path, kind, text, False))

    def _nested(self, path: str, name: str, text: str) -> bool:
        try:
            tree = json.loads(text)
        except (ValueError, RecursionError):
            return False
        if not isinstance(tree, (dict, list)):
            return False
        self.levels += 1
        if isinstance(tree, dict):
            self._object(path, tree)
        else:
            self._list(path, name, tree)
        self.levels -= 1
        return True

    def _kind(self, name: str, text: str) -> str:
        if self.schema and (kind := _schema_kind(self.schema.get(name))):
            return kind
        if name in _SQL_NAMES or (self.in_sql and name in _QUERY_NAMES and not (self.in_shell and name == "command")):
            return self.sql_kind
        if name in _SHELL_NAMES:
            if name == "script" and self.in_code:
                return "code"
            return self.sql_kind if not self.in_shell and _begins_statement(folded(text)) else "shell"
        if self.in_code and (name in _CODE_NAMES or name in ("source", "input", "cell")):
            return "code"
        if name in _CODE_NAMES:
            if self.in_shell or text.startswith("#!/bin/"):
                return "shell"
            return self.sql_kind if self.in_sql or is_statement(text) else "code"
        if self.in_shell and name in ("input", "line", "code", "args", "arguments", "keys"):
            return "shell"
        return self._by_content(name, text)

    def _by_content(self, name: str, text: str) -> str:
        if len(text) >= 6:
            if name in PROSE_NAMES:
                if not self._writes_a_file(name) and _SHOUTED_OR_ENDED.match(text) and is_statement(text):
                    return self.sql_kind
                return "text"
            if is_statement(text):
                return self.sql_kind
            if _IS_URL.match(text):
                return "path" if name in _PATH_NAMES and text[:5].lower() == "file:" else "url"
        if name in _PATH_NAMES:
            return "path"
        if name in _URL_NAMES:
            return "url"
        if name in _RECIPIENT_NAMES and ("@" in text or not _SENDS.isdisjoint(self.words)):
            return "recipient"
        if name in _MONEY_NAMES:
            return "money"
        if name in PROSE_NAMES:
            return "text"
        if _IS_SHELL.match(text):
            return "shell"
        return "path" if _IS_PATH.match(text) and len(text) < 4096 and "\n" not in text else "text"

    def _writes_a_file(self, name: str) -> bool:
        return name in ("content", "contents", "file_text", "new_str", "old_str", "new_string", "old_string")


def _json(node: JsonTree) -> str:
    return dumps(node).decode("utf-8")


_KUBERNETES_PATH = re.compile(r"/apis?/(?:[a-z0-9.\-]+/)?v\d[a-z0-9]*(?:/|\?|$)", re.I)


def _is_kubernetes(target: str) -> bool:
    plain = target
    if "%" in plain:
        plain = unquote(unquote(plain))
    return ("/namespaces" in plain or "/apis/" in plain or "/api/v1/" in plain) and bool(_KUBERNETES_PATH.search(plain))


def _schema_kind(schema: object) -> str | None:
    if not isinstance(schema, Mapping):
        return None
    match schema.get("format") or schema.get("contentMediaType"):
        case "uri" | "url" | "uri-reference" | "iri":
            return "url"
        case "email" | "idn-email":
            return "recipient"
        case "sql" | "application/sql" | "text/x-sql":
            return "sql"
        case "path" | "file-path" | "filename" | "directory-path":
            return "path"
        case "shell" | "bash" | "application/x-sh" | "text/x-shellscript":
            return "shell"
    words = schema.get("description")
    if isinstance(words, str):
        words = words[:200].lower()
        if "sql" in words and ("query" in words or "statement" in words):
            return "sql"
        if "shell command" in words or "bash command" in words or "command line" in words or "command to run" in words:
            return "shell"
        if "file path" in words or "path to the file" in words or "path of the file" in words:
            return "path"
    return None
