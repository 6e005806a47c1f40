"""Command lines read by syntax tree: every command that would run, through quotes, variables, pipes and nested shells.

A command's words are expanded as far as they are known; what a part prints is followed into the part that reads it,
so that `curl | sh`, `base64 -d | sh` and `sh -c "$(...)"` are what they are. Words in strings that are only printed,
searched for or committed are no commands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import MappingProxyType

import tree_sitter

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell import windows
from aegis.policy.hard_deny.shell.effects import write_file
from aegis.policy.hard_deny.shell.session import HOME, Command, Reading, Session, Surroundings
from aegis.policy.hard_deny.shell.tree import is_tolerable, nodes_of, parsed, text_of, tokens_of
from aegis.policy.hard_deny.shell.words import (
    DECODED,
    NETWORK,
    OUTPUT,
    UNKNOWN,
    TooManyBraces,
    expand,
    substituted,
    taint,
)

DEPTH = 12
"""Shells within shells, substitutions within substitutions."""
WRAPPERS = 24
"""Commands within commands: `sudo nice timeout 5 ...`."""
WORDS = 8_000
"""Of one command."""
CHARACTERS = 768 * 1024
"""Parsed for one text, each nested shell's script counted again."""
COMMANDS = 2_000
"""Commands judged for one text, loops and functions unrolled."""
_RUN = frozenset(
    "GIT_SSH_COMMAND GIT_SSH GIT_PAGER PAGER MANPAGER GIT_EDITOR EDITOR VISUAL GIT_SEQUENCE_EDITOR GIT_EXTERNAL_DIFF "
    "GIT_ASKPASS SSH_ASKPASS GIT_PROXY_COMMAND RSYNC_RSH LESSOPEN LESSCLOSE BROWSER PROMPT_COMMAND".split()
)
"""Variables whose value another program runs as a command."""
PRINTED = 64 * 1024
"""Characters of output that are followed."""
Judge = Callable[["Shell", Command], str]
"""Judges one command and gives what it prints, with marks for what isn't known."""
Family = Callable[["Shell", Command], str | None]
"""Judges the commands of one family; None if what they print isn't known."""
Families = MappingProxyType[str, Family]


def families(*rows: tuple[Family, str]) -> Families:
    """The families by each name in the second column, which names separated by spaces."""
    return MappingProxyType({name: family for family, names in rows for name in names.split()})


