"""What psql, mysql, redis-cli and other clients of databases are told to run."""

from __future__ import annotations

import re

from aegis.policy.hard_deny import sql
from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, taint


def _sql_client(shell: Shell, command: Command) -> str:
    """psql, mysql, sqlite3 and the like: what they are told to run is SQL."""
    dialect = {
        "psql": "postgres",
        "mysql": "mysql",
        "mariadb": "mysql",
        "sqlite3": "sqlite",
        "sqlcmd": "tsql",
        "sqlplus": "oracle",
        "snowsql": "snowflake",
        "bq": "bigquery",
        "clickhouse-client": "clickhouse",
        "duckdb": "duckdb",
    }.get(command.name)
    texts: list[str] = []
    words = command.argv[1:]
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word in ("-c", "-e", "--command", "--execute", "-q", "-Q", "--query", "-cmd", "-execute"):
            texts.append(follows)
        elif re.match(r"--(?:command|execute|query)=", word):
            texts.append(word.partition("=")[2])
        elif re.match(r"-[ceqQ].", word) and not word.startswith("--"):
            texts.append(word[2:])
    if command.name in ("sqlite3", "duckdb", "bq"):
        texts.extend(plain_words(words)[1:])
    for index, word in enumerate(words[:-1]):
        if word in ("-f", "--file", "-i"):
            known = shell.around.written.get(shell.path(words[index + 1]))
            texts.append(known if known is not None else "")
    if command.stdin is not None and not taint(command.stdin):
        texts.append(command.stdin)
    for text in texts:
        if taint(text) or not text.strip():
            continue
        if text.strip().startswith(("\\", ".")):
            meta = re.match(r"\s*(?:\\!|\.shell|\.system)\s*(.*)", text, re.DOTALL)
            if meta is not None:
                shell.nested(meta[1])
            continue
        for code, values in sql.read(text, dialect, shell.around.now).findings:
            if code != "sql.unparseable":
                shell.reading.add(code, **values)
    return OUTPUT


def _warehouse(shell: Shell, command: Command) -> str | None:
    """bq: whole tables and datasets removed; otherwise SQL."""
    if "rm" in command.argv[1:3]:
        shell.reading.add("cloud.destructive", service="bq", operation="rm")
    return _sql_client(shell, command)


def _store_client(shell: Shell, command: Command) -> str:
    text = " ".join([*command.argv[1:], command.stdin or ""])
    if re.search(
        r"\b(?:FLUSHALL|FLUSHDB|SHUTDOWN|dropDatabase|(?:deleteMany|remove)\(\s*\{\s*\}|\.drop\(|DEBUG\s+SEGFAULT)",
        text,
        re.IGNORECASE,
    ):
        shell.reading.add("shell.destructive", command=command.name, object="store")
    if re.search(r"\bCONFIG\s+SET\s+(?:dir|dbfilename)|\bSLAVEOF\b|\bREPLICAOF\b|MODULE\s+LOAD", text, re.IGNORECASE):
        shell.reading.add("shell.persistence", command=command.name)
    if command.name in ("dropdb", "dropuser") or (
        command.name == "mysqladmin" and {"drop", "shutdown"} & set(command.argv)
    ):
        shell.reading.add("shell.destructive", command=command.name, object="database")
    return OUTPUT


COMMANDS: Families = families(
    (
        _sql_client,
        "psql mysql mariadb sqlite3 sqlcmd sqlplus snowsql clickhouse-client duckdb pgcli mycli influx wrangler",
    ),
    (_warehouse, "bq"),
    (_store_client, "redis-cli valkey-cli mongo mongosh dropdb dropuser mysqladmin cqlsh"),
)
