"""Programs given to python, perl, node and others on the command line, on standard input or as a file."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegis.policy.hard_deny.commands import code
from aegis.policy.hard_deny.commands.decoding import base64_command
from aegis.policy.hard_deny.commands.transfer import install
from aegis.policy.hard_deny.shell.argv import INTERPRETERS, STDIN, plain_words
from aegis.policy.hard_deny.shell.effects import judge_write
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Shell
from aegis.policy.hard_deny.shell.words import DECODED, NETWORK, OUTPUT, taint

_FLAGS = {
    "python": "c",
    "pypy": "c",
    "perl": "eE",
    "ruby": "e",
    "node": "ep",
    "nodejs": "ep",
    "php": "r",
    "osascript": "e",
    "expect": "c",
    "deno": "",
}
"""The letters whose value is a program."""


def judge_program(shell: Shell, command: Command) -> str:
    name = INTERPRETERS.match(command.name)
    language = name[1] if name is not None else command.name
    words = command.argv[1:]
    modules: list[str] = []
    flags = _FLAGS.get(language, "e")
    ran = False
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(("-M", "-r")) and language in ("perl", "ruby"):
            modules.append(word[2:])
        if word in ("-m",) and language in ("python", "pypy"):
            return _module(shell, command, words[index + 1 :])
        if word in ("--eval", "--print", "eval", "-eval", "--execute") or (
            re.fullmatch(r"-[a-zA-Z0-9]+", word) and word[-1] in flags and language != "deno"
        ):
            _code(shell, language, follows, modules)
            ran = True
            break
        if (attached := re.match(r"--(?:eval|print|execute)=(.*)", word, re.DOTALL)) is not None:
            _code(shell, language, attached[1], modules)
            ran = True
            break
        if re.match(r"-c.", word) and "c" in flags and not word.startswith("--"):
            _code(shell, language, word[2:], modules)
            ran = True
            break
    if ran:
        if language in ("perl", "ruby") and any(re.match(r"-[pnalw0-9]*i", w) for w in words):
            for word in plain_words(words, "eEMIrF"):
                judge_write(shell, word, language)
        return taint(command.stdin) or OUTPUT
    files = plain_words(words, "WX")
    if not files or files[0] in STDIN:
        if NETWORK in taint(command.stdin):
            shell.reading.add("shell.remote_code")
        elif DECODED in taint(command.stdin):
            shell.reading.add("shell.dynamic")
        elif command.stdin is not None:
            _code(shell, language, command.stdin, modules)
        return OUTPUT
    path = shell.path(files[0])
    if path in shell.around.fetched or re.match(r"https?://", files[0]) or "run http" in " ".join(files[:2]):
        shell.reading.add("shell.remote_code")
    elif path in shell.around.written:
        _code(shell, language, shell.around.written[path], modules)
    return OUTPUT


def _module(shell: Shell, command: Command, words: Sequence[str]) -> str:
    if words[:1] == ["pip"]:
        return install(shell, Command(["pip", *words[1:]]))
    if words[:1] == ["http.server"] and any(w in ("--directory", "-d") for w in words):
        target = words[-1]
        if not shell.around.places.in_workspace(shell.path(target)):
            shell.reading.add("shell.exfiltration")
    if words[:1] == ["base64"]:
        return base64_command(shell, Command(["base64", *words[1:]], command.stdin))
    return OUTPUT


def _code(shell: Shell, language: str, text: str, modules: Sequence[str] = ()) -> None:
    if NETWORK in text:
        shell.reading.add("shell.remote_code")
        return
    code.judge(shell, language, text, modules)
