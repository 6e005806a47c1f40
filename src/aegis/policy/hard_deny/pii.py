"""Calls that take persons out in bulk, or send what is personal to strangers: exports, mails, posts, public links."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from aegis.policy.hard_deny.persons import MANY, PERSONS, is_personal, is_persons

Found = tuple[str, dict[str, str]]
_STORES = frozenset("crm hr hris ehr emr payroll salesforce hubspot zendesk intercom mailchimp workday".split())
_TAKES = frozenset(
    "export download dump extract list search find query get fetch bulk read report backup sync all scan "
    "select copy browse".split()
)
_EXPORTS = frozenset("export download dump extract bulk backup".split())
_LIMITS = re.compile(
    r"(?:limit|page_?size|per_?page|max(?:_?(?:results|records|rows|items))?|count|size|top|first|take|n|rows|batch_?size|num_?(?:records|results))\Z",
    re.I,
)
_ALL = re.compile(r"\s*(?:all|\*|everything|any|complete|entire|full|everyone|-1|%)\s*\Z", re.IGNORECASE)
_SHOWS = frozenset(
    {
        "format",
        "fields",
        "columns",
        "include",
        "sort",
        "order",
        "order_by",
        "sort_by",
        "include_pii",
        "output",
        "type",
        "object",
        "dataset",
        "entity",
        "table",
        "encoding",
        "compress",
        "delimiter",
        "page",
        "offset",
        "cursor",
        "all",
        "scope",
        "limit",
        "destination",
        "path",
        "filename",
        "select",
    }
)
_GOODS = frozenset(
    "product item stock catalog catalogue inventory sku price order invoice ticket article document file "
    "event log metric asset template "
    "category report message note task job currency rate warehouse".split()
)
_MAIL = re.compile(r"[\w.+\-]+@([\w\-]+(?:\.[\w\-]+)+)")
_CARD = re.compile(r"(?<![\d\-])(?:\d[ \-]?){12,18}\d(?![\d\-])")
_SSN = re.compile(r"(?<!\d)\d{3}-\d{2}-\d{4}(?!\d)")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?: ?[A-Z0-9]{4}){3,7}(?: ?[A-Z0-9]{1,4})?\b")
_PHONE = re.compile(r"(?<![\w])\+\d[\d \-().]{7,16}\d")
_TABLE_FILE = re.compile(
    r"\.(?:csv|xlsx?|json|sql|dump|parquet|tsv|bak|zip|gz|pdf|ods|db|sqlite|tar|7z|txt|vcf|ldif|mbox|pst)\b",
    re.IGNORECASE,
)
_BULK_WORDS = frozenset(
    "all complete full entire every total whole database db dump export list base register roster directory "
    "backup payroll salaries".split()
)
_SENDS = frozenset(
    "mail email send message post put upload share publish forward webhook http request chat sms slack tweet "
    "create link push transfer "
    "submit notify fax drive storage s3 gcs blob dropbox reply".split()
)
_OPEN_TO_ALL = re.compile(
    r"(?:public(?:-read(?:-write)?)?|anyone(?:_with_link)?|everyone|world|anonymous|all_users|allusers|external|internet|open)\Z",
    re.IGNORECASE,
)
_WORDS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")


def judge(tool_words: frozenset[str], arguments: Any, company: frozenset[str]) -> list[Found]:
    """Findings of a structured call. `company` holds domains that are no strangers."""
    if not isinstance(arguments, Mapping):
        return []
    found = list(_export(tool_words, arguments))
    found.extend(_sending(tool_words, arguments, company))
    return found


def _flat(node: Any, name: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """(name, value) of every leaf; of a list, each item under the list's name."""
    if depth > 12:
        return
    if isinstance(node, Mapping):
        for key, value in node.items():
            yield from _flat(value, str(key).lower(), depth + 1)
    elif isinstance(node, list):
        for value in node:
            yield from _flat(value, name, depth + 1)
    else:
        yield name, node


def _words_of(text: str) -> list[str]:
    return [w.lower() for w in _WORDS.findall(text)]


def _singular(word: str) -> str:
    return (
        word[:-3] + "y"
        if word.endswith("ies")
        else word[:-1]
        if word.endswith("s") and not word.endswith("ss")
        else word
    )


def _of_persons(tool_words: frozenset[str], arguments: Mapping[str, Any]) -> bool:
    """Whether the call is about persons: by its object if it names one, else by its tool."""
    for key in (
        "object",
        "entity",
        "table",
        "dataset",
        "type",
        "resource",
        "collection",
        "module",
        "record_type",
        "list",
        "source",
    ):
        value = arguments.get(key)
        if isinstance(value, str) and value:
            words = {_singular(w) for w in _words_of(value)}
            if words & _GOODS and not words & PERSONS:
                return False
            if is_persons(value.replace(" ", "_")) or words & PERSONS:
                return True
    named = {_singular(w) for w in _request_object(arguments)}
    if named & _GOODS and not named & PERSONS:
        return False
    singular = {_singular(w) for w in tool_words}
    if singular & PERSONS - {"lead", "card", "contact", "base", "personal", "profile"} or singular & {
        "contact",
        "lead",
        "profile",
        "card",
    }:
        return True
    return bool(tool_words & _STORES) and not singular & _GOODS


