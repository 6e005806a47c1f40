"""Undoes what hides text from a reader of bytes: each way of hiding gives one more view of the same text.

Bounded: at most `VIEWS` views, `SEGMENTS` decoded segments a level, `DEPTH` levels, and every step is linear.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import html
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import unquote

import re2

from aegis.inspection.confusables import INVISIBLE, LOOKALIKE_LETTERS, LOOKALIKES, SELECTORS, TAGS, WITHOUT_INVISIBLE

VIEWS = 32
SEGMENTS = 12
DEPTH = 3
SEGMENT_CHARACTERS = 65_536
REWRITE_CHARACTERS = 262_144


@dataclass(frozen=True, slots=True)
class View:
    """One reading of the text. `undone` says what was undone, outermost first; empty for the plain reading.

    `hidden`: people would not see this part. `start` and `end` are where it stood in the text that was given.
    """

    text: str
    undone: tuple[str, ...] = ()
    hidden: bool = False
    start: int = 0
    end: int = 0


def views(text: str) -> tuple[View, ...]:
    """The plain reading first (folded and lower-cased as all are), then the others, each different from it."""
    out: list[View] = []
    places: dict[str, int] = {}
    text = encodable(text)
    queue = [(View(text, (), False, 0, len(text)), 0)]
    while queue and len(out) < VIEWS:
        view, depth = queue.pop(0)
        for reading in _readings(view):
            lowered = reading.text.lower()
            named = View(lowered, reading.undone, reading.hidden, reading.start, reading.end)
            place = places.setdefault(lowered, len(out))
            if place < len(out):
                if reading.hidden and not out[place].hidden:  # what people can't see is the graver reading
                    out[place] = named
            elif len(out) < VIEWS:
                out.append(named)
        if depth < DEPTH:
            queue.extend((inner, depth + 1) for inner in _decoded(view))
    return tuple(out)


def encodable(text: str) -> str:
    """`text` with a question mark for each lone surrogate: RE2 reads UTF-8, which has none."""
    if text.isascii():
        return text
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "replace").decode("utf-8")
    return text


def fold(text: str) -> str:
    """NFKC without invisible characters. Letters of other alphabets stay what they are."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text.translate(WITHOUT_INVISIBLE))


def _readings(view: View) -> Iterator[View]:
    """The view as it reads, and as it reads after each rewriting of its letters."""
    plain = fold(view.text)
    yield _same(view, plain)
    if len(plain) > REWRITE_CHARACTERS:
        plain = plain[:REWRITE_CHARACTERS]
    if not view.text.isascii():
        if _has_lookalikes(plain):
            yield _same(view, plain.translate(LOOKALIKES), "lookalike letters")
        for run in _reversed_runs(view.text):
            yield _same(view, fold(run[::-1]), "bidirectional override", hidden=True)
        for hidden in _tagged(view.text):
            yield _same(view, hidden, "tag characters", hidden=True)
    if "&" in plain:
        unescaped = html.unescape(plain)
        if unescaped != plain:
            plain = fold(unescaped)
            yield _same(view, plain, "entities")
    if "<" in plain:
        yield _same(view, _BLOCK.sub("\n", _INLINE.sub("", plain)), "markup")
    if _SPACED.search(plain):
        yield _same(view, _unspaced(plain), "spaced letters")
    if len(_LEET.findall(plain[:8_192])) >= 2:
        yield _same(view, _unleet(plain, "i"), "digits for letters")
        yield _same(view, _unleet(plain, "l"), "digits for letters")
    if _ROT13.search(plain):
        yield _same(view, codecs.decode(plain, "rot13"), "rot13")
    if _BACKWARDS.search(plain):
        yield _same(view, plain[::-1], "reversed")
    joined = _joined(plain)
    if joined is not None:
        yield _same(view, joined, "joined parts")


