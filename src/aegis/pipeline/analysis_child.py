"""One child for all reading of hostile text: parsers of code and the scanners. The first byte says which."""

from __future__ import annotations

from collections.abc import Callable

from aegis.inspection import child as inspection
from aegis.pipeline.analysts import INSPECT, PARSE
from aegis.policy.hard_deny import child as parsers


def serve(setup: bytes) -> Callable[[bytes], bytes]:
    """The child's target."""
    answers = {PARSE: parsers.serve(setup), INSPECT: inspection.serve(setup)}

    def answer(request: bytes) -> bytes:
        return answers[request[:1]](request[1:])

    return answer