def _limit(arguments: Mapping[str, Any]) -> int | None:
    for name, value in _flat(arguments):
        if _LIMITS.match(name) and isinstance(value, (int, float, str)) and not isinstance(value, bool):
            try:
                return int(value)
            except (ValueError, OverflowError):
                if isinstance(value, str) and _ALL.match(value):
                    return 10**9
        if isinstance(value, str) and "?" in value and value.startswith(("/", "http")):
            for key, given in parse_qsl(urlsplit(value).query):
                if _LIMITS.match(key) and given.isdigit():
                    return int(given[:12])
    return None


def _export(tool_words: frozenset[str], arguments: Mapping[str, Any]) -> Iterator[Found]:
    doing = tool_words | _request_words(arguments)
    if not doing & _TAKES:
        return
    persons = _of_persons(tool_words, arguments)
    columns = [
        str(v)
        for n, v in _flat(arguments)
        if n in ("fields", "columns", "include", "select", "properties", "attributes") and isinstance(v, str)
    ]
    personal = [c for c in columns for piece in re.split(r"[,\s]+", c) if is_personal(piece, True)]
    address = next((v for n, v in _flat(arguments) if n in ("url", "path", "endpoint") and isinstance(v, str)), "")
    if address and not persons:
        persons = any(is_persons(p) for p in urlsplit(address).path.split("/") if p)
    if not persons and not any(is_personal(c, False) for c in columns):
        return
    limit = _limit(arguments)
    narrowed = _is_narrowed(arguments)
    everything = any(
        (v is True and n in ("all", "everything", "include_all", "fetch_all", "all_records", "full"))
        or (
            isinstance(v, str)
            and _ALL.match(v)
            and n not in ("fields", "columns", "include", "format", "select", "all_fields", "sort")
        )
        for n, v in _flat(arguments)
    )
    many_ids = any(n in ("ids", "id") and isinstance(v, list) and len(v) >= MANY for n, v in arguments.items())
    exports = bool(doing & _EXPORTS)
    if limit is not None and limit >= MANY and (limit > 0):
        yield "pii.bulk_export", {"count": str(limit)}
    elif limit is not None and 0 < limit < MANY:
        return
    elif (
        many_ids
        or (everything and not narrowed)
        or (limit is not None and limit <= 0)
        or (exports and not narrowed and (persons or personal))
        or (personal and "filter" in arguments and not arguments["filter"] and not narrowed)
    ):
        yield "pii.bulk_export", {"count": "all"}


def _request_words(arguments: Mapping[str, Any]) -> frozenset[str]:
    """What an HTTP request does, where the call is one: a GET gets, and `/customers/export` exports."""
    segments = _segments(arguments)
    return frozenset([str(arguments["method"]).lower(), *segments[-1]]) if segments else frozenset()


def _request_object(arguments: Mapping[str, Any]) -> frozenset[str]:
    """What an HTTP request is about: the last part of its path that names something, and isn't what is done with it."""
    for words in reversed(_segments(arguments)):
        if words and not words <= _TAKES and not all(word.isdigit() for word in words):
            return words
    return frozenset()


def _segments(arguments: Mapping[str, Any]) -> list[frozenset[str]]:
    """The words of each part of the path of an HTTP request; none where the call is something else."""
    method, path = arguments.get("method"), arguments.get("path", arguments.get("url"))
    if not isinstance(method, str) or not isinstance(path, str):
        return []
    plain = re.split(r"[?#]", path, maxsplit=1)[0].rstrip("/")
    return [frozenset(_words_of(part)) for part in plain.split("/")]


def _is_narrowed(arguments: Mapping[str, Any]) -> bool:
    """Whether some member says which records: a filter that holds something, an id, a query that isn't a star."""
    for key, value in arguments.items():
        name = str(key).lower()
        if name in _SHOWS or _LIMITS.match(name) or name in ("url", "endpoint", "method"):
            continue
        if isinstance(value, bool) or value is None:
            continue
        if isinstance(value, (Mapping, list)):
            if any(not (isinstance(v, str) and _ALL.match(v)) and v not in (None, "") for _, v in _flat(value)):
                return True
        elif isinstance(value, str):
            if (
                value.strip()
                and not _ALL.match(value)
                and not re.fullmatch(r"\s*(?:1\s*=\s*1|true|%+|\*:\*|\.\*)\s*", value, re.IGNORECASE)
            ):
                return True
        else:
            return True
    return False


# sending


