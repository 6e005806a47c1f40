"""All of Aegis on one machine: embedded servers, gateways, a worker; one terminal, one SIGTERM.

This process only starts, watches and stops the others and accepts connections for the gateways, so it imports
neither a web framework nor a database driver. What it starts:

    postgres, valkey                      aegis.embedded
    python -m aegis prepare               schema and first tenant; at the first start and after an upgrade
    python -m aegis gateway --channel N   aegis.roles.gateway.main(config, channel=...), as many as gateway.workers
    python -m aegis worker --channel N    aegis.roles.worker.main(config, channel=...)

The channel is a socket (see `roles.serving`): the child writes `r` once it is ready, and its end is our death.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from aegis.config import Config
from aegis.embedded.account import own_account
from aegis.embedded.places import DataDir, default_data_dir
from aegis.embedded.servers import EmbeddedServers, ServerOptions
from aegis.embedded.tether import Tethered, spawn
from aegis.embedded.trouble import CannotStart
from aegis.roles.front import Front, open_listeners
from aegis.roles.supervision import Kept, Supervision, say

CREDENTIALS = "credentials.json"
FIRST_START = "first-start"
"""Stands from before the first database until it is prepared: what it stands beside was never used by anybody."""
KEY_FILES = ("root.key", "log.key", "writer.key", "token.key", "vault.key")
"""As `audit.keys` names them; this process doesn't import cryptography."""
PREPARED = "prepared"
"""Names the schema and the program that the data was last prepared for."""
PREPARE_S = 120.0
READY_S = 60.0
ENDED_BEFORE_READY = 4
OTHER_CONNECTIONS = 20
ENGINES = {"opa": ("opa_bindings", "opa-golib-python-bindings")}


def main(config: Config) -> None:
    """Returns after an orderly stop. Raises CannotStart, with everything stopped again, when it can't get ready."""
    os.umask(0o077)
    _raise_descriptor_limit()
    need_policy_engine(config)
    data = Path(config.data_dir).absolute() if config.data_dir else default_data_dir()
    try:
        listeners = open_listeners(config.gateway.listen, config.gateway.port)
    except CannotStart:
        if (data / "lock").exists():  # a second start on one directory hears who holds it, not that the port is taken
            DataDir.claim(data).release()
        raise
    try:
        servers = EmbeddedServers.claim(data, server_options(config))
    except BaseException:
        for listener in listeners:
            listener.close()
        raise
    supervision = Supervision()
    with supervision.signals():
        front = Front(listeners, supervision, expected=config.gateway.workers)
        _House(config, servers, front, supervision).live()


def need_policy_engine(config: Config) -> None:
    """Raises CannotStart with how to get the engine that the configuration names and this machine lacks."""
    known = ENGINES.get(config.policy.engine)
    if known is None or find_spec(known[0]) is not None:
        return
    module, package = known
    raise CannotStart(
        f"couldn't find the policy engine {config.policy.engine}: expected the Python module {module}, got none: type "
        f"`make install`, or `pip install --no-deps --ignore-requires-python {package}`"
    )


def server_options(config: Config) -> ServerOptions:
    return ServerOptions(
        account=config.embedded.account,
        postgres_folder=config.embedded.postgres_folder,
        postgres_buffers_mib=config.embedded.postgres_buffers_mib,
        postgres_connections=config.gateway.workers * (config.gateway.database_connections + 2) + OTHER_CONNECTIONS,
        valkey_memory_mib=config.embedded.valkey_memory_mib,
    )


