"""Commands whose words are another command: sudo, env, timeout, xargs, busybox."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from aegis.policy.hard_deny.shell.argv import RECURSIVE, SHELLS
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, UNKNOWN, taint

MOST_ITEMS = 64
"""Words of its input that xargs hands on here; more of them say nothing more."""


@dataclass(frozen=True, slots=True)
class _Form:
    """What stands before the command: options that take a value (letters, long names), operands of the wrapper."""

    letters: str = ""
    names: str = ""
    operands: int = 0


_FORMS: Mapping[str, _Form] = {
    "sudo": _Form(
        "ughpCDRrTU", "user group host prompt chdir close-from role type other-user chroot command-timeout login-class"
    ),
    "doas": _Form("uC"),
    "nice": _Form("n", "adjustment"),
    "ionice": _Form("cnp", "class classdata pid"),
    "timeout": _Form("sk", "signal kill-after", 1),
    "stdbuf": _Form("ioe", "input output error"),
    "env": _Form("uCS", "unset chdir split-string argv0"),
    "setpriv": _Form("", "reuid regid groups securebits pdeathsig selinux-label apparmor-profile"),
    "chrt": _Form("pTPD", "", 1),
    "taskset": _Form("", "", 1),
    "strace": _Form("eopsuESIOPXabU", "output trace user env"),
    "ltrace": _Form("eosnulap"),
    "watch": _Form("nd", "interval"),
    "flock": _Form("wE", "timeout wait conflict-exit-code", 1),
    "exec": _Form("a"),
    "runuser": _Form("ugGlsw", "user group supp-group shell whitelist-environment"),
    "time": _Form("fo", "format output"),
    "xargs": _Form(
        "aEILnPsd", "arg-file delimiter max-args max-procs max-lines max-chars replace eof process-slot-var"
    ),
    "parallel": _Form("jaSNnIdP", "jobs arg-file sshlogin delay timeout retries joblog results colsep"),
    "unshare": _Form("RwSG", "root wd setuid setgid"),
    "nsenter": _Form("tSGrw", "target setuid setgid"),
    "setsid": _Form(),
    "systemd-run": _Form(
        "pMHtE",
        "unit property description slice uid gid setenv on-calendar on-active working-directory",
    ),
    "firejail": _Form(),
    "proot": _Form("rbw"),
    "chroot": _Form("", "", 1),
    "gosu": _Form("", "", 1),
    "su-exec": _Form("", "", 1),
    "entr": _Form(),
    "script": _Form("cEIOBTm", "command echo log-in log-out log-io log-timing output-limit"),
    "sg": _Form("", "", 1),
}
_PLAIN_WRAPPERS = (
    "nohup command builtin caffeinate unbuffer chronic torify proxychains torsocks fakeroot catchsegv pkexec "
    "ccache distcc eatmydata faketime setarch linux32 linux64 dbus-run-session xvfb-run cgexec numactl rlwrap retry"
)


@dataclass(slots=True)
class _Parsed:
    """A wrapper's words: values of its options by letter or name, variables it sets, the command behind."""

    values: dict[str, str] = field(default_factory=dict)
    flags: set[str] = field(default_factory=set)
    assigned: dict[str, str] = field(default_factory=dict)
    inner: list[str] = field(default_factory=list)

    def value(self, *names: str) -> str | None:
        return next((self.values[n] for n in names if n in self.values), None)


def _parsed(name: str, words: Sequence[str]) -> _Parsed:
    form = _FORMS.get(name, _Form())
    parsed = _Parsed()
    operands = form.operands
    at = 0
    while at < len(words):
        word = words[at]
        follows = words[at + 1] if at + 1 < len(words) else ""
        at += 1
        if word == "--":
            break
        if word.startswith("--"):
            option, attached, value = word[2:].partition("=")
            if attached:
                parsed.values[option] = value
            elif option in form.names.split():
                parsed.values[option] = follows
                at += 1
            parsed.flags.add(option)
        elif word.startswith("-") and (len(word) > 1 or name == "env"):
            at += _letters(word, follows, form.letters, parsed)
        elif name in ("env", "sudo", "doas") and re.match(r"[A-Za-z_]\w*=", word):
            variable, _, value = word.partition("=")
            parsed.assigned[variable] = value
        else:
            at -= 1
            break
    while at < len(words) and operands:
        at, operands = at + 1, operands - 1
    parsed.inner = list(words[at:])
    return parsed


def _letters(word: str, follows: str, valued: str, parsed: _Parsed) -> int:
    """Reads `-qc text`, `-Stext`: how many words after this one belong to it."""
    for place, letter in enumerate(word[1:], 2):
        parsed.flags.add(letter)
        if letter in valued:
            parsed.values[letter] = word[place:] or follows
            return 0 if word[place:] else 1
    return 0


def _rest(shell: Shell, command: Command, parsed: _Parsed) -> str:
    """The command behind a wrapper, in the directory and with the variables that the wrapper sets."""
    for name, value in parsed.assigned.items():
        shell.assigned(name, value)
    before = shell.around.cwd
    directory = parsed.value("chdir", "D", "C", "working-directory") if command.name in _MOVES else None
    if directory and not taint(directory):
        shell.around.cwd = shell.path(directory)
    try:
        line = parsed.value("split-string", "S") if command.name == "env" else None
        if line is not None:
            return shell.nested(" ".join([line, *map(shlex.quote, parsed.inner)]), command.stdin)
        if not parsed.inner:
            return OUTPUT
        assigned = {**command.assigned, **parsed.assigned}
        return shell.run(Command(parsed.inner, command.stdin, None, command.background, assigned))
    finally:
        if directory:
            shell.around.cwd = before


