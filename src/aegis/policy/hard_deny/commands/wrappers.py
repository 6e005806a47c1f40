"""Commands whose words are another command: sudo, env, timeout, xargs, busybox."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegis.policy.hard_deny.shell.argv import RECURSIVE, SHELLS
from aegis.policy.hard_deny.shell.session import Command, taint
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, UNKNOWN

_VALUED = {
    "sudo": "ughpCDRrTU",
    "doas": "uC",
    "nice": "n",
    "ionice": "cnp",
    "timeout": "sk",
    "stdbuf": "ioe",
    "env": "uCS",
    "setpriv": "",
    "chrt": "p",
    "taskset": "",
    "strace": "eopsuE",
    "ltrace": "eo",
    "watch": "nd",
    "flock": "wE",
    "exec": "a",
    "runuser": "ug",
    "time": "fo",
    "xargs": "aEeIiLlnPsd",
    "parallel": "j",
    "unshare": "",
    "nsenter": "t",
    "setsid": "",
    "systemd-run": "pu",
    "firejail": "",
    "proot": "rb",
    "chroot": "",
    "gosu": "",
    "su-exec": "",
    "entr": "",
    "script": "cE",
}


def _behind(name: str, words: Sequence[str]) -> list[str]:
    """The words behind a wrapper's own options."""
    valued = _VALUED.get(name, "")
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return list(words[at + 1 :])
        if word.startswith("-") and len(word) > 1:
            at += 2 if len(word) == 2 and word[1] in valued else 1
            continue
        if name in ("env", "sudo", "doas") and re.match(r"[A-Za-z_]\w*=", word):
            at += 1
            continue
        break
    return list(words[at:])


def _rest(shell: Shell, command: Command, words: Sequence[str]) -> str:
    """The command behind a wrapper."""
    if not words:
        return OUTPUT
    return shell.run(Command(list(words), command.stdin, None, command.background, command.assigned))


def _wrapper(shell: Shell, command: Command) -> str:
    name = command.name
    words = command.argv[1:]
    if name == "command" and words and words[0] in ("-v", "-V"):
        return OUTPUT
    if name == "env" and "-S" in words:
        return shell.nested(words[words.index("-S") + 1] if words.index("-S") + 1 < len(words) else "")
    if name == "script" and "-c" in words[:-1]:
        return shell.nested(words[words.index("-c") + 1])
    inner = _behind(name, words)
    if name in ("timeout", "taskset", "chrt", "flock", "gosu", "su-exec", "chroot") and inner:
        inner = inner[1:]
    if name in ("chroot", "nsenter", "unshare"):
        shell.reading.add("shell.privilege", command=name)
    if name in ("sudo", "doas"):
        first = inner[0].rsplit("/", 1)[-1] if inner else ""
        if (
            (not inner and any(re.fullmatch(r"-[a-zA-Z]*[is]", w) for w in words))
            or (first in SHELLS and len(inner) == 1 and command.stdin is None)
            or (first == "su" and len(inner) < 3)
        ):
            shell.reading.add("shell.privilege", command=name)
        if any(re.fullmatch(r"-[a-zA-Z]*s", w) for w in words) and not inner:
            shell.run_text(command.stdin)
    if name == "env" and not inner:
        return SECRET
    if name == "watch" and inner:
        return shell.nested(" ".join(inner))
    if name == "exec" and not inner:
        return ""
    if name == "time" and not inner:
        return ""
    return _rest(shell, command, inner)


def _busybox(shell: Shell, command: Command) -> str:
    return _rest(shell, command, command.argv[1:])


def _su(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    for flag in ("-c", "--command"):
        if flag in words[:-1]:
            return shell.nested(words[words.index(flag) + 1])
    shell.reading.add("shell.privilege", command="su")
    return OUTPUT


def _xargs(shell: Shell, command: Command) -> str:
    inner = _behind("xargs", command.argv[1:])
    if not inner:
        return command.stdin or OUTPUT
    given = (command.stdin or "").split()
    replaced = any(w in ("-I", "-i") or w.startswith("-I") for w in command.argv[1:])
    known = [w for w in given if not taint(w)] or (
        [] if command.stdin is not None and not taint(command.stdin) else [UNKNOWN]
    )
    name = inner[0].rsplit("/", 1)[-1]
    if name in SHELLS and NETWORK in taint(command.stdin):
        shell.reading.add("shell.remote_code")
    if replaced:
        marker = next((command.argv[i + 1] for i, w in enumerate(command.argv[:-1]) if w == "-I"), "{}")
        return shell.run(Command([w.replace(marker, known[0] if known else UNKNOWN) for w in inner]))
    if name in ("rm", "shred", "unlink") and known == [UNKNOWN] and not any(RECURSIVE.match(w) for w in inner[1:]):
        return shell.run(Command(list(inner)))
    return shell.run(Command([*inner, *known[:64]]))


COMMANDS: Families = families(
    (_wrapper, " ".join(n for n in _VALUED if n not in ("xargs", "parallel", "systemd-run"))),
    (
        _wrapper,
        "nohup command builtin caffeinate unbuffer chronic torify proxychains torsocks fakeroot catchsegv pkexec",
    ),
    (_busybox, "busybox toybox coproc"),
    (_su, "su"),
    (_xargs, "xargs parallel"),
)
