"""Texts made to keep a parser busy are refused by a count of steps, before time runs out; long plain ones are read."""

from __future__ import annotations

import pytest

from aegis.policy.hard_deny import command_line, kubectl, paths, sql, urls
from aegis.policy.hard_deny.shell import tree

SIZE = 200_000


def filled(piece: str, size: int = SIZE) -> str:
    return (piece * (size // len(piece) + 1))[:size]


@pytest.mark.parametrize(
    "text",
    [
        filled("cat a | "),
        "cat <<A\n" + filled("$(ls) ") + "\nA",
        "echo " + filled("{a,b}"),
        filled("eval "),
        filled("sudo "),
        "git " + filled("-c a=b ") + "x",
        "find " + filled("/a ") + "-exec ls {} \\;",
        f"python3 -c '{filled('f(1);')}'",
        f'node -e \'cp.execFile("rm", ["-rf", "/",{" " * 9000}])\'',
        "node -e '" + filled('a("b");', 5000) + "cp.execSync(c)'",
        "awk " + filled("-v a=bb ", 160_000) + "1",
        f"awk -v a={'b' * 4000} '{filled('a ', 4000)}'",
        "fd x " + filled("a ", 400) + "-x ls",
    ],
    ids=[
        "an endless pipe",
        "a document of substitutions",
        "braces upon braces",
        "eval of eval",
        "sudo of sudo",
        "a command of fifty thousand words",
        "find in sixty thousand places",
        "a program of two hundred kilobytes",
        "a list of arguments that is padded",
        "a program with a thousand strings before what it runs",
        "awk with twenty thousand variables",
        "an awk program that its variables multiply",
        "fd in two hundred places",
    ],
)
def test_an_endless_command_line_is_refused(text: str) -> None:
    assert "shell.unparseable" in {code for code, _ in command_line.read(text, "/work/site").findings}


def test_what_is_given_before_it_hides_no_program() -> None:
    many = "-v a=1 " * 40
    found = command_line.read(f"awk {many} 'BEGIN{{system(\"rm -rf /\")}}'", "/work/site").findings
    assert "shell.destructive" in {code for code, _ in found}


def test_pipes_in_quotes_and_documents_are_no_pipes() -> None:
    table = filled("| a | b |\n", 60_000)
    assert not tree.is_endless(f"cat > notes.md <<'X'\n{table}\nX\n")
    assert not tree.is_endless(f"echo '{table}' > notes.md")
    assert tree.is_endless(table)


def test_a_long_document_is_written_without_a_finding() -> None:
    text = f"cat > notes.md <<'X'\n{filled('a line of writing', 150_000)}\nX\n"
    assert command_line.read(text, "/work/site").findings == []


def test_aliases_that_multiply_are_refused_as_a_manifest() -> None:
    levels = "".join(f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}, *a{i - 1}]\n" for i in range(1, 14))
    found = list(kubectl.judge_manifest("apply", f"a0: &a0 [x, x]\n{levels}", frozenset()))
    assert ("k8s.cluster", {"verb": "apply", "kind": "manifest"}) in found


def test_sql_of_too_many_tokens_is_refused_and_a_long_literal_is_not() -> None:
    assert [c for c, _ in sql.read("SELECT " + filled("1,") + "1").findings] == ["sql.unparseable"]
    assert sql.read(f"INSERT INTO notes (id, body) VALUES (1, '{filled('some words ', 150_000)}')").findings == []


def test_long_paths_and_addresses_are_refused() -> None:
    assert paths.judge(filled("%2e"), "/work/site") == paths.TRAVERSAL
    assert urls.judge("http://a.example.com/" + filled("#")).code == urls.UNPARSEABLE
    assert urls.judge("data:image/png;base64," + filled("QUFB")).code is None