class _House:
    def __init__(self, config: Config, servers: EmbeddedServers, front: Front, supervision: Supervision) -> None:
        self.config = config
        self.servers = servers
        self.front = front
        self.supervision = supervision
        self.data = servers.data.path
        self.url = f"http://{_host(config.gateway.listen[0])}:{front.port}"
        self.channels: dict[str, socket.socket] = {}

    def live(self) -> None:
        try:
            self._start()
            if not self.supervision.stopping:
                self._announce()
                self.supervision.run()
        finally:
            self._stop()

    # ------------------------------------------------------------------ starting

    def _start(self) -> None:
        for note in self.servers.notes:
            say(note)
        self._judge_what_is_there()
        self.servers.start()
        postgres, valkey = self.servers.postgres, self.servers.valkey
        self.supervision.add(Kept("postgres", postgres.spawn, stop_signal=signal.SIGINT, child=postgres.child))
        self.supervision.add(Kept("valkey", valkey.spawn, child=valkey.child))
        if not self._is_prepared():
            self._prepare()
        gateways = [f"gateway {number}" for number in range(1, self.config.gateway.workers + 1)]
        for name in gateways:
            self._keep(name, "gateway", at_front=True)
        self._await_readiness(len(gateways))
        if not self.supervision.stopping:
            self._keep("worker", "worker", at_front=False)

    def _judge_what_is_there(self) -> None:
        """A first start that was broken off is begun anew, its database set aside. Everything else that is there is
        gone on with, or refused in one line that says what it lacks. Deletes nothing."""
        cluster, marker = self.servers.postgres.data, self.data / FIRST_START
        kept = [name for name in (CREDENTIALS, PREPARED) if (self.data / name).exists()]
        if marker.exists() and not kept:
            self._set_aside(cluster)
        elif not cluster.exists() and kept:
            raise CannotStart(
                f"couldn't start: {self.data} has the {kept[0]} of an installation and no {cluster.name} beside it: "
                "restore that from the backup, or choose an empty --data-dir"
            )
        elif cluster.exists():
            self._need_keys(cluster)
        if not cluster.exists():
            _write_durably(marker)
        elif kept:
            marker.unlink(missing_ok=True)  # broken off between its last two steps

    def _set_aside(self, cluster: Path) -> None:
        if not cluster.exists():
            return
        aside = cluster.with_name(f"{cluster.name}.broken-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}")
        self.servers.postgres.end_orphan()
        cluster.rename(aside)
        say(f"the first start was broken off before it handed out credentials: beginning anew; {aside} may be removed")

    def _need_keys(self, cluster: Path) -> None:
        """New keys for an old log would make it look forged."""
        folder = Path(self.config.keys.dir or self.data / "keys")
        missing = [name for name in KEY_FILES if not (folder / name).exists()]
        if missing:
            raise CannotStart(
                f"couldn't start: the log in {cluster} needs its keys, and {folder} lacks {', '.join(missing)}: "
                "restore them from the backup of the keys, or move the database away to begin an empty log"
            )

    def _is_prepared(self) -> bool:
        with contextlib.suppress(OSError):
            return (self.data / PREPARED).read_text("ascii") == _fingerprint() and self._credentials_name(self.url)
        return False

    def _credentials_name(self, url: str) -> bool:
        """Keeps the URL in the credentials true when the port has changed; the file itself may be gone."""
        path = self.data / CREDENTIALS
        with contextlib.suppress(OSError, ValueError):
            members = json.loads(path.read_text("utf-8"))
            if members.get("url") != url:
                draft = path.with_name(f".{path.name}.{os.getpid()}")
                draft.write_text(json.dumps(members | {"url": url}, indent=2) + "\n", "utf-8")  # umask: mode 0600
                draft.rename(path)
        return True

    def _prepare(self) -> None:
        child = spawn(
            _command("prepare", "--url", self.url),
            on_parent_death=signal.SIGTERM,
            environment=self._environment(owner=True),
            output=subprocess.PIPE,
        )
        with contextlib.suppress(subprocess.TimeoutExpired):
            output, _ = child.process.communicate(timeout=PREPARE_S)
            if child.process.returncode == 0:
                (self.data / PREPARED).write_text(_fingerprint(), "ascii")
                (self.data / FIRST_START).unlink(missing_ok=True)
                self._credentials_name(self.url)  # after an upgrade they are older than this port
                if not (self.data / CREDENTIALS).exists():
                    say(f"this database was set up before: there is no {CREDENTIALS}, and its tokens go on being valid")
                return
            lines = output.decode("utf-8", "replace").strip().splitlines()
            raise CannotStart(lines[-1].removeprefix("aegis: ") if lines else "couldn't prepare the database")
        child.stop(signal.SIGKILL, 5)
        raise CannotStart(f"couldn't prepare the database within {PREPARE_S:.0f} s")

    def _keep(self, name: str, command: str, *, at_front: bool) -> None:
        self.supervision.add(
            Kept(
                name,
                lambda: self._launch(name, command, at_front),
                ended=lambda: self._drop(name),
                may_launch=self._stores_answer,
            )
        )

    def _stores_answer(self) -> bool:
        """Who starts while PostgreSQL recovers would only fail."""
        try:
            running = all(kept.child for kept in self.supervision.kept if kept.name in {"postgres", "valkey"})
            return running and self.servers.postgres.ready() and self.servers.valkey.ready()
        except CannotStart:
            return False

    def _launch(self, name: str, command: str, at_front: bool) -> Tethered:
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                child = spawn(
                    _command(command, "--channel", str(theirs.fileno())),
                    on_parent_death=signal.SIGTERM,
                    environment=self._environment(),
                    pass_fds=[theirs.fileno()],
                )
            except OSError:
                ours.close()
                raise
        self.channels[name] = ours
        if at_front:
            self.front.join(ours)
        return child

    def _drop(self, name: str) -> None:
        channel = self.channels.pop(name, None)
        if channel is not None:
            self.front.leave(channel)

    def _environment(self, *, owner: bool = False) -> Mapping[str, str]:
        postgres = self.servers.postgres
        environment = dict(os.environ)
        environment |= {
            "AEGIS_DATA_DIR": os.fspath(self.data),
            "AEGIS_DATABASE_URL": postgres.url,
            "AEGIS_DATABASE_DIRECT_URL": postgres.url,
            "AEGIS_REDIS_URL": self.servers.valkey.url,
            "AEGIS_KEYS__DIR": self.config.keys.dir or os.fspath(self.data / "keys"),
            "AEGIS_GATEWAY__WORKERS": str(self.config.gateway.workers),
            "AEGIS_GATEWAY__PORT": str(self.front.port),
            "AEGIS_CONSOLE": "true" if self.config.console else "false",
            "PYTHONUNBUFFERED": "1",
            "MALLOC_ARENA_MAX": "2",
        }
        if owner:
            environment["AEGIS_DATABASE_OWNER_URL"] = postgres.owner_url
        return environment

    def _await_readiness(self, gateways: int) -> None:
        late = False

        def give_up() -> None:
            nonlocal late
            late = True

        self.supervision.call_later(READY_S, give_up)
        self.supervision.run(
            until=lambda: late or len(self.front.ready) == gateways or self._keeps_ending() is not None
        )
        if self.supervision.stopping:
            return
        if (ending := self._keeps_ending()) is not None:
            raise CannotStart(f"couldn't start: {ending.name} ended {ending.failures} times before it was ready")
        if late:
            raise CannotStart(f"couldn't get ready within {READY_S:.0f} s")

    def _keeps_ending(self) -> Kept | None:
        return next((kept for kept in self.supervision.kept if kept.failures >= ENDED_BEFORE_READY), None)

    def _announce(self) -> None:
        postgres = self.servers.postgres
        if not postgres.account.switched:
            say(f"the signing keys share the account {own_account().name} with the servers: there is no second account")
        elif postgres.account.name == "nobody":
            say("PostgreSQL runs as nobody: `useradd --system aegis` gives it an account that nothing else has")
        print(
            f"aegis: ready at {self.url} (process {os.getpid()}, credentials in {self.data / CREDENTIALS})", flush=True
        )

    # ------------------------------------------------------------------ stopping

    def _stop(self) -> None:
        """The front first, then whoever works, then what they work with."""
        self.front.close()
        self.supervision.stop(lambda name: name.startswith("gateway"), self.config.gateway.drain_s + 2)
        self.supervision.stop(lambda name: name == "worker", self.config.gateway.drain_s)
        for kept in self.supervision.kept:
            if kept.name == "postgres":
                self.servers.postgres.child = kept.child
            elif kept.name == "valkey":
                self.servers.valkey.child = kept.child
        self.supervision.kept.clear()
        self.servers.stop()
        for channel in self.channels.values():
            channel.close()


