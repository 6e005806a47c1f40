"""The body of PUT /v1/contracts/{agent_id}, checked whole: every mistake is told with its place, none is ignored."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from aegis.autonomy.windows import DAYS, zone_names
from aegis.kernel.clock import MicroSeconds, from_iso
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.problems import FieldError, Problem, unknown_members
from aegis.kernel.tenancy import ApprovalRule, Contract, TimeWindow

MEMBERS = ("mode", "tools", "resources", "time_windows", "approvals", "intent_by", "expires_at")
UNSUPPORTED = ("delegation", "cross_tenant", "ceilings")
MODES = ("enforce", "shadow")
MAX_GLOBS = 500
MAX_GLOB_CHARACTERS = 256
MAX_WINDOWS = 64
MAX_RULES = 200
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])|24:00")

T = TypeVar("T")


def parse(body: JsonTree, *, agent: str, version: int = 0) -> Contract:
    """The contract that `body` sets up for `agent`.

    Raises Problem 422: `contract.unsupported` where a member of API v1 is named that this version can't enforce yet
    (accepting it would promise what nobody keeps), else `contract.invalid`; `errors` hold every place.
    """
    _refuse_unsupported(body)
    errors = _Errors()
    contract = _contract(body, agent, version, errors)
    if errors.found:
        raise Problem(422, "contract.invalid", "the contract has mistakes", tuple(errors.found))
    return contract


class _Errors:
    """Gathers mistakes; what a mistaken member would have been is its default, and is thrown away."""

    def __init__(self) -> None:
        self.found: list[FieldError] = []

    def add(self, path: str, expected: str, got: object) -> None:
        self.found.append(FieldError(path, f"expected {expected}, got {_named(got)}"))

    def object(self, value: JsonTree, path: str, members: Iterable[str]) -> dict[str, Any]:
        """`value` where it is an object with known members only, else an empty one."""
        if not isinstance(value, dict):
            self.add(path, "an object", value)
            return {}
        self.found += unknown_members(value, tuple(members), path)
        return value

    def each(self, value: JsonTree, path: str, most: int, one: Callable[[JsonTree, str], T | None]) -> tuple[T, ...]:
        """`one` of every item of the list `value`."""
        if not isinstance(value, list) or len(value) > most:
            self.add(path, f"a list of at most {most}", value)
            return ()
        made = [one(item, f"{path}/{n}") for n, item in enumerate(value)]
        return tuple(item for item in made if item is not None)

    def word(self, value: JsonTree, path: str, words: tuple[str, ...]) -> str | None:
        if isinstance(value, str) and value in words:
            return value
        self.add(path, "one of " + ", ".join(words), value)
        return None

    def glob(self, value: JsonTree, path: str) -> str | None:
        if isinstance(value, str) and 0 < len(value) <= MAX_GLOB_CHARACTERS:
            return value
        self.add(path, f"a glob of 1 to {MAX_GLOB_CHARACTERS} characters", value)
        return None


def _refuse_unsupported(body: JsonTree) -> None:
    if not isinstance(body, dict):
        return
    named = [f"/{name}" for name in UNSUPPORTED if name in body]
    rules = body.get("approvals")
    for n, rule in enumerate(rules if isinstance(rules, list) else ()):
        if isinstance(rule, dict) and "when" in rule:
            named.append(f"/approvals/{n}/when")
    if named:
        errors = tuple(FieldError(path, "not supported by this version") for path in named)
        raise Problem(422, "contract.unsupported", f"this version can't enforce {', '.join(named)}", errors)


def _contract(body: JsonTree, agent: str, version: int, errors: _Errors) -> Contract:
    given = errors.object(body, "", (*MEMBERS, *UNSUPPORTED))
    tools_allow, tools_deny = _lists(given, "tools", errors)
    resources_allow, resources_deny = _lists(given, "resources", errors)
    windows = given.get("time_windows")
    return Contract(
        agent=agent,
        version=version,
        mode=errors.word(given.get("mode"), "/mode", MODES) or "enforce",
        tools_allow=tools_allow,
        tools_deny=tools_deny,
        resources_allow=resources_allow,
        resources_deny=resources_deny,
        time_windows=None if windows is None else _windows(windows, errors),
        approvals=_approvals(given.get("approvals"), errors),
        intent_by=None
        if given.get("intent_by") is None
        else errors.word(given["intent_by"], "/intent_by", ("application",)),
        expires_at=_moment(given.get("expires_at"), errors),
    )


def _lists(given: dict[str, Any], member: str, errors: _Errors) -> tuple[tuple[str, ...] | None, tuple[str, ...]]:
    if given.get(member) is None:
        return None, ()
    lists = errors.object(given[member], f"/{member}", ("allow", "deny"))
    allow, deny = lists.get("allow"), lists.get("deny")
    return (
        None if allow is None else errors.each(allow, f"/{member}/allow", MAX_GLOBS, errors.glob),
        () if deny is None else errors.each(deny, f"/{member}/deny", MAX_GLOBS, errors.glob),
    )


def _approvals(rules: JsonTree, errors: _Errors) -> tuple[ApprovalRule, ...]:
    def one(item: JsonTree, path: str) -> ApprovalRule | None:
        tool = errors.glob(errors.object(item, path, ("tool",)).get("tool"), f"{path}/tool")
        return None if tool is None else ApprovalRule(tool)

    return () if rules is None else errors.each(rules, "/approvals", MAX_RULES, one)


def _windows(windows: JsonTree, errors: _Errors) -> tuple[TimeWindow, ...]:
    def one(item: JsonTree, path: str) -> TimeWindow | None:
        given = errors.object(item, path, ("days", "from", "to", "tz"))
        days = errors.each(given.get("days"), f"{path}/days", 7, lambda day, at: errors.word(day, at, DAYS))
        if given.get("days") == []:
            errors.add(f"{path}/days", "at least one day", [])
        start, end = _minute(given.get("from"), f"{path}/from", errors), _minute(given.get("to"), f"{path}/to", errors)
        if start == 1440 or (start == end and start is not None):
            errors.add(f"{path}/from", "a time of day other than the end", given.get("from"))
        tz = given.get("tz")
        if not isinstance(tz, str) or tz not in zone_names():
            errors.add(f"{path}/tz", "an IANA zone such as Europe/Berlin", tz)
            return None
        return None if start is None or end is None else TimeWindow(days, start, end, tz)

    return errors.each(windows, "/time_windows", MAX_WINDOWS, one)


def _minute(text: JsonTree, path: str, errors: _Errors) -> int | None:
    if not isinstance(text, str) or not _CLOCK.fullmatch(text):
        errors.add(path, "a time of day such as 08:00", text)
        return None
    return int(text[:2]) * 60 + int(text[3:])


def _moment(text: JsonTree, errors: _Errors) -> MicroSeconds | None:
    if text is None:
        return None
    try:
        return from_iso(text if isinstance(text, str) else "")
    except (ValueError, OverflowError):
        errors.add("/expires_at", "a time with an offset such as 2026-11-23T08:00:00Z", text)
        return None


def _named(value: object) -> str:
    """What a value is, in our words: a short text as it is, everything else by its kind."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "a boolean"
        case str():
            return repr(value) if len(value) <= 64 else f"a text of {len(value)} characters"
        case int() | float():
            return "a number"
        case list():
            return f"a list of {len(value)}"
        case _:
            return "an object"
