"""Text that a shell runs (sh -c, eval, source, trap), and builtins that change the shell itself."""

from __future__ import annotations

import re

from aegis.policy.hard_deny.commands.tracks import judge_tracks
from aegis.policy.hard_deny.shell.argv import SHELLS, STDIN, plain_words
from aegis.policy.hard_deny.shell.effects import judge_write
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, UNKNOWN, taint


def _shell(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    for index, word in enumerate(words):
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", word) or word == "--command":
            rest = words[index + 1 :]
            while rest and re.fullmatch(r"-[a-z]+|--", rest[0]):
                rest = rest[1:]
            return shell.eval_text(rest[0] if rest else "", command.stdin, rest[1:])
        if word in ("--rcfile", "--init-file") and index + 1 < len(words):
            _run_file(shell, words[index + 1])
    if (
        re.fullmatch(r"-[a-z]*i[a-z]*", words[0] if words else "")
        and command.stdin is not None
        and command.stdin == NETWORK
    ):
        shell.reading.add("shell.reverse_shell")
    files = plain_words(words, "oO")
    if not files or files[0] in STDIN or any(w == "-s" for w in words):
        shell.run_text(command.stdin)
    else:
        _run_file(shell, files[0])
    return OUTPUT


def _run_file(shell: Shell, word: str) -> None:
    path = shell.path(word)
    if path in shell.around.fetched:
        shell.reading.add("shell.remote_code")
    elif path in shell.around.written:
        shell.run_text(shell.around.written[path])


def _eval(shell: Shell, command: Command) -> str:
    text = " ".join(command.argv[1:])
    if not taint(text):
        return shell.script(text, command.stdin)
    return shell.eval_text(text)


def _source(shell: Shell, command: Command) -> str:
    for word in command.argv[1:2]:
        path = shell.path(word)
        if path in shell.around.fetched or NETWORK in word:
            shell.reading.add("shell.remote_code")
        elif path in STDIN:
            shell.script(command.stdin) if command.stdin and not taint(command.stdin) else shell.run_text(command.stdin)
        elif path in shell.around.written:
            shell.script(shell.around.written[path])
    return ""


def _trap(shell: Shell, command: Command) -> str:
    words = plain_words(command.argv[1:])
    if len(words) > 1 and not taint(words[0]):
        shell.nested(words[0])
    return ""


def _alias(shell: Shell, command: Command) -> str:
    for word in command.argv[1:]:
        name, _, text = word.partition("=")
        if text and "/" not in name:
            shell.aliases[name] = text
    return ""


def _cd(shell: Shell, command: Command) -> str:
    target = (plain_words(command.argv[1:]) or [shell.around.variables.get("HOME", "/")])[0]
    if target == "-":
        shell.around.cwd = shell.around.variables.get("OLDPWD", shell.around.cwd)
    elif not taint(target):
        shell.around.variables["OLDPWD"] = shell.around.cwd
        shell.around.cwd = shell.path(target)
    shell.around.variables["PWD"] = shell.around.cwd
    return ""


def _set_builtin(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    if not words:
        return SECRET
    if words[0] == "--" or not words[0].startswith(("-", "+")):
        given = words[1:] if words[0] == "--" else words
        shell.around.variables.update({str(i): w for i, w in enumerate(given[:9], 1)})
        shell.around.variables["@"] = shell.around.variables["*"] = " ".join(given)
    return judge_tracks(shell, command)


def _read_builtin(shell: Shell, command: Command) -> str:
    """`read x <<< text`: the last variable takes what is left."""
    names = plain_words(command.argv[1:], "pdntuN")
    parts = (command.stdin or UNKNOWN).split("\n", 1)[0].split(None, max(0, len(names) - 1))
    for index, name in enumerate(names):
        known = shell.around.variables.get(name, "")
        if command.stdin is not None or not known:
            shell.around.variables[name] = parts[index] if index < len(parts) else ""
    return ""


def _editor(shell: Shell, command: Command) -> str:
    """vim -c '!command', ed's `!` lines, gdb -ex 'shell command'."""
    lines = [*command.argv[1:], *(command.stdin or "").splitlines()]
    for word in lines:
        escape = _ESCAPE.match(word)
        if escape is not None and not taint(escape[1]):
            shell.nested(escape[1])
        for called in re.findall(r"(?:system(?:list)?|os\.execute|jobstart)\(\s*[\"']([^\"']*)", word):
            shell.nested(called)
    if command.name in ("ed", "ex") and re.search(r"^(?:w|wq|x)\b", command.stdin or "", re.MULTILINE):
        for word in plain_words(command.argv[1:], "p"):
            judge_write(shell, word, command.name)
    return OUTPUT


_ESCAPE = re.compile(r"[-+c:]*:?\s*(?:sil(?:ent)?!?\s+|noautocmd\s+)*(?:!|shell\s|platform shell\s)(.*)", re.DOTALL)
"""What editors and debuggers hand to a shell."""

COMMANDS: Families = families(
    (_shell, " ".join(SHELLS)),
    (_eval, "eval"),
    (_source, "source ."),
    (_trap, "trap"),
    (_alias, "alias"),
    (_cd, "cd pushd"),
    (_set_builtin, "set"),
    (_read_builtin, "read mapfile readarray"),
    (_editor, "vim vi nvim ex ed view gdb lldb"),
)