def with_options(
    config: Config, *, data_dir: str | None, port: int | None, workers: int | None, no_console: bool
) -> Config:
    """The command's options over the configuration."""
    gateway = dataclasses.replace(
        config.gateway,
        port=config.gateway.port if port is None else port,
        workers=config.gateway.workers if workers is None else workers,
    )
    return dataclasses.replace(
        config,
        data_dir=config.data_dir if data_dir is None else data_dir,
        console=config.console and not no_console,
        gateway=gateway,
    )


def _command(*words: str) -> list[str]:
    return [sys.executable, "-P", "-m", "aegis", *words]  # -P: modules of the current directory are not ours


def _write_durably(marker: Path) -> None:
    descriptor = os.open(marker, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)
    os.fsync(descriptor)
    os.close(descriptor)
    folder = os.open(marker.parent, os.O_RDONLY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)


def _fingerprint() -> str:
    """Of the migrations that this program knows."""
    spec = find_spec("aegis")
    assert spec is not None and spec.origin is not None
    digest = hashlib.sha256()
    for path in sorted((Path(spec.origin).parent / "db" / "migrations").rglob("*.*")):
        if path.suffix in {".sql", ".py"}:
            digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _host(address: str) -> str:
    if address in {"0.0.0.0", "::"}:  # noqa: S104  # a name for people, nothing is bound here
        return "127.0.0.1"
    return f"[{address}]" if ":" in address else address


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft < wanted:
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
