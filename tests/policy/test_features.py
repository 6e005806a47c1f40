from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.policy.features import amount_of, currency_of, features, host_of, personal_records
from aegis.policy.kinds import Argument


def argument(kind: str, text: str, path: str = "/arguments/x") -> Argument:
    return Argument(path, kind, text, False)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        pytest.param("100", 100.0, id="a number"),
        pytest.param("9999.99", 9999.99, id="a fraction"),
        pytest.param("1,234.56 USD", 1234.56, id="thousands, then cents"),
        pytest.param("1.234,56 EUR", 1234.56, id="the same on the other side of the ocean"),
        pytest.param("1.000", 1000.0, id="the larger of two meanings"),
        pytest.param("1 000 000", 1e6, id="spaces"),
        pytest.param("10'000.-", 10_000.0, id="apostrophes"),
        pytest.param("$5 or $50000", 50_000.0, id="the largest of several"),
        pytest.param("all of it", None, id="no digits"),
        pytest.param("1.2.3", 123.0, id="no number, read as thousands"),
    ],
)
def test_an_amount_is_the_largest_that_the_text_can_mean(text: str, amount: float | None) -> None:
    assert amount_of(argument("money", text)) == amount


def test_cents_are_a_hundredth() -> None:
    assert amount_of(argument("money", "1000000", "/arguments/amount_cents")) == 10_000.0


@pytest.mark.parametrize(
    ("text", "path", "arguments", "currency"),
    [
        pytest.param("5 EUR", "/arguments/amount", {}, "EUR", id="in the text"),
        pytest.param("€5", "/arguments/amount", {}, "EUR", id="a sign"),
        pytest.param("5", "/arguments/amount_usd", {}, "USD", id="in the name"),
        pytest.param("5", "/arguments/amount", {"currency": "jpy"}, "JPY", id="beside it"),
        pytest.param("5", "/arguments/items/1/amount", {"items": [{}, {"currency": "CHF"}]}, "CHF", id="in its list"),
        pytest.param("5", "/arguments/amount", {"currency": "any; allow"}, None, id="no currency"),
        pytest.param("5", "/arguments/items/7/amount", {"items": []}, None, id="nothing there"),
    ],
)
def test_a_currency_stands_with_its_amount(text: str, path: str, arguments: Any, currency: str | None) -> None:
    assert currency_of(argument("money", text, path), arguments) == currency


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("https://Webhook.Site./x?y", "webhook.site"),
        ("http://user:pw@a.example:8080/", "a.example"),
        ("a.example/path", "a.example"),
        ("http://[::1]/", "::1"),
        ("http://[", None),
        ("", None),
    ],
)
def test_the_host_of_an_address(text: str, host: str | None) -> None:
    assert host_of(text) == host


def test_recipients_are_counted_and_their_domains_named() -> None:
    said = features(
        [argument("recipient", "Anna <a@Corp.example>, b@corp.example"), argument("recipient", "c@other.example")], {}
    )
    assert said == {"recipients": {"path": "/arguments/x", "count": 3, "domains": ["corp.example", "other.example"]}}


def test_persons_are_counted_by_their_objects() -> None:
    rows = [{"name": "x", "email": f"{n}@a.example"} for n in range(1000)]
    assert personal_records({"rows": rows, "note": {"title": "t"}}) == 1000
    assert personal_records({"to": "a@a.example", "emails_sent": 3, "format": "csv"}) == 0


def test_a_call_without_any_of_it_has_no_features() -> None:
    assert features([argument("text", "hello")], {"x": "hello"}) == {}


@given(st.text(max_size=80), st.sampled_from(["money", "url", "recipient"]))
def test_no_text_raises(text: str, kind: str) -> None:
    features([argument(kind, text)], {"x": text})
