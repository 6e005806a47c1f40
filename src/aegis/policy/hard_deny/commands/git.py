"""What git does to protected branches, and what it runs: aliases, hooks, pagers."""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.effects import judge_deletion
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, taint

_PROTECTED = re.compile(r"(?:refs/heads/)?(?:main|master|release(?:[/\-_].+)?|trunk|production|prod|live|stable)\Z")


def _protected(shell: Shell, ref: str) -> bool:
    name = ref.removeprefix("refs/heads/").removeprefix("origin/")
    return bool(_PROTECTED.match(ref)) or name in shell.around.protected_branches


def _git(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    while words and words[0].startswith("-"):
        if (
            words[0] == "-c"
            and len(words) > 1
            and re.match(r"(?:core\.(?:sshCommand|pager|editor|hooksPath|fsmonitor)|alias\.\w+)=", words[1], re.I)
        ):
            value = words[1].partition("=")[2]
            shell.nested(value.lstrip("!"))
        if words[0] == "-C" and len(words) > 1:
            words = words[2:]
            continue
        words = words[2:] if words[0] in ("-c", "--git-dir", "--work-tree") and "=" not in words[0] else words[1:]
    if not words:
        return OUTPUT
    verb, rest = words[0], words[1:]
    plain = plain_words(rest, "mbo")
    if verb in ("checkout", "switch"):
        targets = [w for w in plain if not taint(w)]
        if targets:
            shell.around.branch = targets[0]
    elif verb == "push":
        _push(shell, rest)
    elif verb == "clean" and any(re.match(r"-[a-zA-Z]*f|--force", w) for w in rest) and "-n" not in rest:
        for word in plain:
            judge_deletion(shell, word, True, "git_clean")
        if not shell.around.places.in_workspace(shell.around.cwd):
            shell.reading.add("shell.destructive", command="git_clean", object=shell.around.cwd)
    elif verb == "branch" and any(w in ("-D", "-d", "--delete", "-f", "--force", "-M") for w in rest):
        if (any(_protected(shell, w) for w in plain[:1]) and not {"-f", "--force"} & set(rest)) or (
            {"-D", "--delete", "-d"} & set(rest) and any(_protected(shell, w) for w in plain)
        ):
            shell.reading.add("git.history_rewrite")
    elif (verb == "update-ref" and any(_protected(shell, w) for w in plain)) or (
        verb == "reflog" and plain[:1] in (["expire"], ["delete"]) and re.search(r"now|all", " ".join(rest))
    ):
        shell.reading.add("git.history_rewrite")
    elif verb == "config":
        text = " ".join(plain)
        if re.match(
            r"(?:core\.(?:hooksPath|sshCommand|fsmonitor)|alias\.\w+\s+!|credential\.helper\s+!)", text, re.IGNORECASE
        ):
            shell.reading.add("shell.persistence", command="git_config")
    elif verb == "remote" and plain[:1] in (["add"], ["set-url"]) and len(plain) > 2:
        shell.around.variables[f"_remote_{plain[1]}"] = plain[2]
    elif verb in ("clone",) and any("ext::" in w for w in rest):
        shell.reading.add("shell.remote_code")
    elif (verb == "submodule" and plain[:1] == ["foreach"]) or (
        verb in ("rebase", "bisect") and ("--exec" in rest or "-x" in rest or plain[:1] == ["run"])
    ):
        shell.nested(" ".join(plain[1:]))
    return OUTPUT


def _push(shell: Shell, rest: Sequence[str]) -> None:
    flags = [w for w in rest if w.startswith("-")]
    plain = plain_words(rest, "o")
    remote = plain[0] if plain else ""
    refs = plain[1:]
    forced = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force(?:-with-lease.*|-if-includes)?", w) for w in flags)
    bare_force = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force", w) for w in flags)
    deletes = any(w in ("--delete", "-d") for w in flags)
    everything = any(w in ("--mirror", "--all", "--prune") for w in flags)
    outside = (
        "://" in remote or re.match(r"[\w.\-]+@[\w.\-]+:", remote) or f"_remote_{remote}" in shell.around.variables
    )
    if outside and (everything or re.search(r"//[^/@]+:[^/@]+@", remote)):
        shell.reading.add("shell.exfiltration")
    if "--mirror" in flags or (everything and forced):
        shell.reading.add("git.history_rewrite")
    for ref in refs:
        source, colon, target = ref.partition(":")
        goal = target if colon else source.lstrip("+")
        if not _protected(shell, goal) and not (goal in ("HEAD", "@") and _protected(shell, shell.around.branch)):
            continue
        if forced or deletes or ref.startswith("+") or (colon and not source):
            shell.reading.add("git.history_rewrite")
    if bare_force and not refs and (not shell.around.branch or _protected(shell, shell.around.branch)):
        shell.reading.add("git.history_rewrite")


COMMANDS: Families = families(
    (_git, "git"),
)
