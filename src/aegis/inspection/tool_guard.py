"""Stage 3, tool-name guard: unknown, look-alike, misspelt, re-defined and poisoned tools."""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Collection, Iterator
from functools import lru_cache

from aegis.inspection.confusables import INVISIBLE, LOOKALIKE_LETTERS, skeleton
from aegis.inspection.injection import Scanner
from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import JsonTree, canonical

MAX_NAME = 128
SHORTEST_FOR_ONE_EDIT = 6
SHORTEST_FOR_SHORT_WORDS = 9
SHORTEST_FOR_TWO_EDITS = 12
MAX_SCHEMA_TEXTS = 256
MAX_DEFINITION_CHARACTERS = 65_536


def judge_tool(
    asked: str,
    known: Collection[str],
    *,
    closed: bool,
    pinned_digest: str | None = None,
    digest: str | None = None,
    poisoned: tuple[Finding, ...] = (),
    trusted: Collection[str] = (),
) -> tuple[Finding, ...]:
    """What is wrong with calling `asked`, the name that the door used, unaltered.

    `known` is the session's list or the tenant's registry; with `closed` nothing else may be called. `trusted`
    are names that a person registered: being on the session's list does not excuse a look-alike, being trusted
    does. Of two similar names on an untrusted list the one that is spelt out stands; see `_impostor_of`.
    `digest` is of the definition that the session gave, `pinned_digest` of the accepted one. `poisoned` comes from
    `judge_definition`, made once per definition.
    """
    findings: list[Finding] = []
    odd = _odd_character(asked)
    if odd is not None:
        findings.append(finding("tool.name", path="/tool", evidence=odd))
    if asked not in trusted:
        original = _impostor_of(asked, known)
        if original is not None:
            findings.append(finding("tool.lookalike", path="/tool", known=original))
    if closed and asked not in known and not any(f.code == "tool.lookalike" for f in findings):
        findings.append(finding("tool.unknown", path="/tool"))
    if pinned_digest is not None and digest is not None and pinned_digest != digest:
        findings.append(finding("tool.redefined", path="/tool", evidence={"pinned": pinned_digest, "seen": digest}))
    return (*findings, *poisoned)


def judge_definition(description: str, schema: JsonTree, scanner: Scanner) -> tuple[Finding, ...]:
    """`tool.poisoned`, at most once, where the description or a text in the schema gives orders to the model."""
    left = MAX_DEFINITION_CHARACTERS
    for path, text in (("/description", description), *_texts(schema)):
        scan = scanner.scan(text[:left], "tool_description")
        if scan.flagged:
            codes = sorted({f.code for f in scan.findings})
            return (finding("tool.poisoned", path="/tool", evidence={"at": path, "score": scan.score, "codes": codes}),)
        left -= len(text)
        if left <= 0:
            break
    return ()


def definition_digest(description: str, schema: JsonTree) -> str:
    """`sha256:` and the hex SHA-256 over the RFC 8785 form of `{description, input_schema}`."""
    text = canonical({"description": description, "input_schema": schema})
    return "sha256:" + hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _odd_character(name: str) -> dict[str, object] | None:
    """Where `name` holds what names don't have: invisible or control characters, blanks, two scripts in a word."""
    if name.isascii() and name.isprintable() and " " not in name and name:
        return None
    for offset, char in enumerate(name[:MAX_NAME]):
        if char in INVISIBLE or unicodedata.category(char) in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"}:
            return {"offset": offset, "code_point": f"U+{ord(char):04X}"}
    if unicodedata.normalize("NFKC", name) != unicodedata.normalize("NFC", name):
        return {"why": "compatibility characters"}
    return {"why": "mixed scripts"} if name == "" or _mixed(name) else None


def _mixed(name: str) -> bool:
    """Whether one word of `name` has Latin letters and letters made to look like them."""
    words = "".join(c if c.isalpha() else " " for c in name[:MAX_NAME]).split()
    return any(any(c.isascii() for c in w) and any(c in LOOKALIKE_LETTERS for c in w) for w in words)


def _impostor_of(asked: str, known: Collection[str]) -> str | None:
    """The name of `known` that `asked` is made to be taken for, or None.

    An equal skeleton always counts. One edit (Damerau-Levenshtein; two in long names) counts when the change looks
    like a slip: not in digits or the ends that legitimate families differ in (`_v2`, `read`/`reads`, `get`/`set`).
    Where both are on the list, only the one with the slip is the impostor.
    """
    asked = asked[:MAX_NAME]
    face = _face(asked)
    close = [name for name in known if name != asked and abs(len(name) - len(asked)) <= 2]
    for name in close:
        if _face(name) == face and not _plainer(asked, name):
            return name
    for name in close:
        if _slip(asked, name) and not (asked in known and _looks_intended(asked, name, known)):
            return name
    return None


@lru_cache(maxsize=16_384)
def _face(name: str) -> str:
    return skeleton(unicodedata.normalize("NFKC", name[:MAX_NAME]))


