"""Checks a request object's members: unknown ones are named with the nearest known, wrong types with the right."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from aegis.kernel.jsontree import JsonTree
from aegis.kernel.money import micro_usd
from aegis.kernel.problems import FieldError, Problem, escaped, unknown_members

"""Looking for the nearest known name costs time, and nobody reads thousands of errors."""
_WORDS = {str: "a string", bool: "true or false", int: "a whole number", dict: "an object", list: "a list"}


class Members:
    """Reads one object and gathers every error, so that the caller sees them all at once.

    `path` is the object's JSON pointer. Call `finish` last: it raises Problem 422 with everything that was wrong.
    """

    def __init__(self, tree: Mapping[str, JsonTree], known: Collection[str], path: str = "") -> None:
        self.tree, self.path = tree, path
        self.errors: list[FieldError] = unknown_members(tree, known, path)

    def wrong(self, name: str, message: str) -> None:
        self.errors.append(FieldError(f"{self.path}/{escaped(name)}", message))

    def text(self, name: str, *, required: bool = False, limit: int = 4096, least: int = 0) -> str | None:
        value: str | None = self._typed(name, str, required)
        if value is not None and not least <= len(value) <= limit:
            self.wrong(name, f"expected {least} to {limit} characters, got {len(value)}")
            return None
        return value

    def flag(self, name: str) -> bool | None:
        value: bool | None = self._typed(name, bool, False)
        return value

    def whole(self, name: str, *, least: int = 0, most: int = 2**53 - 1, required: bool = False) -> int | None:
        value: int | None = self._typed(name, int, required)
        if value is not None and not least <= value <= most:
            self.wrong(name, f"expected {least} to {most}, got {value}")
            return None
        return value

    def number(self, name: str, *, least: float, most: float) -> float | None:
        value = self.tree.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            self.wrong(name, f"expected a number from {least} to {most}")
            return None
        return float(value)

    def choice(self, name: str, words: Collection[str], *, required: bool = False) -> str | None:
        value: str | None = self._typed(name, str, required)
        if value is not None and value not in words:
            self.wrong(name, f"expected one of {', '.join(words)}")
            return None
        return value

    def object(self, name: str, *, required: bool = False) -> dict[str, JsonTree] | None:
        value: dict[str, JsonTree] | None = self._typed(name, dict, required)
        return value

    def texts(self, name: str, *, limit: int = 1000) -> tuple[str, ...] | None:
        value = self._typed(name, list, False)
        if value is None:
            return None
        if len(value) > limit or not all(isinstance(item, str) and len(item) <= 4096 for item in value):
            self.wrong(name, f"expected a list of at most {limit} strings")
            return None
        return tuple(value)

    def money(self, name: str) -> int | None:
        """Micro-dollars of a decimal string."""
        value = self._typed(name, str, False)
        if value is None:
            return None
        try:
            return micro_usd(value)
        except ValueError as error:
            self.wrong(name, str(error))
            return None

    def unsupported(self, name: str, meaning: str) -> None:
        given = self.tree.get(name)
        if given is not None and given is not False and given not in ([], {}):  # 0 is asked for, too
            self.wrong(name, f"not supported yet: {meaning}")

    def finish(self) -> None:
        if self.errors:
            first = self.errors[0]
            raise Problem(422, "request.invalid", f"{first.path}: {first.message}", tuple(self.errors))

    def _typed(self, name: str, kind: type, required: bool) -> JsonTree:
        value = self.tree.get(name)
        if value is None:
            if required:
                self.wrong(name, f"expected {_WORDS[kind]}, got nothing")
            return None
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            self.wrong(name, f"expected {_WORDS[kind]}")
            return None
        return value
