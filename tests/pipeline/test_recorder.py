"""What a row binds of a judgement stays small, whatever the caller named its arguments."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.kernel.decision import StageResult
from aegis.kernel.jsontree import canonical
from aegis.kernel.verdict import Verdict
from aegis.pipeline.recorder import STATE_BYTES, state_of

RESERVATION = {"reservation": {"id": "r", "scopes": ["agent:a"] * 8}}


def results(**features: Any) -> list[StageResult]:
    return [StageResult(name, Verdict.ALLOW, (), 0, 0, given) for name, given in features.items()]


def test_a_small_state_is_kept_whole() -> None:
    given = {"rate_limit": RESERVATION, "policy": {"kinds": [["/a", "sql"]]}, "behavior": {}}
    assert state_of(results(**given)) == {"rate_limit": RESERVATION, "policy": {"kinds": [["/a", "sql"]]}}


@pytest.mark.parametrize("large", [("policy",), ("policy", "behavior"), ("inference", "policy", "behavior")])
def test_what_is_large_stands_as_its_digest_and_the_reservation_stays(large: tuple[str, ...]) -> None:
    given = {name: {"kinds": [["/" + name * 400, "sql"]] * 16} for name in large}
    state = state_of(results(rate_limit=RESERVATION, **given))
    assert len(canonical(state)) <= STATE_BYTES
    assert state["rate_limit"] == RESERVATION
    for name in large:
        assert set(state[name]) == {"sha256", "bytes"} and state[name]["bytes"] == len(canonical(given[name]))
    assert state == state_of(results(rate_limit=RESERVATION, **given))
    changed = {name: {"kinds": [["/other", "sql"], *value["kinds"]]} for name, value in given.items()}
    assert state_of(results(rate_limit=RESERVATION, **changed)) != state
