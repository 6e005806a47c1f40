"""What is moved, copied, overwritten or opened to others: mv, cp, dd, tee, chmod."""

from __future__ import annotations

import itertools
import re

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import RECURSIVE, plain_words
from aegis.policy.hard_deny.shell.effects import judge_write, write_file
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import SECRET, UNKNOWN, taint


def _move(shell: Shell, command: Command) -> str:
    words = plain_words(command.argv[1:], "tS")
    if not words:
        return ""
    for word in words[:-1]:
        path = shell.path(word)
        if shell.around.places.is_lost(path):
            shell.reading.add("shell.destructive", command="mv", object=path)
        _carry_over(shell, word, words[-1])
    judge_write(shell, words[-1], "mv")
    if len(words) > 1 and shell.path(words[-1]) == "/dev/null":
        shell.reading.add("shell.destructive", command="mv", object="null")
    return ""


def _carry_over(shell: Shell, source: str, target: str) -> None:
    """What is known of a file holds for its copy."""
    path, goal = shell.path(source), shell.path(target)
    if path in shell.around.fetched:
        shell.around.fetched.add(goal)
    known = shell.printed_by_reading(path)
    if taint(known) in ("", SECRET):
        shell.around.written[goal] = known


def _copy(shell: Shell, command: Command) -> str:
    words = plain_words(command.argv[1:], "tmogS")
    if len(words) < 2:
        return ""
    source, target = words[-2], words[-1]
    for word in words[:-1]:
        if places.is_secret(shell.path(word)):
            shell.reading.add("shell.sensitive_file", object=shell.path(word))
        _carry_over(shell, word, target)
    if command.name == "ln":
        goal = shell.path(target)
        if shell.path(source) == "/dev/null" and places.is_log(goal):
            shell.reading.add("shell.cover_tracks", command="ln")
        elif places.starts_by_itself(goal) or re.match(r"/(?:usr/)?s?bin/", goal):
            judge_write(shell, target, "ln")
        return ""
    if command.name == "install" and any(
        re.fullmatch(r"[4267]\d{3}|.*\+s.*", v) for f, v in itertools.pairwise(command.argv) if f in ("-m", "--mode")
    ):
        shell.reading.add("shell.persistence", command="install")
    judge_write(shell, target, command.name)
    return ""


def _dd(shell: Shell, command: Command) -> str:
    options = dict(w.split("=", 1) for w in command.argv[1:] if "=" in w)
    target = options.get("of")
    source = options.get("if", "")
    if target is not None:
        judge_write(shell, target, "dd")
        if source in ("/dev/zero", "/dev/urandom", "/dev/random") and "count" not in options:
            shell.reading.add("shell.denial_of_service", command="dd")
    if source and places.is_secret(shell.path(source)):
        shell.reading.add("shell.sensitive_file", object=shell.path(source))
    return shell.printed_by_reading(shell.path(source)) if source else command.stdin or UNKNOWN


def _rights(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    plain = [w for w in words if not re.fullmatch(r"-[RvcfHLP]+|--\w[\w\-=/]*", w)]
    recursive = any(RECURSIVE.match(w) for w in words if re.fullmatch(r"-[RvcfHLP]+|--recursive", w))
    sets_id = bool(plain) and re.search(r"\+.*s|[ug]=.*s|^[4267]\d{3}$", plain[0]) is not None
    if command.name in ("chmod", "setfacl", "chattr") and sets_id:
        shell.reading.add("shell.persistence", command="chmod")
    for word in plain[1:]:
        path = shell.path(word)
        outside = not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
        if outside and (
            recursive or path.startswith(("/etc", "/usr", "/bin", "/var", "/boot", "/root", "/lib", "/dev", "/sbin"))
        ):
            shell.reading.add("shell.destructive", command=command.name, object=path)
        elif outside and places.is_secret(path) and not re.fullmatch(r"[0-7]?[0-7]00", plain[0]):
            shell.reading.add("shell.sensitive_file", object=path)
    return ""


def _tee(shell: Shell, command: Command) -> str:
    for word in plain_words(command.argv[1:]):
        write_file(shell, word, command.stdin or UNKNOWN, "tee")
    return command.stdin or UNKNOWN


COMMANDS: Families = families(
    (_move, "mv"),
    (_copy, "cp install ln link"),
    (_dd, "dd dcfldd"),
    (_rights, "chmod chown chgrp setfacl chattr"),
    (_tee, "tee sponge"),
)
