"""Reads the labelled texts of `bench/train/texts`: lines with `#` are remarks, `user|` names the speaker."""

from __future__ import annotations

from pathlib import Path

TEXTS = Path(__file__).parent / "texts"


def lines(name: str) -> list[tuple[str, str]]:
    """(text, source) of each line of `texts/<name>.txt`; the source of others than the user is `document`."""
    out = []
    for line in (TEXTS / f"{name}.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("# Or"):
            source, text = ("user", line[5:]) if line.startswith("user|") else ("document", line)
            out.append((text.replace("\\n", "\n"), source))
    return out
