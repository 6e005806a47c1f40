"""A remembered answer equals a fresh one: over random inputs, random rules, and rules that look back in every form."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from aegis.kernel.jsontree import ExactNumber, dumps
from aegis.policy.bundle import build
from aegis.policy.engine import BundleRejected, Loaded
from aegis.policy.evaluate import BundleMissing, Policy, projected
from aegis.policy.memo import Memo, Remembered, key_of
from aegis.policy.opa import Opa
from aegis.policy.shipped import shipped

FINDS = 'findings contains {"rule": "r", "verdict": "monitor"} if'

BUNDLES = {
    "paths only": f'{FINDS} {{ input.tool.effect == "write"; some s in input.analysis.sql; s.rows > 1 }}',
    "history after a condition": f"{FINDS} {{ input.tool.effect == \"write\"; input.history.steps > 1 }}",
    "history through a rule": f"""
        busy if input.history.steps > 1
        {FINDS} {{ some s in input.analysis.sql; s.rows > 1; busy }}
        {FINDS} {{ input.user.id == "anna"; not busy }}""",
    "history in the head": """
        findings contains {"rule": "r", "path": sprintf("/%d", [input.history.steps])} if {
            input.tool.effect == "read"
        }""",
    "history that fails": f"""
        {FINDS} {{ input.tool.effect == "write"; to_number(input.user.id) > input.history.steps }}
        n := v if some v in [input.history.steps, 1]
        {FINDS} {{ input.tool.effect == "read"; n == 1 }}""",
    "history with else": f"""
        default mood := "calm"
        mood := "odd" if input.history.steps == 1
        else := "busy" if {{ input.history.steps > 1; input.tool.effect == "write" }}
        {FINDS} {{ input.context.environment == "prod"; mood == "busy" }}""",
    "history in a function": f"""
        over(n) if input.history.steps > n
        {FINDS} {{ some s in input.analysis.sql; over(s.rows) }}""",
    "history in every": f"""
        {FINDS} {{ input.tool.effect; every s in input.analysis.sql {{ s.rows > input.history.steps }} }}""",
    "time in a comprehension": f"""
        {FINDS} {{ input.tool.effect == "read"; count([s | some s in input.analysis.sql; s.rows > input.now]) > 0 }}""",
    "errors of paths": f'{FINDS} {{ to_number(input.user.id) > 1 }}',
    "missing and null": f"""
        {FINDS} {{ not input.user.id }}
        {FINDS} {{ input.user.id == null }}
        {FINDS} {{ not input.user }}""",
    "history first": f"{FINDS} {{ input.history.steps > 1; input.tool.effect }}",
    "everything": f"{FINDS} {{ some k; input[k].steps > 1 }}",
    "with": f"late if input.now > 1\n{FINDS} {{ input.tool.effect; late with input.now as 2 }}",
}  # fmt: skip

NUMBERS = st.sampled_from([0, 1, 1.0, 2, 3])
INPUTS = st.fixed_dictionaries(
    {
        "tool": st.fixed_dictionaries({}, optional={"effect": st.sampled_from(["read", "write", "destructive", None])}),
        "analysis": st.fixed_dictionaries(
            {},
            optional={
                "sql": st.lists(st.fixed_dictionaries({"rows": NUMBERS}), max_size=2),
                "pii": st.fixed_dictionaries({"records": st.sampled_from([9, 10, 999, 1000, "x"])}),
                "recipients": st.fixed_dictionaries(
                    {"count": st.sampled_from([0, 1, 51]), "domains": st.just(["a.example"])}
                ),
                "money": st.lists(st.fixed_dictionaries({"amount": st.sampled_from([1, 10_000])}), max_size=1),
            },
        ),
        "context": st.fixed_dictionaries({}, optional={"environment": st.sampled_from(["prod", "dev", None, 3])}),
        "history": st.fixed_dictionaries(
            {"steps": NUMBERS, "tools": st.fixed_dictionaries({}, optional={"t": st.sampled_from([199, 200])})}
        ),
        "action": st.just({"tool": "t", "arguments": {"words": "any"}}),
        "now": NUMBERS,
    },
    optional={"user": st.sampled_from([None, {}, {"id": None}, {"id": "anna"}, {"id": "3"}])},
)
CONJUNCTS = (
    "input.history.steps > 1", "input.now > 1", 'input.tool.effect == "write"', "some s in input.analysis.sql",
    "s.rows > 1", "s.rows > input.history.steps", "not input.user.id", "not late", "late", "still",
    "x := input.tool.effect",
    'x == "write"', "x := input.history.steps", "x > 1", "n == 1", "to_number(input.user.id) == 3",
    "m := max([r | r := input.analysis.sql[_].rows])", "m > 1", "y = input.history.steps", "y > 1",
    "every q in input.analysis.sql { q.rows < input.now }", "data.tenant.main.still", "data.tenant.main.late",
)  # fmt: skip
HELPERS = """
late if input.now > 1
still if input.context.environment == "prod"
n := v if some v in [input.history.steps, 1]
"""


@dataclass
class Kept:
    archives: dict[str, bytes]

    async def fetch(self, tenant: str, digest: str) -> bytes:
        if digest not in self.archives:
            raise BundleMissing(digest)
        return self.archives[digest]


@dataclass
class House:
    """One engine on one loop; `said` gives an input's findings with and without a memo."""

    loop: asyncio.AbstractEventLoop
    opa: Opa
    source: Kept
    memo: Memo
    remembering: Policy
    fresh: Policy

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def keep(self, rules: str) -> str:
        bundle = build({"rules.rego": f"package tenant.main\n{rules}".encode()})
        self.source.archives[bundle.digest] = bundle.archive
        return bundle.digest

    def compare(self, digest: str | None, inputs: Sequence[Mapping[str, Any]]) -> None:
        for each in inputs:
            fresh = self.run(self.fresh.judge_inputs("t", digest, each))
            assert self.run(self.remembering.judge_inputs("t", digest, each)).findings == fresh.findings


