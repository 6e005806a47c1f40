"""Prompt-injection scanner: scored rules over what words do in a sentence, on every reading of the text.

The order is: a prefilter that lets ordinary text go at once; the readings of `normalise`; sentences as sequences of
word classes of `lexicon`; rules that are short sequences of classes; signals of neighbouring sentences together.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

import re2

from aegis.inspection import lexicon
from aegis.inspection.normalise import View, encodable, views
from aegis.inspection.rules import MARKS, RULES
from aegis.inspection.weights import Weights, shipped
from aegis.kernel.findings import Finding, finding

Source = Literal["user", "tool", "document", "argument", "tool_description"]

FLAG = 0.5
MAX_CHARACTERS = 1_048_576
SENTENCES = 4_000
SENTENCE_WORDS = 120
WORD_CHARACTERS = 48
WINDOW = 3
UP, DOWN, NEUTRAL = 2.4, 0.8, 0.4
"""How far the model moves a score, in logits per unit of probability away from NEUTRAL."""


@dataclass(frozen=True, slots=True)
class Scan:
    """`score` is 0..1, `flagged` whether it reaches 0.5. Findings hold no text of what was scanned."""

    flagged: bool
    score: float
    findings: tuple[Finding, ...] = ()


class Scanner(Protocol):
    """Judges text. Never raises, whatever the text, and takes time linear in it."""

    def scan(self, text: str, source: Source) -> Scan: ...


CLEAN = Scan(False, 0.0)


@dataclass(frozen=True, slots=True)
class Signal:
    sentence: int
    group: str
    code: str
    weight: float
    rule: str
    quoted: bool = False


_SUSPICIOUS, _HIDDEN, _ENCODED = "injection.suspicious", "injection.hidden_text", "injection.encoded"

_ANCHOR_CLASSES = ("OV", "AD", "PR", "FR", "MD", "SI", "DC", "JO", "FO", "RO", "RU")
_OTHER_TRIGGERS = (
    "model agent agents bots prompt prompts user human bound obey rule rules guideline guidelines guidance directive"
    " directives restriction restrictions instruction instructions tell telling mention told secret system above"
    " filters grandma grandmother letters commands developer operator verbatim silently payments history always role"
)
_EVERYDAY = frozenset("orders training protocol protocols programming ta act play enter switch".split())
_WORDS = re2.compile(
    r"(?i)\b(?:"
    + "|".join(w for w in lexicon.anchors(_ANCHOR_CLASSES) if w[:1].isascii() and w not in _EVERYDAY)
    + "|"
    + "|".join(_OTHER_TRIGGERS.split())
    + r"|from now on|before (?:you )?(?:answer|reply|respond|use|using)\w*"
    r"|letters? of each|one command|instead of the)\b"
    r"|<\||\[inst|<<sys|<important|<information|</\w+>\s*<|!\[|=<|=\[|=\{|(?m:^\s*[\-=#*]{3,})"
)
"""Words and marks without which no plain text is flagged."""
_OBFUSCATED = re2.compile(
    r"(?i)<[a-z!/]|/\*|\]:|&#|&[a-z]{2,8};|(?:%[0-9a-f]{2}.{0,20}){3}|\\u|\\x|[a-z0-9+/_\-]{24}|(?:[0-9a-f]{2}[ :,]){9}"
    r"|(?:\S[ ._*|/~+\-]){7}|(?:\d{2,3}[ ,]+){8}|[01]{8} ?[01]{8}|[a-z][013457@$][a-z]|\b[134570][a-z]{2}"
    r"|\b(?:rot-?13|caesar|vtaber|qvfertneq|sbetrg|bireevqr)\b|erongi|dragersid|tegrof|snoitcurtsni|tpmorp|edirrevo"
    r"|\b(?:concat\w*|join\w*|combin\w*|assembl\w*|glue\w*|merg\w*|pieces|part \d|fragments?|append\w*"
    r"|together|letters? of"
    r"|in order|one (?:command|sentence|instruction|order)|when i say go|read (?:as|in) one|as [a-z]\d)\b"
)
"""What a text has that reads otherwise than it is written."""


_ID = re2.compile(r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b|\b\d[\d.:+\-T]*Z?\b|\b[A-Z]{1,6}-?\d+\b")


class RuleScanner:
    """The shipped scanner. `weights` is the linear model that has a small say where the rules see something."""

    def __init__(self, weights: Weights | None = None) -> None:
        self._weights = weights if weights is not None else shipped()

    def scan(self, text: str, source: Source) -> Scan:
        """See `Scanner`. Text beyond 1 MiB of characters is not read."""
        text = encodable(text[:MAX_CHARACTERS])
        plain = text.isascii() and (_OBFUSCATED.search(text) is None or _OBFUSCATED.search(_ID.sub("", text)) is None)
        if plain and _WORDS.search(text) is None:
            return CLEAN
        best, worst, signals_of = 0.0, View(""), tuple[Signal, ...]()
        for view in (View(text.lower(), end=len(text)),) if plain else views(text):
            score, signals = _judged(view, source, self._weights)
            if view.hidden and score > 0.0 and _introduced(text, view):
                score *= 0.35
            if score > best:
                best, worst, signals_of = score, view, signals
        if best < 0.05:
            return CLEAN
        flagged = best >= FLAG
        return Scan(flagged, round(best, 3), _findings(signals_of, worst, best) if flagged else ())


def _judged(view: View, source: Source, weights: Weights) -> tuple[float, tuple[Signal, ...]]:
    sentences = sentences_of(view.text)
    signals = list(_signals(view, sentences))
    if not signals:
        return 0.0, ()
    return _combined(signals, sentences, view, source, weights)


def _combined(
    signals: list[Signal], sentences: list[list[str]], view: View, source: Source, weights: Weights
) -> tuple[float, tuple[Signal, ...]]:
    by_sentence: dict[int, list[Signal]] = {}
    for signal in signals:
        by_sentence.setdefault(signal.sentence, []).append(signal)
    best, chosen = 0.0, tuple[Signal, ...]()
    for at in by_sentence:
        window = [s for i in range(at, at + WINDOW) for s in by_sentence.get(i, ())]
        strongest = _strongest(window)
        told = _told_about(sentences, at) if any(s.quoted for s in window) or view.hidden else False
        score = _score(strongest, view, source, told)
        if score >= 0.15 and not _merely_asked(strongest):
            score = _tempered(score, weights.probability(sentences[at : at + WINDOW]))
        if score > best:
            best, chosen = score, tuple(strongest.values())
    return best, chosen


def _strongest(window: Iterable[Signal]) -> dict[str, Signal]:
    strongest: dict[str, Signal] = {}
    for signal in window:
        held = strongest.get(signal.group)
        if held is None or signal.weight > held.weight:
            strongest[signal.group] = signal
    return strongest


def _score(strongest: dict[str, Signal], view: View, source: Source, told: bool) -> float:
    """Noisy-or over the groups. Goals alone don't make an injection: people and documents ask for such things."""
    goals = [s for g, s in strongest.items() if g.startswith("g_")]
    others = [s for g, s in strongest.items() if not g.startswith("g_")]
    if source == "user":  # who speaks to the assistant, and asks for things, as is a user's right
        others = [s for s in others if s.group not in _USERS_OWN]
    weak = 0.5 if source == "user" else 1.0
    missed = math.prod(1.0 - s.weight * weak for s in goals)
    reach = 1.0 - missed
    cap = 0.5 if source == "tool_description" else 0.4
    total = 1.0 - (1.0 - (reach if others else min(reach, cap))) * math.prod(1.0 - s.weight for s in others)
    if _merely_asked(strongest):
        total = min(total, cap + 0.08)
    if view.hidden and "code comment" not in view.undone and total >= 0.25:
        total = 1.0 - (1.0 - total) * 0.6
    elif view.undone and total >= 0.4:
        total = 1.0 - (1.0 - total) * 0.7
    only_quoted = view.hidden or all(s.quoted or s.weight < 0.3 for s in strongest.values())
    return total * 0.35 if told and only_quoted else total


