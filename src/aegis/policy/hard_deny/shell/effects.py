"""What every command may do to files: delete, write, send away; the finding that each place earns."""

from __future__ import annotations

import re

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.persons import is_persons
from aegis.policy.hard_deny.shell.session import Session
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, UNKNOWN


def judge_deletion(shell: Session, word: str, recursive: bool, by: str) -> None:
    """Adds a finding if deleting `word` reaches outside the workspace."""
    if word.startswith((UNKNOWN, OUTPUT)) and len(word.strip(UNKNOWN + OUTPUT)) == 0:
        if recursive:
            shell.reading.add("shell.dynamic")
        return
    if word.startswith((UNKNOWN, OUTPUT)):
        if recursive and word[1:2] == "/":
            shell.reading.add("shell.destructive", command=by, object="unknown")
        return
    path = shell.path(word)
    if not shell.around.places.is_lost(path) or path in shell.around.fetched:
        return
    if places.is_log(path):
        shell.reading.add("shell.cover_tracks", command=by)
    shell.reading.add("shell.destructive", command=by, object=path)


def write_file(shell: Session, target: str, text: str, by: str) -> None:
    """Output goes to the file `target`: judges the place, remembers the text."""
    path = shell.path(target)
    if places.is_harmless_device(path) or target.startswith("&"):
        if path.startswith(("/dev/tcp/", "/dev/udp/")):
            shell.reading.add("shell.exfiltration")
        shell.received(path, text)
        return
    judge_write(shell, target, by)
    if by in ("yes",) and not places.is_device(path):
        shell.reading.add("shell.denial_of_service", command="yes")
    if NETWORK in text:
        shell.around.fetched.add(path)
    elif text and UNKNOWN not in text and OUTPUT not in text:
        shell.around.written[path] = text


def judge_write(shell: Session, word: str, by: str) -> None:
    if word.startswith((UNKNOWN, OUTPUT)) or not word:
        return
    path = shell.path(word)
    if places.is_harmless_device(path):
        return
    if places.is_device(path):
        shell.reading.add("shell.destructive", command=by, object=path)
        return
    if path.startswith(("/proc/sysrq", "/sys/power", "/proc/sys/kernel", "/sys/kernel", "/sys/fs/cgroup")):
        shell.reading.add("shell.denial_of_service", command=by)
        return
    if places.starts_by_itself(path):
        shell.reading.add("shell.persistence", command=by)
        return
    if shell.around.places.inside(path) or shell.around.places.in_workspace(path):
        return
    if places.is_log(path):
        shell.reading.add("shell.cover_tracks", command=by)
    elif places.is_secret(path):
        shell.reading.add("shell.sensitive_file", object=path)
    elif re.match(r"/(?:etc|usr|bin|sbin|lib\w*|boot|var|root|opt|proc|sys|dev)(?:/|$)", path):
        shell.reading.add("shell.destructive", command=by, object=path)
    else:
        shell.reading.add("shell.outside_workspace", command=by)


def is_sensitive_upload(shell: Session, word: str) -> bool:
    """A file that holds secrets or persons, or the workspace as a whole."""
    if SECRET in word:
        return True
    path = shell.path(word)
    if path == shell.around.places.workspace or path in ("/", "/etc", "/home") or path.endswith("/.ssh"):
        return True
    name = path.rsplit("/", 1)[-1]
    is_table = re.search(r"\.(?:csv|xlsx?|json|sql|dump|parquet|tsv|bak|zip|gz)$", name, re.IGNORECASE) is not None
    return (
        places.is_secret(path)
        or places.is_project_secret(path)
        or path == "/etc/passwd"
        or shell.around.written.get(path) == SECRET
        or (is_table and is_persons(name.split(".", 1)[0]))
    )
