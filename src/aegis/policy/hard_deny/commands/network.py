"""What is fetched, sent and connected: curl, wget, nc, ssh."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from aegis.policy.hard_deny import kubectl, urls
from aegis.policy.hard_deny.shell.effects import is_sensitive_upload, judge_write
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, taint


def _fetch(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    outputs: list[str] = []
    secret = False
    addresses = [w for w in words if "://" in w or (not w.startswith("-") and "." in w and "/" not in w[:1])]
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        flag, _, attached = word.partition("=")
        value = attached or follows
        if (
            (
                word in ("-o", "-O", "--output", "--output-document", "-P")
                and not (command.name == "curl" and word in ("-O", "-P"))
            )
            or (re.fullmatch(r"-[a-zA-Z]*[oO]", word) and command.name == "wget" and word[-1] == "O")
            or (re.fullmatch(r"-[a-zA-NP-Z]*o", word) and command.name == "curl")
        ):
            outputs.append(value if word.startswith("--") else follows)
        elif (joined := re.fullmatch(r"--output(?:-document)?=(.+)|-o([^=-].*)", word)) is not None and (
            command.name == "curl" or word.startswith("--output-document")
        ):
            outputs.append(joined[1] or joined[2])
        elif command.name == "wget" and (joined := re.fullmatch(r"-[a-zA-NP-Z]*O(.+)", word)) is not None:
            outputs.append(joined[1])
        elif command.name == "curl" and re.fullmatch(r"-[a-zA-Z]*O|--remote-name(?:-all)?", word):
            outputs.extend(a.rsplit("/", 1)[-1] for a in addresses)
        elif flag in (
            "-d",
            "--data",
            "--data-binary",
            "--data-raw",
            "--data-ascii",
            "--data-urlencode",
            "-F",
            "--form",
            "-T",
            "--upload-file",
            "--post-file",
            "--post-data",
            "--body-file",
            "--body-data",
            "--json",
            "-H",
            "--header",
        ):
            secret = secret or _sends_secret(shell, flag, value, command.stdin)
        elif re.match(r"-[dFT].", word) and command.name == "curl":
            secret = secret or _sends_secret(shell, word[:2], word[2:], command.stdin)
        elif flag in ("--resolve", "--connect-to") and _METADATA.search(value):
            shell.reading.add("url.metadata_service")
    _api_call(shell, words)
    for word in words:
        address = word.split("=", 1)[1] if word.startswith("--") and "=" in word else word
        if "169.254" in address or "metadata" in address or "://" in address:
            code = urls.judge(address).code if "://" in address else urls.judge("http://" + address).code
            if code in ("url.metadata_service",) or (
                code == "url.scheme" and not address.lower().startswith(("ftp://", "ssh://", "git://"))
            ):
                shell.reading.add(code)
        if SECRET in word or (OUTPUT in word and re.search(r"//[^/]*[\ue004][^/]*\.", word)):
            secret = True
    if secret:
        shell.reading.add("shell.exfiltration")
    stdout = not outputs or any(o in ("-", "/dev/stdout") for o in outputs)
    for output in outputs:
        if output not in ("-", "/dev/stdout"):
            judge_write(shell, output, command.name)
            shell.around.fetched.add(shell.path(output))
    if command.name == "wget" and not outputs:
        for address in addresses:
            shell.around.fetched.add(shell.path(address.rsplit("/", 1)[-1].split("?", 1)[0]))
        return OUTPUT
    return NETWORK if stdout else OUTPUT


_METADATA = re.compile(r"169\.254\.169\.254|fd00:ec2::254|169\.254\.170\.2|100\.100\.100\.200")


def _api_call(shell: Shell, words: Sequence[str]) -> None:
    """DELETE and the like sent to a cluster's API, or to every index of a search server."""
    method = next(
        (
            (m[1] or follows).upper()
            for word, follows in itertools.zip_longest(words, words[1:], fillvalue="")
            if (m := re.fullmatch(r"(?:-X|--request|--method)=?(\w*)", word)) is not None
        ),
        "GET",
    )
    if method in ("GET", "HEAD", "OPTIONS"):
        return
    for word in words:
        path = re.sub(r"^(?:[a-z]+://)?[^/]*", "", word)
        if re.search(r"/apis?/(?:[\w.]+/)?v\d\w*/", path):
            for code, values in kubectl.judge_path(method, path, shell.around.protected_namespaces):
                shell.reading.add(code, **values)
        if method == "DELETE" and re.fullmatch(r"/(?:_all|\*)(?:\?.*)?", path):
            shell.reading.add("shell.destructive", command="DELETE", object="every index")