def _decoded(view: View) -> Iterator[View]:
    """The segments of the view that hold another text: encoded ones and those that markup hides."""
    text = view.text
    for name, pattern, decode in _ENCODINGS:
        for count, match in enumerate(pattern.finditer(text)):
            if count >= SEGMENTS:
                break
            inner = decode(match.group()[:SEGMENT_CHARACTERS])
            if inner is not None and len(inner) >= 8:
                yield View(
                    inner, (*view.undone, name), view.hidden, view.start + match.start(), view.start + match.end()
                )
    if "<" in text or "/*" in text or "]:" in text:
        yield from _hidden(view)


def _hidden(view: View) -> Iterator[View]:
    for name, pattern in _HIDING:
        for count, match in enumerate(pattern.finditer(view.text)):
            if count >= SEGMENTS:
                break
            inner = match.group(1)
            if inner and len(inner.strip()) >= 4:
                yield View(
                    inner[:SEGMENT_CHARACTERS],
                    (*view.undone, name),
                    True,
                    view.start + match.start(),
                    view.start + match.end(),
                )


def _same(view: View, text: str, *undone: str, hidden: bool = False) -> View:
    return View(text, (*view.undone, *undone), view.hidden or hidden, view.start, view.end)


def _has_lookalikes(text: str) -> bool:
    """Whether a word mixes Latin with letters made to look like it, or all letters of a word are such look-alikes."""
    for word in text.split()[:4_096]:
        if word.isascii():
            continue
        letters = [c for c in word if c.isalpha()]
        alike = sum(c in LOOKALIKE_LETTERS for c in letters)
        if alike and (any(c.isascii() for c in letters) or (alike == len(letters) and alike >= 3)):
            return True
    return False


def _reversed_runs(text: str) -> Iterator[str]:
    for opener in ("\u202e", "\u2067"):
        for piece in text.split(opener)[1 : SEGMENTS + 1]:
            yield piece.split("\u202c")[0].split("\u2069")[0]


def _tagged(text: str) -> Iterator[str]:
    """What tag characters spell, and what bytes variation selectors carry."""
    tags = "".join(chr(ord(c) - 0xE0000) for c in text if c in TAGS and 0x20 <= ord(c) - 0xE0000 < 0x7F)
    if len(tags) >= 4:
        yield tags
    selectors = [ord(c) for c in text if c in SELECTORS]
    if len(selectors) >= 16:
        carried = bytes(c - 0xFE00 if c < 0xFE10 else c - 0xE0100 + 16 for c in selectors if c - 0xE0100 + 16 < 256)
        inner = _printable(carried)
        if inner is not None:
            yield inner


def _unspaced(text: str) -> str:
    """Letters set apart by one character are put together; wider gaps stay as the gaps between words."""

    def together(match: re2._Match) -> str:
        return str(_WIDE.sub("\x00", match.group())).translate(_DROP_SEPARATORS).replace("\x00", " ")

    return str(_SPACED.sub(together, text))


def _unleet(text: str, one: str) -> str:
    table = _LEET_TABLE | {ord("1"): one, ord("|"): one, ord("!"): one}
    return " ".join(w.translate(table) if _is_leet(w) else w for w in text.split(" "))


def _is_leet(word: str) -> bool:
    return any(c.isdigit() or c in "@$!|" for c in word) and not word.isdigit()


def _joined(text: str) -> str | None:
    """Parts that a text tells to put together, put together: its quoted pieces, its numbered parts, its lines."""
    if not _JOIN.search(text):
        return None
    quoted = _QUOTED.findall(text)
    pieces = " ".join(q.strip("\"'`") for q in quoted[:64]) if len(quoted) >= 2 else ""
    named = " ".join(m.split("=", 1)[-1].strip() for m in _NAMED.findall(text)[:64])
    running = _PART.sub(" ", text)
    initials = "".join(w[0] for w in text.split()[:400] if w[:1].isalpha()) if "letter of" in text.lower() else ""
    unbroken = running.replace(". ", " ").replace("\n", " ")
    return "\n".join((running.replace("\n", ""), unbroken, pieces, named, initials))


