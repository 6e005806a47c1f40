"""Traces wiped, accounts made and jobs scheduled: history, journalctl, useradd, crontab."""

from __future__ import annotations

import re

from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT


def judge_tracks(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    name = command.name
    text = " ".join(words)
    hit = {
        "history": re.search(r"(?:^|\s)-[a-z]*[cwd]", text),
        "journalctl": re.search(r"--vacuum|--rotate|--flush-rotate|--relinquish", text),
        "auditctl": re.search(r"-e\s*0|-D|-d", text),
        "setenforce": re.search(r"0|permissive", text, re.IGNORECASE),
        "dmesg": re.search(r"(?:^|\s)-[a-z]*[cC]|--clear", text),
        "fc": None,
        "set": re.search(r"\+o\s+history", text),
        "shopt": re.search(r"-u.*hist", text),
        "unset": "HISTFILE" in text,
    }.get(name)
    if hit:
        shell.reading.add("shell.cover_tracks", command=name)
    return OUTPUT if name == "journalctl" else ""


def _accounts(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    if command.name in ("passwd", "chage") and any(w in ("-S", "--status", "-l") for w in words):
        return OUTPUT
    shell.reading.add("shell.persistence", command=command.name)
    return OUTPUT


def _schedule(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    if command.name == "crontab":
        if any(re.fullmatch(r"-[a-z]*l", w) for w in words):
            return OUTPUT
        if any(re.fullmatch(r"-[a-z]*r", w) for w in words):
            shell.reading.add("shell.destructive", command="crontab", object="crontab")
        shell.reading.add("shell.persistence", command="crontab")
    elif command.name in ("at", "batch") and not any(w in ("-l", "-c") for w in words):
        shell.reading.add("shell.persistence", command=command.name)
        shell.run_text(command.stdin)
    return OUTPUT


COMMANDS: Families = families(
    (judge_tracks, "history journalctl auditctl setenforce dmesg fc shopt"),
    (
        _accounts,
        "useradd usermod adduser groupadd gpasswd passwd chpasswd chsh visudo vipw deluser userdel newusers "
        "chage ssh-copy-id setcap",
    ),
    (_schedule, "crontab at batch"),
)
