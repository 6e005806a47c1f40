"""One command judged: by its name the family that knows it, before that what holds for every command."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Mapping
from types import MappingProxyType

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.commands import (
    carried,
    clusters,
    databases,
    decoding,
    deletion,
    files,
    git,
    interpreters,
    machine,
    network,
    operations,
    printing,
    shells,
    tracks,
    transfer,
    wrappers,
)
from aegis.policy.hard_deny.shell.argv import INTERPRETERS, RECURSIVE, SHELLS
from aegis.policy.hard_deny.shell.effects import write_file
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Family, Shell
from aegis.policy.hard_deny.shell.words import DECODED, NETWORK, OUTPUT, SECRET, UNKNOWN, taint

_LOOKUPS = frozenset("dig nslookup host ping ping6 drill kdig getent resolvectl traceroute mtr delv whois".split())

_READERS = frozenset(
    "strings od hexdump more less nl tac paste join cut sort uniq rev fold column diff cmp comm xxd vim vi nvim view "
    "nano emacs ed ex pr fmt expand iconv split csplit sdiff vimdiff bat batcat zcat look shuf ul pg most".split()
)
"""Commands that show what is in the files they name."""
_HARMFUL = frozenset("rm dd shred bash sh zsh dash nc ncat curl wget mkfs sudo su find chmod chown mv cp tee".split())

_QUIET = frozenset("echo printf test [ export cat grep read".split())


def judge(shell: Shell, command: Command) -> str:
    """Adds the findings of `command` and gives what it prints, with marks for what isn't known."""
    argv = command.argv
    name = command.name
    shell.reading.commands.append(name[:32])
    if not set(name).isdisjoint((UNKNOWN, OUTPUT, NETWORK, DECODED, SECRET)):
        return _unknown_command(shell, command)
    absolute = shell.path(argv[0]) if "/" in argv[0] else ""
    if absolute and absolute in shell.around.fetched:
        shell.reading.add("shell.remote_code")
    if absolute and absolute in shell.around.written:
        shell.run_text(shell.around.written[absolute])
    _common(shell, command)
    family = TABLE.get(name) or TABLE.get(name.lower())
    if family is None and INTERPRETERS.match(name):
        family = interpreters.judge_program
    if family is None and name.startswith("mkfs"):
        family = machine.judge_devices
    if family is None:
        family = _other_spelling(shell, command)
    printed = family(shell, command) if family is not None else None
    if printed is None:
        printed = "".join(c for c in taint(command.stdin)) or OUTPUT
        if any(
            shell.printed_by_reading(shell.path(w)) == SECRET for w in argv[1:] if w[:1] != "-" and name in _READERS
        ):
            printed = SECRET
    if command.out is not None:
        write_file(shell, command.out, printed, name)
        return ""
    return printed


def _other_spelling(shell: Shell, command: Command) -> Family | None:
    """A command by a name with a version, an ending or a glob; whatever else it is, the command that it carries."""
    plain = re.sub(r"(?:[-_]v?\d[\d.]*)?(?:\.exe)?\Z", "", command.name.lower())
    if plain != command.name and plain in TABLE:
        return TABLE[plain]
    if command.name not in ("[", "[[") and re.search(r"[*?\[]", command.name):
        for name in sorted(_HARMFUL):
            if fnmatch.fnmatchcase(name, command.name):
                shell.run(Command([name, *command.argv[1:]], command.stdin))
    else:
        carried.judge_carried(shell, command)
    return None


def _unknown_command(shell: Shell, command: Command) -> str:
    head = command.argv[0]
    if NETWORK in head or DECODED in head:
        shell.reading.add("shell.remote_code" if NETWORK in head else "shell.dynamic")
    elif (
        any(RECURSIVE.match(w) for w in command.argv[1:])
        and any(w.startswith(("/", "~", "..")) and shell.around.places.is_lost(shell.path(w)) for w in command.argv[1:])
    ) or (len(command.argv) == 1 and head in (UNKNOWN,) and command.stdin is not None):
        shell.reading.add("shell.dynamic")
    return OUTPUT


def _common(shell: Shell, command: Command) -> None:
    """What holds for every command: taint in a name that is looked up, secrets in an address."""
    name = command.name
    for word in command.argv[1:]:
        if SECRET in word and name not in _QUIET and ("://" in word or "." in word):
            shell.reading.add("shell.exfiltration")
        if (
            NETWORK in word
            and word.startswith("/dev/fd/")
            and (name in SHELLS or name in ("source", ".") or INTERPRETERS.match(name))
        ):
            shell.reading.add("shell.remote_code")
    if name in _READERS:
        for word in command.argv[1:]:
            if places.is_secret(path := shell.path(word)) and not word.startswith(("-", "+")):
                shell.reading.add("shell.sensitive_file", object=path)
    if name in _LOOKUPS and any(
        (OUTPUT in w or SECRET in w) and re.search(r"[\ue002\ue004][\w.\-\ue000-\ue004]*\.\w", w)
        for w in command.argv[1:]
    ):
        shell.reading.add("shell.exfiltration")


_KNOWN = (
    deletion,
    files,
    printing,
    shells,
    wrappers,
    decoding,
    network,
    transfer,
    machine,
    tracks,
    databases,
    clusters,
    git,
    operations,
    carried,
)
TABLE: Mapping[str, Family] = MappingProxyType({n: f for module in _KNOWN for n, f in module.COMMANDS.items()})
"""Each command's family by its name; interpreters go by a pattern, for their versions."""
