"""Members of a request: what is not supported is refused whatever its value asks for, unless it asks for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.kernel.problems import Problem
from aegis.surfaces.members import Members


def refused(tree: dict[str, Any]) -> list[str]:
    members = Members(tree, ("total", "name"))
    members.unsupported("total", "a cap of this kind")
    try:
        members.finish()
    except Problem as problem:
        return [error.path for error in problem.errors]
    return []


@pytest.mark.parametrize("value", [0, 0.0, 1, "", "5", True, [1], {"a": 1}], ids=repr)
def test_an_unsupported_member_that_asks_for_something_is_refused(value: Any) -> None:
    assert refused({"total": value}) == ["/total"]


@pytest.mark.parametrize("value", [None, False, [], {}], ids=repr)
def test_one_that_asks_for_nothing_is_not(value: Any) -> None:
    assert refused({"total": value}) == refused({}) == []


def test_an_unknown_member_names_the_nearest_known() -> None:
    with pytest.raises(Problem) as told:
        Members({"nmae": 1}, ("total", "name")).finish()
    assert (told.value.status, told.value.errors[0].path) == (422, "/nmae")
    assert "did you mean 'name'" in told.value.errors[0].message
