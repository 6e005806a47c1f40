"""What a call amounts to, for rules: recipients, hosts, amounts, persons. Pure, bounded, and without a word of it.

The parsers' own features (`sql`, `shell`, ...) stand beside these in `input.analysis`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

from aegis.kernel.jsontree import JsonTree
from aegis.policy.kinds import Argument

MAX_LISTED = 64
MAX_NODES = 50_000
MAX_AMOUNT_CHARACTERS = 64
_ADDRESS = re.compile(r"[^\s@<>,;:\"()\[\]]{1,128}@([A-Za-z0-9\-]{1,63}(?:\.[A-Za-z0-9\-]{1,63})+)")
_SEPARATOR = re.compile(r"[,;\n]")
_AMOUNT = re.compile(r"\d[\d.,'_ \u00a0]*")
_COMMAS = re.compile(r"(\d+|\d{1,3}(?:,\d{3})+)(?:\.(\d+))?")
_DOTS = re.compile(r"(\d+|\d{1,3}(?:\.\d{3})+)(?:,(\d+))?")
_CURRENCY = re.compile(r"(?<![A-Za-z])(USD|EUR|GBP|CHF|JPY|KRW|CAD|AUD|CNY|INR|SEK|NOK|DKK|PLN|BRL|MXN)(?![A-Za-z])")
_SIGNS = {"$": "USD", "€": "EUR", "£": "GBP", "¥": "JPY", "₩": "KRW", "₹": "INR"}
_PERSONAL = re.compile(
    r"(?:^|_)(?:e?mail|phone|mobile|ssn|social_security\w*|iban|dob|date_of_birth|birth_?date|passport\w*|tax_?id|"
    r"national_?id|home_?address|credit_?card\w*|card_?number|salary|diagnosis)(?:_|$)",
    re.IGNORECASE,
)


def features(arguments: Iterable[Argument], tool_arguments: JsonTree) -> dict[str, Any]:
    """`recipients`, `urls`, `money` and `pii`; a member is there only when there is something of it."""
    found: dict[str, Any] = {}
    by_kind: dict[str, list[Argument]] = {}
    for argument in arguments:
        by_kind.setdefault(argument.kind, []).append(argument)
    if "recipient" in by_kind:
        found["recipients"] = _recipients(by_kind["recipient"])
    if "url" in by_kind:
        found["urls"] = [{"path": a.path, "host": host_of(a.text)} for a in by_kind["url"][:MAX_LISTED]]
    if "money" in by_kind:
        found["money"] = [
            {"path": a.path, "amount": amount, "currency": currency_of(a, tool_arguments)}
            for a in by_kind["money"][:MAX_LISTED]
            if (amount := amount_of(a)) is not None
        ]
    records = personal_records(tool_arguments)
    if records:
        found["pii"] = {"path": "/arguments", "records": records}
    return found


def host_of(text: str) -> str | None:
    """The host in lower case, without port; None where none can be read."""
    address = text.strip()
    try:
        host = urlsplit(address if "://" in address else f"//{address}").hostname
    except ValueError:
        return None
    return host.rstrip(".").lower() if host else None


def amount_of(argument: Argument) -> float | None:
    """The largest amount that the text can mean, in the currency's main unit. None without digits."""
    readings = [
        reading for word in _AMOUNT.findall(argument.text[:MAX_AMOUNT_CHARACTERS]) for reading in _readings(word)
    ]
    if not readings:
        return None
    amount = max(readings)
    return amount / 100 if re.search(r"(?:cents|pence|minor)$", argument.path, re.IGNORECASE) else amount


def currency_of(argument: Argument, tool_arguments: JsonTree) -> str | None:
    """From the amount's own text or name, else from a member `currency` beside it."""
    text = argument.text[:MAX_AMOUNT_CHARACTERS]
    named = _CURRENCY.search(text.upper()) or _CURRENCY.search(
        argument.path.rpartition("/")[2].upper().replace("_", " ")
    )
    if named:
        return named[1]
    for sign, currency in _SIGNS.items():
        if sign in text:
            return currency
    beside = _parent(argument.path, tool_arguments)
    given = beside.get("currency") if isinstance(beside, dict) else None
    return given.upper() if isinstance(given, str) and re.fullmatch(r"[A-Za-z]{3}", given) else None


def personal_records(tool_arguments: JsonTree) -> int:
    """How many objects with a personal member the arguments hold, in one list or in several."""
    return sum(1 for node in _objects(tool_arguments) if any(map(_PERSONAL.search, node)))


def _recipients(arguments: list[Argument]) -> dict[str, Any]:
    domains: set[str] = set()
    count = 0
    for argument in arguments:
        parts = [part for part in _SEPARATOR.split(argument.text) if part.strip()]
        count += len(parts)
        if len(domains) < MAX_LISTED:
            domains.update(match[1].lower() for match in _ADDRESS.finditer(argument.text[:4096]))
    return {"path": arguments[0].path, "count": count, "domains": sorted(domains)[:MAX_LISTED]}


def _readings(word: str) -> Iterator[float]:
    """`1.234,56` as people on either side of the ocean read it; as one number where neither could."""
    plain = re.sub(r"['_ \u00a0]", "", word).rstrip(".,")
    grouped = [match for match in (_COMMAS.fullmatch(plain), _DOTS.fullmatch(plain)) if match]
    for match in grouped:
        yield float(f"{re.sub('[.,]', '', match[1])}.{match[2] or 0}")
    if not grouped:
        yield float(re.sub("[.,]", "", plain))


def _objects(tree: JsonTree) -> Iterator[dict[str, JsonTree]]:
    stack, seen = [tree], 0
    while stack and seen < MAX_NODES:
        node = stack.pop()
        seen += 1
        if isinstance(node, dict):
            yield node
            stack.extend(value for value in node.values() if isinstance(value, dict | list))
        elif isinstance(node, list):
            stack.extend(value for value in node if isinstance(value, dict | list))


def _parent(path: str, tool_arguments: JsonTree) -> JsonTree:
    """What holds the member at the JSON pointer `path`, which begins with `/arguments`."""
    place = tool_arguments
    for name in path.split("/")[2:-1]:
        if isinstance(place, dict):
            place = place.get(name.replace("~1", "/").replace("~0", "~"))
        elif isinstance(place, list) and name.isdigit() and int(name) < len(place):
            place = place[int(name)]
        else:
            return None
    return place
