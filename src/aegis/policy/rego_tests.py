"""Runs the `test_` rules of a bundle's `*_test.rego` files. Runs inside a child only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aegis.policy.bundle import Bundle, is_test
from aegis.policy.check import compile_problems
from aegis.policy.compiled import BundleRefused, Parser
from aegis.policy.opa_native import Engine, OpaRefused


@dataclass(frozen=True, slots=True)
class TestOutcome:
    """`passed` when the rule is true; `why` says what it was otherwise."""

    __test__ = False
    rule: str
    file: str
    passed: bool
    why: str = ""


def run(bundle: Bundle, parser: Parser) -> list[TestOutcome]:
    """One outcome a `test_` rule, in the order of files. Raises BundleRefused when the bundle doesn't compile."""
    modules = parser.modules(bundle.modules)
    tests = [(here.file, rule.path) for here in modules if is_test(here.file) for rule in here.rules]
    named = {path: file for file, path in tests if path[-1].startswith("test_")}
    try:
        engine = Engine(bundle.modules, bundle.document)
    except OpaRefused as error:
        raise BundleRefused(compile_problems(error.message, bundle.modules)) from None
    try:
        return [_outcome(engine, ".".join(path), file, bundle.modules) for path, file in named.items()]
    finally:
        engine.close()


def _outcome(engine: Engine, rule: str, file: str, sources: Mapping[str, str]) -> TestOutcome:
    try:
        value: Any = engine.value(rule, b"{}")
    except OpaRefused as error:
        if error.code != "eval_error":
            raise BundleRefused(compile_problems(error.message, sources)) from None
        return TestOutcome(rule, file, False, error.message.splitlines()[0][:300])
    if value is True:
        return TestOutcome(rule, file, True)
    return TestOutcome(
        rule, file, False, "undefined" if value is None else f"expected true, got {type(value).__name__}"
    )
