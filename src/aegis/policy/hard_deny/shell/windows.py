"""PowerShell and cmd: the few commands that destroy, fetch and run, or wipe logs, read by their words."""

from __future__ import annotations

import base64
import binascii
import re

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
_RULES = (
    (
        "shell.destructive",
        rf"\b(?:Remove-Item|ri|rmdir|rm|del|rd|erase)\b(?=[^|;&]*(?:-Rec\w*|-r\b|/s\b))(?:[^|;&]*\s)(?!/[sqfa](?:[:\s]|$)){_OUTSIDE}",
    ),
    (
        "shell.destructive",
        r"\b(?:Format-Volume|Clear-Disk|Initialize-Disk|Remove-Partition)\b|(?:^|[&|;]\s*|/c\s+)format(?:\.com)?\s+[a-z]:",
    ),
    (
        "shell.destructive",
        r"\bvssadmin(?:\.exe)?\s+delete\s+shadows|\bwmic\s+shadowcopy\s+delete|\bwbadmin\s+delete|\bcipher\s+/w",
    ),
    (
        "shell.destructive",
        r"\bbcdedit\b.*(?:recoveryenabled|bootstatuspolicy)|\breg(?:\.exe)?\s+delete\s+hk(?:lm|cr|u)",
    ),
    (
        "shell.remote_code",
        r"(?:\b(?:iex|Invoke-Expression)\b.*(?:DownloadString|iwr|irm|Invoke-WebRequest|Invoke-RestMethod|https?:)|"
        r"(?:iwr|irm|Invoke-WebRequest|Invoke-RestMethod|DownloadString)\b.*\|\s*(?:iex|Invoke-Expression)\b|"
        r"\bmshta(?:\.exe)?\s+https?:|\bregsvr32\b.*/i:https?:|\bcertutil\b.*-urlcache.*https?:)",
    ),
    (
        "shell.destructive",
        rf"\b(?:Get-ChildItem|gci|dir|ls)\b(?=[^|]*\s{_OUTSIDE})[^|]*\|[^;]*\b(?:Remove-Item|ri|rm|del)\b",
    ),
    (
        "shell.remote_code",
        r"scriptblock\]::Create\b.*(?:irm|iwr|Invoke-|DownloadString)|\bbitsadmin\b.*/transfer.*https?:",
    ),
    ("shell.cover_tracks", r"\bClear-EventLog\b|\bwevtutil(?:\.exe)?\s+cl\b|\bClear-History\b"),
    ("shell.denial_of_service", r"\b(?:Stop-Computer|Restart-Computer)\b"),
    (
        "shell.persistence",
        r"\bschtasks(?:\.exe)?\s+/create|\bNew-ScheduledTask\w*|\breg(?:\.exe)?\s+add\s+.*\\Run\b|\bNew-Service\b",
    ),
    (
        "shell.privilege",
        r"\bnet(?:\.exe)?\s+(?:user\s+\S+.*/add|localgroup\s+administrators\b.*/add)|Set-MpPreference\s+-Disable",
    ),
)
_COMPILED = tuple((code, re.compile(pattern, re.IGNORECASE | re.DOTALL)) for code, pattern in _RULES)
_ENCODED = re.compile(r"-e(?:nc(?:odedcommand)?)?\s+['\"]?([A-Za-z0-9+/=]{16,})", re.IGNORECASE)
_QUOTING_ONLY = re.compile(r"^\s*(?:echo|grep|rg|git|printf|man|cat|sed|awk|Write-Host|Write-Output)\b", re.IGNORECASE)


def is_likely(text: str) -> bool:
    """Whether `text` holds a command that only PowerShell and cmd know."""
    return _LIKELY.search(text) is not None


def judge(text: str, reading: Reading) -> str | None:
    """Adds findings for PowerShell or cmd in `text`; gives the command that `-EncodedCommand` hides, to be walked."""
    if _QUOTING_ONLY.match(text):
        return None
    for code, pattern in _COMPILED:
        if pattern.search(text):
            reading.add(code, command="windows", object="windows")
    match = _ENCODED.search(text)
    if match is None:
        return None
    try:
        return base64.b64decode(match[1] + "==", validate=False).decode("utf-16-le")
    except (binascii.Error, UnicodeDecodeError):
        reading.add("shell.dynamic")
        return None