class Shell(Session):
    """Walks one script and has `judge` judge each command in it, which may come back with more text to walk.

    Nested shells share the reading and get a copy of the surroundings.
    """

    def __init__(self, around: Surroundings, reading: Reading, judge: Judge, depth: int = 0) -> None:
        super().__init__(around, reading)
        self.judge = judge
        self.depth = depth
        self.functions: dict[str, tree_sitter.Node] = {}
        self.sources: dict[str, bytes] = {}
        self.aliases: dict[str, str] = {}
        self.calling: list[str] = []
        self.readers: dict[str, str] = {}
        """Commands that read what is written to a path: `tee >(sh)`."""
        self.running = 0
        self.source = b""

    # entering

    def script(self, text: str, stdin: str | None = None) -> str:
        """Judges `text` as a script in these surroundings; gives what it prints."""
        if self.depth > DEPTH or len(text) > PRINTED * 4 or self.reading.steps > COMMANDS:
            self.reading.add("shell.unparseable")
            return UNKNOWN
        if windows.is_likely(text):
            self._windows(text)
        source = text.encode("utf-8", "replace")
        self.reading.characters += len(text)
        root = parsed(text) if self.reading.characters <= CHARACTERS else None
        if root is None:
            self.reading.add("shell.unparseable")
            return UNKNOWN
        if root.has_error and not is_tolerable(root, source):
            self.reading.add("shell.unparseable")
        outer, self.source = self.source, source
        try:
            return self._body(root, stdin)
        finally:
            self.source = outer

    def nested(self, text: str, stdin: str | None = None, given: Sequence[str] = ()) -> str:
        """Judges `text` as a shell of its own would run it; `given` are its `$0`, `$1`, ..."""
        inner = Shell(self.around.copied(), self.reading, self.judge, self.depth + 1)
        inner.functions, inner.sources = dict(self.functions), dict(self.sources)
        inner.calling = list(self.calling)
        inner.around.variables.update({str(i): w for i, w in enumerate(given[:10])})
        if given:
            inner.around.variables["@"] = inner.around.variables["*"] = " ".join(given[1:])
        return inner.script(text, stdin)

    def run_text(self, text: str | None) -> None:
        """`text` is what a shell reads and runs: a script's bytes, standard input."""
        if text is None or text in (UNKNOWN, OUTPUT):
            return
        marks = taint(text)
        if NETWORK in marks:
            self.reading.add("shell.remote_code")
        elif DECODED in marks:
            self.reading.add("shell.dynamic")
        else:
            self.nested(text)

    def eval_text(self, text: str, stdin: str | None = None, given: Sequence[str] = ()) -> str:
        """`text` is an argument that is run: what it prints."""
        marks = taint(text)
        if NETWORK in marks:
            self.reading.add("shell.remote_code")
        elif DECODED in marks or text in (UNKNOWN,):
            self.reading.add("shell.dynamic")
        elif text and text.strip(OUTPUT):
            return self.nested(text, stdin, given)
        return OUTPUT

    @contextmanager
    def elsewhere(self, root: str) -> Iterator[None]:
        """What is walked meanwhile runs on another machine or in a container, in the directory `root` there."""
        before = self.around.places, self.around.cwd
        self.around.places, self.around.cwd = places.Places(root), root
        try:
            yield
        finally:
            self.around.places, self.around.cwd = before

    def _windows(self, text: str) -> None:
        encoded = windows.judge(text, self.reading)
        if encoded is not None and self.depth < windows.DEPTH:
            self.nested(encoded)
        elif encoded is not None:
            self.reading.add("shell.dynamic")

    def _text(self, node: tree_sitter.Node) -> str:
        return text_of(node, self.source)

    # walking

    def _body(self, node: tree_sitter.Node, stdin: str | None = None) -> str:
        printed: list[str] = []
        children = node.children
        for index, child in enumerate(children):
            if self.reading.steps > COMMANDS:
                break
            if not child.is_named and child.type not in ("&",):
                continue
            background = index + 1 < len(children) and children[index + 1].type == "&"
            printed.append(self._node(child, stdin, background=background))
        return "".join(printed)[:PRINTED]

    def _node(self, node: tree_sitter.Node, stdin: str | None = None, background: bool = False) -> str:
        self.reading.steps += 1
        if self.reading.steps > COMMANDS:
            self.reading.add("shell.unparseable")
            return UNKNOWN
        match node.type:
            case "command":
                return self._command(node, stdin, background=background)
            case "pipeline":
                return self._pipeline(node, stdin)
            case "redirected_statement":
                return self._redirected(node, stdin, background)
            case "variable_assignment" | "variable_assignments":
                for each in [node] if node.type == "variable_assignment" else node.named_children:
                    self._assign(each)
                return ""
            case "declaration_command" | "unset_command":
                return self._declaration(node)
            case "function_definition":
                self._define(node)
                return ""
            case "for_statement" | "c_style_for_statement":
                return self._for(node, stdin)
            case "while_statement" | "until_statement":
                return self._while(node, stdin)
            case "file_redirect":
                self._file_redirect(node, stdin, None)
                return ""
            case "subshell":
                before = self.around
                self.around = before.copied()
                printed = self._body(node, stdin)
                self.around = before
                return printed
            case "comment" | "heredoc_body" | "heredoc_start" | "heredoc_end" | "word" | "test_operator":
                return ""
            case "test_command":
                for substitution in nodes_of(node, "command_substitution"):
                    self._substitute(self._text(substitution)[2:-1])
                return ""
        return self._body(node, stdin)

    def words(self, raw: str) -> list[str]:
        if self.reading.steps > COMMANDS:
            return [UNKNOWN]
        try:
            return expand(raw, self.around.variables, self._substitute, HOME, self._process)
        except TooManyBraces:
            self.reading.add("shell.unparseable")
            return [UNKNOWN]

    def _substitute(self, text: str) -> str:
        """What a command substitution prints: its text if it is known, else marks."""
        if self.depth >= DEPTH:
            self.reading.add("shell.unparseable")
            return UNKNOWN
        printed = self.nested(text).rstrip("\n")
        if printed in ("", UNKNOWN):
            return OUTPUT
        return printed

    def _process(self, text: str, reads: bool) -> str:
        """The path that `<(text)` or `>(text)` stands for: what is known of the text lies there as in a file."""
        path = f"/dev/fd/{63 + len(self.around.written) + len(self.readers)}"
        if reads:
            self.readers[path] = text
            self.nested(text)
            return path
        printed = self.nested(text) if self.depth < DEPTH else UNKNOWN
        if taint(printed) or not printed:
            return path + (taint(printed) or OUTPUT)
        self.around.written[path] = printed
        return path

    def received(self, path: str, text: str) -> None:
        if path in self.readers:
            self.nested(self.readers[path], text)

    def _assign(self, node: tree_sitter.Node) -> None:
        raw = self._text(node)
        name, _, value = raw.partition("=")
        append = name.endswith("+")
        name, _, index = name.rstrip("+").partition("[")
        if "$(" in index or "`" in index:
            self.words(index.rstrip("]"))
        if value.startswith("("):
            value = value[1:-1]
        result = " ".join(self.words(value)) if value else ""
        variables = self.around.variables
        variables[name] = (variables.get(name, "") + result if append else result)[:PRINTED]
        self.assigned(name, variables[name])

    def assigned(self, name: str, value: str) -> None:
        """A variable is set: some are obeyed, some are run."""
        if name == "HISTFILE" and value in ("/dev/null", ""):
            self.reading.add("shell.cover_tracks", command=name)
        if name in ("HISTSIZE", "HISTFILESIZE") and value == "0":
            self.reading.add("shell.cover_tracks", command=name)
        if (
            name in ("LD_PRELOAD", "PROMPT_COMMAND", "BASH_ENV")
            and value
            and not self.around.places.inside(self.path(value))
        ):
            self.reading.add("shell.persistence", command=name)
        if name in _RUN and value.strip() and not taint(value):
            self.nested(value.lstrip("|! "))

    def _declaration(self, node: tree_sitter.Node) -> str:
        head = node.children[0].type if node.children else ""
        argv = [head]
        for child in node.named_children:
            if child.type == "variable_assignment":
                self._assign(child)
            else:
                argv.extend(self.words(self._text(child)))
        if head in ("unset", "unsetenv") and "HISTFILE" in argv:
            self.reading.add("shell.cover_tracks", command="unset")
        return ""

    def _define(self, node: tree_sitter.Node) -> None:
        name = node.child_by_field_name("name")
        body = node.child_by_field_name("body")
        if name is None or body is None:
            return
        called = self._text(name)
        self.functions[called] = body
        self.sources[called] = self.source
        names = [self._text(n) for n in nodes_of(body, "command_name")]
        piped = any(c.type in ("pipeline",) for c in nodes_of(body, "pipeline")) or any(
            c.type == "&" for c in tokens_of(body)
        )
        if names.count(called) >= 1 and piped:
            self.reading.add("shell.denial_of_service", command="function")

    def _for(self, node: tree_sitter.Node, stdin: str | None) -> str:
        name = node.child_by_field_name("variable")
        body = node.child_by_field_name("body")
        forever = node.type == "c_style_for_statement" and node.child_by_field_name("condition") is None
        if forever and body is not None and any(t.type == "&" for t in tokens_of(body)):
            self.reading.add("shell.denial_of_service", command="loop")
        values: list[str] = []
        for child in node.children_by_field_name("value"):
            values.extend(self.words(self._text(child)))
        printed = []
        for value in values[:16] if name is not None and values else [UNKNOWN]:
            if name is not None:
                self.around.variables[self._text(name)] = value
            if body is not None:
                printed.append(self._node(body, stdin))
        return "".join(printed)[:PRINTED]

    def _while(self, node: tree_sitter.Node, stdin: str | None) -> str:
        body = node.child_by_field_name("body")
        condition = [self._text(c) for c in node.named_children if c != body]
        forever = any(c.strip() in ("true", ":", "[ 1 ]", "[[ 1 ]]", "((1))", "1", "/bin/true") for c in condition)
        if forever and body is not None and any(t.type == "&" for t in tokens_of(body)):
            self.reading.add("shell.denial_of_service", command="loop")
        marks = taint(stdin)
        for command in nodes_of(node, "command"):
            argv = self.words(self._text(command))
            if argv[:1] == ["read"]:
                for variable in argv[1:]:
                    if not variable.startswith("-"):
                        self.around.variables[variable] = marks or UNKNOWN
        return self._body(node, stdin)

    def _pipeline(self, node: tree_sitter.Node, stdin: str | None) -> str:
        flowing = stdin
        for child in node.children:
            if child.is_named:
                flowing = self._node(child, flowing, background=False)
        return flowing or ""

    def _redirected(self, node: tree_sitter.Node, stdin: str | None, background: bool) -> str:
        body = node.child_by_field_name("body")
        piped: list[tree_sitter.Node] = []
        out: str | None = None
        quiet = False
        for redirect in node.children_by_field_name("redirect"):
            if redirect.type == "herestring_redirect":
                stdin = "".join(" ".join(self.words(self._text(c))) for c in redirect.named_children) + "\n"
            elif redirect.type == "heredoc_redirect":
                stdin = self._heredoc(redirect)
                piped.extend(
                    c for c in redirect.named_children if not c.type.startswith("heredoc") and c.type != "file_redirect"
                )
                for inner in redirect.named_children:
                    if inner.type == "file_redirect":
                        target = self._target(inner)
                        out = target if target is not None else out
            elif redirect.type == "file_redirect":
                stdin, out = self._file_redirect(redirect, stdin, out)
        printed = ""
        if body is not None:
            printed = (
                self._command(body, stdin, out, background, self._between(node, body))
                if body.type == "command"
                else self._node(body, stdin, background)
            )
        if out is not None:
            write_file(self, out, printed, "redirection")
            printed = ""
            quiet = True
        for child in piped:
            printed = self._node(child, printed if not quiet else None)
        return printed

    def _between(self, node: tree_sitter.Node, body: tree_sitter.Node) -> list[str]:
        """Command that the grammar drops between a command and its redirections (`-f - <<X`), or hides in them."""
        words: list[str] = []
        at = body.end_byte
        for redirect in node.children_by_field_name("redirect"):
            words += self.source[at : redirect.start_byte].decode("utf-8", "replace").split()
            at = redirect.end_byte
            if redirect.type == "file_redirect":
                for extra in redirect.children_by_field_name("destination")[1:]:
                    words += self.words(self._text(extra))
            for extra in redirect.children_by_field_name("argument"):
                piece = self._text(extra)
                if piece.startswith("\n"):  # the grammar takes a body's first line for words if it begins with `\\`
                    break
                words += self.words(piece)
        return words

    def _heredoc(self, node: tree_sitter.Node) -> str:
        opened = next((c for c in node.named_children if c.type == "heredoc_start"), None)
        closed = next((c for c in node.named_children if c.type == "heredoc_end"), None)
        start = self._text(opened) if opened is not None else ""
        body = next((self._text(c) for c in node.named_children if c.type == "heredoc_body"), "")
        if opened is not None and closed is not None:  # the grammar's body may begin too late
            line_end = self.source.find(b"\n", opened.end_byte, closed.start_byte)
            body = self.source[line_end + 1 : closed.start_byte].decode("utf-8", "replace") if line_end >= 0 else body
        if any(q in start for q in "'\"\\"):
            return body
        return substituted(body, self.around.variables, self._substitute, HOME)

    def _target(self, node: tree_sitter.Node) -> str | None:
        operator = next((c.type for c in node.children if not c.is_named), ">")
        goal = node.child_by_field_name("destination")
        if goal is None:
            return None
        words = self.words(self._text(goal))
        if not words or operator in ("<", "<&") or words[0].isdigit() or words[0] == "-":
            return None
        return words[0]

    def _file_redirect(
        self, node: tree_sitter.Node, stdin: str | None, out: str | None
    ) -> tuple[str | None, str | None]:
        operator = next((c.type for c in node.children if not c.is_named), ">")
        goal = node.child_by_field_name("destination")
        words = self.words(self._text(goal)) if goal is not None else []
        if not words:
            return stdin, out
        word = words[0]
        if "/dev/tcp/" in word or "/dev/udp/" in word:
            self.reading.add("shell.reverse_shell")
            return stdin, out
        if operator in ("<", "<&"):
            if marks := taint(word):
                return marks, out
            if operator == "<" and places.is_secret(path := self.path(word)):
                self.reading.add("shell.sensitive_file", object=path)
            return (self.printed_by_reading(self.path(word)), out) if operator == "<" else (stdin, out)
        descriptor = next((self._text(c) for c in node.children if c.type == "file_descriptor"), "1")
        if operator.startswith(">&") and (word.isdigit() or word == "-"):
            return stdin, out
        if descriptor not in ("1", "") and word in ("/dev/null",):
            return stdin, out
        return stdin, word

    def _command(
        self,
        node: tree_sitter.Node,
        stdin: str | None = None,
        out: str | None = None,
        background: bool = False,
        more: list[str] | None = None,
    ) -> str:
        argv: list[str] = []
        assigned: dict[str, str] = {}
        spans: list[tuple[int, int]] = []  # the grammar cuts some words in two, e.g. after `$IFS-`
        for child in node.children:
            if child.type == "variable_assignment":
                name, _, value = self._text(child).partition("=")
                assigned[name] = " ".join(self.words(value)) if value else ""
                self.assigned(name, assigned[name])
            elif child.type in ("file_redirect", "herestring_redirect", "heredoc_redirect"):
                if child.type == "herestring_redirect":
                    stdin = "".join(" ".join(self.words(self._text(c))) for c in child.named_children) + "\n"
                elif child.type == "file_redirect":
                    stdin, out = self._file_redirect(child, stdin, out)
            elif child.is_named or child.type not in (";", "&"):
                if spans and spans[-1][1] == child.start_byte:
                    spans[-1] = (spans[-1][0], child.end_byte)
                else:
                    spans.append((child.start_byte, child.end_byte))
        for start, end in spans:
            argv.extend(self.words(self.source[start:end].decode("utf-8", "replace")))
        argv.extend(more or [])
        return self.run(Command(argv, stdin, out, background, assigned))

    def run(self, command: Command) -> str:
        """Judges one expanded command and gives what it prints, as far as that is known."""
        self.reading.steps += 1
        if self.reading.steps > COMMANDS or self.running > WRAPPERS or len(command.argv) > WORDS:
            self.reading.add("shell.unparseable")
            return UNKNOWN
        if not command.argv:
            return ""
        self.running += 1
        try:
            return self._run(command)
        finally:
            self.running -= 1

    def _run(self, command: Command) -> str:
        head = command.argv[0]
        if head in self.aliases:
            return self.nested(" ".join([self.aliases[head], *command.argv[1:]]), command.stdin)
        body = self.functions.get(head)
        called = f"{head} {body.id}" if body is not None else ""
        if body is not None and called not in self.calling and len(self.calling) < 8:
            self.calling.append(called)
            outer = self.source
            self.source = self.sources[head]
            saved = {k: self.around.variables.get(k) for k in "123456789"}
            self.around.variables.update({str(i): w for i, w in enumerate(command.argv[1:10], 1)})
            self.around.variables["@"] = self.around.variables["*"] = " ".join(command.argv[1:])
            try:
                return self._node(body, command.stdin)
            finally:
                self.source = outer
                self.calling.pop()
                for key, value in saved.items():
                    if value is None:
                        self.around.variables.pop(key, None)
        return self.judge(self, command)
