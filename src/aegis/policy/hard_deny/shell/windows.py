"""PowerShell and cmd: the few commands that destroy, fetch and run, or wipe logs, read by their words."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence

from aegis.policy.hard_deny.shell.session import Reading

DEPTH = 6
"""Encoded commands within encoded commands."""
_LIKELY = re.compile(
    r"\b(?:Remove-Item|Format-Volume|Clear-Disk|Invoke-Expression|iex|Clear-EventLog|Stop-Computer|Restart-Computer|scriptblock)\b|"
    r"^\s*(?:del|erase|rd|rmdir|format|vssadmin|wevtutil|reg|bcdedit|powershell|pwsh|cmd)(?:\.exe)?\s",
    re.IGNORECASE,
)
_OUTSIDE = (
    r"""(?:["']?(?:[A-Za-z]:[\\/](?:["'\s*]|$|"""
    r"""(?:Windows|Users|Program|ProgramData|System|inetpub|Data)[^\s]*)|[A-Za-z]:["']?\s*$|\\\\|\$env:|%\w+%|~|/|\.\.|\*\s*$))"""
)
_DELETES = r"\b(?:Remove-Item|ri|rmdir|rm|del|rd|erase)\b"
_RULES: tuple[tuple[str, bool, tuple[str, ...]], ...] = (
    ("shell.destructive", True, (_DELETES, r"\s(?:-Rec\w*|-r\b|/s\b)", "")),
    (
        "shell.destructive",
        True,
        (
            r"\b(?:Format-Volume|Clear-Disk|Initialize-Disk|Remove-Partition)\b|(?:\A\s*+|/c\s++)format(?:\.com)?\s++[a-z]:",
        ),
    ),
    (
        "shell.destructive",
        True,
        (
            r"\bvssadmin(?:\.exe)?\s++delete\s++shadows|\bwmic\s++shadowcopy\s++delete|\bwbadmin\s++delete|\bcipher\s++/w",
        ),
    ),
    ("shell.destructive", False, (r"\bbcdedit\b", "recoveryenabled|bootstatuspolicy")),
    ("shell.destructive", True, (r"\breg(?:\.exe)?\s++delete\s++hk(?:lm|cr|u)",)),
    (
        "shell.remote_code",
        False,
        (r"\b(?:iex|Invoke-Expression)\b", "DownloadString|iwr|irm|Invoke-WebRequest|Invoke-RestMethod|https?:"),
    ),
    (
        "shell.remote_code",
        False,
        (
            r"\b(?:iwr|irm|Invoke-WebRequest|Invoke-RestMethod|DownloadString)\b",
            r"\|\s*+(?:iex|Invoke-Expression)\b",
        ),
    ),
    ("shell.remote_code", False, (r"\bmshta(?:\.exe)?\s++https?:",)),
    ("shell.remote_code", False, (r"\bregsvr32\b", "/i:https?:")),
    ("shell.remote_code", False, (r"\bcertutil\b", "-urlcache", "https?:")),
    ("shell.remote_code", False, (r"scriptblock\]::Create\b", "irm|iwr|Invoke-|DownloadString")),
    ("shell.remote_code", False, (r"\bbitsadmin\b", "/transfer", "https?:")),
    ("shell.cover_tracks", False, (r"\bClear-EventLog\b|\bwevtutil(?:\.exe)?\s++cl\b|\bClear-History\b",)),
    ("shell.denial_of_service", False, (r"\b(?:Stop-Computer|Restart-Computer)\b",)),
    ("shell.persistence", False, (r"\bschtasks(?:\.exe)?\s++/create|\bNew-ScheduledTask\w*|\bNew-Service\b",)),
    ("shell.persistence", False, (r"\breg(?:\.exe)?\s++add\s", r"\\Run\b")),
    ("shell.privilege", False, (r"\bnet(?:\.exe)?\s++(?:user\s++\S|localgroup\s++administrators\b)", "/add")),
    ("shell.privilege", False, (r"Set-MpPreference\s++-Disable",)),
)
"""(code, whether within one command, what must follow each other). An empty pattern is a place outside."""
_PLACE = re.compile(rf"\s(?!/[sqfa](?:[:\s]|$)){_OUTSIDE}", re.IGNORECASE)
_COMPILED = tuple(
    (code, within, tuple(re.compile(p, re.IGNORECASE) if p else _PLACE for p in patterns))
    for code, within, patterns in _RULES
)
_LISTS = re.compile(r"\A\s*+(?:Get-ChildItem|gci|dir|ls)\b", re.IGNORECASE)
_DELETING = re.compile(rf"\A\s*+{_DELETES}", re.IGNORECASE)
_ENCODED = re.compile(r"-e(?:nc(?:odedcommand)?)?\s+['\"]?([A-Za-z0-9+/=]{16,})", re.IGNORECASE)
_QUOTING_ONLY = re.compile(r"^\s*(?:echo|grep|rg|git|printf|man|cat|sed|awk|Write-Host|Write-Output)\b", re.IGNORECASE)


def is_likely(text: str) -> bool:
    """Whether `text` holds a command that only PowerShell and cmd know."""
    return _LIKELY.search(text) is not None


def _follow(patterns: Sequence[re.Pattern[str]], text: str) -> bool:
    """Whether each of the patterns stands somewhere behind the one before it. A place may stand before an option."""
    first = patterns[0].search(text)
    if first is None:
        return False
    at = first.end()
    for pattern in patterns[1:]:
        match = pattern.search(text, first.end() if pattern is _PLACE else at)
        if match is None:
            return False
        at = match.end()
    return True


def judge(text: str, reading: Reading) -> str | None:
    """Adds findings for PowerShell or cmd in `text`; gives the command that `-EncodedCommand` hides, to be walked."""
    if _QUOTING_ONLY.match(text):
        return None
    commands = re.split(r"[|;&\n]", text)
    for code, within, patterns in _COMPILED:
        if any(_follow(patterns, part) for part in (commands if within else [text])):
            reading.add(code, command="windows", object="windows")
    if any(_LISTS.match(c) and _PLACE.search(c) for c in commands) and any(map(_DELETING.match, commands)):
        reading.add("shell.destructive", command="windows", object="windows")
    match = _ENCODED.search(text)
    if match is None:
        return None
    try:
        return base64.b64decode(match[1] + "==", validate=False).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        reading.add("shell.dynamic")
        return None