_MOVES = frozenset({"sudo", "env", "systemd-run"})


def _wrapper(shell: Shell, command: Command) -> str:
    name = command.name
    words = command.argv[1:]
    if name == "command" and words and words[0] in ("-v", "-V"):
        return OUTPUT
    parsed = _parsed(name, words)
    inner = parsed.inner
    if name in ("chroot", "nsenter", "unshare"):
        shell.reading.add("shell.privilege", command=name)
    if name in ("sudo", "doas"):
        _raised(shell, command, parsed)
    if name == "env" and not inner and "S" not in parsed.values and "split-string" not in parsed.values:
        return SECRET
    if name == "watch" and inner:
        return shell.nested(" ".join(inner))
    if name in ("exec", "time") and not inner:
        return ""
    line = parsed.value("c", "command") if name in ("script", "runuser") else None
    if line is None and name in ("flock", "sg", "runuser") and "-c" in inner[:-1]:
        line = inner[inner.index("-c") + 1]
    if line is None and name == "sg" and len(inner) == 1:
        line = inner[0]
    return shell.nested(line, command.stdin) if line is not None else _rest(shell, command, parsed)


def _raised(shell: Shell, command: Command, parsed: _Parsed) -> None:
    """sudo that ends in a shell for whoever comes."""
    inner = parsed.inner
    first = inner[0].rsplit("/", 1)[-1] if inner else ""
    if (
        (not inner and parsed.flags & {"i", "s", "login", "shell"})
        or (first in SHELLS and len(inner) == 1 and command.stdin is None)
        or (first == "su" and len(inner) < 3)
    ):
        shell.reading.add("shell.privilege", command=command.name)
    if not inner and parsed.flags & {"s", "i", "shell", "login"}:
        shell.run_text(command.stdin)


def _applet(shell: Shell, command: Command) -> str:
    """busybox and coproc: the next word is the command; a coprocess may have a name."""
    words = command.argv[1:]
    while words and words[0].startswith("-"):
        words = words[1:]
    if command.name == "coproc" and "{" in words[:2]:
        words = words[words.index("{") + 1 :]
    return shell.run(Command(words, command.stdin)) if words else OUTPUT


def _su(shell: Shell, command: Command) -> str:
    for index, word in enumerate(command.argv[1:], 1):
        follows = command.argv[index + 1 : index + 2]
        if (re.fullmatch(r"-[a-z]*c", word) or word == "--command") and follows:
            return shell.nested(follows[0])
        if word.startswith("--command="):
            return shell.nested(word.partition("=")[2])
    shell.reading.add("shell.privilege", command="su")
    return OUTPUT


def _xargs(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    parsed = _parsed(command.name, words)
    inner = parsed.inner
    text = command.stdin or ""
    if command.name == "parallel" and ":::" in inner:
        cut = inner.index(":::")
        inner, text = inner[:cut], "\n".join(inner[cut + 1 :])
    if not inner:
        return command.stdin or OUTPUT
    replaced = parsed.value("I", "replace") or ("{}" if parsed.flags & {"I", "i", "replace"} else "")
    if command.name == "parallel":
        replaced = replaced or ("{}" if any("{}" in w for w in inner) else "")
    if "0" in parsed.flags or "null" in parsed.flags:
        given = [item for item in re.split(r"\0|\\0", text) if item]
    elif replaced or parsed.value("d", "delimiter") is not None or command.name == "parallel":
        given = [line for line in text.splitlines() if line.strip()]
    else:
        given = text.split()
    known = [w for w in given if not taint(w)] or (
        [] if command.stdin is not None and not taint(command.stdin) else [UNKNOWN]
    )
    name = inner[0].rsplit("/", 1)[-1]
    if name in SHELLS and NETWORK in taint(command.stdin):
        shell.reading.add("shell.remote_code")
    if replaced:
        for item in known[:16] or [UNKNOWN]:
            _with_item(shell, command, [w.replace(replaced, item) for w in inner])
        return OUTPUT
    if name in ("rm", "shred", "unlink") and known == [UNKNOWN] and not any(RECURSIVE.match(w) for w in inner[1:]):
        return shell.run(Command(list(inner)))
    return _with_item(shell, command, [*inner, *known[:MOST_ITEMS]])


def _with_item(shell: Shell, command: Command, words: Sequence[str]) -> str:
    """parallel takes its words for a line, xargs for a command."""
    if command.name == "parallel":
        return shell.nested(" ".join(words))
    return shell.run(Command(list(words)))


COMMANDS: Families = families(
    (_wrapper, " ".join(n for n in _FORMS if n not in ("xargs", "parallel"))),
    (_wrapper, _PLAIN_WRAPPERS),
    (_applet, "busybox toybox coproc"),
    (_su, "su"),
    (_xargs, "xargs parallel"),
)
