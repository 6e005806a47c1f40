"""What people see: what goes on while it does, the table, the figures."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape
from rich.status import Status
from rich.table import Table

from aegis.demo.programme import Performed
from aegis.demo.redteam import Outcome
from aegis.demo.stage import Figures, Line

ASKED_CHARACTERS = 78
WIDTH = 200
"""Of lines that go to a file or another program."""
STYLES = {"allow": "green", "kill": "red", "escalate": "yellow", "approved": "green", "flagged": "yellow"}


class Progress:
    """A spinner on a terminal; elsewhere a line for each new sentence."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said = ""
        self._status = Status("", console=console) if console.is_terminal else None

    def __enter__(self) -> Progress:
        if self._status is not None:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._status is not None:
            self._status.stop()

    def say(self, sentence: str) -> None:
        if sentence == self._said:
            return
        self._said = sentence
        if self._status is not None:
            self._status.update(escape(sentence))
        else:
            self._console.print(f"... {escape(sentence)}", highlight=False)

    def line(self, line: Line) -> None:
        if line.wrong:
            self._console.print(
                f"[red]not as expected[/]: {escape(line.act)}, {escape(line.title)}: {escape(line.wrong)}"
            )


def console() -> Console:
    made = Console(highlight=False)
    return made if made.is_terminal else Console(highlight=False, width=WIDTH)


def table(lines: Sequence[Line]) -> Table:
    made = Table(title="Aegis demo", title_justify="left", header_style="bold", pad_edge=False)
    for name, folds in (("", False), ("step", True), ("asked", True), ("verdict", False), ("rule or finding", True)):
        made.add_column(name, overflow="fold" if folds else "ellipsis", no_wrap=not folds)
    made.add_column("what the target says", overflow="fold")
    made.add_column("ms", justify="right")
    act = ""
    for line in lines:
        if line.act != act:
            made.add_section()
            made.add_row("", f"[bold]{escape(line.act)}[/]")
            act = line.act
        made.add_row(
            "[red]✗[/]" if line.wrong else "[green]✓[/]",
            escape(line.title),
            escape(_short(line.asked)),
            f"[{STYLES.get(line.verdict, 'none')}]{escape(line.verdict)}[/]",
            escape(line.rule.removeprefix("aegis.")),
            escape(line.says) + (f"\n[red]{escape(line.wrong)}[/]" if line.wrong else ""),
            "" if line.took_s is None else f"{line.took_s * 1000:.0f}",
        )
    return made


def summary(performed: Performed) -> list[str]:
    """The figures at the end, as plain sentences."""
    lines, wrong = performed.lines, sum(bool(line.wrong) for line in performed.lines)
    said = [
        f"{len(lines)} steps, {wrong} not as expected; {performed.rows} rows in the log; {performed.took_s:.1f} s",
        *_figures(performed.figures),
    ]
    said.append("every step was as expected" if performed.is_as_expected else "NOT EVERY STEP WAS AS EXPECTED")
    return said


def _figures(figures: Figures) -> list[str]:
    said = []
    if figures.overheads_us:
        p50 = statistics.median(figures.overheads_us) / 1000
        said.append(f"{len(figures.overheads_us)} decisions, p50 of Aegis's own time {p50:.1f} ms")
    for stopped in figures.stopped:
        processes = ", ".join(f"{seconds * 1000:.0f}" for seconds in sorted(stopped.refused_s.values()))
        said.append(
            f"kill switch: running call cancelled after {stopped.cancelled_s * 1000:.0f} ms, first refusal in each "
            f"gateway process after {processes} ms, order answered after {stopped.answered_s * 1000:.0f} ms"
        )
    return said


def _short(text: str) -> str:
    text = " ".join(text.split())
    return text if len(text) <= ASKED_CHARACTERS else text[: ASKED_CHARACTERS - 3] + "..."


def outcomes_table(outcomes: Sequence[Outcome]) -> Table:
    made = Table(title="Red team", title_justify="left", header_style="bold", pad_edge=False)
    for name in ("", "step", "got"):
        made.add_column(name, overflow="fold", no_wrap=not name)
    made.add_column("ms", justify="right")
    scenario = ""
    for outcome in outcomes:
        if outcome.scenario != scenario:
            made.add_section()
            made.add_row("", f"[bold]{escape(outcome.scenario)}[/] [dim]{escape(outcome.file)}[/]")
            scenario = outcome.scenario
        made.add_row(
            "[red]✗[/]" if outcome.wrong else "[green]✓[/]",
            escape(_short(outcome.step)),
            escape(outcome.got) + (f"\n[red]{escape(outcome.wrong)}[/]" if outcome.wrong else ""),
            f"{outcome.took_s * 1000:.0f}",
        )
    return made
