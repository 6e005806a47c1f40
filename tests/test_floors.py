from __future__ import annotations

import configparser
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = sorted(path.name for path in (ROOT / "src" / "aegis").iterdir() if (path / "__init__.py").exists())
NOWHERE = {"client"}  # imports nothing of the rest, so it stands on no floor


@pytest.mark.parametrize("name", PACKAGES)
def test_every_package_stands_on_a_floor(name: str) -> None:
    contracts = configparser.ConfigParser()
    contracts.read(ROOT / ".importlinter")
    floors = set(re.findall(r"aegis\.(\w+)", contracts["importlinter:contract:floors"]["layers"]))
    assert name in floors | NOWHERE
