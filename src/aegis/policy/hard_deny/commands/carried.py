"""Commands that carry another command in their words: task runners, launchers, and every command nobody here knows.

`poetry run rm -rf /srv` runs `rm`, and so does a wrapper made yesterday: what stands in the words of a command without
a family is judged if it begins with a command that can do harm.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aegis.policy.hard_deny.shell.argv import INTERPRETERS
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, taint

_CARRIED = frozenset(
    "rm shred rimraf dd wipefs mkfs truncate chmod chown sh bash zsh dash ksh sudo doas env kubectl oc helm aws gcloud "
    "az terraform tofu pulumi psql mysql mongosh redis-cli find xargs docker podman git curl wget nc ncat".split()
)
_LINES = re.compile(
    r"(?:-[cCax]|--(?:command|commands|cmd|run|exec|execute|script|scripts|args|eval))(?:=(.*))?\Z", re.S
)
_QUOTING = frozenset(
    "echo printf gh glab hub jira ag rg ack say notify-send man info apropos whatis which type tldr cheat fzf figlet "
    "cowsay banner logger wall write tmux-rename bd todo task note codespell vale shellcheck shfmt hadolint semgrep "
    "diff comm cmp test [ [[ expr let exit return true false : sleep wait".split()
)
"""Commands whose words are writing, patterns or files: what is quoted there is not run."""


def judge_carried(shell: Shell, command: Command) -> None:
    """Adds the findings of the command that `command` carries, if it carries one."""
    if command.name in _QUOTING:
        return
    words = command.argv[1:]
    for index, word in enumerate(words):
        head = word.rsplit("/", 1)[-1]
        if head in _CARRIED or (INTERPRETERS.match(head) and index + 1 < len(words) and words[index + 1][:1] == "-"):
            shell.run(Command(list(words[index:]), command.stdin))
            return
        line = _LINES.match(word)
        text = (line[1] or (words[index + 1] if index + 1 < len(words) else "")) if line is not None else ""
        if begins_with_harm(text):
            shell.nested(text)


def begins_with_harm(text: str) -> bool:
    """Whether a word that holds several is a line of a command that can do harm."""
    first = text.split(None, 1)
    if len(first) < 2 or taint(first[0]):
        return False
    head = first[0].rsplit("/", 1)[-1]
    return head in _CARRIED or head.startswith("mkfs") or INTERPRETERS.match(head) is not None or head == "reboot"


_RUNS = {
    "poetry": ("run",),
    "pipenv": ("run",),
    "rye": ("run",),
    "hatch": ("run",),
    "pdm": ("run",),
    "bundle": ("exec",),
    "mise": ("exec", "x"),
    "asdf": ("exec",),
    "direnv": ("exec",),
    "hyperfine": (),
    "pssh": (),
    "parallel-ssh": (),
    "pdsh": (),
    "clush": (),
    "dsh": (),
    "salt": (),
    "ansible": (),
    "vagrant": ("ssh",),
    "screen": (),
    "tmux": (),
    "multipass": ("exec",),
    "nix-shell": (),
}


def _runner(shell: Shell, command: Command) -> str:
    """Launchers and tools that run a line on other machines: the line is their last words."""
    verbs = _RUNS[command.name]
    words = command.argv[1:]
    if verbs and not set(verbs) & set(words[:2]):
        return OUTPUT
    for word in words:
        text = word.partition("=")[2] if word.startswith("--") else word
        if begins_with_harm(text):
            shell.nested(text)
    judge_carried(shell, command)
    return OUTPUT


def launched(shell: Shell, command: Command) -> None:
    """npx, yarn dlx and the like: the package's name is the command."""
    words = [w for w in command.argv[1:] if not w.startswith("-")]
    if command.name in ("npm", "pnpm", "yarn", "pipx", "uv", "conda", "cargo", "go", "bun", "micromamba"):
        if words[:1] not in (["exec"], ["x"], ["dlx"], ["run"]):
            return
        words = words[1:]
    if not words or command.name in ("pip", "pip3", "apt", "apt-get", "brew"):
        return
    at = command.argv.index(words[0])
    head = words[0].split("@", 1)[0]
    if head in _CARRIED or INTERPRETERS.match(head) or head in ("prisma", "sequelize", "sequelize-cli", "typeorm"):
        shell.run(Command([head, *command.argv[at + 1 :]], command.stdin))


def _make(shell: Shell, command: Command) -> str:
    """make: its shell, its `--eval`, and a makefile whose text is known."""
    words = command.argv[1:]
    texts: list[str] = []
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if re.match(r"\.?SHELL[:+?]?=", word):
            shell.nested(word.partition("=")[2])
        elif word.startswith("--eval"):
            texts.append(word.partition("=")[2] or follows)
        elif word in ("-f", "--file", "--makefile"):
            known = command.stdin if follows in ("-", "/dev/stdin") else shell.around.written.get(shell.path(follows))
            texts.append(known or "")
    for name in ("Makefile", "makefile", "GNUmakefile"):
        texts.append(shell.around.written.get(shell.path(name), ""))
    for text in texts:
        _recipes(shell, text.splitlines())
    return OUTPUT


def _recipes(shell: Shell, lines: Sequence[str]) -> None:
    for line in lines:
        for called in re.findall(r"\$\(shell ([^)]*)\)", line):
            shell.nested(called)
        recipe = line if line.startswith("\t") else line.partition(";")[2]
        if recipe.strip() and not taint(recipe):
            shell.nested(recipe.strip().lstrip("@-+").replace("$$", "$"))


COMMANDS: Families = families(
    (_runner, " ".join(_RUNS)),
    (_make, "make gmake"),
)
