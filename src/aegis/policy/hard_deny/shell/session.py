"""What a walk through commands knows and has found: one command's words, its surroundings, the findings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.places import Places
from aegis.policy.hard_deny.shell.words import NETWORK, SECRET, UNKNOWN

HOME = "/home/\ue011agent"
"""Where `~` leads: a name that no text can spell."""

Found = tuple[str, dict[str, str]]


@dataclass(slots=True)
class Command:
    """One command: its words, what it reads on standard input, and the file its output goes to."""

    argv: list[str]
    stdin: str | None = None
    out: str | None = None
    background: bool = False
    assigned: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        head = self.argv[0] if self.argv else ""
        return head.replace("\\", "/").rsplit("/", 1)[-1]


@dataclass(slots=True)
class Surroundings:
    """What commands change for those after them."""

    places: Places
    cwd: str
    variables: dict[str, str]
    protected_branches: frozenset[str] = frozenset()
    protected_namespaces: frozenset[str] = frozenset()
    fetched: set[str] = field(default_factory=set)
    """Files whose bytes came from the network in this text."""
    written: dict[str, str] = field(default_factory=dict)
    """Files whose text is known because this text wrote them."""
    branch: str = ""
    now: float = 20820.0

    def copied(self) -> Surroundings:
        """The surroundings of a nested shell: variables are its own, files are everyone's."""
        return replace(self, variables=dict(self.variables))


@dataclass(slots=True)
class Reading:
    findings: list[Found] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    steps: int = 0
    characters: int = 0

    def add(self, code: str, **values: str) -> None:
        if all(c != code for c, _ in self.findings):
            self.findings.append((code, values))


class Session:
    """The reading and the surroundings that a command is judged in."""

    def __init__(self, around: Surroundings, reading: Reading) -> None:
        self.around = around
        self.reading = reading

    def path(self, word: str) -> str:
        """A word as an absolute path from here."""
        return self.around.places.resolve(word, self.around.cwd)

    def received(self, path: str, text: str) -> None:
        """`text` was written to `path`; a walk looks whether a process reads there."""

    def printed_by_reading(self, path: str) -> str:
        """What reading a file gives."""
        if path in self.around.written:
            return self.around.written[path]
        if path in self.around.fetched:
            return NETWORK
        if places.is_secret(path) or places.is_project_secret(path) or path == "/etc/passwd":
            return SECRET
        return UNKNOWN
