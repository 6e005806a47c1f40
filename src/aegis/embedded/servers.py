"""Both embedded servers on one data directory, started and stopped together."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from aegis.embedded.account import server_account
from aegis.embedded.binaries import find_postgres, find_valkey
from aegis.embedded.places import DataDir, make_reachable, program_places, runtime_dir
from aegis.embedded.postgres import Postgres, made_by, need_own
from aegis.embedded.trouble import CannotStart
from aegis.embedded.valkey import Valkey


@dataclass(frozen=True, slots=True)
class ServerOptions:
    account: str = ""
    """As root: the account of the servers; empty: the first that fits."""
    postgres_folder: str = ""
    """Where `postgres` and `initdb` are; empty: the wheel, else the system's."""
    postgres_buffers_mib: int = 64
    postgres_connections: int = 60
    valkey_memory_mib: int = 256


class EmbeddedServers:
    """Holds the data directory's lock from `claim` to `stop`. A context manager starts and stops."""

    def __init__(self, data: DataDir, postgres: Postgres, valkey: Valkey, notes: list[str]) -> None:
        self.data = data
        self.postgres = postgres
        self.valkey = valkey
        self.notes = notes
        """Sentences for the terminal: what was opened, what is shared."""

    @classmethod
    def claim(cls, path: Path, options: ServerOptions = ServerOptions()) -> EmbeddedServers:
        """Everything up to the start itself. Raises CannotStart in one line for whatever is in the way."""
        account = server_account(options.account)
        data = DataDir.claim(path)
        try:
            cluster = data.path / "postgres"
            major = made_by(cluster)
            data.need_space(first_start=major is None)
            opened = make_reachable(data.path, account)
            notes = [f"the account {account.name} may now pass through {directory}" for directory in opened]
            places = program_places(data.path)
            programs = find_postgres(account, places, folder=options.postgres_folder, major=major)
            if major is not None:
                need_own(cluster, account)
            runtime = runtime_dir(data.path, account)
            logs = data.path / "logs"
            logs.mkdir(mode=0o700, exist_ok=True)
            postgres = Postgres(
                cluster,
                runtime,
                account,
                programs,
                logs / "postgres.log",
                buffers_mib=options.postgres_buffers_mib,
                connections=options.postgres_connections,
            )
            program = find_valkey(account, places)
            valkey = Valkey(program, runtime, account, logs / "valkey.log", memory_mib=options.valkey_memory_mib)
        except BaseException:
            data.release()
            raise
        return cls(data, postgres, valkey, notes)

    def start(self) -> None:
        """Returns when both answer. Raises CannotStart with nothing left running."""
        try:
            self.valkey.spawn()
            self.postgres.start()
            deadline = time.monotonic() + 20
            while not self.valkey.ready():
                if time.monotonic() > deadline:
                    raise CannotStart(f"couldn't start Valkey: see {self.valkey.log}")
                time.sleep(0.005)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.valkey.stop()
        self.postgres.stop()
        shutil.rmtree(self.postgres.runtime, ignore_errors=True)
        self.data.release()

    def __enter__(self) -> EmbeddedServers:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
