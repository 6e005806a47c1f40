"""Where the shipped bundle lies: beside the package in an installation, at the repository's root in a checkout."""

from __future__ import annotations

from pathlib import Path

import aegis
from aegis.policy.bundle import Bundle, build_folder


def folder() -> Path:
    package = Path(aegis.__file__).parent
    installed = package / "policies_data"
    return installed if installed.is_dir() else package.parent.parent / "policies"


def shipped() -> Bundle:
    """Raises FileNotFoundError for an installation without rules: nothing could be decided with it."""
    if not (folder() / "data.json").is_file():
        raise FileNotFoundError(f"couldn't read the shipped rules: expected data.json in {folder()}, got none")
    return build_folder(folder())