@pytest.fixture(scope="module")
def house() -> Iterator[House]:
    loop = asyncio.new_event_loop()
    opa, source, memo = Opa(size=1, deadline_ms=5_000), Kept({}), Memo()
    made = House(loop, opa, source, memo, Policy(opa, source, memo=memo), Policy(opa, source, memo=None))
    made.run(opa.start())
    for policy in (made.remembering, made.fresh):
        made.run(policy.ship(shipped().archive))
    yield made
    made.run(opa.close())
    loop.close()


CALM = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.parametrize("rules", BUNDLES.values(), ids=BUNDLES)
@settings(CALM, max_examples=25)
@given(inputs=st.lists(INPUTS, min_size=2, max_size=12))
def test_a_remembered_answer_equals_a_fresh_one(house: House, rules: str, inputs: list[dict[str, Any]]) -> None:
    house.compare(house.keep(rules), inputs)


@settings(CALM, max_examples=60)
@given(
    bodies=st.lists(st.lists(st.sampled_from(CONJUNCTS), min_size=1, max_size=4), min_size=1, max_size=3),
    inputs=st.lists(INPUTS, min_size=2, max_size=6),
)
def test_so_it_does_for_rules_that_nobody_thought_of(
    house: House, bodies: list[list[str]], inputs: list[dict[str, Any]]
) -> None:
    rules = "\n".join(f"{FINDS} {{ {'; '.join(body)} }}" for body in bodies)
    digest = house.keep(HELPERS + rules)
    try:
        house.run(house.opa.check(house.source.archives[digest]))
    except BundleRejected:
        assume(False)
    house.compare(digest, inputs)


def test_words_that_no_rule_reads_change_nothing(house: House) -> None:
    before = house.memo.tally.hits
    for number in range(10):
        given = {"action": {"tool": "words", "arguments": {"query": f"w {number}"}}, "tool": {"effect": "read"}}
        answer = house.run(house.remembering.judge_inputs("t", None, {**given, "analysis": {}, "now": number}))
        assert answer.memo == ("miss" if number == 0 else "hit")
    assert house.memo.tally.hits == before + 9


def test_an_awake_rule_is_asked_each_time(house: House) -> None:
    digest = house.keep(BUNDLES["history after a condition"])
    given = {"tool": {"effect": "write"}, "analysis": {}}
    said = [
        len(house.run(house.remembering.judge_inputs("t", digest, {**given, "history": {"steps": steps}})).findings)
        for steps in (0, 2, 0, 2)
    ]
    assert said == [0, 1, 0, 1]


# ------------------------------------------------------------------ the table itself

LOADED = Loaded("sha256:00", ("tenant.main",), (("a", "b"), ("c",)))
TREES = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text("ab", max_size=2),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("abc"), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from("abcd"), TREES), st.dictionaries(st.sampled_from("abcd"), TREES))
def test_inputs_with_one_key_are_one_input_to_the_engine(one: dict[str, Any], other: dict[str, Any]) -> None:
    same_key = key_of(LOADED, one) == key_of(LOADED, other)
    assert same_key == (dumps(projected(one, LOADED.reads)) == dumps(projected(other, LOADED.reads)))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        pytest.param({"c": None}, {}, id="null and absent"),
        pytest.param({"c": "1"}, {"c": 1}, id="text and number"),
        pytest.param({"c": True}, {"c": 1}, id="true and one"),
        pytest.param({"c": [[]]}, {"c": []}, id="lists"),
        pytest.param({"c": ExactNumber("0.1000000000000000000001")}, {"c": 0.1}, id="numbers a double can't tell"),
        pytest.param({"a": {"b": []}}, {"c": []}, id="one place and another"),
    ],
)
def test_what_differs_has_different_keys(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert key_of(LOADED, one) != key_of(LOADED, other)


def test_a_bundle_that_may_not_be_remembered_has_no_key() -> None:
    assert key_of(Loaded("sha256:00", ("tenant.main",), (), "a reason"), {}) is None
    assert key_of(LOADED, {"c": "x" * 20_000}) is None


def test_the_table_is_bounded_and_forgets_what_was_used_least_lately() -> None:
    memo = Memo(entries=2)
    for value in (1, 2):
        key, _ = memo.recall(LOADED, {"c": value})
        assert key is not None
        memo.remember(key, Remembered((), False))
    assert memo.recall(LOADED, {"c": 1})[1] is not None
    key, _ = memo.recall(LOADED, {"c": 3})
    assert key is not None
    memo.remember(key, Remembered((), False))
    assert len(memo) == 2
    assert memo.recall(LOADED, {"c": 1})[1] is not None
    assert memo.recall(LOADED, {"c": 2})[1] is None
    assert (memo.tally.hits, memo.tally.misses) == (2, 4)
    assert memo.tally.hit_rate == pytest.approx(2 / 6)
