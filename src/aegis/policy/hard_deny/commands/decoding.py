"""What base64, xxd, rev, tr and ciphers print."""

from __future__ import annotations

import base64
import binascii
import codecs
import itertools
import re
from collections.abc import Callable

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.argv import plain_words
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import DECODED, NETWORK, OUTPUT, SECRET, UNKNOWN, ansi, taint


def base64_command(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    decodes = any(re.fullmatch(r"-[a-zA-Z]*[dD][a-zA-Z]*|--decode", w) for w in words) or "-d" in words
    files = plain_words(words, "wi")
    text = command.stdin
    if files and files[0] != "-":
        path = shell.path(files[0])
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        text = shell.printed_by_reading(path)
    if not decodes:
        return taint(text) or OUTPUT
    if text is None or taint(text):
        return taint(text).replace(UNKNOWN, "").replace(OUTPUT, "") or DECODED
    decoder: Callable[[bytes], bytes] = base64.b32decode if command.name == "base32" else base64.b64decode
    try:
        return decoder("".join(text.split()).encode() + b"==").decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return DECODED


def _xxd(shell: Shell, command: Command) -> str:
    flags = "".join(w.lstrip("-") for w in command.argv[1:] if w.startswith("-"))
    files = plain_words(command.argv[1:], "cgls")
    text = command.stdin if not files else shell.printed_by_reading(shell.path(files[0]))
    if files and places.is_secret(shell.path(files[0])):
        shell.reading.add("shell.sensitive_file", object=shell.path(files[0]))
    if "r" not in flags or text is None or taint(text):
        return taint(text) or (DECODED if "r" in flags else OUTPUT)
    try:
        return bytes.fromhex("".join(text.split())).decode("utf-8", "replace")
    except ValueError:
        return DECODED


def _rev(shell: Shell, command: Command) -> str:
    text = command.stdin
    if text is None or taint(text):
        return taint(text) or DECODED
    return "\n".join(line[::-1] for line in text.split("\n"))


def _tr(shell: Shell, command: Command) -> str:
    text = command.stdin
    words = command.argv[1:]
    if text is None or taint(text):
        return taint(text) or OUTPUT
    flags = "".join(w[1:] for w in words if w.startswith("-") and len(w) > 1)
    sets = [ansi(w) for w in words if not (w.startswith("-") and len(w) > 1)]
    if not sets:
        return DECODED
    first = _set(sets[0])
    if "d" in flags:
        return "".join(c for c in text if c not in first)
    if len(sets) < 2:
        return text
    second = _set(sets[1])
    if not first or not second:
        return DECODED
    second += second[-1] * (len(first) - len(second))
    return text.translate({ord(a): b for a, b in zip(first, second, strict=False)})


def _set(text: str) -> str:
    names = {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:digit:]": "0-9", "[:space:]": " \t\n", "[:alpha:]": "A-Za-z"}
    for name, span in names.items():
        text = text.replace(name, span)
    out: list[str] = []
    at = 0
    while at < len(text) and len(out) < 1024:
        if at + 2 < len(text) and text[at + 1] == "-":
            out.extend(chr(c) for c in range(ord(text[at]), min(ord(text[at + 2]), ord(text[at]) + 256) + 1))
            at += 3
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def _decode(shell: Shell, command: Command) -> str:
    """Unpackers and ciphers: what comes out is not known."""
    words = command.argv[1:]
    sources = [follows for word, follows in itertools.pairwise(words) if word == "-in"]
    if command.name != "openssl":
        sources = plain_words(words)
    for source in sources:
        if places.is_secret(path := shell.path(source)):
            shell.reading.add("shell.sensitive_file", object=path)
        if shell.printed_by_reading(path) == SECRET and command.name in ("openssl", "gpg", "gzip", "xz", "zstd"):
            shell.around.written.update({f"{path}{end}": SECRET for end in (".gpg", ".asc", ".gz", ".xz", ".zst")})
            if "-d" not in words:
                return SECRET
    if command.name == "openssl":
        if words[:1] in (["s_client"], ["s_server"]):
            return NETWORK
        if (
            "-d" in words
            and ("base64" in words or "-base64" in words or "-a" in words)
            and command.stdin
            and not taint(command.stdin)
        ):
            return base64_command(shell, Command(["base64", "-d"], command.stdin))
        return DECODED if "-d" in words else taint(command.stdin) or OUTPUT
    if command.name == "rot13":
        return codecs.encode(command.stdin or "", "rot13")
    kept = taint(command.stdin).replace(OUTPUT, "").replace(UNKNOWN, "")
    return kept or DECODED


COMMANDS: Families = families(
    (base64_command, "base64 base32 gbase64"),
    (_xxd, "xxd"),
    (_rev, "rev"),
    (_tr, "tr"),
    (_decode, "openssl gpg gunzip bunzip2 unxz zstd gzip xz uudecode rot13 uncompress"),
)