def _printable(raw: bytes) -> str | None:
    """`raw` as text, or None where it is not text: not UTF-8, or holding control characters."""
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        return None
    odd = sum(not (c.isprintable() or c in "\n\r\t" or c in INVISIBLE) for c in text)
    return text if odd == 0 else None


def _base64(text: str) -> str | None:
    text = text.translate(_TO_STANDARD).rstrip("=")
    try:
        return _printable(base64.b64decode(text + "=" * (-len(text) % 4)))
    except (binascii.Error, ValueError):
        return None


def _base32(text: str) -> str | None:
    text = text.rstrip("=")
    try:
        return _printable(base64.b32decode(text + "=" * (-len(text) % 8)))
    except (binascii.Error, ValueError):
        return None


def _hex(text: str) -> str | None:
    digits = text.lower().replace("\\x", "").replace("0x", "").translate(_DROP_SEPARATORS)
    try:
        return _printable(bytes.fromhex(digits[: len(digits) // 2 * 2]))
    except ValueError:
        return None


def _percent(text: str) -> str | None:
    return _printable(unquote(text, errors="replace").encode("utf-8", "replace"))


def _escapes(text: str) -> str | None:
    codes = [int(c, 16) for c in _ESCAPE.findall(text)]
    return "".join(map(chr, codes)) if all(c < 0xD800 or 0xDFFF < c < 0x110000 for c in codes) else None


def _codes(text: str) -> str | None:
    codes = [int(c) for c in text.replace(",", " ").split()]
    return "".join(map(chr, codes)) if all(32 <= c < 127 for c in codes) else None


def _bits(text: str) -> str | None:
    digits = "".join(text.split())
    return _printable(bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits) - 7, 8)))


_TO_STANDARD = {ord("-"): "+", ord("_"): "/", ord("\n"): None, ord("\r"): None, ord(" "): None}
_DROP_SEPARATORS = dict.fromkeys(map(ord, " \t\r\n.,:;-_*|/~+"))
_LEET_TABLE = str.maketrans("034579@$", "oeastgas") | {ord("8"): "b", ord("("): "c"}
_LEET = re2.compile(
    r"[A-Za-z]+[013457@$!|]+[A-Za-z]|\b[013457@$][A-Za-z]{2,}|[A-Za-z]{2,}[01357$]\b|\b[A-Za-z][0-9][0"
    r"-9]?[a-z]\b"
)
_SPACED = re2.compile(r"(?:[^\s][ \t.,_*|/~+\-]{1,4}){7,}[^\s](?:\s|$)|(?:\b\w[ ._*|/~+\-]{1,3}){7,}\w\b")
_WIDE = re2.compile(r"[ \t]{2,}| [./|*_~+\-] ")
_ROT13 = re2.compile(
    r"(?i)rot-?13|caesar|\b(?:vtaber|qvfertneq|sbetrg|bireevqr|vafgehpgvbaf?|cebzcg|nffvfgnag|cnffjbeq"
    r"f?)\b"
)
_BACKWARDS = re2.compile(
    r"(?i)snoitcurtsni|tpmorp|erongi|dragersid|tegrof|edirrevo|senilediug|tnatsissa|drowssap|reveal it"
    r" backwards"
)
_JOIN = re2.compile(
    r"(?i)\b(?:concat\w*|join\w*|combin\w*|assembl\w*|glue\w*|put (?:them|these|the \w+) together|in order|merge\w*"
    r"|one (?:command|sentence|instruction|order)|first letters? of|pieces|part \d|when i say go|appen"
    r"d\w*|read (?:as|in) one)\b"
    r"|\bas [a-z]\d\b.{0,200}\b[a-z]\d [a-z]\d\b"
)
_QUOTED = re2.compile(r"""'[^'\n]{2,200}'|"[^"\n]{2,200}"|`[^`\n]{2,200}`""")
_NAMED = re2.compile(r"\b[A-Za-z]\w?\s?=\s?[A-Za-z]+")
_PART = re2.compile(r"(?i)[.\s]*\b(?:part|piece|step|fragment)\s*\d+(?:\s*(?:of|/)\s*\d+)?\s*[:=)\-]\s*")
_INLINE = re2.compile(
    r"(?i)</?(?:b|i|em|strong|span|font|u|a|code|wbr|small|mark|sup|sub|tt|abbr|s)(?:\s[^<>]*)?/?>|<!-"
    r"-[^>]{0,40}-->"
)
_BLOCK = re2.compile(r"<[a-zA-Z/!][^<>]*>")
_ESCAPE = re2.compile(r"(?i)(?:\\u\{?|\\x|&#x|u\+)([0-9a-f]{2,6})")

