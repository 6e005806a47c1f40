"""Stage 9's redaction, and stage 4's look at arguments: secrets out of texts and trees, look-alikes left alone.

One RE2 `Set` says which formats can occur in a text at all; only those are searched. What is no vendor's own format
must also look random and stand behind a word such as "password". Time is linear in the text.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import pairwise

import re2

from aegis.inspection import secret_kinds
from aegis.inspection.normalise import encodable
from aegis.inspection.shape import entropy_bits
from aegis.kernel.findings import Finding, finding
from aegis.kernel.jsontree import MAX_DEPTH, JsonError, JsonTree, dumps, parse

MAX_NESTING = 4
MAX_SEGMENTS = 512
SEGMENT_CHARACTERS = 262_144
MAX_JSON_CHARACTERS = 4_194_304
SET_BYTES = 16 << 20
"""Memory of the set's automaton. With too little of it RE2 answers "no match"; it needs about 1 MiB."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """`path` is the JSON pointer of the string, or of the object for a key; `count` secrets of `kind` stood there."""

    path: str
    kind: str
    count: int


@dataclass(frozen=True, slots=True)
class Redacted:
    output: JsonTree
    redactions: tuple[Redaction, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Spared:
    """What a tenant lets through on purpose: the token that a login tool hands out, which the agent needs next.

    `digests` are hex SHA-256 of values (such as the caller's own credential), `pointers` JSON pointers into the
    output where secrets may stand, `kinds` whole kinds. Never filled from what a tool or an agent says.
    """

    digests: Collection[str] = field(default_factory=frozenset)
    pointers: Collection[str] = field(default_factory=frozenset)
    kinds: Collection[str] = field(default_factory=frozenset)

    def spares(self, kind: str, path: str, secret: str) -> bool:
        if kind in self.kinds or path in self.pointers:
            return True
        if not self.digests:
            return False
        return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest() in self.digests


NOTHING_SPARED = Spared()


def redact(tree: JsonTree, spared: Spared = NOTHING_SPARED) -> Redacted:
    """`tree` (or a text) with each secret replaced by `[redacted:<kind>]`; the same tree where there is none.

    Doing it twice changes nothing more. Keys of objects are looked at too, and JSON and base64 within strings.
    """
    tally: Counter[tuple[str, str]] = Counter()
    output = _tree(tree, "", tally, spared, 0, 0)
    if not tally:
        return Redacted(tree)
    redactions = tuple(Redaction(path, kind, count) for (path, kind), count in sorted(tally.items()))
    findings = tuple(finding("secret.leak", path=f"/output{r.path}", kind=r.kind) for r in redactions[:100])
    return Redacted(output, redactions, findings)


def contains_secret(text: str) -> str | None:
    """The kind of the first secret in `text`, or None."""
    span = next(iter(_spans(text, 0)), None)
    return span.kind if span else None


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    kind: str
    glue: bool = False
    """A further piece of a secret that markup or a line break cuts: it goes without a label of its own."""


def _tree(
    node: JsonTree, path: str, tally: Counter[tuple[str, str]], spared: Spared, depth: int, nesting: int
) -> JsonTree:
    if isinstance(node, str):
        return _string(node, path, tally, spared, nesting)
    if depth > MAX_DEPTH:
        return "[redacted:too_deep]" if isinstance(node, (dict, list)) else node
    if isinstance(node, list):
        return [_tree(item, f"{path}/{at}", tally, spared, depth + 1, nesting) for at, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    out: dict[str, JsonTree] = {}
    named = _named_pair(node)
    for key, value in node.items():
        shown = _unique(_string(key, path, tally, spared, MAX_NESTING) if len(key) >= 12 else key, out)
        inner = f"{path}/{shown.replace('~', '~0').replace('/', '~1')}"  # a secret in a key is in no path either
        name = named if named and key in _VALUE_MEMBERS else shown
        kind = _kind_of_member(_MARK.sub("", name), value)
        if kind is not None and not spared.spares(kind, inner, value):
            kind = _vendors_kind(value) or kind
            tally[inner, kind] += 1
            clean: JsonTree = _label(kind)
        else:
            clean = _tree(value, inner, tally, spared, depth + 1, nesting)
        out[shown] = clean
    return out


def _vendors_kind(value: str) -> str | None:
    """The kind of a value that is one vendor's token from end to end."""
    return next((s.kind for s in _direct(encodable(value)) if s.end - s.start == len(value)), None)


_VALUE_MEMBERS = frozenset({"value", "Value", "stringValue", "data", "val"})


def _named_pair(node: dict[str, JsonTree]) -> str | None:
    """The name of `{"name": "DB_PASSWORD", "value": ...}`."""
    if len(node) > 8:
        return None
    return next((node[k] for k in ("name", "key", "Name", "Key", "variable") if isinstance(node.get(k), str)), None)


def _unique(key: str, taken: dict[str, JsonTree]) -> str:
    if key not in taken:
        return key
    return next(k for n in range(2, len(taken) + 3) if (k := f"{key}#{n}") not in taken)


def _string(text: str, path: str, tally: Counter[tuple[str, str]], spared: Spared, nesting: int) -> str:
    if len(text) < 8:
        return text
    if nesting < MAX_NESTING and text[:64].lstrip()[:1] in ("{", "[") and len(text) <= MAX_JSON_CHARACTERS:
        inner = _inner_json(text, path, tally, spared, nesting)
        if inner is not None:
            return inner
    spans = [s for s in _spans(text, nesting) if not spared.spares(s.kind, path, text[s.start : s.end])]
    if not spans:
        return text
    out: list[str] = []
    at = 0
    for span in spans:
        out.append(text[at : span.start])
        if not span.glue:
            tally[path, span.kind] += 1
            out.append(_label(span.kind))
        at = span.end
    out.append(text[at:])
    return "".join(out)


def _inner_json(text: str, path: str, tally: Counter[tuple[str, str]], spared: Spared, nesting: int) -> str | None:
    """`text` as JSON with its secrets out, `text` itself where it holds none, None where it is not JSON."""
    try:
        tree = parse(text.encode("utf-8"))
    except (JsonError, UnicodeEncodeError):
        return None
    before = tally.total()
    inner: Counter[tuple[str, str]] = Counter()
    clean = _tree(tree, path, inner, spared, 0, nesting + 1)
    if not inner:
        return text
    for (_, kind), count in inner.items():
        tally[path, kind] += count
    assert tally.total() > before
    return dumps(clean).decode("utf-8")


_MARK = re2.compile(r"\[redacted:[a-z0-9_]+\]")
"""What stands where a secret was: the words of its kind name nothing."""


def _label(kind: str) -> str:
    return f"[redacted:{kind}]"


def _spans(text: str, nesting: int) -> list[_Span]:
    """Secrets of `text` in order, without overlaps."""
    text = encodable(text)
    found = list(_direct(text))
    if nesting < MAX_NESTING:
        found.extend(_encoded(text, nesting))
        found.extend(_cut_up(text, found))
    return _apart(found)


def _apart(found: Iterable[_Span]) -> list[_Span]:
    out: list[_Span] = []
    for span in sorted(found, key=lambda s: (s.start, -s.end)):
        if out and span.start < out[-1].end:
            if span.end > out[-1].end and not span.glue:
                out[-1] = _Span(out[-1].start, span.end, out[-1].kind, out[-1].glue)
            continue
        out.append(span)
    return out


def _direct(text: str) -> Iterator[_Span]:
    for index in _matching(text):
        form, pattern = _FORMATS[index]
        for match in pattern.finditer(text):
            span = _judged(form, match)
            if span is not None:
                yield span


def _matching(text: str) -> list[int]:
    return sorted(_SET.Match(text) or ())


def _judged(form: secret_kinds.Format, match: re2._Match) -> _Span | None:
    """The span of the match's secret, or None where it is a placeholder or an ordinary value."""
    if form.kind == "context" and match.re.groups == 0:
        return _behind_a_name(match)
    group = (match.re.groups and match.lastindex) or 0
    secret, start, end = match.group(group), match.start(group), match.end(group)
    if not secret or _is_placeholder(secret):
        return None
    kind = form.kind
    if form.exact:
        if kind != "private_key" and len(set(secret)) < 6:
            return None
        return _Span(start, end, kind)
    match kind:
        case "basic_auth" if group and match.group().lower().startswith("basic"):
            plausible = _is_basic(secret)
        case "bearer_token" | "url_parameter" | "session_cookie" | "url_token":
            plausible = _looks_random(secret, 16) and not _is_identifier(secret)
        case _:
            plausible = secret.lower() not in secret_kinds.TYPE_WORDS
            kind = "password" if kind == "context" else kind
    return _Span(start, end, kind) if plausible else None


def _behind_a_name(match: re2._Match) -> _Span | None:
    """The value of `password: value` and its like, with the quotes left standing."""
    whole = match.group()
    cut = _SEPARATOR.search(whole)
    if cut is None:
        return None
    name, value = whole[: cut.start()], whole[cut.end() :]
    start = match.start() + cut.end()
    stripped = value.lstrip("\\\"'`")
    start += len(value) - len(stripped)
    quoted = stripped != value
    secret = stripped.rstrip("\\\"'`") if quoted else stripped.rstrip(").]}>\\")
    if not quoted and match.string[max(0, match.start() - 1) : match.start()] in ("?", "&"):
        secret = secret.split("&", 1)[0]
    kind = _kind_of_member(name.strip("\\\"'`] "), secret, quoted=quoted, prose=cut.group().strip().isalpha())
    return _Span(start, start + len(secret), kind) if kind is not None else None


def _kind_of_member(name: str, value: JsonTree, *, quoted: bool = True, prose: bool = False) -> str | None:
    """The kind of secret that a member `name` with `value` is, or None."""
    if not isinstance(value, str) or not 4 <= len(value) <= 16_384 or len(name) > 96:
        return None
    letters, strength = _strength(name)
    if strength is None or _is_placeholder(value) or _is_reference(value) or value.lower() in secret_kinds.TYPE_WORDS:
        return None
    if letters.endswith("authorization"):
        value = value.split(" ", 1)[-1]
    is_password = any(w in letters for w in _PASSWORD_WORDS)
    if strength == "weak" or prose:
        enough = _looks_random(value, 16 if strength == "weak" else 6) and not _is_identifier(value)
    elif any(c.isspace() for c in value):
        enough = quoted and is_password and _passphrase(value)
    else:
        enough = _plausible(value, quoted)
    if not enough:
        return None
    if is_password:
        return "password"
    return "api_key" if "key" in letters else "token" if "token" in letters or "auth" in letters else "secret"


@lru_cache(maxsize=4_096)
def _strength(name: str) -> tuple[str, str | None]:
    """The letters of `name`; `strong` for names like "password", `weak` for "key", None for `password_policy`."""
    letters = "".join(c for c in name.lower() if c.isalpha())
    words = _CAMEL.sub(r"\1 \2", name).lower().translate(_WORD_GAPS).split()
    if not letters or not words or words[0] in secret_kinds.NOT_SECRET_BEGINNINGS:
        return letters, None
    if words[-1] in secret_kinds.NOT_SECRET_ENDINGS:
        return letters, None
    if letters.endswith(secret_kinds.STRONG) or any(w in letters for w in secret_kinds.STRONG if len(w) >= 6):
        return letters, "strong"
    return letters, "weak" if letters.endswith(secret_kinds.WEAK) else None


def _plausible(value: str, quoted: bool) -> bool:
    """Whether the value of a member called "password" or so is one, rather than a word about it."""
    if value.isalpha() and value.isascii():
        changes = sum(a.islower() != b.islower() for a, b in pairwise(value[1:]))
        return changes >= 2 or (quoted and len(value) >= 8 and entropy_bits(value) >= 2.0)
    if value.isdigit():
        return len(value) >= 6 or quoted
    return len(value) >= 6 or quoted


def _passphrase(value: str) -> bool:
    words = value.split()
    plain = all(w.isalpha() and w.islower() for w in words)
    return plain and 3 <= len(words) <= 8 and len(value) <= 80 and not _PROSE.search(value)


def _looks_random(value: str, least: int) -> bool:
    """Whether `value` mixes digits, cases or symbols as generated values do."""
    if len(value) < least:
        return False
    kinds = (
        any(c.isdigit() for c in value)
        + any(c.islower() for c in value)
        + any(c.isupper() for c in value)
        + any(not c.isalnum() for c in value)
    )
    return kinds >= 2 and entropy_bits(value) >= min(3.0, 0.55 * len(set(value)).bit_length() + 0.6)


def _is_identifier(value: str) -> bool:
    """UUIDs, digests with their algorithm, paths, dotted and dashed names, addresses, dates, versions."""
    return _IDENTIFIER.fullmatch(value) is not None


def _is_placeholder(value: str) -> bool:
    """Whether `value` stands for a secret rather than being one."""
    return _PLACEHOLDER.search(value) is not None


def _is_reference(value: str) -> bool:
    """Whether `value` names where the secret is: a variable, a call, a path of a vault, a header's name, a URL."""
    return _REFERENCE.search(value) is not None


def _is_basic(encoded: str) -> bool:
    """RFC 7617: base64 of `user:password`."""
    inner = _text_of(encoded)
    return inner is not None and ":" in inner and not _is_placeholder(inner.split(":", 1)[1])


def _encoded(text: str, nesting: int) -> Iterator[_Span]:
    """Base64 and hexadecimal segments whose text holds a secret."""
    for pattern, decode in ((_BASE64, _text_of), (_HEX, _text_of_hex)):
        for count, match in enumerate(pattern.finditer(text)):
            if count >= MAX_SEGMENTS:
                break
            if match.end() - match.start() > SEGMENT_CHARACTERS:
                continue
            inner = decode(match.group())
            if inner is None or len(inner) < 12:
                continue
            spans = _spans(inner, max(nesting + 1, MAX_NESTING - 1))
            if spans:
                yield _Span(match.start(), match.end(), spans[0].kind)


def _cut_up(text: str, found: list[_Span]) -> Iterator[_Span]:
    """Secrets of a vendor's form that tags, line breaks, invisible characters or string joins cut in pieces."""
    if _PREFIXES.search(text) is None:
        return
    taken = [(s.start, s.end) for s in found]
    for cuts in (_SEAMS, _BREAKS):
        if cuts.search(text) is None:
            continue
        for pieces, kind in _across(text, cuts):
            if len(pieces) >= 2 and not any(a < pieces[-1][1] and pieces[0][0] < b for a, b in taken):
                taken.append((pieces[0][0], pieces[-1][1]))
                yield from (_Span(start, end, kind, glue=number > 0) for number, (start, end) in enumerate(pieces))


def _across(text: str, cuts: re2._Regexp) -> Iterator[tuple[list[tuple[int, int]], str]]:
    """The pieces in `text`, and the kind, of each secret that stands there once the `cuts` are taken out."""
    kept: list[str] = []
    origin: list[tuple[int, int]] = []
    at = length = 0
    for cut in cuts.finditer(text):
        if cut.start() > at:
            kept.append(text[at : cut.start()])
            origin.append((length, at))
            length += cut.start() - at
        at = cut.end()
    kept.append(text[at:])
    origin.append((length, at))
    joined = "".join(kept)
    for index in _matching(joined):
        form, pattern = _FORMATS[index]
        if not form.exact or form.kind == "private_key":
            continue
        for match in pattern.finditer(joined):
            span = _judged(form, match)
            if span is not None:
                end = min(span.end, span.start + _length_of(joined[span.start : span.start + 8]))
                yield list(_pieces(_Span(span.start, end, span.kind), origin, len(joined))), span.kind


def _length_of(beginning: str) -> int:
    """How long the secrets are that begin so, where the vendor says it: what follows on the next line is not theirs."""
    return next((size for prefix, size in _LENGTHS.items() if beginning.startswith(prefix)), 1 << 20)


def _pieces(span: _Span, origin: list[tuple[int, int]], total: int) -> Iterator[tuple[int, int]]:
    """Where the joined text's `span` stood in the text: `origin` has (offset in joined, offset in text) per piece."""
    for number, (joined_at, text_at) in enumerate(origin):
        joined_end = origin[number + 1][0] if number + 1 < len(origin) else total
        start, end = max(span.start, joined_at), min(span.end, joined_end)
        if start < end:
            yield text_at + start - joined_at, text_at + end - joined_at
        if joined_at >= span.end:
            break


def _text_of(encoded: str) -> str | None:
    """The text that base64 holds, or None: not base64, not UTF-8, or holding what texts don't."""
    plain = encoded.replace("-", "+").replace("_", "/").replace("\n", "").replace("\r", "").rstrip("=")
    try:
        inner = base64.b64decode(plain + "=" * (-len(plain) % 4)).decode("utf-8")
    except (binascii.Error, ValueError):
        return None
    return inner if all(c.isprintable() or c in "\r\n\t" for c in inner) else None


def _text_of_hex(encoded: str) -> str | None:
    try:
        inner = bytes.fromhex(encoded[: len(encoded) // 2 * 2]).decode("ascii")
    except ValueError:
        return None
    return inner if all(c.isprintable() or c in "\r\n\t" for c in inner) else None


def _set() -> re2.Set:
    options = re2.Options()
    options.max_mem = SET_BYTES
    patterns = re2.Set.SearchSet(options)
    for form in secret_kinds.FORMATS:
        patterns.Add(form.pattern)
    patterns.Compile()
    return patterns


_FORMATS = tuple((form, re2.compile(form.pattern)) for form in secret_kinds.FORMATS)
_SET = _set()
_PASSWORD_WORDS = ("pass", "pwd", "kennwort", "senha", "contraseña", "пароль", "密码", "パスワード")
_CAMEL = re2.compile(r"([a-z0-9])([A-Z])")
_WORD_GAPS = dict.fromkeys(map(ord, "_-. []\"'`\\/:0123456789"), " ")
_SEPARATOR = re2.compile(r"\s{0,4}(?:=>|:=|[:=])\s{0,4}|\s(?:is|lautet|est|es)[\s:]\s{0,4}")
_BASE64 = re2.compile(r"[A-Za-z0-9+/_\-]{24,}(?:\r?\n[A-Za-z0-9+/_\-]{24,})*={0,2}")
_HEX = re2.compile(r"\b(?:[0-9a-fA-F]{2}){16,}\b")
_SEAMS = re2.compile(
    r"</?(?:a|abbr|b|big|code|em|font|i|ins|kbd|mark|s|samp|small|span|strong|sub|sup|tt|u|var|wbr)\b["
    r"^<>]*>|<!--[^>]*-->"
    r"|[\x{ad}\x{200b}-\x{200d}\x{2060}\x{feff}]|[\"'][ \t]*[+.&]?[ \t]*(?:\\?\r?\n[ \t]*)?[+.&]?[ \t]"
    r"*[\"']|\*\*|</?span>"
)
_BREAKS = re2.compile(
    r"<(?:br|wbr)\b[^<>]*>\s*|\\?\r?\n[ \t>|*#]*|\\r|\\n|=\r?\n|</(?:div|td|p|li|span)>\s*<(?:div|td|p"
    r"|li|span)\b[^<>]*>"
)
_LENGTHS = {
    "ghp_": 40,
    "gho_": 40,
    "ghu_": 40,
    "ghs_": 40,
    "ghr_": 40,
    "github_p": 93,
    "AKIA": 20,
    "ASIA": 20,
    "AIza": 39,
    "npm_": 40,
    "hf_": 37,
    "glpat-": 26,
    "dop_v1_": 71,
    "shpat_": 38,
    "SG.": 69,
}
_PREFIXES = re2.compile(
    r"gh[pousr]_|github_pat|glpat|xox[a-z]|xapp-|AKIA|ASIA|AIza|ya29|sk[-_]|rk_|whsec|npm_|pypi-|hf_|S"
    r"G\.|eyJ|hvs\.|dop_|shp|aegis_|ATATT|gsk_|xai-|nvapi|dckr_|GOCSPX|lin_api|PMAK|glsa_|key-|dapi|sb"
    r"p_|figd_|pul-|NRAK"
)
_PLACEHOLDER = re2.compile(
    r"(?i)\[redacted|x{5,}|\*{3,}|\.{3}|\x{2026}|^<[^>]*>?$|\$\{|\{\{|^\$[a-z_(]|%\(|%[a-z_]+%|your[_"
    r"\-. ]|[_\-]here\b|example|placeholder|change_?-?me|replace_?-?(?:me|with)|dummy|redacted|"
    r"insert[_\-. ]|^(?:0+|1+|a+|x+|\?+|_+|-+|#+)$|<your|my[_\-](?:secret|token|key|password|api)|test"
    r"[_\-]?(?:key|token|secret|password)$|not[_\-]a[_\-]real|fake|1234567890(?:abcdef)?$|0123456789|a"
    r"bcdefgh"
)
_REFERENCE = re2.compile(
    r"(?i)^\$|environ|getenv|process\.env|import\.meta|\bENV\[|secrets?\.|vault:|secretref|valuefrom|^"
    r"!|^&|^\*|\(\)|^[a-z_][\w.]*\([^)]*\)?$|^[a-z_][\w.]*\[|^(?:https?|file|s3|gs|arn|ssm|op|kms|keyr"
    r"ing|aws-sm|gcp-sm|azure-kv):"
    r"|^(?:self|this|config|settings|options|args|opts|params|request|req|ctx|user|data|os|env|cfg|pro"
    r"ps|state|var|local|module|values?|inputs?|context|body|form|payload|credentials)\.[\w.]+$|^(?:/|"
    r"\./|~/)[\w./\-]+$|^\{|^@"
)
_IDENTIFIER = re2.compile(
    r"(?i)[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?:sha\d+|md5|blake\w*)[-:=][\w"
    r"+/=]+|[a-z]+(?:[-_.][a-z]+)*(?:[-_.]v?\d{1,4})?|(?:/?[\w.\-]*/)+[\w.\-]*|\d{4}-\d\d-\d\d[\dt:.z+"
    r"\- ]*|[\d.,:\- ]+|[a-z0-9.\-]+\.[a-z]{2,6}"
)
_PROSE = re2.compile(
    r"(?i)\b(?:the|is|are|must|was|has|have|not|your|for|with|and|or|to|at|of|asks?|please|characters?"
    r")\b"
)
