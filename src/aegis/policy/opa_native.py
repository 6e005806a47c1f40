"""OPA's C library, as bytes in and bytes out. Load it in a spawned process only: it hangs after a fork."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from decimal import Decimal
from functools import cache
from typing import Any

from aegis.kernel.jsontree import dumps


class OpaRefused(Exception):
    """OPA didn't parse, compile or evaluate. `code` is the library's, such as `prepare_error` or `eval_error`."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


@cache
def _library() -> Any:
    from opa_bindings import _native

    return _native.load()


class Engine:
    """One set of modules and data, compiled at its first evaluation. Belongs to one thread."""

    def __init__(self, modules: Mapping[str, str], document: Mapping[str, Any]) -> None:
        """Raises OpaRefused for a module that doesn't parse; what doesn't compile shows at the first `ask`."""
        self._library = _library()
        self._handle = self._library.OpaNew()
        try:
            for path, source in modules.items():
                self._told(self._library.OpaAddPolicy, path.encode(), source.encode())
            if document:
                self._told(self._library.OpaAddData, b"", dumps(document))
        except OpaRefused:
            self.close()
            raise

    def ask(self, document: bytes, given: bytes) -> bytes:
        """The library's envelope for `data.<document>` with the JSON `given` as input, not looked into."""
        pointer = self._library.OpaEvalDocument(self._handle, document, given, 0, 0)
        try:
            return ctypes.string_at(pointer)
        finally:
            self._library.OpaFreeString(pointer)

    def value(self, document: str, given: bytes) -> Any:
        """The value of `data.<document>`; None where it is undefined. Numbers with a fraction come as Decimal."""
        envelope = self._opened(self.ask(document.encode(), given))
        found = envelope.get("result") or [{}]
        return found[0].get("expressions", [{"value": None}])[0]["value"]

    def close(self) -> None:
        self._library.OpaDestroy(self._handle)

    def _told(self, function: Any, *arguments: bytes) -> None:
        pointer = function(self._handle, *arguments)
        try:
            answer = ctypes.string_at(pointer)
        finally:
            self._library.OpaFreeString(pointer)
        self._opened(answer)

    @staticmethod
    def _opened(answer: bytes) -> dict[str, Any]:
        envelope: dict[str, Any] = json.loads(answer, parse_float=Decimal)
        if error := envelope.get("error"):
            raise OpaRefused(str(error.get("code")), str(error.get("message")))
        return envelope
