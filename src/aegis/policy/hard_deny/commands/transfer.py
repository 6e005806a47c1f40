"""Files that leave or arrive: scp, rsync, archives, mail; and packages installed from addresses."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.commands.carried import launched
from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.effects import is_sensitive_upload, judge_write
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, SECRET, taint


def _transfer(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    plain = plain_words(words, "iPFJolSce")
    if command.name == "rsync":
        if any(w.startswith(("--delete", "--remove-source-files", "--del")) for w in words) and plain:
            target = plain[-1]
            if ":" not in target:
                path = shell.path(target)
                if (
                    not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
                ) or path == shell.around.places.workspace:
                    shell.reading.add("shell.destructive", command="rsync", object=path)
        for index, word in enumerate(words[:-1]):
            if word in ("-e", "--rsh") and words[index + 1].split()[:1] != ["ssh"]:
                shell.nested(words[index + 1])
        for word in words:
            if word.startswith("--rsh=") and not word.startswith("--rsh=ssh"):
                shell.nested(word.partition("=")[2])
    if plain and (":" in plain[-1] or "://" in plain[-1]) and not plain[-1].startswith("/"):
        if any(is_sensitive_upload(shell, w) and shell.path(w) != shell.around.places.workspace for w in plain[:-1]):
            shell.reading.add("shell.exfiltration")
    elif len(plain) > 1:
        judge_write(shell, plain[-1], command.name)
        if any(re.match(r"[\w.\-]+@?[\w.\-]*:", w) for w in plain[:-1]):
            shell.around.fetched.add(shell.path(plain[-1]))
    return OUTPUT


def _archive(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(
        r"--(?:checkpoint-action|to-command|use-compress-program|rsh-command|unzip-command|info-script)=?|"
        r"(?:^|\s)-(?:I|TT)\s",
        text,
    ):
        inner = re.search(
            r"(?:exec=|(?:to|rsh|unzip)-command[= ]|use-compress-program[= ]|info-script[= ]|-(?:I|TT)\s)(.*)", text
        )
        if inner is not None:
            shell.run_text(inner[1])
    secret = packed = False
    for word in plain_words(words, "fC" if command.name != "zip" else ""):
        if word in ("-", "c", "czf", "x", "a", "czvf", "cf", "xzf", "xf", "cvzf", "cjf"):
            continue
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
            secret = True
        if places.is_project_secret(path):
            packed = True
        if path == shell.around.places.workspace and (
            "-" in words or (command.out is None and "f" not in text.split(" ")[0])
        ):
            secret = True
    if (secret or packed) and (name := _archive_name(command.name, words)):
        shell.around.written[shell.path(name)] = SECRET
    extracts = words[:1] and re.match(r"-?[a-zA-Z]*x", words[0])
    for index, word in enumerate(words[:-1]):
        if word in ("-C", "--directory", "-d") and (extracts or command.name == "unzip"):
            judge_write(shell, words[index + 1], command.name)
    if extracts and "-C" not in words and "--directory" not in words:
        judge_write(shell, shell.around.cwd, command.name) if not shell.around.places.in_workspace(
            shell.around.cwd
        ) else None
    return SECRET if secret else taint(command.stdin) or OUTPUT


def _archive_name(tool: str, words: Sequence[str]) -> str:
    plain = plain_words(words)
    if tool in ("zip", "7z"):
        plain = plain[1:] if tool == "7z" else plain
        return plain[0] if plain else ""
    return next((follows for word, follows in itertools.pairwise(words) if re.fullmatch(r"-?[a-zA-Z]*f", word)), "")


def _mail(shell: Shell, command: Command) -> str:
    if SECRET in taint(command.stdin) or any(
        is_sensitive_upload(shell, w) for w in command.argv[1:] if not w.startswith("-") and "@" not in w
    ):
        shell.reading.add("shell.exfiltration")
    return ""


def install(shell: Shell, command: Command) -> str:
    """Package managers: what comes from an address instead of a registry is code from the network."""
    launched(shell, command)
    words = command.argv[1:]
    for word in words:
        target = word.partition("@")[2] if re.match(r"[\w.\-]+\s*@\s*https?:", word) else word
        plain_http = re.match(r"(?:git\+)?http://(?!localhost|127\.)", target)
        archive = re.match(r"https?://\S+", target)
        index = any(
            words[i - 1]
            in ("--index-url", "-i", "--extra-index-url", "--registry", "-f", "--find-links", "--source", "-r")
            for i in range(1, len(words))
            if words[i] == word
        )
        if plain_http or (archive and not index):
            shell.reading.add("shell.remote_code")
        path = shell.path(word) if not word.startswith("-") else ""
        if path in shell.around.fetched:
            shell.reading.add("shell.remote_code")
    if any(
        re.match(r"--(?:index-url|extra-index-url|registry|trusted-host)=http://(?!localhost|127\.)", w) for w in words
    ):
        shell.reading.add("shell.remote_code")
    if command.name in ("npx", "pnpm", "uvx", "pipx") and any("http://" in w or "https://" in w for w in words):
        shell.reading.add("shell.remote_code")
    return OUTPUT


COMMANDS: Families = families(
    (_transfer, "scp rsync sftp rclone pscp lftp"),
    (_archive, "tar zip 7z bsdtar cpio unzip ar"),
    (_mail, "mail mailx sendmail mutt msmtp swaks"),
    (
        install,
        "pip pip3 npm pnpm yarn gem cargo go uv uvx pipx npx bunx apt apt-get dpkg rpm yum dnf brew conda easy_install",
    ),
)
