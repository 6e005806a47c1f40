"""What commands print that read files, filter text or know the surroundings; secrets that are read on the way."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.effects import judge_write
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, UNKNOWN, ansi, taint


def _read(shell: Shell, command: Command) -> str:
    """Commands that print files."""
    words = plain_words(command.argv[1:], "nce" if command.name in ("head", "tail") else "")
    printed: list[str] = []
    for word in words:
        if SECRET in word or NETWORK in word:
            printed.append(taint(word))
            continue
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        if path in ("/dev/zero", "/dev/urandom", "/dev/random") and command.out is not None:
            shell.reading.add("shell.denial_of_service", command=command.name)
        printed.append(shell.printed_by_reading(path))
    if not words or words == ["-"]:
        return command.stdin or UNKNOWN
    return "".join(printed)


def _search(shell: Shell, command: Command) -> str:
    """grep, sed, awk, jq: the first word is a pattern or a program."""
    words = plain_words(command.argv[1:], "efmABCdF")
    if command.name.endswith("awk"):
        _awk(shell, command)
    elif command.name in ("sed", "gsed"):
        _sed(shell, command.argv[1:], words)
    for word in words[1:]:
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        if shell.printed_by_reading(path) == SECRET:
            return SECRET
    return taint(command.stdin) or OUTPUT


_AWK_RUNS = (
    re.compile(r"(?:system\s*\(\s*|\|&?\s*)\"((?:\\.|[^\"\\])*)\""),
    re.compile(r"\"((?:\\.|[^\"\\])*)\"\s*\|"),
)


PUT_TOGETHER = 256 * 1024
"""Characters of an awk program whose variables are put in, and words times variables that are looked at."""
_SED_RUNS = re.compile(
    r"\s*+(?:\d+|\$)?s(\W)(?:\\.|(?!\1)[^\\])*\1((?:\\.|(?!\1)[^\\])*)\1[gip\d]*+e[gip\d]*+\s*+\Z", re.DOTALL
)
"""`s/a/b/e` runs what it has put together."""


def _awk(shell: Shell, command: Command) -> None:
    """awk: what it hands to system() and to pipes, with `-v` variables and neighbouring strings put together."""
    given = dict(
        follows.split("=", 1)
        for option, follows in itertools.pairwise(command.argv)
        if option == "-v" and "=" in follows
    )
    if len(given) * len(command.argv) > PUT_TOGETHER:
        shell.reading.add("shell.unparseable")
        return
    for program in command.argv[1:]:
        text = program
        for name, value in given.items():
            if len(text) + text.count(name) * len(value) > PUT_TOGETHER:
                shell.reading.add("shell.unparseable")
                return
            text = re.sub(rf"(?<![$\w\"]){re.escape(name)}\b", '"' + re.sub(r"[\\\"]", "", value) + '"', text)
        text = re.sub(r'(?<=[^\s,(])"\s+"(?=[^\s)])|(?<=\w)"\s*"(?=\s)', "", text)
        text = re.sub(r'"\s*\$\d+', lambda _: " " + (command.stdin or UNKNOWN).strip()[:256] + '"', text)
        for pattern in _AWK_RUNS:
            for called in pattern.findall(text):
                shell.run_text(called.replace('\\"', '"'))
        if "/inet/tcp" in text:
            shell.reading.add("shell.reverse_shell")


def _sed(shell: Shell, given: Sequence[str], words: Sequence[str]) -> None:
    """sed: files edited in place, files written with `w`, lines run with `e`."""
    if any(w.startswith(("-i", "--in-place")) for w in given):
        for word in words[1:]:
            judge_write(shell, word, "sed")
    scripts = [follows for option, follows in itertools.pairwise(given) if option in ("-e", "--expression")]
    for script in scripts or words[:1]:
        for line in re.split(r"[;\n]", script):
            if (runs := re.match(r"\s*(?:\d+|\$|/[^/]*/)?\s*e\s+(.+)", line)) is not None:
                shell.run_text(runs[1])
            if (writes := re.search(r"(?:^|[\d$/}\s])w\s*(/\S+)$", line)) is not None:
                judge_write(shell, writes[1], "sed")
        changed = _SED_RUNS.match(script)
        if changed is not None:
            shell.run_text(changed[2].replace("\\" + changed[1], changed[1]))


def _filter(shell: Shell, command: Command) -> str:
    """Filters that pass what they read: text stays text as far as it may matter."""
    text = command.stdin
    files = plain_words(command.argv[1:], "kfdnt")
    if text is None:
        return "".join(shell.printed_by_reading(shell.path(f)) for f in files) or OUTPUT
    return text


def _echo(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    escapes = False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        escapes = escapes or "e" in words[0]
        words = words[1:]
    text = " ".join(words)
    return (ansi(text) if escapes else text) + "\n"


def _printf(shell: Shell, command: Command) -> str:
    words = [w for w in command.argv[1:] if w != "--"]
    if len(words) > 2 and words[0] == "-v":
        shell.around.variables[words[1]] = _formatted(words[2:])
        return ""
    return _formatted(words)


def _formatted(words: Sequence[str]) -> str:
    if not words:
        return ""
    form, values = ansi(words[0]), list(words[1:])
    out: list[str] = []
    for _ in range(64):
        before = len(values)
        out.append(
            re.sub(
                r"%(?:%|[\-0-9.]*([sdiboxXcq]))",
                lambda m: (
                    "%" if m[1] is None else (ansi(values.pop(0)) if m[1] == "b" else values.pop(0)) if values else ""
                ),
                form,
            )
        )
        if not values or len(values) == before:
            break
    return "".join(out)


def _yes(shell: Shell, command: Command) -> str:
    return "y\n"


def _printenv(shell: Shell, command: Command) -> str:
    return SECRET


def _mktemp(shell: Shell, command: Command) -> str:
    return "/tmp/tmp.made\n"  # noqa: S108 - the name that mktemp would print


def _path_words(shell: Shell, command: Command) -> str:
    """pwd, realpath, basename, dirname and the like."""
    if command.name == "pwd":
        return shell.around.cwd + "\n"
    plain = plain_words(command.argv[1:])
    if not plain or taint(plain[0]):
        return UNKNOWN if not plain else plain[0]
    match command.name:
        case "realpath" | "readlink":
            return shell.path(plain[0]) + "\n"
        case "dirname":
            return (plain[0].rsplit("/", 1)[0] or "/") + "\n" if "/" in plain[0] else ".\n"
    return plain[0].rstrip("/").rsplit("/", 1)[-1] + "\n"


def _list(shell: Shell, command: Command) -> str:
    plain = plain_words(command.argv[1:])
    base = shell.path(plain[0]) if plain and not taint(plain[0]) else shell.around.cwd
    return OUTPUT if shell.around.places.in_workspace(base) or shell.around.places.inside(base) else UNKNOWN


COMMANDS: Families = families(
    (_read, "cat less more head tail strings od hexdump tac bat zcat"),
    (_search, "grep egrep fgrep sed awk gawk mawk nawk jq yq"),
    (_filter, "sort uniq cut fold paste column nl"),
    (_echo, "echo"),
    (_printf, "printf"),
    (_yes, "yes"),
    (_printenv, "printenv"),
    (_mktemp, "mktemp"),
    (_path_words, "pwd realpath readlink dirname basename"),
    (_list, "ls dir"),
)
