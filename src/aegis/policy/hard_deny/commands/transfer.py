"""Files that leave or arrive: scp, rsync, archives, mail; and packages installed from addresses."""

from __future__ import annotations

import re

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.effects import is_sensitive_upload, judge_write
from aegis.policy.hard_deny.shell.session import Command, taint
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, SECRET


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
            if word in ("-e", "--rsh"):
                shell.nested(words[index + 1]) if words[index + 1].split()[:1] != ["ssh"] else None
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
    if re.search(r"--(?:checkpoint-action|to-command|use-compress-program|rsh-command)=?", text):
        inner = re.search(r"(?:exec=|to-command[= ]|use-compress-program[= ]|rsh-command[= ])(.*)", text)
        if inner is not None:
            shell.run_text(inner[1])
    secret = False
    for word in plain_words(words, "fC" if command.name != "zip" else ""):
        if word in ("-", "c", "czf", "x", "a", "czvf", "cf", "xzf", "xf", "cvzf", "cjf"):
            continue
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
            secret = True
        if path == shell.around.places.workspace and (
            "-" in words or (command.out is None and "f" not in text.split(" ")[0])
        ):
            secret = True
    extracts = words[:1] and re.match(r"-?[a-zA-Z]*x", words[0])
    for index, word in enumerate(words[:-1]):
        if word in ("-C", "--directory", "-d") and (extracts or command.name == "unzip"):
            judge_write(shell, words[index + 1], command.name)
    if extracts and "-C" not in words and "--directory" not in words:
        judge_write(shell, shell.around.cwd, command.name) if not shell.around.places.in_workspace(
            shell.around.cwd
        ) else None
    return SECRET if secret else taint(command.stdin) or OUTPUT


def _mail(shell: Shell, command: Command) -> str:
    if SECRET in taint(command.stdin) or any(
        is_sensitive_upload(shell, w) for w in command.argv[1:] if not w.startswith("-") and "@" not in w
    ):
        shell.reading.add("shell.exfiltration")
    return ""


def install(shell: Shell, command: Command) -> str:
    """Package managers: what comes from an address instead of a registry is code from the network."""
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
        "pip pip3 npm pnpm yarn gem cargo go uv uvx pipx npx apt apt-get dpkg rpm yum dnf brew conda easy_install",
    ),
)
