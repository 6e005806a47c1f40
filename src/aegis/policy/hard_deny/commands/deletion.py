"""What rm, find, shred and their kin delete."""

from __future__ import annotations

import itertools
import re

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import RECURSIVE, plain_words
from aegis.policy.hard_deny.shell.effects import judge_deletion, write_file
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, UNKNOWN

MOST = 64
"""Places that find looks in, and actions it has for what it finds."""


def _rm(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    recursive = any(RECURSIVE.match(w) for w in words if w.startswith("-"))
    for word in plain_words(words):
        judge_deletion(shell, word, recursive, command.name)
    return ""


def _find(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    roots: list[str] = []
    for word in words:
        if word.startswith(("-", "(", "!")) and word not in ("-L", "-H", "-P"):
            break
        if not word.startswith("-"):
            roots.append(word)
    roots = roots or ["."]
    narrowed = any(
        w in ("-name", "-iname", "-regex", "-path", "-mtime", "-size", "-maxdepth", "-newer", "-empty", "-mmin")
        for w in words
    )
    actions = [i for i, w in enumerate(words) if w in ("-exec", "-execdir", "-ok", "-okdir")]
    if len(roots) > MOST or len(actions) > MOST:
        shell.reading.add("shell.unparseable")
    deletes = "-delete" in words
    for root in roots[:MOST]:
        path = shell.path(root)
        outside = not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
        whole = path == shell.around.places.workspace and not narrowed
        if deletes and (outside or whole):
            shell.reading.add("shell.destructive", command="find", object=path)
        for index in actions[:MOST]:
            rest = words[index + 1 :]
            end = next((i for i, w in enumerate(rest) if w in (";", "+")), len(rest))
            inner = [w.replace("{}", f"{path}/\ue012found" if narrowed and not outside else path) for w in rest[:end]]
            if inner:
                shell.run(Command(inner))
        for action, target in itertools.pairwise(words):
            if action in ("-fprintf", "-fprint", "-fls", "-fprint0"):
                write_file(shell, target, UNKNOWN, "find")
    base = shell.path(roots[0])
    return f"{base}/\ue012found" if shell.around.places.in_workspace(base) else base


def _fd(shell: Shell, command: Command) -> str:
    """fd: a pattern, then where to look; `-x` and `-X` run what follows."""
    words = command.argv[1:]
    action = next((i for i, w in enumerate(words) if w in ("-x", "-X", "--exec", "--exec-batch")), len(words))
    roots = plain_words(words[:action], "edtESjc")[1:] or ["."]
    inner = [w for w in words[action + 1 :] if w != ";"]
    if inner and len(roots) > MOST:
        shell.reading.add("shell.unparseable")
    for root in roots[:MOST] if inner else []:
        path = shell.path(root)
        found = path if not shell.around.places.in_workspace(path) else f"{path}/\ue012found"
        marks = [w for w in inner if re.search(r"\{[./]*\}", w)]
        shell.run(Command([found if w in marks else w for w in inner] + ([] if marks else [found])))
    return OUTPUT


def _truncate(shell: Shell, command: Command) -> str:
    for word in plain_words(command.argv[1:], "sn" if command.name == "shred" else "sr"):
        path = shell.path(word)
        if command.name in ("shred", "truncate") and not shell.around.places.inside(path):
            if places.is_log(path):
                shell.reading.add("shell.cover_tracks", command=command.name)
            shell.reading.add("shell.destructive", command=command.name, object=path)
    return ""


COMMANDS: Families = families(
    (_rm, "rm rmdir unlink srm trash rimraf"),
    (_find, "find gfind bfs"),
    (_fd, "fd fdfind"),
    (_truncate, "truncate shred"),
)
