"""The keys of an installation's log: three roles, never shared (C2SP: no key serves two kinds of notes).

`root` signs genesis, key.add and key.revoke rows; `log` signs checkpoints; `writer` signs rows. Files hold the
32-byte Ed25519 seed as hex with mode 0600; a wider mode is refused.
"""

from __future__ import annotations

import os
import secrets
import stat
from dataclasses import dataclass
from pathlib import Path

from aegis.audit.rows import Writer

ROLES = ("root", "log", "writer", "token", "vault")
"""`token` signs our own bearer tokens, `vault` seals upstreams' secrets: no part of the log, kept beside it."""


class KeyFileError(RuntimeError):
    """A key file is missing, too open or not a seed; the message names the file and the mend."""


@dataclass(frozen=True, slots=True)
class LogKeys:
    root: Writer
    writer: Writer
    log_seed: bytes
    token_seed: bytes
    vault_key: bytes


def load(directory: Path, *, create: bool) -> LogKeys:
    """The installation's keys. With `create`, missing ones are made; two processes that start at once agree."""
    if create:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    seeds = {role: _seed(directory / f"{role}.key", create) for role in ROLES}
    return LogKeys(
        root=Writer.of("root", seeds["root"]),
        writer=Writer.of("writer", seeds["writer"]),
        log_seed=seeds["log"],
        token_seed=seeds["token"],
        vault_key=seeds["vault"],
    )


def _seed(path: Path, create: bool) -> bytes:
    if create and not path.exists():
        _write_once(path, secrets.token_hex(32))
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        text = path.read_text("ascii").strip()
    except OSError as error:
        raise KeyFileError(f"couldn't read the key {path}: {error.strerror}") from error
    if mode & 0o077:
        raise KeyFileError(f"couldn't use the key {path}: expected mode 0600, got {mode:04o} (chmod 600 {path})")
    try:
        seed = bytes.fromhex(text)
    except ValueError:
        seed = b""
    if len(seed) != 32:
        raise KeyFileError(f"couldn't use the key {path}: expected 64 hex digits")
    return seed


def _write_once(path: Path, text: str) -> None:
    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, text.encode("ascii"))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(scratch, path)  # fails where another process was first: its key stands
    except FileExistsError:
        pass
    finally:
        scratch.unlink()
