"""A command's words told apart: options, their values, plain words; names of shells and interpreters."""

from __future__ import annotations

import re
from collections.abc import Sequence

STDIN = frozenset({"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0"})
"""Words that stand for standard input."""
SHELLS = frozenset("sh bash zsh dash ksh ash fish rbash csh tcsh".split())

INTERPRETERS = re.compile(
    r"(python|pypy|perl|ruby|node|nodejs|deno|bun|php|luajit|lua|tclsh|expect|osascript|Rscript|julia|groovy|scala|elixir|erl|ghc|jshell|emacs)[\d.]*\Z"
)

RECURSIVE = re.compile(r"-[a-zA-Z]*[rR]|--recursive\Z|--no-preserve-root\Z|-Recurse\Z", re.IGNORECASE)

GUARDS = re.compile(
    r"auditd|rsyslog|syslog|journald|falco|fail2ban|apparmor|selinux|ufw|firewalld|iptables|nftables|crowdstrike|falcon|osquery|"
    r"wazuh|ossec|clamav|defender|mdatp|sysdig|tetragon|filebeat|fluent|vector|datadog|auditbeat|aide|tripwire|aegis",
    re.IGNORECASE,
)


def plain_words(words: Sequence[str], valued: str = "") -> list[str]:
    """Command that are no options. `valued` names single letters whose value is the next word."""
    plain: list[str] = []
    skip = ended = False
    for word in words:
        if skip:
            skip = False
        elif word == "--" and not ended:
            ended = True
        elif word.startswith("-") and len(word) > 1 and not ended:
            skip = len(word) == 2 and word[1] in valued
        else:
            plain.append(word)
    return plain
