"""The corpora of `tests/scenarios/hard_deny`: each line is refused or passes, as its list says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from aegis.policy.hard_deny.analyse import analyse, request_for
from aegis.policy.kinds import Argument, kinds

CORPORA = Path(__file__).resolve().parents[2] / "scenarios" / "hard_deny"


def load(name: str, side: str) -> list[Any]:
    rows: list[Any] = yaml.safe_load((CORPORA / f"{name}.yaml").read_text())[side]
    return rows


def codes(kind: str, text: str, workspace: str | None = "/work/site") -> list[str]:
    argument = Argument("/arguments/it", kind, text, True)
    answer = analyse(request_for([argument], "tool", {"it": text}, workspace=workspace))
    return [f["code"] for f in answer["findings"] if f["kills"]]


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        (name, kind, text)
        for name, kind in (("sql", "sql"), ("shell", "shell"), ("cloud", "shell"), ("paths", "path"), ("urls", "url"))
        for text in load(name, "refused")
    ],
)
def test_is_refused(name: str, kind: str, text: str) -> None:
    assert codes(kind, text), text


@pytest.mark.parametrize(
    ("name", "kind", "text"),
    [
        (name, kind, text)
        for name, kind in (("sql", "sql"), ("shell", "shell"), ("cloud", "shell"), ("paths", "path"), ("urls", "url"))
        for text in load(name, "passed")
    ],
)
def test_passes(name: str, kind: str, text: str) -> None:
    assert codes(kind, text) == [], text


def of_call(row: dict[str, Any]) -> list[str]:
    answer = analyse(
        request_for(kinds(None, row["tool"], row["arguments"]), row["tool"], row["arguments"], workspace="/work/site")
    )
    return [f["code"] for f in answer["findings"] if f["kills"]]


@pytest.mark.parametrize("row", load("calls", "refused"), ids=lambda r: r["why"])
def test_call_is_refused(row: dict[str, Any]) -> None:
    assert row["code"] in of_call(row)


@pytest.mark.parametrize("row", load("calls", "passed"), ids=lambda r: r["why"])
def test_call_passes(row: dict[str, Any]) -> None:
    assert of_call(row) == []
