"""Bash's syntax tree: parsed, searched, and its errors told apart."""

from __future__ import annotations

import re
from functools import lru_cache

import tree_sitter
import tree_sitter_bash

PIPES, SUBSTITUTIONS = 2_000, 4_000
"""Beyond them the parser's time grows with their square; no command line has as many."""
_HEREDOCS = 100
_HEREDOC = re.compile(r"<<-?[ \t]*['\"\\]?(\w+)[^\n]*\n.*?\n[ \t]*\1(?=\n|\Z)", re.DOTALL)
_QUOTED = re.compile(r"\\.|'[^']*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)


@lru_cache(maxsize=1)
def _parser() -> tree_sitter.Parser:
    return tree_sitter.Parser(tree_sitter.Language(tree_sitter_bash.language()))


def parsed(text: str) -> tree_sitter.Node | None:
    """The root of the tree, in which errors stand as nodes; None for a text that no parser gets through in time."""
    if is_endless(text):
        return None
    return _parser().parse(text.encode("utf-8", "replace")).root_node


def is_endless(text: str) -> bool:
    """Whether `text` has more pipes or substitutions than a command line has; quoted ones and documents don't count."""
    if text.count("$(") + text.count("`") > SUBSTITUTIONS:
        return True
    if text.count("|") <= PIPES:
        return False
    bare = _HEREDOC.sub("", text) if text.count("<<") <= _HEREDOCS else text
    return _QUOTED.sub("", bare).count("|") > PIPES


def text_of(node: tree_sitter.Node, source: bytes) -> str:
    return source[node.start_byte : node.end_byte].decode("utf-8", "replace")


def is_tolerable(root: tree_sitter.Node, source: bytes) -> bool:
    """Errors in grammar corners that the tree still shows all commands of: only missing redirection operands."""
    errors = [root]
    count = 0
    while errors:
        node = errors.pop()
        count += 1
        if count > 5000:
            return False
        if node.is_missing:
            return False
        if node.is_error:
            piece = text_of(node, source)
            if not re.fullmatch(r"[\d\s<>&]*", piece):
                return False
        errors.extend(c for c in node.children if c.has_error or c.is_error)
    return True


def nodes_of(node: tree_sitter.Node, kind: str) -> list[tree_sitter.Node]:
    found = []
    stack = [node]
    while stack:
        each = stack.pop()
        if each.type == kind:
            found.append(each)
        stack.extend(each.children)
    return found


def tokens_of(node: tree_sitter.Node) -> list[tree_sitter.Node]:
    found = []
    stack = [node]
    while stack:
        each = stack.pop()
        if not each.children:
            found.append(each)
        stack.extend(each.children)
    return found
