"""Who may do what, over every route of the table."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.kernel.call import Role
from tests.console_api.conftest import Caller, Installation, Tenant
from tests.console_api.route_samples import ENTITLED, TABLE, is_for_operators, name_of, path_of, permits

NOBODY_KNOWS = {"nonsense": 1}
"""A body that every route refuses, once it has got as far as reading it."""


@pytest.mark.parametrize("role", Role, ids=name_of)
@pytest.mark.parametrize("route", ENTITLED, ids=name_of)
def test_a_role_gets_403_for_exactly_what_it_may_not_do(route: Any, role: Role, home: Tenant) -> None:
    body = NOBODY_KNOWS if route.method != "GET" and route.method != "DELETE" else None
    answer = home.callers[role.value].call(route.method, path_of(route), body)
    is_refused = answer.status == 403 and answer.json["code"] == "auth.role"
    assert is_refused != permits(route, role), answer
    assert answer.status < 500 or answer.status == 501, answer


@pytest.mark.parametrize("route", ENTITLED, ids=name_of)
def test_without_a_credential_there_is_401_and_nothing_else(route: Any, installation: Installation) -> None:
    for token in (None, "aegis_nonsense", "a.b.c"):
        answer = Caller(installation.url, token).call(route.method, path_of(route), NOBODY_KNOWS)
        assert answer.status == 401, answer
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("route", [r for r in TABLE if r.takes == "any"], ids=name_of)
def test_what_is_not_there_yet_is_501_for_those_who_may(route: Any, home: Tenant) -> None:
    role = next(role for role in Role if permits(route, role))
    answer = home.callers[role.value].raw(route.method, path_of(route), b"anything")
    assert (answer.status, answer.json["code"]) == (501, "request.unsupported")


def test_the_attempt_of_a_role_that_may_not_is_recorded(home: Tenant) -> None:
    before = len(home.rows())
    home.viewer.post("/v1/agents", {"name": "mine"}).expect(403)
    attempts = [row for row in home.rows()[before:] if row["kind"] == "access"]
    assert {"action": "refused", "role": "viewer", "what": "POST /v1/agents"} in [row["detail"] for row in attempts]


@pytest.mark.parametrize("route", [r for r in ENTITLED if is_for_operators(r)], ids=name_of)
def test_the_operators_routes_are_the_operators_alone(route: Any) -> None:
    assert [role for role in Role if permits(route, role)] == [Role.OPERATOR]
