"""Every setting: its meaning, its unit, its default, and the mistake that it prevents.

One `aegis.toml`, and `AEGIS_*` variables over it: `AEGIS_GATEWAY__PORT=9000` is `port` in `[gateway]`; lists are
separated by commas. An unknown key is an error that names the nearest known one. Nothing here can turn judging off.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, get_args, get_origin, get_type_hints

PREFIX = "AEGIS_"
FILE = "aegis.toml"

# Variables of this prefix that are no settings: the clients' own, the tests', and tenants' secrets.
NOT_SETTINGS = frozenset(
    {"AEGIS_CONFIG", "AEGIS_URL", "AEGIS_TOKEN", "AEGIS_SESSION", "AEGIS_SHARED", "AEGIS_REQUIRE_ALL"}
)
NOT_SETTINGS_PREFIXES = ("AEGIS_SECRET_", "AEGIS_TEST_")

Check = Callable[[Any], str | None]
"""Answers what was expected when the value is refused, else None."""


class ConfigError(ValueError):
    """One line: which key, what was expected, what was found and where."""


def setting(
    default: Any, meaning: str, *, prevents: str, unit: str = "", check: Check | None = None, secret: bool = False
) -> Any:
    metadata = {"meaning": meaning, "unit": unit, "prevents": prevents, "check": check}
    return field(default=default, metadata=MappingProxyType(metadata), repr=not secret)


def between(low: float, high: float) -> Check:
    return lambda value: None if low <= value <= high else f"a number from {low:g} to {high:g}"


def one_of(*known: str) -> Check:
    return lambda value: None if value in known else f"one of {', '.join(known)}"


def url_of(*schemes: str) -> Check:
    return lambda value: (
        None
        if not value or ("://" in value and value.partition("://")[0] in schemes)
        else f"a URL of {', '.join(schemes)}"
    )


def _networks(value: tuple[str, ...]) -> str | None:
    for network in value:
        try:
            ipaddress.ip_network(network)
        except ValueError:
            return f"networks such as 10.0.0.0/8 (the host bits zero), not {network!r}"
    return None


def _addresses(value: tuple[str, ...]) -> str | None:
    for address in value:
        try:
            ipaddress.ip_address(address)
        except ValueError:
            return f"addresses such as 127.0.0.1 or ::1, not {address!r}"
    return None if value else "at least one address"


_POSTGRES = url_of("postgresql", "postgres")


@dataclass(frozen=True, slots=True)
class Gateway:
    listen: tuple[str, ...] = setting(
        ("127.0.0.1", "::1"),
        "Addresses that the gateway accepts connections on.",
        prevents="a control plane that the whole network can reach because nobody thought of it",
        check=_addresses,
    )
    port: int = setting(
        8080, "TCP port.", prevents="two installations on one port", check=between(0, 65_535), unit="0: any free one"
    )
    workers: int = setting(
        2,
        "Gateway processes that `aegis up` runs.",
        unit="processes",
        prevents="one busy core while the others idle; more than the memory holds",
        check=between(1, 64),
    )
    max_body_bytes: int = setting(
        16 * 2**20,
        "A longer request body is answered with 413 before it is parsed.",
        unit="bytes",
        prevents="a caller that fills the memory",
        check=between(1024, 256 * 2**20),
    )
    max_connections: int = setting(
        1_000,
        "Connections that one gateway process serves at a time; more are answered with 503.",
        unit="connections",
        prevents="running out of file descriptors under a flood",
        check=between(10, 100_000),
    )
    database_connections: int = setting(
        8,
        "Connections to PostgreSQL that one gateway process holds at most.",
        unit="connections",
        prevents="more processes than max_connections allows",
        check=between(2, 100),
    )
    drain_s: float = setting(
        10.0,
        "After SIGTERM: how long requests in flight may go on.",
        unit="seconds",
        prevents="a deployment that cuts actions in half, or one that never ends",
        check=between(0, 300),
    )


@dataclass(frozen=True, slots=True)
class Networks:
    allow: tuple[str, ...] = setting(
        (),
        "Loopback and private networks that upstreams and webhooks may be in.",
        unit="CIDR list",
        prevents="a tool call that reads the cloud's metadata service or the database's port (SSRF)",
        check=_networks,
    )
    allow_unix: bool = setting(
        False,
        "Whether upstreams of kind sql may be reached through Unix sockets of this machine.",
        prevents="an agent's upstream that reaches a local server by its socket, past every rule about networks",
    )


@dataclass(frozen=True, slots=True)
class Policy:
    engine: str = setting(
        "opa",
        "Evaluates policies: `opa`, the engine itself inside child processes.",
        prevents="an engine that is swapped silently: decisions name it",
        check=one_of("opa"),
    )
    memo: bool = setting(
        True,
        "Remember results for equal inputs to equal bundles.",
        prevents="a millisecond for each repeated call; off, to measure the engine itself",
    )
    memo_entries: int = setting(
        10_000,
        "Results that one gateway process remembers.",
        unit="entries",
        prevents="a cache that grows with the traffic",
        check=between(16, 1_000_000),
    )


@dataclass(frozen=True, slots=True)
class Children:
    policy_count: int = setting(
        2,
        "Child processes with a policy engine for each gateway process.",
        unit="processes",
        prevents="one slow policy that holds up all tenants",
        check=between(1, 32),
    )
    policy_deadline_ms: int = setting(
        500,
        "A policy that takes longer is killed, and the call denied.",
        unit="milliseconds",
        prevents="a policy that loops",
        check=between(10, 60_000),
    )
    policy_memory_bytes: int = setting(
        1024 * 2**20,
        "Address space above what the engine maps at its start.",
        unit="bytes",
        prevents="a policy that takes the machine's memory",
        check=between(64 * 2**20, 2**40),
    )
    analysis_count: int = setting(
        2,
        "Child processes with the parsers and scanners for each gateway process.",
        unit="processes",
        prevents="one crafted argument that holds up all tenants",
        check=between(1, 32),
    )
    analysis_deadline_ms: int = setting(
        1000,
        "An analysis that takes longer is killed, and the call denied.",
        unit="milliseconds",
        prevents="an argument that makes a parser loop",
        check=between(10, 60_000),
    )
    analysis_memory_bytes: int = setting(
        512 * 2**20,
        "Address space of one analysing child.",
        unit="bytes",
        prevents="an argument that makes a parser take the machine's memory",
        check=between(64 * 2**20, 2**40),
    )


@dataclass(frozen=True, slots=True)
class Keys:
    dir: str = setting(
        "",
        "Directory of the signing keys, mode 0700. Empty: `keys` in the data directory.",
        prevents="keys in a place that a backup or an image carries away",
    )


@dataclass(frozen=True, slots=True)
class Installation:
    name: str = setting(
        "",
        "Host part of the logs' origins, fixed at the first start. Empty: made up then.",
        prevents="two installations whose logs claim the same name",
        check=lambda value: (
            None if len(value) <= 200 and not set(value) & set(" +/\n\t") else "a host name without spaces, + and /"
        ),
    )


@dataclass(frozen=True, slots=True)
class Embedded:
    account: str = setting(
        "",
        "As root: the account of PostgreSQL and Valkey. Empty: the first there is of aegis, postgres and nobody.",
        prevents="a database server with root's rights",
    )
    postgres_folder: str = setting(
        "",
        "Folder with `postgres` and `initdb`. Empty: the bundled ones, else the system's newest.",
        prevents="another PostgreSQL than the one that the data was made by",
    )
    postgres_buffers_mib: int = setting(
        64,
        "PostgreSQL's shared buffers.",
        unit="MiB",
        prevents="a log whose newest rows are read from the disk",
        check=between(16, 65_536),
    )
    valkey_memory_mib: int = setting(
        256,
        "Valkey's memory; when it is full, writes fail and limits deny.",
        unit="MiB",
        prevents="counters that take the machine's memory, or that are evicted",
        check=between(16, 65_536),
    )


@dataclass(frozen=True, slots=True)
class Config:
    data_dir: str = setting(
        "",
        "Where `aegis up` keeps everything. Empty: /var/lib/aegis as root, else ~/.local/share/aegis.",
        prevents="data in the directory that happened to be the current one",
    )
    database_url: str = setting(
        "",
        "PostgreSQL for every query, as the login aegis_app; may lead to a pooler.",
        prevents="processes with the rights of the schema's owner",
        check=_POSTGRES,
        secret=True,
    )
    database_direct_url: str = setting(
        "",
        "PostgreSQL without a pooler: LISTEN, jobs, migrations. Empty: database_url.",
        prevents="notifications that a transaction pooler swallows",
        check=_POSTGRES,
        secret=True,
    )
    database_owner_url: str = setting(
        "",
        "PostgreSQL as the schema's owner, for `aegis migrate` alone. Empty: database_direct_url.",
        prevents="the owner's password on hosts that never migrate",
        check=_POSTGRES,
        secret=True,
    )
    database_pooled: bool = setting(
        False,
        "A transaction pooler older than PgBouncer 1.21 stands before database_url: no prepared statements.",
        prevents="`prepared statement does not exist` under load",
    )
    redis_url: str = setting(
        "",
        "Redis or Valkey: redis://, rediss:// or unix://.",
        prevents="limits that each process counts for itself",
        check=url_of("redis", "rediss", "unix"),
        secret=True,
    )
    log_level: str = setting(
        "info",
        "The least severe events that are written: debug, info, warning, error.",
        prevents="a disk full of debug lines",
        check=one_of("debug", "info", "warning", "error"),
    )
    console: bool = setting(
        True, "Serve the console's files.", prevents="a console on hosts that only proxy; `--no-console` turns it off"
    )
    api: bool = setting(
        True, "Serve the API.", prevents="a management API on hosts that only proxy; `--no-api` turns it off"
    )
    gateway: Gateway = field(default_factory=Gateway)
    networks: Networks = field(default_factory=Networks)
    policy: Policy = field(default_factory=Policy)
    children: Children = field(default_factory=Children)
    keys: Keys = field(default_factory=Keys)
    installation: Installation = field(default_factory=Installation)
    embedded: Embedded = field(default_factory=Embedded)

    @property
    def direct_url(self) -> str:
        return self.database_direct_url or self.database_url

    @property
    def owner_url(self) -> str:
        return self.database_owner_url or self.direct_url


def load_config(file: Path | None = None, environment: Mapping[str, str] | None = None) -> Config:
    """Reads the file (`file`, else AEGIS_CONFIG, else ./aegis.toml where it exists), then the variables over it.

    Raises ConfigError naming the first thing that is wrong.
    """
    environment = os.environ if environment is None else environment
    named = file or (Path(environment["AEGIS_CONFIG"]) if environment.get("AEGIS_CONFIG") else None)
    values: dict[str, Any] = {}
    if named is not None or Path(FILE).is_file():
        values = _read(named or Path(FILE))
    for name, text in sorted(environment.items()):
        if name.startswith(PREFIX) and name not in NOT_SETTINGS and not name.startswith(NOT_SETTINGS_PREFIXES):
            _place(values, name, text)
    config: Config = _build(Config, values, ())
    return config


def every_setting() -> list[tuple[str, Field[Any]]]:
    """Dotted names and fields in the order of the documentation."""
    return list(_walk(Config, ()))


def _walk(kind: type, path: tuple[str, ...]) -> list[tuple[str, Field[Any]]]:
    found: list[tuple[str, Field[Any]]] = []
    for item in fields(kind):
        section = item.default_factory
        if section is not MISSING and is_dataclass(section):
            found += _walk(section, (*path, item.name))
        else:
            found.append((".".join((*path, item.name)), item))
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"couldn't read {path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"couldn't read {path}: expected TOML, got {error}") from None


@dataclass(frozen=True, slots=True)
class _Text:
    """A value from a variable: its type is still to be found."""

    text: str
    name: str


def _place(values: dict[str, Any], name: str, text: str) -> None:
    *sections, last = name.removeprefix(PREFIX).lower().split("__")
    target = values
    for section in sections:
        inner = target.setdefault(section, {})
        if not isinstance(inner, dict):
            raise ConfigError(f"couldn't read {name}: {section} is no section")
        target = inner
    target[last] = _Text(text, name)


def _build(kind: Any, values: Mapping[str, Any], path: tuple[str, ...]) -> Any:
    known = {item.name: item for item in fields(kind)}
    hints = get_type_hints(kind)
    made = {}
    for name, value in values.items():
        where = _named(value) or ".".join((*path, name))
        if name not in known:
            raise ConfigError(f"couldn't read {where}: no such setting{_nearest((*path, name))}")
        hint = hints[name]
        if is_dataclass(hint):
            if not isinstance(value, Mapping):
                raise ConfigError(f"couldn't read {where}: expected a section, got a value")
            made[name] = _build(hint, value, (*path, name))
        else:
            made[name] = _checked(known[name], _typed(hint, value, where), where)
    return kind(**made)


def _named(value: Any) -> str:
    """The variable that a value, or the first value of a section, came from."""
    while isinstance(value, dict) and value:
        value = next(iter(value.values()))
    return value.name if isinstance(value, _Text) else ""


def _nearest(path: tuple[str, ...]) -> str:
    names = [name for name, _ in every_setting()]
    wanted = ".".join(path)
    close = difflib.get_close_matches(wanted, names, n=1, cutoff=0.5)
    if not close:  # the right name in the wrong section
        close = [name for name in names if name.rpartition(".")[2] == path[-1]][:1]
    return f"; did you mean {close[0]} (AEGIS_{close[0].upper().replace('.', '__')})?" if close else ""


def _typed(hint: Any, value: Any, where: str) -> Any:
    text = value.text.strip() if isinstance(value, _Text) else None
    if hint is bool:
        if text is not None and text.lower() in {"true", "false", "1", "0", "yes", "no", "on", "off"}:
            return text.lower() in {"true", "1", "yes", "on"}
        if isinstance(value, bool):
            return value
        raise ConfigError(f"couldn't read {where}: expected true or false, got {_shown(value)}")
    if hint in {int, float}:
        if text is not None:
            try:
                return hint(text)
            except ValueError:
                raise ConfigError(f"couldn't read {where}: expected a number, got {_shown(value)}") from None
        if isinstance(value, hint | int) and not isinstance(value, bool):
            return hint(value)
        raise ConfigError(f"couldn't read {where}: expected a number, got {_shown(value)}")
    if get_origin(hint) is tuple:
        assert get_args(hint)[0] is str
        if text is not None:
            return tuple(part.strip() for part in text.split(",") if part.strip())
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            return tuple(value)
        raise ConfigError(f"couldn't read {where}: expected a list of texts, got {_shown(value)}")
    if text is not None:
        return text
    if isinstance(value, str):
        return value
    raise ConfigError(f"couldn't read {where}: expected a text, got {_shown(value)}")


def _checked(item: Field[Any], value: Any, where: str) -> Any:
    check: Check | None = item.metadata["check"]
    expected = check(value) if check is not None else None
    if expected is not None:
        shown = "another one" if not item.repr else repr(value)
        raise ConfigError(f"couldn't read {where}: expected {expected}, got {shown}")
    return value


def _shown(value: Any) -> str:
    return repr(value.text) if isinstance(value, _Text) else repr(value)
