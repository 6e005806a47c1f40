"""Evasions stay refused and their harmless look-alikes pass, as the tables of `evasions` say."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from aegis.policy.hard_deny.analyse import analyse, request_for
from aegis.policy.kinds import Argument

TABLES = Path(__file__).parent / "evasions"
KINDS = {"shell": "shell", "cloud": "shell", "sql": "sql", "paths": "path", "urls": "url"}


def rows(side: str) -> list[tuple[str, str]]:
    return [
        (kind, text)
        for name, kind in KINDS.items()
        for text in yaml.safe_load((TABLES / f"{name}.yaml").read_text())[side]
    ]


def refusals(kind: str, text: str) -> list[str]:
    argument = Argument("/arguments/it", kind, text, True)
    answer = analyse(request_for([argument], "tool", {"it": text}, workspace="/work/site"))
    return [f["code"] for f in answer["findings"] if f["kills"]]


@pytest.mark.parametrize(("kind", "text"), rows("refused"))
def test_an_evasion_is_refused(kind: str, text: str) -> None:
    assert refusals(kind, text), text


@pytest.mark.parametrize(("kind", "text"), rows("passed"))
def test_a_look_alike_passes(kind: str, text: str) -> None:
    assert refusals(kind, text) == [], text
