"""The shared vectors as test parameters; where they are absent, one skipped parameter that says so."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

_REPOSITORY = Path(__file__).resolve().parents[2]


def shared(name: str) -> list[Any]:
    folder = Path(os.environ.get("AEGIS_SHARED", _REPOSITORY.parent / "shared"))
    path = folder / "vectors" / name
    if not path.exists():
        return [
            pytest.param(
                None,
                id="absent",
                marks=pytest.mark.skip(reason="needs test vectors that are no part of this repository: nothing to do"),
            )
        ]
    vectors = json.loads(path.read_text("utf-8"))["vectors"]
    return [pytest.param(vector, id=str(vector.get("id", n))) for n, vector in enumerate(vectors)]
