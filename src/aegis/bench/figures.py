"""A figure with its floor, its mark and whether it holds; the document and the table that they make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from rich.table import Table

REFERENCE = {"p50_ms": 0.71, "p99_ms": 1.2, "per_s": 3700.0}
"""The floor where the marks were set: one at a time, and with 32 in flight."""
SLACK = 1.3


@dataclass(frozen=True, slots=True)
class Figure:
    """`mark` is a bound in words, `holds` whether the figure keeps it; both None for a figure that is only told."""

    name: str
    value: float
    unit: str
    floor: float | None = None
    mark: str | None = None
    holds: bool | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        return self.value / self.floor if self.floor else None

    def document(self) -> dict[str, Any]:
        made: dict[str, Any] = {"name": self.name, "value": rounded(self.value), "unit": self.unit}
        if self.floor is not None and self.ratio is not None:
            made |= {"floor": rounded(self.floor), "ratio": rounded(self.ratio)}
        if self.mark is not None:
            made |= {"mark": self.mark, "holds": self.holds}
        if self.note:
            made["note"] = self.note
        return made


def at_most(name: str, value: float, unit: str, bound: float) -> Figure:
    return Figure(name, value, unit, None, f"<= {bound:g} {unit}", value <= bound)


def times_floor(name: str, value: float, unit: str, floor: float, bound: float) -> Figure:
    """A latency that may be `bound` times its floor."""
    return Figure(name, value, unit, floor, f"<= {bound:g} x floor", value <= bound * floor)


def throughput(name: str, value: float, floor: float, least: float, part: float) -> Figure:
    holds = value >= least and value >= part * floor
    return Figure(name, value, "/s", floor, f">= {least:,.0f}/s and >= {part:g} x floor", holds)


def is_busy(p50_ms: Sequence[float], p99_ms: Sequence[float], per_s: Sequence[float]) -> bool:
    """Whether the floor of this run, median over its rounds, was more than 1.3 times worse than where the marks were
    set. What wasn't measured says nothing."""
    slow = ((p50_ms, REFERENCE["p50_ms"]), (p99_ms, REFERENCE["p99_ms"]))
    if any(taken and median(taken) > SLACK * reference for taken, reference in slow):
        return True
    return bool(per_s) and median(per_s) * SLACK < REFERENCE["per_s"]


@dataclass(frozen=True, slots=True)
class Report:
    machine: Mapping[str, Any]
    versions: Mapping[str, str]
    figures: Sequence[Figure]
    busy: bool

    @property
    def missed(self) -> int:
        return sum(figure.holds is False for figure in self.figures)

    def document(self) -> dict[str, Any]:
        return {
            "machine": dict(self.machine),
            "versions": dict(self.versions),
            "busy": self.busy,
            "figures": [figure.document() for figure in self.figures],
        }


def table(figures: Sequence[Figure], *, busy: bool) -> Table:
    made = Table(
        "figure", "value", "floor", "ratio", "mark", "holds",
        title="aegis bench", caption="taken on a busy machine: the floor itself was slow" if busy else None,
    )  # fmt: skip
    for figure in figures:
        made.add_row(
            figure.name,
            f"{rounded(figure.value):,g} {figure.unit}" + (f" ({figure.note})" if figure.note else ""),
            "" if figure.floor is None else f"{rounded(figure.floor):,g} {figure.unit}",
            "" if figure.ratio is None else f"{figure.ratio:.2f}",
            figure.mark or "",
            "" if figure.holds is None else "[green]yes" if figure.holds else "[bold red]no",
        )
    return made


def rounded(value: float) -> float:
    """Four significant digits: more would promise what no benchmark keeps."""
    return float(f"{value:.4g}")
