"""An embedded Valkey on a Unix socket. It holds only what the log can rebuild, so it writes nothing to the disk."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

from aegis.embedded.account import Account
from aegis.embedded.tether import Tethered, spawn
from aegis.embedded.trouble import CannotStart

READY_S = 20.0
STOP_S = 5.0
POLL_S = 0.005


class Valkey:
    """One server with its socket in `runtime`. `start`, use `url`, `stop`."""

    def __init__(self, program: Path, runtime: Path, account: Account, log: Path, *, memory_mib: int = 256) -> None:
        self.program = program
        self.runtime = runtime
        self.account = account
        self.log = log
        self.memory_mib = memory_mib
        self.child: Tethered | None = None

    @property
    def socket_path(self) -> Path:
        return self.runtime / "valkey.sock"

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}"

    def start(self) -> None:
        """Returns once the server answers. Raises CannotStart."""
        self.spawn()
        deadline = time.monotonic() + READY_S
        while not self.ready():
            if time.monotonic() > deadline:
                raise CannotStart(f"couldn't start Valkey within {READY_S:.0f} s: see {self.log}")
            time.sleep(POLL_S)

    def spawn(self) -> Tethered:
        """Starts the server without waiting for it."""
        self.socket_path.unlink(missing_ok=True)
        with self.log.open("wb") as output:
            self.child = spawn(
                [self.program, *self._options()],
                on_parent_death=signal.SIGTERM,
                account=self.account,
                environment={"LC_ALL": "C", "TZ": "UTC", "PATH": "/usr/bin:/bin"},
                cwd=self.runtime,
                output=output,
            )
        return self.child

    def ready(self) -> bool:
        """True once it answers PING. Raises CannotStart when the child has ended."""
        assert self.child is not None
        if self.child.ended() is not None:
            said = self.log.read_text("utf-8", "replace").strip().splitlines() or ["it said nothing"]
            raise CannotStart(f"couldn't start Valkey: {said[-1]} (see {self.log})")
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1.0)
            try:
                probe.connect(str(self.socket_path))
                probe.sendall(b"PING\r\n")
                return probe.recv(16).startswith(b"+PONG")
            except OSError:
                return False

    def stop(self, seconds: float = STOP_S) -> None:
        if self.child is not None:
            self.child.stop(signal.SIGTERM, seconds)
            self.child = None

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self.socket_path),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "maxmemory": f"{self.memory_mib}mb",
            "maxmemory-policy": "noeviction",  # a forgotten reservation would be a limit that isn't kept
            "maxclients": "512",
            "databases": "1",
            "lazyfree-lazy-user-del": "yes",
            "activedefrag": "no",
            "protected-mode": "yes",
        }
        return [word for name, value in options.items() for word in (f"--{name}", value)]
