"""Where the embedded servers live: the data directory (locked), the sockets' directory, and the way to them."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import pwd
import stat
import struct
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from aegis.embedded.account import Account
from aegis.embedded.trouble import CannotStart

SOCKET_PATH_LIMIT = 103  # sun_path without its zero byte is 107 on Linux and 103 on macOS
LONGEST_SOCKET_NAME = len("/.s.PGSQL.5432.lock")
FIRST_START_BYTES = 192 * 2**20  # a new cluster, the copied binaries and the first megabytes of WAL
LATER_START_BYTES = 32 * 2**20

_ACL = "system.posix_acl_access"


def default_data_dir() -> Path:
    """Root: /var/lib/aegis, since the servers' account can't enter root's home. Others: ~/.local/share/aegis."""
    if os.geteuid() == 0:
        return Path("/var/lib/aegis")
    base = os.environ.get("XDG_DATA_HOME", "")
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "share") / "aegis"


class DataDir:
    """The one directory that holds everything; at most one supervisor has it at a time."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    @classmethod
    def claim(cls, path: Path) -> DataDir:
        """Makes `path` where it is missing and locks it. Raises CannotStart when another process has it."""
        path = path.absolute()
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CannotStart(
                f"couldn't use {path} as the data directory: {error.strerror}: expected one that the user "
                f"{os.geteuid()} may write to: choose another --data-dir, or give it to that user"
            ) from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            holder = os.pread(lock, 20, 0).decode("ascii", "replace").strip() or "unknown"
            os.close(lock)
            raise CannotStart(
                f"couldn't start: the data directory {path} is in use by process {holder}: stop it with "
                f"`kill {holder}`, or choose another --data-dir"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
        return cls(path, lock)

    def release(self) -> None:
        with contextlib.suppress(OSError):
            os.ftruncate(self._lock, 0)
            os.close(self._lock)

    def need_space(self, first_start: bool) -> None:
        """Raises CannotStart when the disk is as good as full."""
        needed = FIRST_START_BYTES if first_start else LATER_START_BYTES
        left = os.statvfs(self.path)
        free = left.f_bavail * left.f_frsize
        if free < needed:
            raise CannotStart(
                f"couldn't start: expected {needed // 2**20} MiB free where {self.path} is, got {free // 2**20} MiB"
            )


def runtime_dir(data: Path, account: Account) -> Path:
    """A directory of mode 0700 that belongs to `account`, short enough for a socket; the same one at every start.

    Raises CannotStart when no place for it exists.
    """
    name = "aegis-" + hashlib.sha256(os.fsencode(data)).hexdigest()[:10]
    for base in _runtime_bases():
        path = base / name
        if len(os.fsencode(path)) + LONGEST_SOCKET_NAME > SOCKET_PATH_LIMIT:
            continue
        with contextlib.suppress(OSError):
            path.mkdir(mode=0o700)
        try:
            found = path.lstat()
            if not stat.S_ISDIR(found.st_mode) or found.st_uid not in {os.geteuid(), account.uid}:
                continue  # somebody else made it first, in a directory where everybody may
            os.chmod(path, 0o700)
            if account.switched:
                os.chown(path, account.uid, account.gid)
        except OSError:
            continue
        return path
    tried = ", ".join(map(str, dict.fromkeys(_runtime_bases())))
    raise CannotStart(f"couldn't make a directory for the sockets: expected one of {tried} to be writable, got none")


def _runtime_bases() -> Iterator[Path]:
    if os.geteuid() == 0:
        yield Path("/run")
        yield Path("/var/run")
    elif mine := os.environ.get("XDG_RUNTIME_DIR"):
        yield Path(mine)
    yield Path("/tmp")  # noqa: S108  # the directory's owner and mode are checked
    yield Path(tempfile.gettempdir())


def program_places(data: Path) -> list[Path]:
    """Where copies of the servers' programs may be put: beside the data, unless that is mounted noexec."""
    if os.geteuid() == 0:
        return [data / "bin", Path("/var/lib/aegis/bin"), Path("/opt/aegis/bin"), Path("/run/aegis-bin")]
    elsewhere = Path(f"/var/tmp/aegis-bin-{os.geteuid()}")  # noqa: S108  # owner and mode are checked before use
    return [data / "bin", Path.home() / ".cache" / "aegis" / "bin", elsewhere]


def make_reachable(path: Path, account: Account) -> list[Path]:
    """Lets `account` pass through every directory down to `path`, and answers those that had to be opened.

    `path` and root's directories above it get an entry for this one account; a person's home is never opened.
    Raises CannotStart naming the directory that stays shut.
    """
    if not account.switched or _may_search(path, account):
        return []
    opened = []
    for directory in [*reversed(path.parents), path]:
        if _may_search(directory, account):
            continue
        found = directory.stat()
        if directory != path and (found.st_uid != 0 or directory in _homes()):
            raise CannotStart(
                f"couldn't let the account {account.name} reach {path}: {directory} is closed to it; choose another "
                f"--data-dir, or type `chmod o+x {directory}`"
            )
        _grant_search(directory, found, account, last=directory == path)
        opened.append(directory)
    return opened


def _homes() -> set[Path]:
    return {Path(entry.pw_dir) for entry in pwd.getpwall()}


def _may_search(directory: Path, account: Account) -> bool:
    """Asked as the account itself: access lists, groups and mounts all have their say."""
    tried = subprocess.run(
        ["/bin/sh", "-c", 'cd -- "$1"', "reach", directory],
        stderr=subprocess.DEVNULL,
        cwd="/",
        user=account.uid,
        group=account.gid,
        extra_groups=[],
    )
    return tried.returncode == 0


def _grant_search(directory: Path, found: os.stat_result, account: Account, *, last: bool) -> None:
    mode = stat.S_IMODE(found.st_mode)
    try:
        if hasattr(os, "setxattr"):
            os.setxattr(directory, _ACL, _acl(mode, account.uid))
            return
    except OSError as error:
        if error.errno not in {errno.ENOTSUP, errno.EPERM, errno.EINVAL}:
            raise
    if not last:
        raise CannotStart(
            f"couldn't let the account {account.name} pass through {directory}: choose another --data-dir, "
            f"or type `chmod o+x {directory}`"
        )
    os.chmod(directory, mode | stat.S_IXOTH)


def _acl(mode: int, uid: int) -> bytes:
    """A POSIX access list, version 2: what `mode` says, plus search for one user.

    Source: acl(5), linux/posix_acl_xattr.h.
    The group's own permissions keep their bits; the mask lets the user's x through.
    """
    owner, group, other = (mode >> 6) & 7, (mode >> 3) & 7, mode & 7
    nobody_in_particular = 0xFFFFFFFF
    entries = [
        (0x01, owner, nobody_in_particular),
        (0x02, 1, uid),
        (0x04, group, nobody_in_particular),
        (0x10, group | 1, nobody_in_particular),
        (0x20, other, nobody_in_particular),
    ]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
