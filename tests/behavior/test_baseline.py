from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aegis.behavior.baseline import MAX_BYTES, Baseline, Event, dump, learn, load, tool_key

NOON = 1_780_315_200_000_000
SECOND = 1_000_000

EVENTS = st.lists(
    st.builds(
        Event,
        seq=st.just(0),
        ts_us=st.integers(NOON, NOON + 3_600 * SECOND),
        agent=st.just("a"),
        tool=st.one_of(st.sampled_from(["t1", "t2", "t3"]), st.text(max_size=300)),
        resource=st.one_of(st.just(""), st.from_regex(r"[0-9a-f]{8}", fullmatch=True)),
        micro_usd=st.integers(0, 2**53),
    ),
    max_size=60,
)


def taught(*calls: tuple[str, float], start: Baseline | None = None, at: int = NOON) -> Baseline:
    """(tool, seconds since the call before)."""
    learnt = start or Baseline()
    for tool, gap_s in calls:
        at += round(gap_s * SECOND)
        learnt = learn(learnt, Event(0, at, "a", tool))
    return learnt


@given(EVENTS)
def test_what_was_dumped_loads_the_same_and_stays_small(events: list[Event]) -> None:
    learnt = Baseline()
    for event in events:
        learnt = learn(learnt, event)
    assert load(dump(learnt)) == learnt
    assert len(dump(learnt)) <= MAX_BYTES


def test_the_largest_baseline_fits() -> None:
    learnt = Baseline()
    for n in range(6_000):
        ts = NOON + n * 13_777_777
        learnt = learn(learnt, Event(n, ts, "a", f"t{n * n % 997}", f"{n * 2_654_435_761 % 2**32:08x}", 2**53))
    assert len(dump(learnt)) <= MAX_BYTES


@given(EVENTS)
@settings(max_examples=30)
def test_learning_is_a_function_of_the_events_alone(events: list[Event]) -> None:
    once, twice = Baseline(), Baseline()
    for event in events:
        once = learn(once, event)
    for event in events:
        twice = learn(load(dump(twice)) or Baseline(), event)
    assert once == twice


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"{}", id="without a version"),
        pytest.param(b'{"v":99}', id="of another version"),
        pytest.param(dump(Baseline()).replace(b'"sketch":"', b'"sketch":"AAAA'), id="with a sketch of another size"),
        pytest.param(b"[1]", id="not an object"),
    ],
)
def test_an_agent_whose_baseline_cant_be_read_counts_as_new(body: bytes) -> None:
    assert load(body) is None


def test_the_pace_is_the_usual_gap_and_pauses_are_none() -> None:
    learnt = taught(*[("t", 2.0)] * 10, ("t", 3_600.0), *[("t", 2.0)] * 10)
    assert learnt.usual_gap_s == pytest.approx(2.0)


def test_a_burst_of_a_hundred_calls_teaches_the_pace_little() -> None:
    calm = taught(*[("t", 20.0)] * 30)
    hasty = taught(*[("t", 0.01)] * 100, start=calm, at=calm.last_us)
    assert hasty.usual_gap_s is not None
    assert hasty.usual_gap_s > 20.0 / math.e


def test_a_run_is_learnt_when_it_is_over_and_then_only_in_part() -> None:
    calm = taught(*[("t1", 1.0), ("t2", 1.0)] * 20)
    running = taught(*[("t3", 0.1)] * 80, start=calm, at=calm.last_us)
    assert (calm.usual_run, running.usual_run) == (1.0, 1.0)
    assert taught(("t1", 1.0), start=running, at=running.last_us).usual_run == 2.5


def test_the_runs_of_a_new_agent_are_taken_as_they_come() -> None:
    assert taught(*[("t1", 1.0)] * 9, ("t2", 1.0)).usual_run == 9


def test_minutes_count_when_they_are_over() -> None:
    learnt = taught(*[("t", 1.0)] * 10)
    assert learnt.rate.count == 0
    over = taught(("t", 120.0), start=learnt, at=learnt.last_us)
    assert (over.rate.count, over.rate.mean, over.rate.usual) == (1, 10, 10)


def test_cost_and_new_resources_are_counted_by_the_minute() -> None:
    learnt = Baseline()
    for n in range(4):
        learnt = learn(learnt, Event(n, NOON + n * SECOND, "a", "t", f"{n % 3:08x}", 50))
    learnt = learn(learnt, Event(9, NOON + 120 * SECOND, "a", "t"))
    assert (learnt.cost.mean, learnt.breadth.mean) == (200, 3)
    assert learnt.knows_resource("00000001")
    assert not learnt.knows_resource("0000000f")


def test_resources_are_forgotten_when_there_are_very_many_and_never_all_are_known() -> None:
    learnt = Baseline()
    for n in range(3_000):
        learnt = learn(learnt, Event(n, NOON + n, "a", "t", f"{n * 7_919:08x}"))
    assert learnt.knows_resource(f"{2_999 * 7_919:08x}")
    strangers = [f"{n * 104_729 + 5:08x}" for n in range(500)]
    assert sum(map(learnt.knows_resource, strangers)) < 200


def test_pairs_and_tools_are_bounded_and_keep_the_frequent_ones() -> None:
    learnt = taught(*[("often", 1.0), ("more", 1.0)] * 50, *[(f"once{n}", 1.0) for n in range(200)])
    assert len(learnt.tools) <= 48
    assert learnt.tools[tool_key("often")] == 50
    assert learnt.pairs[tool_key("often") + tool_key("more")] == 50


def test_a_time_that_goes_back_counts_as_now() -> None:
    learnt = taught(("t", 10.0), ("t", -5.0))
    assert learnt.last_us == NOON + 10 * SECOND
    assert learnt.calls == 2
