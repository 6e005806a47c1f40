"""However a destructive text is dressed up, it stays refused; and no text makes an analyser raise."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.policy.hard_deny import command_line, paths, sql, urls
from aegis.policy.hard_deny.analyse import MAX_CHARACTERS, analyse, request_for
from aegis.policy.hard_deny.child import serve
from aegis.policy.kinds import Argument, kinds

DESTRUCTIVE_SQL = ("DROP TABLE ledger", "DELETE FROM ledger", "UPDATE ledger SET amount = 0", "TRUNCATE TABLE ledger")
DESTRUCTIVE_SHELL = ("rm -rf /srv", "dd if=/dev/zero of=/dev/sda", "find / -delete", "rm -rf /")


def _spaced(text: str, chance: random.Random) -> str:
    return "".join(chance.choice((" ", "\n", "\t", "/**/", " /* x */ ", " -- x\n")) if c == " " else c for c in text)


def _cased(text: str, chance: random.Random) -> str:
    return "".join(chance.choice((c.upper(), c.lower())) for c in text)


def _wide(text: str, _: random.Random) -> str:
    return "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in text)


def _stacked(text: str, chance: random.Random) -> str:
    return chance.choice(("SELECT 1; ", "BEGIN; ", ";;", "SELECT ';'; ", "/* hello */ ")) + text


def _invisible(text: str, chance: random.Random) -> str:
    at = chance.randrange(1, 4)
    return text[:at] + "\u200b" + text[at:]


SQL_DRESS: tuple[Callable[[str, random.Random], str], ...] = (_spaced, _cased, _wide, _stacked, _invisible)


@given(
    st.sampled_from(DESTRUCTIVE_SQL), st.lists(st.sampled_from(SQL_DRESS), max_size=3, unique=True), st.integers(0, 999)
)
@settings(max_examples=60, deadline=None)
def test_dressed_up_sql_stays_refused(text: str, dress: list[Callable[[str, random.Random], str]], seed: int) -> None:
    chance = random.Random(seed)
    for change in dress:
        text = change(text, chance)
    assert {c for c, _ in sql.read(text).findings} & {"sql.destructive", "sql.unbounded_write", "sql.unparseable"}, text


SHELL_DRESS: dict[str, Callable[[str], str]] = {
    "quotes in the name": lambda t: t[0] + "''" + t[1:],
    "a backslash before": lambda t: "\\" + t,
    "a shell in between": lambda t: f"bash -c {shell_quoted(t)}",
    "eval": lambda t: f"eval {shell_quoted(t)}",
    "a here-string": lambda t: f"sh <<< {shell_quoted(t)}",
    "a here-document": lambda t: f"sh <<'X'\n{t}\nX",
    "base64": lambda t: f"echo {base64.b64encode(t.encode()).decode()} | base64 -d | sh",
    "reversed": lambda t: f"echo {shell_quoted(t[::-1])} | rev | sh",
    "hexadecimal": lambda t: "printf '" + "".join(f"\\x{ord(c):02x}" for c in t) + "' | bash",
    "a substitution": lambda t: f"echo $({t})",
    "a variable": lambda t: f"x={shell_quoted(t)}; $x",
    "sudo": lambda t: f"sudo -E {t}",
    "after another": lambda t: f"ls && {t}",
    "a function": lambda t: f"f() {{ {t}; }}; f",
    "a loop": lambda t: f"for i in 1 2; do {t}; done",
    "a subshell": lambda t: f"({t}) &",
}


def shell_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


@given(st.sampled_from(DESTRUCTIVE_SHELL), st.lists(st.sampled_from(sorted(SHELL_DRESS)), max_size=3))
@settings(max_examples=100, deadline=None)
def test_dressed_up_commands_stay_refused(text: str, dress: list[str]) -> None:
    for name in dress:
        if name in ("quotes in the name", "a backslash before") and not text.startswith(("rm", "dd", "find")):
            continue
        if name in ("sudo", "a variable") and not text.startswith(("rm", "dd", "find")):
            continue
        text = SHELL_DRESS[name](text)
    assert command_line.read(text, "/work/site").findings, text


@given(st.text(max_size=200))
@settings(max_examples=80, deadline=None)
def test_no_text_makes_an_analyser_raise(text: str) -> None:
    sql.read(text)
    command_line.read(text)
    paths.judge(text, "/work/site")
    urls.judge(text)
    for kind in ("sql", "shell", "path", "url", "code", "k8s", "cloud"):
        analyse(request_for([Argument("/arguments/x", kind, text, True)], "t", {"x": text}))
    for name in ("query", "command", "path", "url", "note", "x"):
        kinds(None, "t", {name: text, "list": [text], "deep": {name: text}})


_TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=20,
)


@given(_TREES, st.sampled_from(("k8s.delete", "aws.call", "crm.export", "mail.send", "shell.run", "http.post")))
@settings(max_examples=80, deadline=None)
def test_no_arguments_make_an_analyser_raise(arguments: object, tool: str) -> None:
    analyse(request_for(kinds(None, tool, arguments), tool, arguments))


@pytest.mark.parametrize(
    "text",
    ["SELECT " + "(" * 5000 + "1" + ")" * 5000, "SELECT 1 WHERE " + "NOT " * 20000 + "TRUE"],
    ids=["five thousand brackets", "twenty thousand negations"],
)
def test_deep_sql_is_refused_and_not_a_crash(text: str) -> None:
    assert any(c in ("sql.unparseable", "pii.bulk_export") for c, _ in sql.read(text).findings)


def test_deep_shells_are_refused_and_not_a_crash() -> None:
    assert command_line.read("$(" * 3000 + "ls" + ")" * 3000).findings


def test_a_text_beyond_the_bound_is_refused() -> None:
    text = "SELECT 1 " + " " * MAX_CHARACTERS
    answer = analyse(request_for([Argument("/arguments/sql", "sql", text, True)], "t", {}))
    assert [f["code"] for f in answer["findings"]] == ["analysis.oversized"]


def test_the_child_answers_in_json() -> None:
    answer = serve(b"")(b'{"arguments": [{"path": "/arguments/sql", "kind": "sql", "text": "DROP TABLE x"}]}')
    assert b'"sql.destructive"' in answer
