"""Checks and plans, with OPA in a process of its own: the library must not be loaded here."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from aegis.policy.bundle import build
from aegis.policy.engine import BundleRejected
from aegis.policy.opa import Opa

FINDS = 'findings contains {"rule": "r"} if '


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opa() -> AsyncIterator[Opa]:
    engine = Opa(size=1, deadline_ms=5_000)
    await engine.start()
    yield engine
    await engine.close()


pytestmark = pytest.mark.asyncio(loop_scope="module")


def archive(source: str, **more: str) -> bytes:
    return build(
        {"rules.rego": source.encode(), **{f"{name}.rego": text.encode() for name, text in more.items()}}
    ).archive


def rule(body: str, *before: str) -> bytes:
    return archive("\n".join(["package tenant.main", *before, f"{FINDS}{{ {body} }}"]))


@pytest.mark.parametrize(
    ("body", "code", "place", "word"),
    [
        pytest.param('http.send({"url": "http://a"})', "policy.impure", (2, 38), "http.send", id="a request"),
        pytest.param("time.now_ns() > 1", "policy.impure", (2, 38), "time.now_ns", id="the clock"),
        pytest.param('rand.intn("x", 3) == 1', "policy.impure", (2, 38), "rand.intn", id="chance"),
        pytest.param("opa.runtime().env", "policy.impure", (2, 38), "opa.runtime", id="the machine"),
        pytest.param('uuid.rfc4122("x")', "policy.impure", (2, 38), "uuid.rfc4122", id="a random id"),
        pytest.param('net.lookup_ip_addr("a")', "policy.impure", (2, 38), "net.lookup_ip_addr", id="a name's address"),
        pytest.param('io.jwt.decode_verify("a", {})', "policy.impure", (2, 38), "io.jwt", id="a token's expiry"),
        pytest.param('x := [y | y := http.send({})]', "policy.impure", (2, 53), "http.send", id="in a comprehension"),
        pytest.param('count([1]) with count as http.send', "policy.impure", (2, 63), "http.send", id="behind with"),
        pytest.param('trace("x")', "policy.impure", (2, 38), "trace", id="a trace"),
        pytest.param("nothing_of_that_name(3)", "policy.function", (2, 38), "nothing_of_that_name", id="unknown"),
        pytest.param("z > 3", "rego.unsafe_var_error", (2, 38), "var z is unsafe", id="an unsafe variable"),
        pytest.param('count("a", 3) > 1', "rego.type_error", (2, 38), "count", id="too many arguments"),
        pytest.param("input.analsis.x", "policy.input", (2, 38), "analsis", id="a member that the input doesn't have"),
        pytest.param("data.limits.x > 1", "policy.name", (2, 38), "data.limits.x", id="data that is not there"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_with_its_place(
    opa: Opa, body: str, code: str, place: tuple[int, int], word: str
) -> None:
    with pytest.raises(BundleRejected) as caught:
        await opa.load(rule(body))
    problem = caught.value.problems[0]
    assert (problem.code, (problem.line, problem.column), problem.file) == (code, place, "rules.rego")
    assert word in problem.message


@pytest.mark.parametrize(
    ("source", "code"),
    [
        pytest.param("package main\nfindings := []", "policy.package", id="outside of tenant"),
        pytest.param("package tenant\nfindings := []", "policy.package", id="tenant itself"),
        pytest.param("package aegis.personal\nfindings := []", "policy.package", id="a shipped package"),
        pytest.param("package tenant.x\nfinding := []", "policy.entry", id="no findings at all"),
        pytest.param("package tenant.x\nfindings := []\naegis_awake_0 := 1", "policy.reserved", id="a reserved name"),
        pytest.param("package tenant.x\nfindings contains if {", "rego.parse_error", id="no Rego"),
        pytest.param("package tenant.x\nfindings := 1" + " + 1" * 600, "policy.parse", id="a sum of hundreds"),
        pytest.param("package tenant.x\nfindings := " + "[" * 3000 + "]" * 3000, "policy.parse", id="nested deeply"),
    ],
)
async def test_what_no_tenant_may_have_is_refused(opa: Opa, source: str, code: str) -> None:
    with pytest.raises(BundleRejected) as caught:
        await opa.load(archive(source))
    assert code in [problem.code for problem in caught.value.problems]


async def test_a_place_in_a_comment_or_string_is_not_the_place(opa: Opa) -> None:
    source = 'package tenant.x\n# http.send\ny := "http.send"\nfindings contains z if {\n\tz := http.send({})\n}'
    with pytest.raises(BundleRejected) as caught:
        await opa.load(archive(source))
    assert (caught.value.problems[0].line, caught.value.problems[0].column) == (5, 7)


@pytest.mark.parametrize(
    ("body", "before", "reads"),
    [
        pytest.param("input.tool.effect", (), ["tool.effect"], id="a path"),
        pytest.param('input["tool"]["effect"]', (), ["tool.effect"], id="a path in brackets"),
        pytest.param("some x in input.analysis.sql; x.rows > 1", (), ["analysis.sql"], id="an iteration"),
        pytest.param("input.analysis.sql[_].rows > 1", (), ["analysis.sql"], id="a wildcard"),
        pytest.param("input.tool.effect; input.tool", (), ["tool"], id="a beginning covers the rest"),
        pytest.param("t.effect", ("import input.tool as t",), ["tool.effect"], id="an import"),
        pytest.param("analysis.pii", ("import input.analysis",), ["analysis.pii"], id="an import without another name"),
        pytest.param("big", ("big if input.analysis.size > 3",), ["analysis.size"], id="through a rule"),
        pytest.param("f(input.tool)", ("f(x) if x.effect",), ["tool"], id="through a function's argument"),
        pytest.param("walk(input.analysis, [p, v])", (), ["analysis"], id="a walk over a part"),
        pytest.param("not input.user.id", (), ["user.id"], id="a negation"),
        pytest.param("every x in input.analysis.urls { x.ok }", (), ["analysis.urls"], id="every"),
        pytest.param("true", ("default d := 1", "d := 2 if input.agent.id", "else := 3 if input.session.id"),
                     ["agent.id", "session.id"], id="else and default"),
        pytest.param('$"{input.agent.name}" == "a"', (), ["agent.name"], id="a template string"),
        pytest.param('input.tool.effect; input.now > 3', (), ["tool.effect"], id="time, after something else"),
        pytest.param("input.tool.effect; late", ("late if input.now > 3",), ["tool.effect"], id="time through a rule"),
        pytest.param("true", (), [], id="nothing"),
    ],
)  # fmt: skip
async def test_the_paths_that_a_bundle_reads(opa: Opa, body: str, before: tuple[str, ...], reads: list[str]) -> None:
    loaded = await opa.load(rule(body, *before))
    assert ([".".join(path) for path in loaded.reads], loaded.why_not) == (reads, "")


@pytest.mark.parametrize(
    ("body", "before", "why"),
    [
        pytest.param("input[x].y", (), "known only when it runs", id="a member known only at run time"),
        pytest.param('walk(input, [p, "x"])', (), "whole input", id="a walk over all"),
        pytest.param("x := input; x.tool", (), "whole input", id="the input under another name"),
        pytest.param("f(input)", ("f(x) if x.tool",), "whole input", id="the input as an argument"),
        pytest.param("i.tool; i", ("import input as i",), "whole input", id="the input imported"),
        pytest.param("input.now > 3; input.tool.effect", (), "before anything else", id="time first"),
        pytest.param("late", ("late if input.now > 3",), "before anything else", id="time first, through a rule"),
        pytest.param("x > 3; input.now > 1; x = input.tool.risk", (), "stand alone", id="a guard that needs the rest"),
        pytest.param("input.tool with input.tool as 3", (), "`with`", id="with"),
        pytest.param(
            "data.tenant[x].late; input.tool", ("late if input.now > 3",), "whole package", id="any package's rule"
        ),
    ],
)
async def test_what_keeps_a_bundle_from_being_remembered(
    opa: Opa, body: str, before: tuple[str, ...], why: str
) -> None:
    assert why in (await opa.load(rule(body, *before))).why_not


async def test_a_complete_rule_that_reads_the_time_is_not_remembered(opa: Opa) -> None:
    loaded = await opa.load(archive("package tenant.x\nfindings := [] if { input.tool; input.now > 3 }"))
    assert "not a plain `contains` rule" in loaded.why_not


async def test_guards_hold_exactly_while_what_stands_before_time_holds(opa: Opa) -> None:
    kept = rule('some s in input.analysis.sql; s.rows > 10; input.history.steps > 3; s.table == "t"')
    loaded = await opa.load(kept)
    for rows, steps, said, awake in [(11, 4, 1, True), (11, 2, 0, True), (9, 4, 0, False)]:
        given = b'{"analysis": {"sql": [{"rows": %d, "table": "t"}]}, "history": {"steps": %d}}' % (rows, steps)
        answer = await opa.evaluate(loaded.digest, kept, given)
        assert (len(answer.findings["tenant.main"]), answer.awake) == (said, awake)


async def test_tests_of_a_bundle_run_and_are_no_part_of_it(opa: Opa) -> None:
    bundle = archive(
        f'package tenant.main\n{FINDS}input.tool.effect == "write"',
        main_test="""package tenant.main_test
import data.tenant.main
test_true if count(main.findings) == 1 with input as {"tool": {"effect": "write"}}
test_false if count(main.findings) == 1 with input as {"tool": {"effect": "read"}}
test_error if to_number("x") > 1
""",
    )
    outcomes = {each.rule: each for each in await opa.test(bundle)}
    assert {name.rpartition(".")[2]: each.passed for name, each in outcomes.items()} == {
        "test_true": True, "test_false": False, "test_error": False,
    }  # fmt: skip
    assert "to_number" in outcomes["tenant.main_test.test_error"].why
    assert (await opa.load(bundle)).reads == (("tool", "effect"),)
