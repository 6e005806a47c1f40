"""What the policies say, with OPA in its children: every failure denies, and one tenant's failure is its own."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio

from aegis.kernel.verdict import Verdict
from aegis.policy.bundle import build
from aegis.policy.engine import BundleRejected, PolicyFailed
from aegis.policy.evaluate import BundleMissing, Policy
from aegis.policy.memo import Memo
from aegis.policy.opa import Opa
from aegis.policy.shipped import shipped

FINDS = 'findings contains {"rule": "r"} if'
LOOP = f"{FINDS} {{ some x in numbers.range(1, 3000000); some y in numbers.range(1, 3000000); x * y == -1 }}"
SHIPPED = 'package aegis.x\nfindings contains {"code": "mail.mass", "rule": "r", "values": {"count": %d}} if input.now'


@dataclass
class Kept:
    archives: dict[tuple[str, str], bytes] = field(default_factory=dict)
    fetched: int = 0
    away: bool = False

    def keep(self, tenant: str, rules: str, package: str = "tenant.main") -> str:
        bundle = build({"rules.rego": f"package {package}\n{rules}".encode()})
        self.archives[tenant, bundle.digest] = bundle.archive
        return bundle.digest

    async def fetch(self, tenant: str, digest: str) -> bytes:
        self.fetched += 1
        if self.away:
            raise OSError("away")
        if (tenant, digest) not in self.archives:
            raise BundleMissing(digest)
        return self.archives[tenant, digest]


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest_asyncio.fixture
async def opa() -> AsyncIterator[Opa]:
    engine = Opa(deadline_ms=400)
    await engine.start()
    yield engine
    await engine.close()


@pytest_asyncio.fixture
async def policy(opa: Opa, kept: Kept) -> Policy:
    made = Policy(opa, kept, memo=Memo())
    await made.ship(shipped().archive)
    return made


async def codes(policy: Policy, digest: str | None, given: dict[str, Any], tenant: str = "t") -> list[str]:
    return [each.code for each in (await policy.judge_inputs(tenant, digest, given)).findings]


async def both_ready(opa: Opa) -> None:
    async with asyncio.timeout(20):
        while len(opa.pool.pids) < 2:
            await asyncio.sleep(0.01)


async def test_the_shipped_rules_speak_and_the_answer_names_what_was_asked(policy: Policy) -> None:
    given = {"analysis": {"recipients": {"count": 51, "path": "/arguments/to"}}, "tool": {"effect": "read"}}
    answer = await policy.judge_inputs("t", None, given)
    (found,) = answer.findings
    assert (found.code, found.force, found.path) == ("mail.mass", Verdict.ESCALATE, "/arguments/to")
    assert answer.bundles == {"shipped": shipped().digest}
    assert answer.engine == "opa/1.20.2"
    assert answer.memo == "miss"
    assert (await policy.judge_inputs("t", None, given)).memo == "hit"


async def test_the_shipped_rules_pass_their_own_tests(opa: Opa) -> None:
    outcomes = await opa.test(shipped().archive)
    assert [each for each in outcomes if not each.passed] == []
    assert len(outcomes) >= 28


async def test_the_shipped_rules_read_no_words_of_a_call(opa: Opa) -> None:
    loaded = await opa.load(shipped().archive, tenant=False)
    assert loaded.why_not == ""
    assert {path[0] for path in loaded.reads} <= {"analysis", "tool", "context", "action"}
    assert [path for path in loaded.reads if path[0] == "action"] == [("action", "tool")]


async def test_a_tenants_rule_adds_to_the_shipped_ones_and_takes_none_away(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f'{FINDS} input.user.id == "bob"\naegis := []')
    given = {"analysis": {"recipients": {"count": 51}}, "user": {"id": "bob"}}
    answer = await policy.judge_inputs("t", digest, given)
    assert [each.rule for each in answer.findings] == ["aegis.mail.mass", "tenant.main.r"]
    assert answer.bundles == {"shipped": shipped().digest, "tenant": digest}


@pytest.mark.parametrize(
    ("rules", "given", "code"),
    [
        pytest.param("findings := x if x := input.user", {}, "policy.undefined", id="undefined"),
        pytest.param(f'{FINDS} to_number("x") > 1', {}, "policy.error", id="an error of a function"),
        pytest.param(f"n := v if some v in input.analysis.l\n{FINDS} n > 1", {"analysis": {"l": [1, 2]}},
                     "policy.error", id="a rule with two values"),
        pytest.param(LOOP, {}, "policy.timeout", id="a loop"),
        pytest.param("findings := 3", {}, "policy.shape", id="another shape"),
        pytest.param('findings contains "allow"', {}, "policy.shape", id="a word"),
        pytest.param(f"{FINDS} http.send({{}})", {}, "policy.error", id="a bundle that doesn't pass the check"),
    ],
)  # fmt: skip
async def test_a_policy_that_gives_no_answer_denies(
    policy: Policy, kept: Kept, rules: str, given: dict[str, Any], code: str
) -> None:
    answer = await policy.judge_inputs("t", kept.keep("t", rules), given)
    assert [(each.code, each.force) for each in answer.findings] == [(code, Verdict.KILL)]
    assert answer.memo == "miss"


async def test_a_memory_bomb_denies_and_the_next_call_is_served(policy: Policy, kept: Kept) -> None:
    bomb = kept.keep(
        "t", f"{FINDS} count([[x, y] | some x in numbers.range(1, 9999); some y in numbers.range(1, 9999)]) > 1"
    )
    (code,) = await codes(policy, bomb, {})
    assert code in ("policy.timeout", "policy.unavailable")
    assert await codes(policy, None, {}) == []


async def test_a_bundle_of_another_tenant_is_not_found(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f"{FINDS} input.now")
    assert await codes(policy, digest, {}, tenant="other") == ["policy.unavailable"]


async def test_a_bundle_whose_bytes_changed_is_not_used(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f"{FINDS} input.now")
    kept.archives["t", digest] = build({"rules.rego": b"package tenant.main\nfindings := []"}).archive
    assert await codes(policy, digest, {"now": 1}) == ["policy.unavailable"]


async def test_a_source_that_is_away_denies_until_it_is_back(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f"{FINDS} input.now")
    kept.away = True
    assert await codes(policy, digest, {"now": 1}) == ["policy.unavailable"]
    kept.away = False
    assert await codes(policy, digest, {"now": 1}) == ["policy.denied"]


async def test_a_known_bundle_serves_without_its_source(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f"{FINDS} input.now")
    await asyncio.gather(*(policy.judge_inputs("t", digest, {"now": n}) for n in range(8)))
    assert kept.fetched == 1
    kept.away = True
    assert await codes(policy, digest, {"now": 9}) == ["policy.denied"]


async def test_a_bundle_that_kills_three_children_is_suspended_for_its_tenant_alone(
    policy: Policy, kept: Kept, opa: Opa
) -> None:
    lethal, good = kept.keep("evil", LOOP), kept.keep("good", f"{FINDS} input.user.id")
    for _ in range(3):
        await both_ready(opa)
        assert await codes(policy, lethal, {}, tenant="evil") == ["policy.timeout"]
    lost = opa.pool.tally.timeouts
    assert await codes(policy, lethal, {}, tenant="evil") == ["policy.suspended"]
    assert policy.suspended == {("evil", lethal)}
    assert await codes(policy, good, {"user": {"id": "a"}}, tenant="good") == ["policy.denied"]
    assert await codes(policy, None, {}, tenant="evil") == []
    assert opa.pool.tally.timeouts == lost
    await both_ready(opa)
    policy.reinstate("evil", lethal)
    assert await codes(policy, lethal, {}, tenant="evil") == ["policy.timeout"]


async def test_a_looping_tenant_costs_others_nothing(policy: Policy, kept: Kept) -> None:
    lethal = kept.keep("evil", LOOP)
    await policy.judge_inputs("evil", lethal, {})
    loops = [asyncio.create_task(policy.judge_inputs("evil", lethal, {"now": n})) for n in range(3)]
    await asyncio.sleep(0)
    for number in range(5):
        assert await codes(policy, None, {"analysis": {"recipients": {"count": 60 + number}}}) == ["mail.mass"]
    await asyncio.gather(*loops)


async def test_replaced_children_know_the_shipped_rules_and_learn_the_tenants(
    policy: Policy, kept: Kept, opa: Opa
) -> None:
    digest = kept.keep("t", f"{FINDS} input.user.id")
    assert await codes(policy, digest, {"user": {"id": "a"}}) == ["policy.denied"]
    before = opa.pool.pids
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(20):
        while len(set(opa.pool.pids) - set(before)) < 2:
            await asyncio.sleep(0.01)
    for number in range(4):
        given = {"user": {"id": f"b{number}"}, "analysis": {"recipients": {"count": 51}}}
        assert await codes(policy, digest, given) == ["mail.mass", "policy.denied"]


async def test_rules_are_swapped_under_load_without_a_call_that_fails(opa: Opa, kept: Kept) -> None:
    policy = Policy(opa, kept, memo=None)
    bundles = [build({"x.rego": (SHIPPED % number).encode()}) for number in (1, 2)]
    await policy.ship(bundles[0].archive)
    stop, seen = asyncio.Event(), set()

    async def caller() -> None:
        while not stop.is_set():
            answer = await policy.judge_inputs("t", None, {"now": 1})
            seen.add((answer.bundles["shipped"], answer.findings[0].message))

    callers = [asyncio.create_task(caller()) for _ in range(4)]
    for number in (1, 0, 1, 0):
        await policy.ship(bundles[number].archive)
        await policy.judge_inputs("t", None, {"now": 1})
    stop.set()
    await asyncio.gather(*callers)
    assert seen == {(bundles[n].digest, f"a message to {n + 1} recipients") for n in (0, 1)}


async def test_rules_that_do_not_compile_leave_the_old_ones(policy: Policy) -> None:
    with pytest.raises(BundleRejected):
        await policy.ship(build({"x.rego": b"package aegis.x\nfindings := y"}).archive)
    assert (await policy.judge_inputs("t", None, {})).bundles == {"shipped": shipped().digest}


async def test_without_rules_nothing_passes(opa: Opa, kept: Kept) -> None:
    assert await codes(Policy(opa, kept, memo=None), None, {}) == ["policy.unavailable"]


async def test_without_an_engine_nothing_passes(policy: Policy, opa: Opa) -> None:
    await opa.close()
    assert await codes(policy, None, {"now": 1}) == ["policy.unavailable"]
    with pytest.raises(PolicyFailed):
        await opa.load(shipped().archive, tenant=False)


async def test_the_memo_can_be_switched_off(opa: Opa, kept: Kept) -> None:
    policy = Policy(opa, kept, memo=None)
    await policy.ship(shipped().archive)
    for _ in range(2):
        assert (await policy.judge_inputs("t", None, {})).memo == "off"


async def test_failures_are_not_remembered(policy: Policy, kept: Kept) -> None:
    digest = kept.keep("t", f"{FINDS} to_number(input.user.id) > 1")
    for _ in range(2):
        answer = await policy.judge_inputs("t", digest, {"user": {"id": "x"}})
        assert ([each.code for each in answer.findings], answer.memo) == (["policy.error"], "miss")
