"""The analysers' side of the pipe: JSON request in, JSON answer out. A spawned child imports it, never a gateway."""

from __future__ import annotations

from collections.abc import Callable

import orjson

from aegis.policy.hard_deny.analyse import analyse


def serve(setup: bytes) -> Callable[[bytes], bytes]:
    """The function that the child answers with. `setup` is empty or a JSON object of members that hold for every
    request (`company`, `protected`), which a request's own members replace."""
    standing = orjson.loads(setup) if setup else {}

    def answer(payload: bytes) -> bytes:
        request = orjson.loads(payload)
        return orjson.dumps(analyse({**standing, **request}))

    analyse(
        {
            "arguments": [
                {"path": "/arguments/sql", "kind": "sql", "text": "SELECT 1"},
                {"path": "/arguments/c", "kind": "shell", "text": "ls"},
            ]
        }
    )
    return answer
