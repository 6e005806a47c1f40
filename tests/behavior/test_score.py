from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.behavior.baseline import Baseline, Event, learn
from aegis.behavior.score import NORMAL, Features, confidence, observe, score
from aegis.kernel.tenancy import Thresholds

NOON = 1_780_315_200_000_000
SECOND = 1_000_000
AT = Thresholds()


@dataclass(frozen=True)
class Now:
    calls_1s: int = 1
    calls_10s: int = 1
    calls_60s: int = 1
    micro_usd_60s: int = 0
    run: int = 1
    back_and_forth: int = 0
    previous: tuple[str, ...] = ("read",)
    resources: tuple[str, ...] = ()


def worked(minutes: int = 30, *, gap_s: int = 10, micro_usd: int = 1_000) -> Baseline:
    """An agent that reads, looks and writes in turn, one new resource in six calls."""
    learnt = Baseline()
    for n in range(minutes * 60 // gap_s):
        tool = ("read", "look", "write")[n % 3]
        resource = f"{n // 6:08x}"
        learnt = learn(learnt, Event(n, NOON + n * gap_s * SECOND, "a", tool, resource, micro_usd))
    return learnt


KNOWN = worked()


def judged(
    now: Now, *, baseline: Baseline | None = KNOWN, tool: str = "look", peer: str | None = None
) -> dict[str, Any]:
    return {f.code: f for f in score(observe(now, baseline, tool, peer))}


@pytest.mark.parametrize(
    ("now", "tool", "code", "at_least"),
    [
        pytest.param(Now(40, 120, 130), "look", "behavior.velocity", AT.throttle, id="120 calls in ten seconds"),
        pytest.param(Now(70, 70, 70), "look", "behavior.velocity", AT.monitor, id="70 calls within a second"),
        pytest.param(Now(5, 50, 125), "look", "behavior.velocity", AT.throttle, id="two a second for a minute"),
        pytest.param(Now(6, 45, 45, run=45), "look", "behavior.repetition", AT.throttle, id="45 in a row, in haste"),
        pytest.param(Now(6, 32, 32, run=32), "look", "behavior.repetition", AT.monitor, id="32 in a row, in haste"),
        pytest.param(Now(micro_usd_60s=5_000_000), "look", "behavior.cost", AT.throttle, id="five dollars a minute"),
        pytest.param(
            Now(resources=tuple(f"ffff{n:04x}" for n in range(48))), "look", "behavior.breadth", AT.monitor,
            id="48 resources never seen",
        ),
    ],
)  # fmt: skip
def test_what_is_unusual_for_an_agent_that_is_known(now: Now, tool: str, code: str, at_least: float) -> None:
    assert judged(now, tool=tool)[code].score >= at_least


@pytest.mark.parametrize(
    "now",
    [
        pytest.param(Now(), id="one call"),
        pytest.param(Now(50, 60, 60), id="a session of sixty calls as fast as they are answered"),
        pytest.param(Now(1, 2, 12, run=200), id="two hundred in a row at the usual pace"),
        pytest.param(Now(6, 22, 22, run=22), id="a list of twenty-two in haste"),
        pytest.param(Now(micro_usd_60s=900_000), id="less than a dollar"),
        pytest.param(Now(resources=tuple(f"{n:08x}" for n in range(30))), id="thirty resources that it knows"),
    ],
)
def test_ordinary_work_is_not_unusual(now: Now) -> None:
    assert judged(now) == {}


WILD = Now(500, 5_000, 30_000, 10**12, 30_000, 0, ("read",), tuple(f"{n:08x}" for n in range(96)))


@pytest.mark.parametrize("baseline", [pytest.param(None, id="none"), pytest.param(Baseline(), id="an empty one")])
def test_a_new_agent_is_never_refused_for_being_new(baseline: Baseline | None) -> None:
    assert judged(WILD, baseline=baseline) == {}


def test_scores_grow_with_what_is_known() -> None:
    found = [judged(WILD, baseline=replace(KNOWN, calls=n))["behavior.velocity"].score for n in (1, 5, 20, 200)]
    assert found == sorted(found)
    assert found[0] < AT.monitor
    assert found[-1] >= AT.throttle
    assert (confidence(0), round(confidence(8), 2)) == (0.0, 0.63)


def test_an_agent_that_is_always_fast_may_be_fast() -> None:
    fast = worked(minutes=2, gap_s=1)
    fast = replace(fast, log_gap=-4.6)  # a call each ten milliseconds
    assert "behavior.velocity" not in judged(Now(100, 1_000, 6_000), baseline=fast)
    assert "behavior.repetition" not in judged(Now(100, 1_000, 6_000, run=100), baseline=fast)


def test_a_pair_that_never_was_is_named_and_does_not_refuse_alone() -> None:
    found = judged(Now(previous=("write",)), tool="delete")["behavior.sequence"]
    assert found.message == f"delete never followed write in {KNOWN.tools and 59} calls"
    assert 0 < found.score < AT.monitor
    known_tool = judged(Now(previous=("write",)), tool="write")["behavior.sequence"]
    assert known_tool.score < found.score
    assert judged(Now(previous=("write",)), tool="read") == {}


def test_circles_of_hand_overs_need_no_baseline() -> None:
    once = judged(Now(back_and_forth=3), baseline=None, peer="ag_b")
    circle = judged(Now(back_and_forth=11), baseline=None, peer="ag_b")["behavior.delegation_loop"]
    assert once == {}
    assert (circle.message, circle.score >= AT.throttle) == ("11 hand-overs back and forth with ag_b", True)


def test_findings_state_their_numbers_and_the_most_unusual_comes_first() -> None:
    found = score(observe(Now(40, 120, 130, run=40, micro_usd_60s=1_100_000), KNOWN, "look"))
    assert [f.code for f in found] == ["behavior.velocity", "behavior.repetition", "behavior.cost"]
    assert found[0].message == "720 calls a minute, against 6.0 as usual"
    assert found[1].message == "look 40 times in a row, against 1 as usual"
    assert found[2].message == "1.10 USD, against 0.006 as usual"
    assert found[0].evidence == {"confidence": 1.0, "known_calls": 180}


@given(
    st.builds(
        Features,
        tool=st.text(max_size=5), previous=st.text(max_size=5), peer=st.text(max_size=5),
        **{name: st.integers(0, 2**53) for name in Features.__dataclass_fields__
           if name not in ("tool", "previous", "peer")},
    )
)  # fmt: skip
def test_the_recorded_numbers_give_the_same_findings_and_scores_stay_in_bounds(features: Features) -> None:
    again = Features.of(features.fields())
    assert score(again) == score(features)
    assert all(0 <= f.score <= 1 and f.force is None for f in score(features))


def test_no_score_alone_reaches_further_than_throttle() -> None:
    assert all(f.score < AT.escalate for f in judged(WILD, tool="never").values())
    assert NORMAL.times == 4.0