def amounts(text: str) -> int:
    """A weight for how much is personal in `text`: mail addresses, cards, numbers of persons."""
    mails = len({m.group(0).lower() for m in _MAIL.finditer(text[:65536])})
    cards = sum(_luhn(re.sub(r"\D", "", m.group(0))) for m in _CARD.finditer(text[:65536]))
    ssns = len(_SSN.findall(text[:65536]))
    ibans = len(_IBAN.findall(text[:65536]))
    phones = len(_PHONE.findall(text[:65536]))
    return cards * 2 + ssns + ibans * 2 + (mails if mails > 2 else 0) + (phones if phones > 2 else 0)


def _luhn(digits: str) -> bool:
    if not 13 <= len(digits) <= 19 or len(set(digits)) == 1:
        return False
    total = 0
    for index, digit in enumerate(reversed(digits)):
        value = int(digit) * (2 if index % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def names_persons(file: str) -> bool:
    """Whether a file's name says that persons are listed in it."""
    base = file.replace("\\", "/").rsplit("/", 1)[-1]
    if not _TABLE_FILE.search(base) and "." in base:
        return False
    stem = base.split(".", 1)[0]
    words = {_singular(w) for w in _words_of(stem)}
    if words & {
        "brochure",
        "template",
        "sample",
        "guide",
        "logo",
        "receipt",
        "invoice",
        "manual",
        "faq",
        "terms",
        "example",
        "policy",
    }:
        return False
    listed = bool(words & PERSONS) or bool(words & {"payroll", "salaries", "salary"})
    many = bool({_singular(w) for w in _BULK_WORDS} & words) or any(
        w != _singular(w) for w in _words_of(stem) if _singular(w) in PERSONS
    )
    table = (
        re.search(r"\.(?:csv|xlsx?|sql|dump|parquet|tsv|bak|zip|gz|db|vcf|ldif|json)\b", base, re.IGNORECASE)
        is not None
    )
    return listed and (many or table)


def _sending(tool_words: frozenset[str], arguments: Mapping[str, Any], company: frozenset[str]) -> Iterator[Found]:
    if not tool_words & _SENDS:
        return
    leaves = list(_flat(arguments))
    strangers = _strangers(leaves, company)
    public = any(
        isinstance(v, str) and _OPEN_TO_ALL.match(v.lstrip("#")) and n not in ("subject", "text", "body")
        for n, v in leaves
    ) or any(n in ("public", "is_public", "anyone", "anonymous") and v is True for n, v in leaves)
    if not strangers and not public:
        return
    if (
        re.search(
            r"forward|redirect",
            " ".join([*tool_words, *(str(v) for n, v in leaves if n in ("action", "rule", "type"))]),
        )
        and any(isinstance(v, str) and _ALL.match(v) for _, v in leaves)
        and strangers
    ):
        yield "pii.exfiltration", {}
        return
    files = [
        v
        for n, v in leaves
        if isinstance(v, str)
        and n not in ("to", "cc", "bcc", "url", "subject", "body", "text", "channel")
        and len(v) < 1000
    ]
    if any(names_persons(f) for f in files):
        yield "pii.exfiltration", {}
        return
    texts = [
        str(v) for n, v in leaves if n not in ("to", "cc", "bcc", "recipient", "recipients", "url", "channel", "from")
    ]
    keys = {n for n, _ in leaves}
    labelled = sum(is_personal(k, False) for k in keys)
    people = max((len(v) for v in _lists(arguments)), default=0)
    weight = amounts("\n".join(texts))
    headed = any(
        sum(is_personal(h.strip(), True) for h in t.split("\n", 1)[0].split(",")) >= 2 and t.count("\n") >= 2
        for t in texts
    )
    if weight >= 3 or headed or (weight >= 2 and (labelled or people >= 2)) or (labelled >= 1 and people >= 2):
        yield "pii.exfiltration", {}


def _lists(node: Any, depth: int = 0) -> Iterator[list[Any]]:
    if depth > 12:
        return
    if isinstance(node, Mapping):
        for value in node.values():
            yield from _lists(value, depth + 1)
    elif isinstance(node, list):
        if node and all(isinstance(v, Mapping) for v in node):
            yield node
        for value in node:
            yield from _lists(value, depth + 1)


def _strangers(leaves: list[tuple[str, Any]], company: frozenset[str]) -> bool:
    """Whether a recipient or host is none of the company's. Without any known company domain everybody is a stranger
    but those under `example.com`-like harmless names that the caller passes in `company`."""
    for name, value in leaves:
        if not isinstance(value, str):
            continue
        hosts = []
        if name in (
            "to",
            "cc",
            "bcc",
            "recipient",
            "recipients",
            "email",
            "forward_to",
            "address",
            "target",
            "user",
            "share_with",
            "with",
            "destination",
        ):
            hosts = [m.group(1) for m in _MAIL.finditer(value)]
        if "://" in value and name not in ("body", "text", "content", "note"):
            try:
                hosts.append(urlsplit(value).hostname or "")
            except ValueError:
                return True
        for host in hosts:
            host = host.lower().rstrip(".")
            if not any(host == c or host.endswith("." + c) for c in company):
                return True
    return False