def _merely_asked(strongest: dict[str, Signal]) -> bool:
    """Whether something is asked for as bills and mails ask, without a word to the agent or on its rules."""
    return all(g in _EVERYDAY_GOALS or (s.weight <= 0.3 and g in _CIRCUMSTANCES) for g, s in strongest.items())


def _tempered(score: float, probability: float) -> float:
    """The rules' score moved by the model's opinion, in logits: up by at most 1.4, down by at most 0.3."""
    push = UP * (probability - NEUTRAL) if probability > NEUTRAL else DOWN * (probability - NEUTRAL)
    logit = math.log(max(score, 1e-6) / max(1.0 - score, 1e-6)) + push
    return 1.0 / (1.0 + math.exp(-logit))


def _told_about(sentences: list[list[str]], at: int) -> bool:
    """Whether the words around speak of attacks, tests or phrases rather than carry one out."""
    near = (w for s in sentences[max(0, at - 1) : at + 2] for w in s)
    return any("ME" in lexicon.classes_of(w) for w in near)


def _introduced(text: str, view: View) -> bool:
    """Whether the words just before a hidden part announce it as an example."""
    words = "".join(c if c.isalnum() else " " for c in text[max(0, view.start - 120) : view.start].lower()).split()
    return sum("ME" in lexicon.classes_of(w) for w in words) >= 2


