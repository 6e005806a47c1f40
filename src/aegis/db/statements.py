"""SQL lives in `.sql` files beside its user: each statement has a name and a sentence.

-- name: open_session
-- Inserts a session; answers nothing.
INSERT INTO ...
"""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from types import SimpleNamespace

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


@cache
def statements(package: str, file: str) -> SimpleNamespace:
    """The statements of `file` in `package`, as attributes. Raises ValueError when a name stands twice."""
    parts = _NAME.split(files(package).joinpath(file).read_text("utf-8"))[1:]
    names, bodies = parts[::2], parts[1::2]
    if len(set(names)) != len(names):
        raise ValueError(f"couldn't load {file}: expected each name once, got {sorted(names)}")
    return SimpleNamespace(**{name: body.strip().rstrip(";") for name, body in zip(names, bodies, strict=True)})