def _sends_secret(shell: Shell, flag: str, value: str, stdin: str | None) -> bool:
    if SECRET in value:
        return True
    name = value
    if flag in ("-F", "--form"):
        name = value.partition("=")[2].split(";", 1)[0]
    if flag not in ("-T", "--upload-file", "--post-file", "--body-file"):
        if not name.startswith(("@", "<")) and "@" not in name[:40]:
            return False
        name = name[name.index("@") + 1 :] if "@" in name else name[1:]
    if name in ("-", "/dev/stdin", "."):
        return SECRET in taint(stdin) or stdin == OUTPUT + SECRET
    return is_sensitive_upload(shell, name)


def _browse(shell: Shell, command: Command) -> str:
    """Browsers and clients that print what they fetch."""
    return NETWORK


def _lookup(shell: Shell, command: Command) -> str:
    """A name server's answer is text that a stranger wrote, if it is a TXT record."""
    return NETWORK if any(re.search(r"(?:^|=)txt$", w, re.IGNORECASE) for w in command.argv) else OUTPUT


def _netcat(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(r"(?:^|\s)(?:-[a-zA-Z]*[ec]|--exec|--sh-exec|--lua-exec)(?:\s|=|$)", text) or re.search(
        r"(?:EXEC|SYSTEM|SHELL):", text, re.IGNORECASE
    ):
        shell.reading.add("shell.reverse_shell")
        return NETWORK
    listens = any(re.fullmatch(r"-[a-zA-Z]*l[a-zA-Z]*", w) for w in words)
    scans = any(re.fullmatch(r"-[a-zA-Z]*z[a-zA-Z]*", w) for w in words)
    local = any(w in ("localhost", "127.0.0.1", "::1") for w in words)
    if command.stdin is not None and not listens and not scans and not local and taint(command.stdin):
        shell.reading.add("shell.reverse_shell" if NETWORK in command.stdin else "shell.exfiltration")
    fifo = any("mkfifo" in c or c in ("mknod",) for c in shell.reading.commands)
    if fifo and (command.stdin is not None or command.out is not None):
        shell.reading.add("shell.reverse_shell")
    return NETWORK


def _remote(shell: Shell, command: Command) -> str:
    """ssh: what runs there is judged as if here, without a workspace."""
    words = command.argv[1:]
    if any(re.fullmatch(r"-[a-zA-Z]*R.*", w) for w in words) or any(re.match(r"-[a-zA-Z]*D", w) for w in words):
        shell.reading.add("shell.reverse_shell")
    if SECRET in taint(command.stdin):
        shell.reading.add("shell.exfiltration")
    if any("ProxyCommand=" in w for w in words):
        shell.nested(next(w for w in words if "ProxyCommand=" in w).partition("ProxyCommand=")[2])
    for word in words:
        if (local := re.match(r"(?:-o)?LocalCommand=(.*)", word, re.DOTALL)) is not None:
            shell.nested(local[1])
    plain = _behind_host(words)
    inner = plain[1:]
    if inner:
        seen = list(shell.reading.findings)
        with shell.elsewhere("/home/remote"):
            shell.nested(" ".join(inner))
        shell.reading.findings[:] = [
            f for f in shell.reading.findings if f in seen or f[0] != "shell.outside_workspace"
        ]  # there is no workspace there
    elif command.stdin is not None and plain:
        shell.run_text(command.stdin)
    return NETWORK


def _behind_host(words: Sequence[str]) -> list[str]:
    """The host and the words behind it, which are no longer ssh's own."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if len(words[at]) == 2 and words[at][1] in "bcDEeFIiJLlmOopQRSWw" else 1
    rest = list(words[at:])
    while len(rest) > 1 and rest[1].startswith("-"):
        cut = 3 if len(rest[1]) == 2 and rest[1][1] in "bcDEeFIiJLlmOopQRSWw" else 2
        rest = [rest[0], *rest[cut:]]
    return rest


COMMANDS: Families = families(
    (_fetch, "curl wget fetch http https aria2c httpie xh"),
    (_netcat, "nc ncat netcat socat telnet pwncat"),
    (_browse, "lynx w3m links elinks ftp lftpget"),
    (_lookup, "dig nslookup drill host kdig"),
    (_remote, "ssh autossh mosh plink"),
)