def _plainer(asked: str, other: str) -> bool:
    """Of two names that look the same: whether `asked` is the honest one."""
    return asked.isascii() and not other.isascii()


def _slip(asked: str, name: str) -> bool:
    """Whether `asked` is `name` with one or two letters swapped, lost, doubled or replaced inside a word."""
    if asked.casefold() == name.casefold():
        return False
    return _slipped(asked, name)


@lru_cache(maxsize=16_384)
def _slipped(asked: str, name: str) -> bool:
    ours, theirs = _words(asked), _words(name)
    if len(ours) != len(theirs):
        joined, other = "".join(ours), "".join(theirs)
        return joined == other and len(joined) >= SHORTEST_FOR_SHORT_WORDS and asked != name
    if "".join(ours) == "".join(theirs) and ours != theirs:
        return len(name) >= SHORTEST_FOR_ONE_EDIT
    different = [(a, b) for a, b in zip(ours, theirs, strict=True) if a != b]
    if len(different) != 1 or len(name) < SHORTEST_FOR_ONE_EDIT:
        return False
    return _misspelt(*different[0], whole=len(name))


def _misspelt(ours: str, theirs: str, *, whole: int) -> bool:
    """Swapped letters count in any word; a lost or added one from five letters on (three in long
    names), another one from six on."""
    if ours.isdigit() or theirs.isdigit() or frozenset((ours, theirs)) in _WORDS_ALIKE or _inflected(ours, theirs):
        return False
    if ours.rstrip("0123456789") == theirs.rstrip("0123456789"):
        return False
    short, long = sorted((len(ours), len(theirs)))
    distance = _distance(ours, theirs)
    if short == long and sorted(ours) == sorted(theirs):
        return short >= 3 and distance == 1
    least = 6 if short == long else 3 if whole >= SHORTEST_FOR_SHORT_WORDS else 5
    if ours[0] != theirs[0] or long < least or short < 2:
        return False
    return distance <= (2 if whole >= SHORTEST_FOR_TWO_EDITS and short >= 8 else 1)


def _inflected(ours: str, theirs: str) -> bool:
    """Forms that two honest tools differ in: file/files, read/reader, create/created."""
    short, long = sorted((ours, theirs), key=len)
    return long.startswith(short) and long[len(short) :] in {
        "s",
        "es",
        "d",
        "ed",
        "r",
        "er",
        "or",
        "ing",
        "y",
        "x",
        "n",
    }


_WORDS_ALIKE = frozenset(
    frozenset(pair.split("/"))
    for pair in (
        "form/from insert/invert start/stat start/star stat/state trial/trail cart/chart table/tale"
        " causal/casual united/untied diary/dairy angle/angel sacred/scared unit/untie plan/plain"
        " pattern/patter contact/contract context/contest content/context commit/commie policy/police"
        " attach/attack filter/filler signal/signals closed/cloned record/recode metric/metrics"
    ).split()
)


def _words(name: str) -> list[str]:
    """The words of a snake, kebab, dotted or camel name, lower-cased."""
    out: list[str] = []
    for char in name:
        if not char.isalnum():
            out.append(" ")
            continue
        if char.isupper() and out and out[-1].islower():
            out.append(" ")
        out.append(char.lower() if out[-1:] == [" "] or not char.isupper() else char)
    return "".join(out).lower().split()


def _looks_intended(asked: str, name: str, known: Collection[str]) -> bool:
    """Whether, of two listed names one slip apart, `asked` is the honest one.

    The word that other names on the list use too, or else the one that stands first, is taken for the honest one.
    """
    ours, theirs = _words(asked), _words(name)
    mine = next((a for a, b in zip(ours, theirs, strict=False) if a != b), asked)
    other = next((b for a, b in zip(ours, theirs, strict=False) if a != b), name)
    others = [_words(n) for n in known if n not in {asked, name}]
    uses, rivals = sum(mine in w for w in others), sum(other in w for w in others)
    if uses != rivals:
        return uses > rivals
    order = list(known)
    return order.index(asked) < order.index(name)


def _distance(a: str, b: str) -> int:
    """Optimal string alignment distance; both at most MAX_NAME long."""
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        before, last = last, row
    return last[-1]


def _texts(schema: JsonTree) -> Iterator[tuple[str, str]]:
    """The texts of a JSON Schema that a model reads, with their paths: at most MAX_SCHEMA_TEXTS."""
    stack: list[tuple[JsonTree, str]] = [(schema, "/input_schema")]
    given = 0
    while stack and given < MAX_SCHEMA_TEXTS:
        node, path = stack.pop()
        if isinstance(node, str):
            if len(node) >= 12:
                given += 1
                yield path, node
        elif isinstance(node, dict):
            stack.extend((key, path) for key in node if len(key) >= 24)
            stack.extend((value, f"{path}/{key[:64]}" if len(path) < 256 else path) for key, value in node.items())
        elif isinstance(node, list):
            stack.extend((value, path) for value in node[:MAX_SCHEMA_TEXTS])
