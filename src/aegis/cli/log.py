"""`aegis log`: the tenant's log, fetched over the API, as a directory that `aegis verify log` checks offline."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import click

from aegis.audit import notes, tiles
from aegis.audit.tiles import WIDTH, Tile, TileError
from aegis.cli.verify import progress

TIMEOUT_S = 30.0
TRIES = 5
WAIT_S = 1.0
MAX_NOTE_BYTES = 64 * 1024
MAX_KEYS_BYTES = 16 * 1024 * 1024
AWAY = (408, 425, 429, 502, 503, 504)


class _NoRedirects(HTTPRedirectHandler):
    """The token goes to the address that was given and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Source:
    """The audit paths of one Aegis, read with one token."""

    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url.rstrip("/"), token
        self._opener = build_opener(_NoRedirects)

    def read(self, path: str, limit: int) -> bytes:
        """Raises click.ClickException with what stood in the way; a server that is away for a moment is asked again."""
        for left in reversed(range(TRIES)):
            try:
                return self._once(path, limit)
            except HTTPError as error:
                if error.code not in AWAY or not left:
                    raise click.ClickException(f"couldn't fetch {path}: {_detail(error)}") from None
            except (URLError, HTTPException, OSError) as error:
                if not left:
                    raise click.ClickException(f"couldn't reach {self._url}: {_reason(error)}") from None
            time.sleep(WAIT_S)
        raise AssertionError("every try returns or raises")

    def _once(self, path: str, limit: int) -> bytes:
        headers = {"authorization": f"Bearer {self._token}", "user-agent": "aegis-log"}
        request = Request(f"{self._url}/v1/audit/{path}", headers=headers)  # noqa: S310  # the scheme was checked
        with self._opener.open(request, timeout=TIMEOUT_S) as answer:
            data: bytes = answer.read(limit + 1)
        if len(data) > limit:
            raise click.ClickException(f"couldn't fetch {path}: expected at most {limit} bytes")
        return data

    def entries(self, size: int) -> Iterator[bytes]:
        """The entries of the log as it was at `size`, by bundles."""
        for index in range(-(-size // WIDTH)):
            tile = Tile(None, index, min(WIDTH, size - index * WIDTH))
            try:
                entries = tiles.decode_bundle(self.read(tile.path, tiles.MAX_BUNDLE_BYTES))
            except TileError as error:
                raise click.ClickException(f"couldn't read {tile.path}: {error}") from None
            if len(entries) != tile.width:
                raise click.ClickException(
                    f"couldn't read {tile.path}: expected {tile.width} entries, got {len(entries)}"
                )
            yield from entries


@click.group()
def log() -> None:
    """Work with the log of a running Aegis."""


@log.command("export")
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--url", envvar="AEGIS_URL", help="Where Aegis answers. [env: AEGIS_URL]")
@click.option("--token", envvar="AEGIS_TOKEN", help="A token that may read the audit log. [env: AEGIS_TOKEN]")
@click.option(
    "--credentials",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The credentials.json of `aegis up`, for the URL and the administrator's token.",
)
def export(directory: Path, url: str | None, token: str | None, credentials: Path | None) -> None:
    """Write the tenant's log into DIRECTORY, which is new or empty.

    What is written was checked against the checkpoint that the server signed; whose signature that is, `aegis verify
    log DIRECTORY --vkey VKEY` says, with a key that you have from elsewhere.
    """
    url, token = _access(url, token, credentials)
    source = Source(url, token)
    note = _text(source.read("checkpoint", MAX_NOTE_BYTES))
    try:
        head = notes.parse_checkpoint(notes.split_note(note)[0])
        with progress() as advance:
            entries = _counted(source.entries(head.size), head.size, advance)
            tiles.write_directory(directory, entries, note)
    except (TileError, notes.NoteError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"couldn't write {directory}: {error.strerror}") from None
    click.echo(f"wrote {head.size} rows of {head.origin} to {directory}")
    click.echo(f"the server gives this as its key: {_key(source)}")


def _key(source: Source) -> str:
    """What the server calls its log's verifier key: to compare with the one that was handed out at the beginning."""
    try:
        key = str(json.loads(source.read("keys", MAX_KEYS_BYTES))["log"])
    except (ValueError, KeyError, TypeError):
        raise click.ClickException("couldn't read the keys: expected JSON with the member log") from None
    return "".join(c for c in key if c.isprintable())[:1000]


def _counted(entries: Iterator[bytes], size: int, advance: Any) -> Iterator[bytes]:
    for number, entry in enumerate(entries, 1):
        yield entry
        if advance is not None and (number % WIDTH == 0 or number == size):
            advance(number, size)


def _access(url: str | None, token: str | None, credentials: Path | None) -> tuple[str, str]:
    """What was given wins over the file. Raises click.UsageError for what is missing."""
    if credentials is not None:
        try:
            found = json.loads(credentials.read_bytes())
            url, token = url or found["url"], token or found["admin"]["token"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise click.UsageError(f"couldn't read {credentials}: {_reason(error)}") from None
    if not url or not token:
        raise click.UsageError("expected --url and --token (or AEGIS_URL and AEGIS_TOKEN), or --credentials")
    if urlsplit(url).scheme not in ("http", "https"):
        raise click.UsageError("--url: expected http://... or https://...")
    if not token.isascii() or not token.isprintable():
        raise click.UsageError("--token: expected a token, got other characters")
    return url, token


def _detail(error: HTTPError) -> str:
    """The problem's own words where the answer is one, as printable text."""
    try:
        text = str(json.loads(error.read(64 * 1024))["detail"])
    except (OSError, ValueError, KeyError, TypeError, HTTPException):
        text = error.reason
    return f"{error.code} {''.join(c for c in text if c.isprintable())[:300]}"


def _reason(error: Exception) -> str:
    inner = getattr(error, "reason", error)
    return getattr(inner, "strerror", None) or str(inner) or type(inner).__name__


def _text(data: bytes) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise click.ClickException("couldn't read the checkpoint: expected UTF-8") from None