def _findings(signals: tuple[Signal, ...], view: View, score: float) -> tuple[Finding, ...]:
    evidence = {"start": view.start, "end": view.end, "undone": list(view.undone), "rules": [s.rule for s in signals]}
    codes: dict[str, float] = {}
    for signal in signals:
        codes[signal.code] = max(codes.get(signal.code, 0.0), signal.weight)
    if view.hidden:
        codes[_HIDDEN] = 1.0
    elif view.undone and view.undone[-1] not in {"markup", "entities", "joined parts", "code comment"}:
        codes[_ENCODED] = 1.0
    named = sorted((c for c in codes if c != _SUSPICIOUS), key=lambda c: -codes[c]) or [_SUSPICIOUS]
    return tuple(finding(code, score=score, evidence=evidence) for code in named)


def _signals(view: View, sentences: list[list[str]]) -> Iterator[Signal]:
    for index in _MARK_SET.Match(view.text) or ():
        mark, pattern = _MARKS[index]
        hit = pattern.search(view.text)
        if hit is not None:
            quoted = view.text[max(0, hit.start() - 1) : hit.start() + 1].lstrip(" ")[:1] in _QUOTES
            yield Signal(_sentence_at(view.text, hit.start()), mark.group, mark.code, mark.weight, mark.name, quoted)
    for at, words in enumerate(sentences):
        yield from _sentence_signals(at, words)


def _sentence_signals(at: int, words: list[str]) -> Iterator[Signal]:
    where: dict[str, list[int]] = {}
    for position, word in enumerate(words):
        for name in lexicon.classes_of(word):
            where.setdefault(name, []).append(position)
        if word in {"COMMA", "STOP", "and", "then", "COLON", "QUOTE"}:
            where.setdefault("STOP", []).append(position)
        if word in _LITERALS and word != "STOP":
            where.setdefault(word, []).append(position)
        if word.isdigit():
            where.setdefault("NUMBER", []).append(position)
        elif len(word) <= 2 and word.isalnum():
            where.setdefault("SHORT", []).append(position)
    if not where:
        return
    quotes = _quoted_positions(words)
    for rule, patterns in _COMPILED:
        for steps in patterns:
            if steps[0][1] not in where:
                continue
            ends = _match(steps, where)
            if ends:
                quoted = bool(quotes) and all(e in quotes for e in ends)
                yield Signal(at, rule.group, rule.code, rule.weight, rule.name, quoted)
                break


def _match(steps: tuple[tuple[int, str], ...], where: dict[str, list[int]]) -> list[int]:
    """The last positions of all ways through `steps`; empty when there is none."""
    reached = where.get(steps[0][1], [])
    for gap, name in steps[1:]:
        positions = where.get(name)
        if not positions or not reached:
            return []
        reached = [p for p in positions if any(0 < p - r <= gap for r in reached)]
    return reached


def _quoted_positions(words: list[str]) -> frozenset[int]:
    inside: set[int] = set()
    opened: int | None = None
    for position, word in enumerate(words):
        if word == "QUOTE":
            if opened is not None:
                inside.update(range(opened + 1, position))
                opened = None
            else:
                opened = position
    return frozenset(inside)