_ENCODINGS: tuple[tuple[str, re2._Regexp, Callable[[str], str | None]], ...] = (
    ("base64", re2.compile(r"[A-Za-z0-9+/_\-]{16,}(?:\r?\n[A-Za-z0-9+/_\-]{16,})*={0,2}"), _base64),
    ("hex", re2.compile(r"(?i)(?:(?:0x|\\x)?[0-9a-f]{2}[ :,\-]?){10,}"), _hex),
    ("base32", re2.compile(r"[A-Z2-7]{24,}={0,6}"), _base32),
    ("percent", re2.compile(r"(?:[A-Za-z0-9.+\-]{0,40}%[0-9A-Fa-f]{2}){3,}[A-Za-z0-9.+\-]{0,60}"), _percent),
    ("escapes", re2.compile(r"(?i)(?:(?:\\u\{?|\\x)[0-9a-f]{2,6}\}?){6,}"), _escapes),
    ("character codes", re2.compile(r"(?:\b\d{2,3}[ ,]{1,2}){8,}\d{2,3}\b"), _codes),
    ("bits", re2.compile(r"(?:[01]{8} ?){8,}"), _bits),
)

_STYLE = (
    r"display\s*:\s*none|visibility\s*:\s*hidden|opacity\s*:\s*0?\.?0*[1]?[\s;\"']|font-size\s*:\s*0?"
    r"\.?[01](?:px|pt|em|rem|%)?[\s;\"']"
    r"|color\s*:\s*(?:#f{3}\b|#f{6}\b|#fefefe|white|transparent|rgba?\(255, ?255, ?255)|text-indent\s*:\s*-\d{3,}"
    r"|(?:left|top)\s*:\s*-\d{3,}px|(?:width|height|max-height)\s*:\s*0(?:px)?[\s;\"']|clip(?:-path)?\s*:"
)
_ATTRIBUTE = (
    r"(?is)<[a-z][^<>]*\b(?:content|alt|title|aria-label|aria-description|data-[a-z\-]+|value|placehol"
    r"der|summary)\s*=\s*"
)
_HIDING: tuple[tuple[str, re2._Regexp], ...] = (
    ("comment", re2.compile(r"(?s)<!--(.+?)-->")),
    (
        "hidden element",
        re2.compile(rf"(?is)<[a-z][^<>]*(?:{_STYLE})[^<>]*>((?:[^<]|<(?:b|br|i|em|p|span|strong)\b[^>]*>)+)"),
    ),
    ("hidden element", re2.compile(r"(?is)<[a-z][^<>]*\s(?:hidden|aria-hidden\s*=\s*[\"']?true)\b[^<>]*>([^<]+)")),
    ("unseen element", re2.compile(r"(?is)<(?:desc|template|noscript|metadata|title|script|style)\b[^<>]*>([^<]+)")),
    ("attribute", re2.compile(_ATTRIBUTE + r"\"([^\"]+)\"")),
    ("attribute", re2.compile(_ATTRIBUTE + r"'([^']+)'")),
    ("named meta", re2.compile(r"(?is)<meta\s([^<>]+)>")),
    ("link comment", re2.compile(r"(?im)^\s{0,3}\[[^\]\n]{1,40}\]:\s*(?:#|<>|/)\s*[(\"']([^\n]+)")),
    ("code comment", re2.compile(r"(?s)/\*(.+?)\*/")),
)
