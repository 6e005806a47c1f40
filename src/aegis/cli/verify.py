"""`aegis verify`: offline verification with nothing but the log's verifier key.

Exit 0 verified, 1 tampering proven, 2 evidence not enough (and wrong usage), 3 not readable.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from aegis.audit import proofs, receipts
from aegis.audit.evidence import Finding, exit_code, finding
from aegis.audit.notes import NoteError, Verifier
from aegis.audit.verifier import LogReport, RowSignatures, verify_log
from aegis.kernel import jsontree
from aegis.kernel.clock import from_iso

MAX_RECEIPT_BYTES = 320 << 20
MAX_RECEIPT_LEVELS = jsontree.MAX_DEPTH + 16
"""An opening holds what a caller sent, as large (256 MiB) and as deep as it may be, some levels down."""
PROGRESS_AFTER_S = 2.0
WORDS = {0: "verified", 1: "TAMPERING PROVEN", 2: "evidence not enough", 3: "not readable"}


class _VkeyType(click.ParamType[Verifier]):
    name = "vkey"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Verifier:
        try:
            return value if isinstance(value, Verifier) else Verifier.from_vkey(str(value).strip())
        except NoteError as error:
            self.fail(str(error), param, ctx)


class _SignaturesType(click.ParamType[RowSignatures]):
    name = "all|none|sample:N"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> RowSignatures:
        try:
            return value if isinstance(value, RowSignatures) else RowSignatures.parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_vkeys = click.option(
    "--vkey",
    "vkeys",
    type=_VkeyType(),
    multiple=True,
    required=True,
    help="A key that you trust: the log's, and any witness's. Get it from elsewhere than what is verified. Repeats.",
)
_as_json = click.option("--json", "as_json", is_flag=True, help="Print the result as one JSON object.")


@click.group()
def verify() -> None:
    """Check receipts and logs offline, trusting nothing but the keys that you give."""


@verify.command("receipt")
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@_vkeys
@_as_json
def verify_receipt(file: Path, vkeys: tuple[Verifier, ...], as_json: bool) -> None:
    """Check the receipt in FILE (- for standard input)."""
    found = _receipt_findings(file, vkeys)
    _finish("receipt", found, {}, as_json)


@verify.command("log")
@click.argument("path", type=click.Path(path_type=Path))
@_vkeys
@click.option(
    "--checkpoint",
    "held",
    type=click.Path(path_type=Path),
    multiple=True,
    help="A checkpoint, tlog-proof or receipt of this log that you hold from before or after. Repeats.",
)
@click.option("--row-sigs", type=_SignaturesType(), default="all", show_default=True, help="Row signatures to verify.")
@click.option("--fresh-since", metavar="TIME", help="Expect a row or cosignature no older than TIME (RFC 3339).")
@click.option(
    "--fork-evidence",
    type=click.Path(path_type=Path),
    help="Where two notes that contradict each other are written.",
)
@_as_json
def verify_log_command(
    path: Path,
    vkeys: tuple[Verifier, ...],
    held: tuple[Path, ...],
    row_sigs: RowSignatures,
    fresh_since: str | None,
    fork_evidence: Path | None,
    as_json: bool,
) -> None:
    """Check the log in the directory PATH, which `aegis log export` wrote."""
    try:
        since = None if fresh_since is None else from_iso(fresh_since)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--fresh-since") from None
    with progress() as advance:
        report = verify_log(
            path,
            vkeys,
            held=[(f"the checkpoint in {file}", _held(file)) for file in held],
            row_signatures=row_sigs,
            fresh_since=since,
            progress=advance,
        )
    if fork_evidence is not None and report.fork is not None:
        fork_evidence.write_text(json.dumps({"log": report.origin, "notes": report.fork}, indent=1) + "\n", "utf-8")
    _finish("log", report.findings, _log_members(report), as_json)


@verify.command("bundle", context_settings={"ignore_unknown_options": True})
@click.argument("path", nargs=-1, type=click.UNPROCESSED)
def verify_bundle(path: tuple[str, ...]) -> None:
    """Check an evidence bundle (not available yet)."""
    raise click.UsageError("bundles can't be verified yet: verify the log or a receipt")


@verify.command("report", context_settings={"ignore_unknown_options": True})
@click.argument("path", nargs=-1, type=click.UNPROCESSED)
def verify_report(path: tuple[str, ...]) -> None:
    """Check a report (not available yet)."""
    raise click.UsageError("reports can't be verified yet: verify the receipt that the report shows")


def _receipt_findings(file: Path, vkeys: Sequence[Verifier]) -> list[Finding]:
    try:
        data = _read(file)
    except OSError as error:
        return [finding("E_UNREADABLE", f"couldn't read the receipt: {error.strerror}")]
    if len(data) > MAX_RECEIPT_BYTES:
        return [finding("E_UNREADABLE", f"expected a receipt of at most {MAX_RECEIPT_BYTES} bytes")]
    try:
        tree = jsontree.parse(data, most_levels=MAX_RECEIPT_LEVELS)
    except jsontree.JsonError as error:
        code = "E_RECEIPT_FIELDS" if error.code == "json.duplicate_key" else "E_UNREADABLE"
        return [finding(code, f"couldn't read the receipt: {error}")]
    return receipts.verify_receipt(tree, vkeys)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        return sys.stdin.buffer.read(MAX_RECEIPT_BYTES + 1)
    with file.open("rb") as stream:
        return stream.read(MAX_RECEIPT_BYTES + 1)


def _held(file: Path) -> str:
    """The signed note in `file`, which may be a note, a tlog-proof or a receipt."""
    try:
        text = _read(file).decode("utf-8")
        if text.startswith("{"):
            text = str(jsontree.parse(text.encode("utf-8"), most_levels=MAX_RECEIPT_LEVELS).get("proof", ""))
        return proofs.parse_proof(text).checkpoint if text.startswith(proofs.HEADER) else text
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"couldn't read {file}: {error}", param_hint="--checkpoint") from None


def _log_members(report: LogReport) -> dict[str, Any]:
    return {
        "log": report.origin,
        "size": report.size,
        "root": report.root.hex(),
        "time": report.time,
        "rows": report.rows,
        "row_signatures": report.signatures,
        "first_bad": report.first_bad,
        **({"fork": list(report.fork)} if report.fork else {}),
    }


def _finish(what: str, found: Sequence[Finding], members: dict[str, Any], as_json: bool) -> None:
    code = exit_code(found)
    if as_json:
        public = {"what": what, "result": WORDS[code].lower(), "exit": code, **members}
        click.echo(json.dumps({**public, "findings": [f.public() for f in found]}, indent=1))
    else:
        _print(what, code, found, members)
    raise SystemExit(code)


def _print(what: str, code: int, found: Sequence[Finding], members: dict[str, Any]) -> None:
    for each in sorted(found, key=lambda f: (f.exit == 0, f.exit != 1, f.seq is None, f.seq or 0)):
        where = "" if each.seq is None else f" (row {each.seq})"
        click.echo(f"{each.code:20} {_plain(each.message)}{where}")
    if what == "log" and members["rows"]:
        click.echo(
            f"checked: {members['rows']} rows and their tree, {members['row_signatures']} row signatures, "
            f"up to size {members['size']} at time {members['time']}"
        )
        if members["first_bad"] is not None:
            click.echo(f"first bad sequence: {members['first_bad']}")
    if what == "log" and code == 0:
        click.echo(f"verified up to size {members['size']} at time {members['time']}")
    else:
        click.echo(WORDS[code])


def _plain(text: str) -> str:
    """What an enemy wrote can't steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


@contextmanager
def progress() -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error once the work takes over 2 s; nothing where that is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console  # loads slowly, and most runs never show a bar
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("rows"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    task, begun = bar.add_task("rows", total=None), time.monotonic()
    is_shown = False

    def advance(done: int, size: int) -> None:
        nonlocal is_shown
        if not is_shown and time.monotonic() - begun > PROGRESS_AFTER_S:
            bar.start()
            is_shown = True
        if is_shown:
            bar.update(task, completed=done, total=size or None)

    try:
        yield advance
    finally:
        if is_shown:
            bar.stop()
