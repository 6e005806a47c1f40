"""What remains: the log exported, verified offline by another process, and a copy with one changed byte."""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

from aegis.audit import notes, tiles
from aegis.demo.client import Unexpected
from aegis.demo.stage import Line

ACT = "The evidence"
COMMAND_S = 60.0


async def export(credentials: Path, directory: Path) -> Line:
    """The log up to its checkpoint of now, as a tlog-tiles directory."""
    began = time.monotonic()
    status, said = await _aegis("log", "export", str(directory), "--credentials", str(credentials))
    wrong = "" if status == 0 else f"expected exit 0, got {status}: {said[-300:]}"
    says = f"exit {status}: {rows(directory)} rows"
    return Line(ACT, "the log, exported", "aegis log export DIR", "", "", says, time.monotonic() - began, wrong)


def rows(directory: Path) -> int:
    """How many rows the exported log has, as its checkpoint says; 0 where there is none."""
    try:
        return notes.parse_checkpoint(notes.split_note((directory / "checkpoint").read_text("utf-8"))[0]).size
    except (OSError, notes.NoteError):
        return 0


async def verified(exported: Path, vkey: str) -> AsyncIterator[Line]:
    """The log as it is, then a copy with one byte of one row changed."""
    began = time.monotonic()
    status, said = await _verify(exported, vkey)
    wrong = "" if status == 0 else f"expected exit 0, got {status}: {said[-300:]}"
    says = f"exit {status}: {_last(said)}"
    yield Line(
        ACT,
        "the log, verified offline",
        "aegis verify log DIR --vkey ...",
        "verified" if not status else "FAILED",
        "",
        says,
        time.monotonic() - began,
        wrong,
    )
    forged = exported.with_name("forged")
    shutil.copytree(exported, forged)
    row = forge(forged)
    began = time.monotonic()
    status, said = await _verify(forged, vkey)
    named = f"(row {row})" in said
    wrong = "" if status == 1 and named else f"expected exit 1 and row {row} named, got {status}: {said[-300:]}"
    first = next((line for line in said.splitlines() if f"(row {row})" in line), _last(said))
    says = f"exit {status}: {re.sub(r'  +', ' ', first)}"
    yield Line(
        ACT,
        f"a copy, row {row}: kill made k1ll",
        "aegis verify log COPY --vkey ...",
        "tampering proven" if status == 1 else "NOT SEEN",
        "",
        says,
        time.monotonic() - began,
        wrong,
    )


def forge(directory: Path) -> int:
    """Changes one byte in the first row that says `kill`. Answers its sequence number."""
    for file in sorted((directory / "tile" / "entries").rglob("*")):
        if not file.is_file():
            continue
        data = bytearray(file.read_bytes())
        first = tiles.parse_path(str(file.relative_to(directory))).index * tiles.WIDTH
        at = 0
        for offset, entry in enumerate(tiles.decode_bundle(bytes(data))):
            found = entry.find(b'"verdict":"kill"')
            if found >= 0:
                data[at + 2 + found + len(b'"verdict":"k')] = ord("1")
                file.write_bytes(data)
                return first + offset
            at += 2 + len(entry)
    raise Unexpected("expected a row that says kill in the log")


async def _verify(directory: Path, vkey: str) -> tuple[int, str]:
    return await _aegis("verify", "log", str(directory), "--vkey", vkey)


async def _aegis(*words: str) -> tuple[int, str]:
    """Exit status and output of the command, in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "aegis", *words),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        said, _ = await asyncio.wait_for(process.communicate(), COMMAND_S)
    except TimeoutError:
        process.kill()
        return -1, "it took too long"
    return process.returncode or 0, said.decode("utf-8", "replace").strip()


def _last(said: str) -> str:
    return said.splitlines()[-1] if said else "it said nothing"
