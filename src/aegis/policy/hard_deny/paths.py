"""Paths as a file system would resolve them, after every encoding a server may undo."""

from __future__ import annotations

import html
import posixpath
import re
import unicodedata
from urllib.parse import unquote, unquote_to_bytes

from aegis.policy.hard_deny.places import is_secret

TRAVERSAL, SENSITIVE = "path.traversal", "path.sensitive"
DECODINGS = 4
LENGTH = 16 * 1024
"""Characters; no file system knows longer paths, encoded thrice."""
_OVERLONG = re.compile(rb"\xc0\xaf|\xe0\x80\xaf|\xf0\x80\x80\xaf|\xc1\x9c|\xc0\x2f|\xc1\x1c")
_OVERLONG_DOT = re.compile(rb"\xc0\xae|\xe0\x80\xae|\xc0\x2e")
_SLASHES = dict.fromkeys(map(ord, "\u2215\u2044\u29f8\uff0f\u2571\u2f03"), "/") | dict.fromkeys(
    map(ord, "\uff3c\u29f5\ufe68\u2216"), "/"
)
_DOTS = dict.fromkeys(map(ord, "\uff0e\u2024\ufe52"), ".") | {ord("\u2025"): "..", ord("\u2026"): "..."}
_DRIVE = re.compile(r"[A-Za-z]:(?:[\\/]|$)")
_SYSTEM = re.compile(
    r"^/(?:etc|proc|sys|dev|boot|root|var/run|run|var/lib|var/log|var/spool|usr|bin|sbin|lib\w*)(?:/|$)"
)
_WRAPPERS = re.compile(
    r"(?:php|phar|zip|jar|data|expect|glob|gopher|dict|ogg|rar|compress\.\w+|netdoc|view-source|ftp|smb|ldap):", re.I
)
"""Schemes that a file function of some language opens."""
_PARENT = re.compile(r"[\s\x00-\x20\x7f]*\.\.(?:[\s\x00-\x20\x7f\ufffd]*|;.*)")
"""What a server may take for `..` once it has thrown away what it doesn't know."""
_WIDE_ESCAPE = re.compile(r"%u([0-9a-fA-F]{4})")
_DOUBLED = re.compile(r"\.{4,}/{2,}|\.\./?\.\./{2,}")


def judge(text: str, workspace: str | None) -> str | None:
    """The code of what is wrong with the path, or None. Every reading of its encodings must be harmless."""
    if len(text) > LENGTH:
        return TRAVERSAL
    seen = set()
    for reading in _readings(text):
        if reading not in seen:
            seen.add(reading)
            if (code := _judge_plain(reading, workspace)) is not None:
                return code
    return None


def _readings(text: str) -> list[str]:
    bare = text.strip().strip("\"'`").strip()
    readings = [text, bare] if bare != text else [text]
    current = _WIDE_ESCAPE.sub(lambda m: chr(int(m[1], 16)), text)
    if "&#" in current or "&period;" in current or "&sol;" in current:
        current = html.unescape(current)
    if current != text:
        readings.append(current)
    for _ in range(DECODINGS):
        if "%" not in current:
            break
        raw = _OVERLONG_DOT.sub(b".", _OVERLONG.sub(b"/", unquote_to_bytes(current)))
        decoded = raw.decode("utf-8", "replace")
        if decoded == current:
            break
        readings.append(decoded)
        current = decoded
    plain = []
    for reading in readings:
        folded = unicodedata.normalize("NFKC", reading.translate(_SLASHES).translate(_DOTS))
        plain.append("".join(c for c in folded if unicodedata.category(c) != "Cf"))
    return readings + plain


def _judge_plain(path: str, workspace: str | None) -> str | None:
    if "\0" in path:
        return TRAVERSAL
    if path[:5].lower() == "file:":
        path = unquote(path[5:])
        path = "/" + path.lstrip("/").removeprefix("localhost/").lstrip("/")
    if path.startswith("\\\\") or _DRIVE.match(path):
        drive = workspace is not None and _DRIVE.match(workspace) is not None
        if not (drive and _inside(path.replace("\\", "/"), (workspace or "").replace("\\", "/"))):
            return TRAVERSAL
        return None
    path = path.replace("\\", "/")
    if _WRAPPERS.match(path) and "/" in path:
        return TRAVERSAL
    path = "/".join(".." if _PARENT.fullmatch(part) else part for part in path.split("/"))
    if re.match(
        r"~[\w+\-]*(?:/|$)|\$\{?(?:HOME|USERPROFILE)\b|%(?:HOME|USERPROFILE|APPDATA)|%\w+%/", path, re.IGNORECASE
    ):
        rest = "/home/x/" + path.partition("/")[2]
        return SENSITIVE if is_secret(posixpath.normpath(rest)) else TRAVERSAL
    if path.startswith("//"):
        path = "/" + path.lstrip("/")
    if _DOUBLED.search(path):
        return TRAVERSAL
    if re.search(r"(?:^|/)\.{3,}(?:/|$)", path) and ("../" in path or path.startswith("...")):
        return TRAVERSAL
    if any(piece.startswith("../") for piece in path.split()[1:]):
        return TRAVERSAL
    if path.startswith("/"):
        resolved = posixpath.normpath(path)
        if workspace is not None:
            if _inside(resolved, workspace):
                return None
            return SENSITIVE if is_secret(resolved) or _SYSTEM.match(resolved) else TRAVERSAL
        if (
            is_secret(resolved)
            or resolved == "/etc/passwd"
            or re.match(r"/(?:proc|dev|sys|boot|root)(?:/|$)|.*docker\.sock$", resolved)
        ):
            return SENSITIVE
        return (
            TRAVERSAL if "/../" in path and not _inside(resolved, posixpath.normpath(path.split("/..", 1)[0])) else None
        )
    resolved = posixpath.normpath(path)
    if resolved == ".." or resolved.startswith("../"):
        return TRAVERSAL
    return SENSITIVE if is_secret("/" + resolved) and ".ssh/" in resolved else None


def _inside(path: str, workspace: str) -> bool:
    root = posixpath.normpath(workspace)
    path = posixpath.normpath(path)
    return path == root or path.startswith(root.rstrip("/") + "/")
