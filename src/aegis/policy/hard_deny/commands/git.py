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
    directory = ""
    while words and words[0].startswith("-"):
        option, attached, value = words[0].partition("=")
        follows = words[1] if len(words) > 1 else ""
        if option == "-c" and _RUN_SETTINGS.match(follows):
            shell.nested(follows.partition("=")[2].lstrip("!"))
        if option in ("-C", "--work-tree"):
            directory = value if attached else follows
        words = words[2:] if option in _VALUED and not attached else words[1:]
    if not words:
        return OUTPUT
    verb, rest = words[0], words[1:]
    plain = plain_words(rest, "mbo")
    _run_by_options(shell, rest)
    outside = directory and not taint(directory) and not shell.around.places.in_workspace(shell.path(directory))
    if (
        outside
        and verb in ("clean", "checkout", "reset", "rm", "restore")
        and {"-f", "--force", "--hard"}
        & {
            *rest,
            *("-f" for w in rest if re.match(r"-[a-zA-Z]*f", w)),
        }
    ):
        shell.reading.add("shell.destructive", command=f"git_{verb}", object=shell.path(directory))
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
        moved = plain[-1:] if {"-M", "--move"} & set(rest) else plain[:1]
        if any(_protected(shell, w) for w in (plain if {"-D", "--delete", "-d"} & set(rest) else moved)):
            shell.reading.add("git.history_rewrite")
    elif verb in ("rm", "worktree") and plain:
        for word in plain if verb == "rm" else plain[1:2] if plain[0] == "remove" and "--force" in rest else []:
            if word.startswith("/"):
                judge_deletion(shell, word, True, f"git_{verb}")
    elif (verb == "update-ref" and any(_protected(shell, w) for w in plain)) or (
        verb == "reflog" and plain[:1] in (["expire"], ["delete"]) and re.search(r"now|all", " ".join(rest))
    ):
        shell.reading.add("git.history_rewrite")
    elif verb == "config":
        if len(plain) > 1 and _RUN_SETTINGS.match(f"{plain[0]}={plain[1]}"):
            _set_to_run(shell, plain[0].lower(), " ".join(plain[1:]))
    elif verb == "remote" and plain[:1] in (["add"], ["set-url"]) and len(plain) > 2:
        shell.around.variables[f"_remote_{plain[1]}"] = plain[2]
    elif verb in ("clone", "fetch", "pull", "ls-remote") and any("ext::" in w for w in rest):
        shell.reading.add("shell.remote_code")
    elif verb == "submodule" and plain[:1] == ["foreach"]:
        shell.nested(" ".join(plain[1:]))
    elif verb == "bisect" and rest[:1] == ["run"] and len(rest) > 1:
        shell.run(Command(list(rest[1:])))
    return OUTPUT


_VALUED = frozenset({"-c", "-C", "--git-dir", "--work-tree", "--namespace", "--exec-path", "--super-prefix"})
_RUN_SETTINGS = re.compile(
    r"(?:core\.(?:sshCommand|pager|editor|hooksPath|fsmonitor|askPass|gitProxy)|alias\.[\w\-]+|(?:diff|sequence|pager|credential|"
    r"merge|filter|difftool|mergetool|gpg|uploadpack|trailer|interactive)\.(?:.*\.)?(?:external|editor|helper|clean|smudge|process|"
    r"driver|cmd|program|command|textconv|log|diff|show|packObjectsHook|diffFilter))=",
    re.IGNORECASE,
)
"""Settings whose value git hands to a shell."""
_RUN_OPTIONS = re.compile(
    r"(?:-x|--exec|--extcmd|--upload-pack|--receive-pack|--open-files-in-pager|--(?:tree|index|msg|commit|env|parent)-filter|-u|-O)\Z"
)


def _run_by_options(shell: Shell, words: Sequence[str]) -> None:
    """Options that name a program for git to run; most often it is none that does harm."""
    for index, word in enumerate(words):
        option, attached, value = word.partition("=")
        if not attached and re.match(r"-O.", word):
            option, value, attached = "-O", word[2:], "="
        if _RUN_OPTIONS.match(option):
            line = value if attached else (words[index + 1] if index + 1 < len(words) else "")
            if " " in line and not taint(line):
                shell.nested(line)


def _set_to_run(shell: Shell, setting: str, value: str) -> None:
    """A setting stays: one that leads to hooks or a shell is a way to come back."""
    if re.match(r"core\.(?:hookspath|sshcommand|fsmonitor)", setting) or (
        value.startswith("!") and setting.startswith(("alias.", "credential."))
    ):
        shell.reading.add("shell.persistence", command="git_config")
    elif value.startswith("!") or " " in value:
        shell.nested(value.lstrip("!"))


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
