"""Children that die with this process, even when it is killed with SIGKILL.

Linux: the kernel sends the child a signal when its parent ends (PR_SET_PDEATHSIG). Elsewhere a shell of one line
holds the read end of a pipe, whose end of file is the parent's death, and passes it on as the same signal.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from aegis.embedded.account import Account

_PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True)

HAS_PDEATHSIG = sys.platform == "linux"
_WATCH = 'read -r _ || kill -"$1" "$2"'


@dataclass(slots=True)
class Tethered:
    """A running child. `process` is the child itself, never a wrapper."""

    process: subprocess.Popen[bytes]
    watcher: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        return self.process.pid

    def ended(self) -> int | None:
        """The exit status once the child has ended, else None. Never waits."""
        status = self.process.poll()
        if status is not None:
            self._release()
        return status

    def wait(self, seconds: float) -> int | None:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return self.ended()

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def stop(self, number: signal.Signals, seconds: float) -> int:
        """Asks with `number`, waits `seconds`, then SIGKILL. Answers the exit status."""
        if (status := self.ended()) is not None:
            return status
        self.send(number)
        if (status := self.wait(seconds)) is not None:
            return status
        self.process.kill()
        self.process.wait()
        self._release()
        return self.process.returncode

    def _release(self) -> None:
        watcher, self.watcher = self.watcher, None
        if watcher is None:
            return
        assert watcher.stdin is not None
        try:
            watcher.stdin.write(b"done\n")
            watcher.stdin.close()
        except BrokenPipeError:
            pass
        watcher.wait()


def spawn(
    argv: Sequence[str | Path],
    *,
    on_parent_death: signal.Signals,
    account: Account | None = None,
    environment: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    output: IO[bytes] | int | None = None,
    pass_fds: Sequence[int] = (),
    pdeathsig: bool = HAS_PDEATHSIG,
) -> Tethered:
    """Starts a child in a session of its own, so that a terminal's Ctrl-C reaches only this process.

    Call it from the main thread: Linux ties the death signal to the thread that forked. Raises OSError.
    """
    switch = account if account is not None and account.switched else None
    parent = os.getpid()

    def in_child() -> None:  # after the change of user, which would clear the death signal
        if pdeathsig:
            _libc.prctl(_PR_SET_PDEATHSIG, int(on_parent_death), 0, 0, 0)
            if os.getppid() != parent:
                os._exit(1)

    process = subprocess.Popen(
        [os.fspath(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT if output is not None else None,
        env=dict(environment) if environment is not None else None,
        cwd=cwd,
        pass_fds=pass_fds,
        start_new_session=True,
        user=switch.uid if switch else None,
        group=switch.gid if switch else None,
        extra_groups=[] if switch else None,
        preexec_fn=in_child,  # noqa: PLW1509  # no lock is held by another thread while this one forks
    )
    watcher = None if pdeathsig else _watch(process.pid, on_parent_death)
    return Tethered(process, watcher)


def _watch(pid: int, number: signal.Signals) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        ["/bin/sh", "-c", _WATCH, "tether", str(int(number)), str(pid)],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