def sentences_of(text: str) -> list[list[str]]:
    """The sentences of lower-cased `text` as words, with COLON, COMMA, QUOTE and START where they stand."""
    if len(text) > 64 and text.count(" ") * 12 < len(text) and text.isascii():
        text = lexicon.CUT_RUN_TOGETHER.sub(r" \1 ", text)
    if "." in text or "/" in text or "id_" in text:
        text = _SENSITIVE_PATH.sub(" sensitivepath ", text)
        text = _URL.sub(" urltoken ", text)
    if "@" in text:
        text = _MAIL.sub(" mailtoken ", text)
    text = _IBAN.sub(" ibantoken ", text)
    text = lexicon.COMPOUNDS.sub(lambda m: lexicon.compound(m.group()), text)
    if not text.isascii() and lexicon.IDEOGRAPHIC.search(text):
        text = lexicon.CUT_IDEOGRAPHS.sub(r" \1 ", text)
    if "_" in text:
        text = _SNAKE.sub(" snake ", text)
    if "'" in text or not text.isascii():
        text = _ELIDED.sub(" ", text)
        text = _APOSTROPHE.sub("\\1\x01\\2", text).replace("you\x01re", "you are").replace("you\x01ve", "you have")
    pieces = _END.sub("\n", text).translate(_SPELT).replace("\x01", "'").split("\n")
    spoken = (piece.split() for piece in pieces[:SENTENCES])
    return [["START", *(w[:WORD_CHARACTERS] for w in words[:SENTENCE_WORDS]), "STOP"] for words in spoken if words]


def _sentence_at(text: str, offset: int) -> int:
    return max(0, len([p for p in _END.sub("\n", text[:offset]).split("\n") if p.split()]))


_COMPILED = tuple((rule, rule.sequences()) for rule in RULES)
_MARKS = tuple((mark, re2.compile(mark.pattern)) for mark in MARKS)
_MARK_SET = re2.Set.SearchSet()
for _mark in MARKS:
    _MARK_SET.Add(_mark.pattern)
_MARK_SET.Compile()
_EVERYDAY_GOALS = frozenset(rule.group for rule in RULES if rule.group.startswith("g_")) - {"g_leak", "g_file"}
_USERS_OWN = frozenset({"address", "authority", "obliged", "gate", "urgency"})
_CIRCUMSTANCES = frozenset({"gate", "urgency", "from_now", "obliged"})
_QUOTES = frozenset("\"'`\u201c\u2018\u00ab")
_LITERALS = frozenset(
    name for _, patterns in _COMPILED for steps in patterns for _, name in steps if len(name) != 2 or name.islower()
)
_URL = re2.compile(
    r"\b(?:https?|ftp)://[^\s<>\"')\]}]+|\b(?:[a-z0-9\-]+\.){1,4}(?:test|com|net|org|io|dev|ru|cn|exam"
    r"ple|xyz|info|biz|app|co|de|me|top|site|online)\b(?:/[^\s<>\"')\]]*)?"
)
_MAIL = re2.compile(r"[a-z0-9._%+\-]+@(?:[a-z0-9\-]+\.?)+|[a-z0-9._%+\-]+@ urltoken ")
_IBAN = re2.compile(r"\b[a-z]{2}\d{2}(?: ?\d{2,6}){2,8}\b|\b(?:0x[0-9a-f]{20,}|bc1[a-z0-9]{20,})\b")
_SENSITIVE_PATH = re2.compile(
    r"[~/.\w\\\-]*(?:/\.ssh\b|id_rsa|id_ed25519|\.aws/credentials|/etc/shadow|/etc/passwd|\.env\b|\.ku"
    r"be/config|\.netrc|\.npmrc|\.git-credentials|secrets\.ya?ml|mcp\.json|credentials\.json)[/.\w\-]*"
)
_SNAKE = re2.compile(r"\b[a-z]+(?:_[a-z0-9]+)+\b(?:\(\))?")
_APOSTROPHE = re2.compile(r"(\w)['\x{2019}`\x{b4}](\w)")
_ELIDED = re2.compile(r"\b(?:l|d|all|dell|nell|qu|jusqu|n)['\x{2019}]")
_END = re2.compile(r"[.!?;](?:\s|$|[\"')])|[\x{3002}\x{ff01}\x{ff1f}\x{ff1b}]|\n\s*\n|\n")
_SPELT = {
    **dict.fromkeys(map(ord, "()[]{}<>|/\\*=+_~^#$%&.!?;«»„“”–—…，、。「」『』【】・"), " "),
    ord("@"): " ",
    ord(":"): " COLON ",
    ord("："): " COLON ",
    ord(","): " COMMA ",
    ord('"'): " QUOTE ",
    ord("'"): " QUOTE ",
    ord("`"): " QUOTE ",
}
