"""The fenced blocks of Markdown pages, and the script that they make together.

The words behind a block's language say what it is for: `run` is executed, in the order of the page and in one shell;
`setup` (README.md has it) is run before every other page's blocks; `output` are lines that the block before it must
have printed, in this order, `...` standing for anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)([^\n`]*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Fence:
    """`line` is that of the block's first line of text, counted from 1."""

    page: str
    line: int
    language: str
    words: frozenset[str]
    text: str

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def pages() -> list[Path]:
    """Every page that people read."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / "policies").rglob("*.md")])


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: Path) -> list[Fence]:
    text = page.read_text("utf-8")
    return [
        Fence(name_of(page), text.count("\n", 0, found.start(3)) + 1, found[1], frozenset(found[2].split()), found[3])
        for found in _FENCE.finditer(text)
    ]


def script(blocks: list[Fence]) -> str:
    """One bash script; before each block's output stands a line with its place."""
    parts = ["set -euo pipefail"]
    for block in blocks:
        parts.append(f"echo '{mark(block)}'")
        if block.language == "python":
            parts.append(f".venv/bin/python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON")
        else:
            parts.append(block.text)
    return "\n".join(parts)


def mark(block: Fence) -> str:
    return f"==== {block.place} ===="


def missing(expected: Fence, printed: str) -> str | None:
    """The first expected line that doesn't follow the ones before it."""
    lines: Iterator[str] = iter(printed.splitlines())
    for wanted in filter(None, expected.text.splitlines()):
        pattern = ".*".join(map(re.escape, wanted.split("...")))
        if not any(re.fullmatch(pattern, line) for line in lines):
            return wanted
    return None
