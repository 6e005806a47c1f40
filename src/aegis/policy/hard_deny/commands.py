"""What each command does with its words: one function for each kind of command, found by name."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections.abc import Callable, Sequence

from aegis.policy.hard_deny import cloud, foreign, kubectl, places, sql, urls
from aegis.policy.hard_deny.persons import is_persons
from aegis.policy.hard_deny.shell import Shell, Words, taint
from aegis.policy.hard_deny.shell_words import DECODED, NETWORK, OUTPUT, SECRET, UNKNOWN, ansi

SHELLS = frozenset("sh bash zsh dash ksh ash fish rbash csh tcsh".split())
INTERPRETERS = re.compile(r"(python|pypy|perl|ruby|node|nodejs|deno|bun|php|lua|tclsh|osascript|Rscript)[\d.]*\Z")
_RECURSIVE = re.compile(r"-[a-zA-Z]*[rR]|--recursive\Z|--no-preserve-root\Z|-Recurse\Z", re.IGNORECASE)
_STOPPED_GUARDS = re.compile(
    r"auditd|rsyslog|syslog|journald|falco|fail2ban|apparmor|selinux|ufw|firewalld|iptables|nftables|crowdstrike|falcon|osquery|"
    r"wazuh|ossec|clamav|defender|mdatp|sysdig|tetragon|filebeat|fluent|vector|datadog|auditbeat|aide|tripwire|aegis",
    re.IGNORECASE,
)


def judge(shell: Shell, command: Words) -> str:
    """Adds the findings of `command` and gives what it prints, with marks for what isn't known."""
    argv = command.argv
    name = command.name
    shell.reading.commands.append(name[:32])
    if not set(name).isdisjoint((UNKNOWN, OUTPUT, NETWORK, DECODED, SECRET)):
        return _unknown_command(shell, command)
    absolute = shell.path(argv[0]) if "/" in argv[0] else ""
    if absolute and absolute in shell.around.fetched:
        shell.reading.add("shell.remote_code")
    if absolute and absolute in shell.around.written:
        _run_text(shell, shell.around.written[absolute])
    _common(shell, command)
    family = _TABLE.get(name) or _TABLE.get(name.lower())
    if family is None and INTERPRETERS.match(name):
        family = _interpreter
    if family is None and name.startswith("mkfs"):
        family = _devices
    printed = family(shell, command) if family is not None else None
    if printed is None:
        printed = "".join(c for c in taint(command.stdin)) or OUTPUT
        if any(
            shell.printed_by_reading(shell.path(w)) == SECRET for w in argv[1:] if w[:1] != "-" and name in _READERS
        ):
            printed = SECRET
    if command.out is not None:
        write_file(shell, command.out, printed, name)
        return ""
    return printed


def _unknown_command(shell: Shell, command: Words) -> str:
    head = command.argv[0]
    if NETWORK in head or DECODED in head:
        shell.reading.add("shell.remote_code" if NETWORK in head else "shell.dynamic")
    elif (
        any(_RECURSIVE.match(w) for w in command.argv[1:])
        and any(w.startswith(("/", "~", "..")) and shell.around.places.is_lost(shell.path(w)) for w in command.argv[1:])
    ) or (len(command.argv) == 1 and head in (UNKNOWN,) and command.stdin is not None):
        shell.reading.add("shell.dynamic")
    return OUTPUT


def _common(shell: Shell, command: Words) -> None:
    """What holds for every command: taint in a name that is looked up, secrets in an address."""
    name = command.name
    for word in command.argv[1:]:
        if SECRET in word and name not in _QUIET and ("://" in word or "." in word):
            shell.reading.add("shell.exfiltration")
        if (
            NETWORK in word
            and word.startswith("/dev/fd/")
            and (name in SHELLS or name in ("source", ".") or INTERPRETERS.match(name))
        ):
            shell.reading.add("shell.remote_code")
    if name in _LOOKUPS and any(
        (OUTPUT in w or SECRET in w) and re.search(r"[\ue002\ue004][\w.\-\ue000-\ue004]*\.\w", w)
        for w in command.argv[1:]
    ):
        shell.reading.add("shell.exfiltration")


# files


def _plain(words: Sequence[str], valued: str = "") -> list[str]:
    """Words that are no options. `valued` names single letters whose value is the next word."""
    plain: list[str] = []
    skip = ended = False
    for word in words:
        if skip:
            skip = False
        elif word == "--" and not ended:
            ended = True
        elif word.startswith("-") and len(word) > 1 and not ended:
            skip = len(word) == 2 and word[1] in valued
        else:
            plain.append(word)
    return plain


def _rm(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    recursive = any(_RECURSIVE.match(w) for w in words if w.startswith("-"))
    for word in _plain(words):
        lost(shell, word, recursive, command.name)
    return ""


def lost(shell: Shell, word: str, recursive: bool, by: str) -> None:
    """Adds a finding if deleting `word` reaches outside the workspace."""
    if word.startswith((UNKNOWN, OUTPUT)) and len(word.strip(UNKNOWN + OUTPUT)) == 0:
        if recursive:
            shell.reading.add("shell.dynamic")
        return
    if word.startswith((UNKNOWN, OUTPUT)):
        if recursive and word[1:2] == "/":
            shell.reading.add("shell.destructive", command=by, object="unknown")
        return
    path = shell.path(word)
    if not shell.around.places.is_lost(path) or path in shell.around.fetched:
        return
    if places.is_log(path):
        shell.reading.add("shell.cover_tracks", command=by)
    shell.reading.add("shell.destructive", command=by, object=path)


def _find(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    roots: list[str] = []
    for word in words:
        if word.startswith(("-", "(", "!")) and word not in ("-L", "-H", "-P"):
            break
        if not word.startswith("-"):
            roots.append(word)
    roots = roots or ["."]
    narrowed = any(
        w in ("-name", "-iname", "-regex", "-path", "-mtime", "-size", "-maxdepth", "-newer", "-empty", "-mmin")
        for w in words
    )
    actions = [i for i, w in enumerate(words) if w in ("-exec", "-execdir", "-ok", "-okdir")]
    for root in roots:
        path = shell.path(root)
        outside = not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
        whole = path == shell.around.places.workspace and not narrowed
        if "-delete" in words and (outside or whole):
            shell.reading.add("shell.destructive", command="find", object=path)
        for index in actions:
            rest = words[index + 1 :]
            end = next((i for i, w in enumerate(rest) if w in (";", "+")), len(rest))
            inner = [w.replace("{}", f"{path}/\ue012found" if narrowed and not outside else path) for w in rest[:end]]
            if inner:
                shell.run(Words(inner))
        if any(w in ("-fprintf", "-fprint", "-fls") for w in words):
            write_file(shell, words[-1], UNKNOWN, "find")
    base = shell.path(roots[0])
    return f"{base}/\ue012found" if shell.around.places.in_workspace(base) else base


def _move(shell: Shell, command: Words) -> str:
    words = _plain(command.argv[1:], "tS")
    if not words:
        return ""
    for word in words[:-1]:
        path = shell.path(word)
        if shell.around.places.is_lost(path):
            shell.reading.add("shell.destructive", command="mv", object=path)
    _write_path(shell, words[-1], "mv")
    if len(words) > 1 and shell.path(words[-1]) == "/dev/null":
        shell.reading.add("shell.destructive", command="mv", object="null")
    return ""


def _copy(shell: Shell, command: Words) -> str:
    words = _plain(command.argv[1:], "tmogS")
    if len(words) < 2:
        return ""
    source, target = words[-2], words[-1]
    for word in words[:-1]:
        if places.is_secret(shell.path(word)):
            shell.reading.add("shell.sensitive_file", object=shell.path(word))
        if shell.path(word) in shell.around.fetched:
            shell.around.fetched.add(shell.path(target))
    if command.name == "ln":
        if shell.path(source) == "/dev/null" and places.is_log(shell.path(target)):
            shell.reading.add("shell.cover_tracks", command="ln")
        return ""
    _write_path(shell, target, command.name)
    return ""


def _truncate(shell: Shell, command: Words) -> str:
    for word in _plain(command.argv[1:], "sn" if command.name == "shred" else "sr"):
        path = shell.path(word)
        if command.name in ("shred", "truncate") and not shell.around.places.inside(path):
            if places.is_log(path):
                shell.reading.add("shell.cover_tracks", command=command.name)
            shell.reading.add("shell.destructive", command=command.name, object=path)
    return ""


def _dd(shell: Shell, command: Words) -> str:
    options = dict(w.split("=", 1) for w in command.argv[1:] if "=" in w)
    target = options.get("of")
    source = options.get("if", "")
    if target is not None:
        _write_path(shell, target, "dd")
        if source in ("/dev/zero", "/dev/urandom", "/dev/random") and "count" not in options:
            shell.reading.add("shell.denial_of_service", command="dd")
    return shell.printed_by_reading(shell.path(source)) if source else command.stdin or UNKNOWN


def _rights(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    plain = [w for w in words if not re.fullmatch(r"-[RvcfHLP]+|--\w[\w\-=/]*", w)]
    recursive = any(_RECURSIVE.match(w) for w in words if re.fullmatch(r"-[RvcfHLP]+|--recursive", w))
    sets_id = bool(plain) and re.search(r"\+.*s|[ug]=.*s|^[4267]\d{3}$", plain[0]) is not None
    if command.name in ("chmod", "setfacl", "chattr") and sets_id:
        shell.reading.add("shell.persistence", command="chmod")
    for word in plain[1:]:
        path = shell.path(word)
        outside = not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
        if outside and (
            recursive or path.startswith(("/etc", "/usr", "/bin", "/var", "/boot", "/root", "/lib", "/dev", "/sbin"))
        ):
            shell.reading.add("shell.destructive", command=command.name, object=path)
        elif outside and places.is_secret(path) and not re.fullmatch(r"[0-7]?[0-7]00", plain[0]):
            shell.reading.add("shell.sensitive_file", object=path)
    return ""


def write_file(shell: Shell, target: str, text: str, by: str) -> None:
    """Output goes to the file `target`: judges the place, remembers the text."""
    path = shell.path(target)
    if places.is_harmless_device(path) or target.startswith("&"):
        if path.startswith(("/dev/tcp/", "/dev/udp/")):
            shell.reading.add("shell.exfiltration")
        return
    _write_path(shell, target, by)
    if by in ("yes",) and not places.is_device(path):
        shell.reading.add("shell.denial_of_service", command="yes")
    if NETWORK in text:
        shell.around.fetched.add(path)
    elif text and UNKNOWN not in text and OUTPUT not in text:
        shell.around.written[path] = text


def _write_path(shell: Shell, word: str, by: str) -> None:
    if word.startswith((UNKNOWN, OUTPUT)) or not word:
        return
    path = shell.path(word)
    if places.is_harmless_device(path):
        return
    if places.is_device(path):
        shell.reading.add("shell.destructive", command=by, object=path)
        return
    if path.startswith(("/proc/sysrq", "/sys/power", "/proc/sys/kernel", "/sys/kernel", "/sys/fs/cgroup")):
        shell.reading.add("shell.denial_of_service", command=by)
        return
    if places.starts_by_itself(path):
        shell.reading.add("shell.persistence", command=by)
        return
    if shell.around.places.inside(path) or shell.around.places.in_workspace(path):
        return
    if places.is_log(path):
        shell.reading.add("shell.cover_tracks", command=by)
    elif places.is_secret(path):
        shell.reading.add("shell.sensitive_file", object=path)
    elif re.match(r"/(?:etc|usr|bin|sbin|lib\w*|boot|var|root|opt|proc|sys|dev)(?:/|$)", path):
        shell.reading.add("shell.destructive", command=by, object=path)
    else:
        shell.reading.add("shell.outside_workspace", command=by)


def _tee(shell: Shell, command: Words) -> str:
    for word in _plain(command.argv[1:]):
        write_file(shell, word, command.stdin or UNKNOWN, "tee")
    return command.stdin or UNKNOWN


def _read(shell: Shell, command: Words) -> str:
    """Commands that print files."""
    words = _plain(command.argv[1:], "nce" if command.name in ("head", "tail") else "")
    printed: list[str] = []
    for word in words:
        if SECRET in word or NETWORK in word:
            printed.append(taint(word))
            continue
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        if path in ("/dev/zero", "/dev/urandom", "/dev/random") and command.out is not None:
            shell.reading.add("shell.denial_of_service", command=command.name)
        printed.append(shell.printed_by_reading(path))
    if not words or words == ["-"]:
        return command.stdin or UNKNOWN
    return "".join(printed)


def _search(shell: Shell, command: Words) -> str:
    """grep, sed, awk, jq: the first word is a pattern or a program."""
    words = _plain(command.argv[1:], "efmABCdF")
    if command.name in ("sed", "awk", "gawk", "mawk", "nawk"):
        program = words[0] if words else ""
        for text in [program, *(w for w in command.argv[1:] if w.startswith("BEGIN"))]:
            for called in re.findall(
                r"(?:system\s*\(\s*|\|\s*)\"((?:\\.|[^\"\\])*)\"|\"((?:\\.|[^\"\\])*)\"\s*\|", text
            ):
                _run_text(shell, next(filter(None, called), "").replace('\\"', '"'))
            if "/inet/tcp" in text:
                shell.reading.add("shell.reverse_shell")
        if command.name == "sed" and any(w.startswith(("-i", "--in-place")) for w in command.argv[1:]):
            for word in words[1:]:
                _write_path(shell, word, "sed")
    for word in words[1:]:
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        if shell.printed_by_reading(path) == SECRET:
            return SECRET
    return taint(command.stdin) or OUTPUT


# shells and wrappers


def _run_text(shell: Shell, text: str | None) -> None:
    """Text reaches a shell."""
    if text is None or text in (UNKNOWN, OUTPUT):
        return
    marks = taint(text)
    if NETWORK in marks:
        shell.reading.add("shell.remote_code")
    elif DECODED in marks:
        shell.reading.add("shell.dynamic")
    else:
        shell.nested(text)


def _shell(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    for index, word in enumerate(words):
        if re.fullmatch(r"-[a-zA-Z]*c[a-zA-Z]*", word) or word == "--command":
            script = next((w for w in words[index + 1 :] if not re.fullmatch(r"-[a-z]+|--", w)), "")
            return _eval_text(shell, script, command.stdin)
    if (
        re.fullmatch(r"-[a-z]*i[a-z]*", words[0] if words else "")
        and command.stdin is not None
        and command.stdin == NETWORK
    ):
        shell.reading.add("shell.reverse_shell")
    files = _plain(words, "oO")
    if not files or files[0] in ("-", "/dev/stdin") or any(w == "-s" for w in words):
        _run_text(shell, command.stdin)
        return OUTPUT
    path = shell.path(files[0])
    if path in shell.around.fetched:
        shell.reading.add("shell.remote_code")
    elif path in shell.around.written:
        _run_text(shell, shell.around.written[path])
    return OUTPUT


def _eval_text(shell: Shell, text: str, stdin: str | None = None) -> str:
    marks = taint(text)
    if NETWORK in marks:
        shell.reading.add("shell.remote_code")
    elif DECODED in marks or text in (UNKNOWN,):
        shell.reading.add("shell.dynamic")
    elif text and text.strip(OUTPUT):
        return shell.nested(text, stdin)
    return OUTPUT


def _eval(shell: Shell, command: Words) -> str:
    text = " ".join(command.argv[1:])
    if not taint(text):
        return shell.script(text, command.stdin)
    return _eval_text(shell, text)


def _source(shell: Shell, command: Words) -> str:
    for word in command.argv[1:2]:
        path = shell.path(word)
        if path in shell.around.fetched or NETWORK in word:
            shell.reading.add("shell.remote_code")
        elif path in shell.around.written:
            shell.script(shell.around.written[path])
    return ""


def _rest(shell: Shell, command: Words, words: Sequence[str]) -> str:
    """The command behind a wrapper."""
    if not words:
        return OUTPUT
    return shell.run(Words(list(words), command.stdin, None, command.background, command.assigned))


_VALUED = {
    "sudo": "ughpCDRrTU",
    "doas": "uC",
    "nice": "n",
    "ionice": "cnp",
    "timeout": "sk",
    "stdbuf": "ioe",
    "env": "uCS",
    "setpriv": "",
    "chrt": "p",
    "taskset": "",
    "strace": "eopsuE",
    "ltrace": "eo",
    "watch": "nd",
    "flock": "wE",
    "exec": "a",
    "runuser": "ug",
    "time": "fo",
    "xargs": "aEeIiLlnPsd",
    "parallel": "j",
    "unshare": "",
    "nsenter": "t",
    "setsid": "",
    "systemd-run": "pu",
    "firejail": "",
    "proot": "rb",
    "chroot": "",
    "gosu": "",
    "su-exec": "",
    "entr": "",
    "script": "cE",
}


def _behind(name: str, words: Sequence[str]) -> list[str]:
    """The words behind a wrapper's own options."""
    valued = _VALUED.get(name, "")
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            return list(words[at + 1 :])
        if word.startswith("-") and len(word) > 1:
            at += 2 if len(word) == 2 and word[1] in valued else 1
            continue
        if name in ("env", "sudo", "doas") and re.match(r"[A-Za-z_]\w*=", word):
            at += 1
            continue
        break
    return list(words[at:])


def _wrapper(shell: Shell, command: Words) -> str:
    name = command.name
    words = command.argv[1:]
    if name == "command" and words and words[0] in ("-v", "-V"):
        return OUTPUT
    if name == "env" and "-S" in words:
        return shell.nested(words[words.index("-S") + 1] if words.index("-S") + 1 < len(words) else "")
    if name == "script" and "-c" in words[:-1]:
        return shell.nested(words[words.index("-c") + 1])
    inner = _behind(name, words)
    if name in ("timeout", "taskset", "chrt", "flock", "gosu", "su-exec", "chroot") and inner:
        inner = inner[1:]
    if name in ("chroot", "nsenter", "unshare"):
        shell.reading.add("shell.privilege", command=name)
    if name in ("sudo", "doas"):
        first = inner[0].rsplit("/", 1)[-1] if inner else ""
        if (
            (not inner and any(re.fullmatch(r"-[a-zA-Z]*[is]", w) for w in words))
            or (first in SHELLS and len(inner) == 1 and command.stdin is None)
            or (first == "su" and len(inner) < 3)
        ):
            shell.reading.add("shell.privilege", command=name)
        if any(re.fullmatch(r"-[a-zA-Z]*s", w) for w in words) and not inner:
            _run_text(shell, command.stdin)
    if name == "env" and not inner:
        return SECRET
    if name == "watch" and inner:
        return shell.nested(" ".join(inner))
    if name == "exec" and not inner:
        return ""
    if name == "time" and not inner:
        return ""
    return _rest(shell, command, inner)


def _busybox(shell: Shell, command: Words) -> str:
    return _rest(shell, command, command.argv[1:])


def _su(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    for flag in ("-c", "--command"):
        if flag in words[:-1]:
            return shell.nested(words[words.index(flag) + 1])
    shell.reading.add("shell.privilege", command="su")
    return OUTPUT


def _xargs(shell: Shell, command: Words) -> str:
    inner = _behind("xargs", command.argv[1:])
    if not inner:
        return command.stdin or OUTPUT
    given = (command.stdin or "").split()
    replaced = any(w in ("-I", "-i") or w.startswith("-I") for w in command.argv[1:])
    known = [w for w in given if not taint(w)] or (
        [] if command.stdin is not None and not taint(command.stdin) else [UNKNOWN]
    )
    name = inner[0].rsplit("/", 1)[-1]
    if name in SHELLS and NETWORK in taint(command.stdin):
        shell.reading.add("shell.remote_code")
    if replaced:
        marker = next((command.argv[i + 1] for i, w in enumerate(command.argv[:-1]) if w == "-I"), "{}")
        return shell.run(Words([w.replace(marker, known[0] if known else UNKNOWN) for w in inner]))
    if name in ("rm", "shred", "unlink") and known == [UNKNOWN] and not any(_RECURSIVE.match(w) for w in inner[1:]):
        return shell.run(Words(list(inner)))
    return shell.run(Words([*inner, *known[:64]]))


def _trap(shell: Shell, command: Words) -> str:
    if len(command.argv) > 1 and not command.argv[1].startswith("-"):
        shell.nested(command.argv[1])
    return ""


def _alias(shell: Shell, command: Words) -> str:
    for word in command.argv[1:]:
        name, _, text = word.partition("=")
        if text and "/" not in name:
            shell.aliases[name] = text
    return ""


def _cd(shell: Shell, command: Words) -> str:
    target = (_plain(command.argv[1:]) or [shell.around.variables.get("HOME", "/")])[0]
    if target == "-":
        shell.around.cwd = shell.around.variables.get("OLDPWD", shell.around.cwd)
    elif not taint(target):
        shell.around.variables["OLDPWD"] = shell.around.cwd
        shell.around.cwd = shell.path(target)
    shell.around.variables["PWD"] = shell.around.cwd
    return ""


def _echo(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    escapes = False
    while words and re.fullmatch(r"-[neE]+", words[0]):
        escapes = escapes or "e" in words[0]
        words = words[1:]
    text = " ".join(words)
    return (ansi(text) if escapes else text) + "\n"


def _printf(shell: Shell, command: Words) -> str:
    words = [w for w in command.argv[1:] if w != "--"]
    if len(words) > 2 and words[0] == "-v":
        shell.around.variables[words[1]] = _formatted(words[2:])
        return ""
    return _formatted(words)


def _formatted(words: Sequence[str]) -> str:
    if not words:
        return ""
    form, values = ansi(words[0]), list(words[1:])
    out: list[str] = []
    for _ in range(64):
        before = len(values)
        out.append(
            re.sub(
                r"%(?:%|[\-0-9.]*([sdiboxXcq]))",
                lambda m: (
                    "%" if m[1] is None else (ansi(values.pop(0)) if m[1] == "b" else values.pop(0)) if values else ""
                ),
                form,
            )
        )
        if not values or len(values) == before:
            break
    return "".join(out)


# decoding


def _base64(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    decodes = any(re.fullmatch(r"-[a-zA-Z]*[dD][a-zA-Z]*|--decode", w) for w in words) or "-d" in words
    files = _plain(words, "wi")
    text = command.stdin
    if files and files[0] != "-":
        path = shell.path(files[0])
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
        text = shell.printed_by_reading(path)
    if not decodes:
        return taint(text) or OUTPUT
    if text is None or taint(text):
        return taint(text).replace(UNKNOWN, "").replace(OUTPUT, "") or DECODED
    decoder: Callable[[bytes], bytes] = base64.b32decode if command.name == "base32" else base64.b64decode
    try:
        return decoder("".join(text.split()).encode() + b"==").decode("utf-8", "replace")
    except (binascii.Error, ValueError):
        return DECODED


def _xxd(shell: Shell, command: Words) -> str:
    flags = "".join(w.lstrip("-") for w in command.argv[1:] if w.startswith("-"))
    files = _plain(command.argv[1:], "cgls")
    text = command.stdin if not files else shell.printed_by_reading(shell.path(files[0]))
    if files and places.is_secret(shell.path(files[0])):
        shell.reading.add("shell.sensitive_file", object=shell.path(files[0]))
    if "r" not in flags or text is None or taint(text):
        return taint(text) or (DECODED if "r" in flags else OUTPUT)
    try:
        return bytes.fromhex("".join(text.split())).decode("utf-8", "replace")
    except ValueError:
        return DECODED


def _rev(shell: Shell, command: Words) -> str:
    text = command.stdin
    if text is None or taint(text):
        return taint(text) or DECODED
    return "\n".join(line[::-1] for line in text.split("\n"))


def _tr(shell: Shell, command: Words) -> str:
    text = command.stdin
    words = command.argv[1:]
    if text is None or taint(text):
        return taint(text) or OUTPUT
    flags = "".join(w[1:] for w in words if w.startswith("-") and len(w) > 1)
    sets = [ansi(w) for w in words if not (w.startswith("-") and len(w) > 1)]
    if not sets:
        return DECODED
    first = _set(sets[0])
    if "d" in flags:
        return "".join(c for c in text if c not in first)
    if len(sets) < 2:
        return text
    second = _set(sets[1])
    if not first or not second:
        return DECODED
    second += second[-1] * (len(first) - len(second))
    return text.translate({ord(a): b for a, b in zip(first, second, strict=False)})


def _set(text: str) -> str:
    names = {"[:lower:]": "a-z", "[:upper:]": "A-Z", "[:digit:]": "0-9", "[:space:]": " \t\n", "[:alpha:]": "A-Za-z"}
    for name, span in names.items():
        text = text.replace(name, span)
    out: list[str] = []
    at = 0
    while at < len(text) and len(out) < 1024:
        if at + 2 < len(text) and text[at + 1] == "-":
            out.extend(chr(c) for c in range(ord(text[at]), min(ord(text[at + 2]), ord(text[at]) + 256) + 1))
            at += 3
        else:
            out.append(text[at])
            at += 1
    return "".join(out)


def _decode(shell: Shell, command: Words) -> str:
    """Unpackers and ciphers: what comes out is not known."""
    words = command.argv[1:]
    if command.name == "openssl":
        if words[:1] in (["s_client"], ["s_server"]):
            return NETWORK
        if (
            "-d" in words
            and ("base64" in words or "-base64" in words or "-a" in words)
            and command.stdin
            and not taint(command.stdin)
        ):
            return _base64(shell, Words(["base64", "-d"], command.stdin))
        return DECODED if "-d" in words else taint(command.stdin) or OUTPUT
    if command.name == "rot13":
        return codecs.encode(command.stdin or "", "rot13")
    kept = taint(command.stdin).replace(OUTPUT, "").replace(UNKNOWN, "")
    return kept or DECODED


def _filter(shell: Shell, command: Words) -> str:
    """Filters that pass what they read: text stays text as far as it may matter."""
    text = command.stdin
    files = _plain(command.argv[1:], "kfdnt")
    if text is None:
        return "".join(shell.printed_by_reading(shell.path(f)) for f in files) or OUTPUT
    return text


# network


def _fetch(shell: Shell, command: Words) -> str:
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
            outputs.append(follows)
        elif command.name == "wget" and (joined := re.fullmatch(r"-[a-zA-NP-Z]*O(.+)", word)) is not None:
            outputs.append(joined[1])
        elif word == "-O" and command.name == "curl":
            outputs.extend(a.rsplit("/", 1)[-1] for a in addresses[:1])
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
            _write_path(shell, output, command.name)
            shell.around.fetched.add(shell.path(output))
    if command.name == "wget" and not outputs:
        for address in addresses:
            shell.around.fetched.add(shell.path(address.rsplit("/", 1)[-1].split("?", 1)[0]))
        return OUTPUT
    return NETWORK if stdout else OUTPUT


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
    return sensitive_upload(shell, name)


def sensitive_upload(shell: Shell, word: str) -> bool:
    """A file that holds secrets or persons, or the workspace as a whole."""
    if SECRET in word:
        return True
    path = shell.path(word)
    if path == shell.around.places.workspace or path in ("/", "/etc", "/home") or path.endswith("/.ssh"):
        return True
    name = path.rsplit("/", 1)[-1]
    is_table = re.search(r"\.(?:csv|xlsx?|json|sql|dump|parquet|tsv|bak|zip|gz)$", name, re.IGNORECASE) is not None
    return (
        places.is_secret(path)
        or places.is_project_secret(path)
        or path == "/etc/passwd"
        or shell.around.written.get(path) == SECRET
        or (is_table and is_persons(name.split(".", 1)[0]))
    )


def _netcat(shell: Shell, command: Words) -> str:
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


def _remote(shell: Shell, command: Words) -> str:
    """ssh: what runs there is judged as if here, without a workspace."""
    words = command.argv[1:]
    if any(re.fullmatch(r"-[a-zA-Z]*R.*", w) for w in words) or any(re.match(r"-[a-zA-Z]*D", w) for w in words):
        shell.reading.add("shell.reverse_shell")
    if SECRET in taint(command.stdin):
        shell.reading.add("shell.exfiltration")
    if any("ProxyCommand=" in w for w in words):
        shell.nested(next(w for w in words if "ProxyCommand=" in w).partition("ProxyCommand=")[2])
    plain = _plain(words, "bcDEeFIiJLlmOopQRSWw")
    inner = plain[1:]
    if inner:
        before = shell.around.places, shell.around.cwd
        shell.around.places = places.Places("/home/remote")
        shell.around.cwd = "/home/remote"
        seen = list(shell.reading.findings)
        shell.nested(" ".join(inner))
        shell.reading.findings[:] = [
            f for f in shell.reading.findings if f in seen or f[0] != "shell.outside_workspace"
        ]  # there is no workspace there
        shell.around.places, shell.around.cwd = before
    elif command.stdin is not None and plain:
        _run_text(shell, command.stdin)
    return NETWORK


def _transfer(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    plain = _plain(words, "iPFJolSce")
    if command.name == "rsync":
        if any(w.startswith(("--delete", "--remove-source-files", "--del")) for w in words) and plain:
            target = plain[-1]
            if ":" not in target:
                path = shell.path(target)
                if (
                    not shell.around.places.in_workspace(path) and not shell.around.places.inside(path)
                ) or path == shell.around.places.workspace:
                    shell.reading.add("shell.destructive", command="rsync", object=path)
        for index, word in enumerate(words[:-1]):
            if word in ("-e", "--rsh"):
                shell.nested(words[index + 1]) if words[index + 1].split()[:1] != ["ssh"] else None
    if plain and (":" in plain[-1] or "://" in plain[-1]) and not plain[-1].startswith("/"):
        if any(sensitive_upload(shell, w) and shell.path(w) != shell.around.places.workspace for w in plain[:-1]):
            shell.reading.add("shell.exfiltration")
    elif len(plain) > 1:
        _write_path(shell, plain[-1], command.name)
        if any(re.match(r"[\w.\-]+@?[\w.\-]*:", w) for w in plain[:-1]):
            shell.around.fetched.add(shell.path(plain[-1]))
    return OUTPUT


def _archive(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(r"--(?:checkpoint-action|to-command|use-compress-program|rsh-command)=?", text):
        inner = re.search(r"(?:exec=|to-command[= ]|use-compress-program[= ]|rsh-command[= ])(.*)", text)
        if inner is not None:
            _run_text(shell, inner[1])
    secret = False
    for word in _plain(words, "fC" if command.name != "zip" else ""):
        if word in ("-", "c", "czf", "x", "a", "czvf", "cf", "xzf", "xf", "cvzf", "cjf"):
            continue
        path = shell.path(word)
        if places.is_secret(path):
            shell.reading.add("shell.sensitive_file", object=path)
            secret = True
        if path == shell.around.places.workspace and (
            "-" in words or (command.out is None and "f" not in text.split(" ")[0])
        ):
            secret = True
    extracts = words[:1] and re.match(r"-?[a-zA-Z]*x", words[0])
    for index, word in enumerate(words[:-1]):
        if word in ("-C", "--directory", "-d") and (extracts or command.name == "unzip"):
            _write_path(shell, words[index + 1], command.name)
    if extracts and "-C" not in words and "--directory" not in words:
        _write_path(shell, shell.around.cwd, command.name) if not shell.around.places.in_workspace(
            shell.around.cwd
        ) else None
    return SECRET if secret else taint(command.stdin) or OUTPUT


def _mail(shell: Shell, command: Words) -> str:
    if SECRET in taint(command.stdin) or any(
        sensitive_upload(shell, w) for w in command.argv[1:] if not w.startswith("-") and "@" not in w
    ):
        shell.reading.add("shell.exfiltration")
    return ""


def _install(shell: Shell, command: Words) -> str:
    """Package managers: what comes from an address instead of a registry is code from the network."""
    words = command.argv[1:]
    for word in words:
        target = word.partition("@")[2] if re.match(r"[\w.\-]+\s*@\s*https?:", word) else word
        plain_http = re.match(r"(?:git\+)?http://(?!localhost|127\.)", target)
        archive = re.match(r"https?://\S+", target)
        index = any(
            words[i - 1]
            in ("--index-url", "-i", "--extra-index-url", "--registry", "-f", "--find-links", "--source", "-r")
            for i in range(1, len(words))
            if words[i] == word
        )
        if plain_http or (archive and not index):
            shell.reading.add("shell.remote_code")
        path = shell.path(word) if not word.startswith("-") else ""
        if path in shell.around.fetched:
            shell.reading.add("shell.remote_code")
    if any(
        re.match(r"--(?:index-url|extra-index-url|registry|trusted-host)=http://(?!localhost|127\.)", w) for w in words
    ):
        shell.reading.add("shell.remote_code")
    if command.name in ("npx", "pnpm", "uvx", "pipx") and any("http://" in w or "https://" in w for w in words):
        shell.reading.add("shell.remote_code")
    return OUTPUT


# the machine


def _devices(shell: Shell, command: Words) -> str:
    for word in _plain(command.argv[1:], "tLbm"):
        if (word.startswith("/dev/") and not places.is_harmless_device(word)) or (
            command.name.startswith("mkfs") and "/" in word and not shell.around.places.inside(shell.path(word))
        ):
            shell.reading.add("shell.destructive", command=command.name, object=word)
    if command.name in (
        "lvremove",
        "vgremove",
        "pvremove",
        "zpool",
        "zfs",
        "mdadm",
        "cryptsetup",
        "blkdiscard",
        "swapoff",
    ):
        words = command.argv[1:]
        if command.name in ("lvremove", "vgremove", "pvremove", "blkdiscard") or any(
            w in ("destroy", "--zero-superblock", "luksErase", "erase", "luksFormat", "--stop", "-a") for w in words
        ):
            shell.reading.add("shell.destructive", command=command.name, object="volume")
    return OUTPUT


def _power(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    if command.name in ("init", "telinit") and not any(w in ("0", "6", "1", "S") for w in words):
        return ""
    if command.name == "shutdown" and "-c" in words:
        return ""
    shell.reading.add("shell.denial_of_service", command=command.name)
    return ""


def _kill(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    plain = [w for w in words if not re.fullmatch(r"-(?:\d+|[A-Z]+|s|[a-z])", w) or (w == "-1" and words.index(w) > 0)]
    if command.name == "kill" and ("-1" in words[1:] or "1" in plain or (words[:1] == ["--"] and "-1" in words)):
        shell.reading.add("shell.denial_of_service", command="kill")
    if command.name in ("pkill", "killall", "killall5", "skill"):
        patterns = [w for w in words if not w.startswith("-")]
        if (
            command.name == "killall5"
            or any(re.fullmatch(r"[.*^$+]*|init|systemd|sshd|\^\.\*", w) for w in patterns)
            or ("-u" in words and len(patterns) == 1)
        ):
            shell.reading.add("shell.denial_of_service", command=command.name)
        if any(_STOPPED_GUARDS.search(w) for w in patterns):
            shell.reading.add("shell.cover_tracks", command=command.name)
    return ""


def _services(shell: Shell, command: Words) -> str:
    words = [w for w in command.argv[1:] if not w.startswith("-")]
    verbs = set(words)
    if verbs & {"poweroff", "reboot", "halt", "kexec", "suspend", "hibernate", "emergency", "rescue"}:
        shell.reading.add("shell.denial_of_service", command=command.name)
    if verbs & {"enable", "link", "preset", "load", "bootstrap", "edit", "defaults"} and command.name != "service":
        shell.reading.add("shell.persistence", command=command.name)
    if verbs & {"stop", "disable", "mask", "kill", "unload", "bootout"} and any(
        _STOPPED_GUARDS.search(w) for w in words
    ):
        shell.reading.add("shell.cover_tracks", command=command.name)
    return OUTPUT


def _firewall(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(
        r"(?:^|\s)(?:-F|--flush|-X|-P\s+\w+\s+(?:DROP|ACCEPT)|flush|disable|reset|--panic-on)(?:\s|$)|delete table",
        text,
    ):
        shell.reading.add("shell.denial_of_service", command=command.name)
    return OUTPUT


def _tracks(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    name = command.name
    text = " ".join(words)
    hit = {
        "history": re.search(r"(?:^|\s)-[a-z]*[cwd]", text),
        "journalctl": re.search(r"--vacuum|--rotate|--flush-rotate|--relinquish", text),
        "auditctl": re.search(r"-e\s*0|-D|-d", text),
        "setenforce": re.search(r"0|permissive", text, re.IGNORECASE),
        "dmesg": re.search(r"(?:^|\s)-[a-z]*[cC]|--clear", text),
        "fc": None,
        "set": re.search(r"\+o\s+history", text),
        "shopt": re.search(r"-u.*hist", text),
        "unset": "HISTFILE" in text,
    }.get(name)
    if hit:
        shell.reading.add("shell.cover_tracks", command=name)
    return OUTPUT if name == "journalctl" else ""


def _accounts(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    if command.name in ("passwd", "chage") and any(w in ("-S", "--status", "-l") for w in words):
        return OUTPUT
    shell.reading.add("shell.persistence", command=command.name)
    return OUTPUT


def _schedule(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    if command.name == "crontab":
        if any(re.fullmatch(r"-[a-z]*l", w) for w in words):
            return OUTPUT
        if any(re.fullmatch(r"-[a-z]*r", w) for w in words):
            shell.reading.add("shell.destructive", command="crontab", object="crontab")
        shell.reading.add("shell.persistence", command="crontab")
    elif command.name in ("at", "batch") and not any(w in ("-l", "-c") for w in words):
        shell.reading.add("shell.persistence", command=command.name)
        _run_text(shell, command.stdin)
    return OUTPUT


def _kernel(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    if command.name == "sysctl" and not any(w in ("-w", "--write", "-p") or "=" in w for w in words):
        return OUTPUT
    if command.name in ("mount", "swapoff") and not words:
        return OUTPUT
    shell.reading.add("shell.privilege", command=command.name)
    return OUTPUT


def _stress(shell: Shell, command: Words) -> str:
    if command.name == "fallocate":
        size = re.search(r"(\d+)\s*([GT])", " ".join(command.argv[1:]), re.IGNORECASE)
        if size is None or (size[2].upper() == "G" and int(size[1]) < 50):
            return ""
    shell.reading.add("shell.denial_of_service", command=command.name)
    return ""


def _yes(shell: Shell, command: Words) -> str:
    return "y\n"


def _printenv(shell: Shell, command: Words) -> str:
    return SECRET


def _set_builtin(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    if not words:
        return SECRET
    if words[0] == "--" or not words[0].startswith(("-", "+")):
        given = words[1:] if words[0] == "--" else words
        shell.around.variables.update({str(i): w for i, w in enumerate(given[:9], 1)})
        shell.around.variables["@"] = shell.around.variables["*"] = " ".join(given)
    return _tracks(shell, command)


def _mktemp(shell: Shell, command: Words) -> str:
    return "/tmp/tmp.made\n"  # noqa: S108 - the name that mktemp would print


def _editor(shell: Shell, command: Words) -> str:
    """vim -c '!command'."""
    for word in command.argv[1:]:
        escape = re.search(r"^[-+c:]*:?\s*!(.*)", word, re.DOTALL)
        if escape is not None:
            shell.nested(escape[1])
    return OUTPUT


def _read_builtin(shell: Shell, command: Words) -> str:
    """`read x <<< text`: the last variable takes what is left."""
    names = _plain(command.argv[1:], "pdntuN")
    parts = (command.stdin or UNKNOWN).split("\n", 1)[0].split(None, max(0, len(names) - 1))
    for index, name in enumerate(names):
        known = shell.around.variables.get(name, "")
        if command.stdin is not None or not known:
            shell.around.variables[name] = parts[index] if index < len(parts) else ""
    return ""


def _path_words(shell: Shell, command: Words) -> str:
    """pwd, realpath, basename, dirname and the like."""
    if command.name == "pwd":
        return shell.around.cwd + "\n"
    plain = _plain(command.argv[1:])
    if not plain or taint(plain[0]):
        return UNKNOWN if not plain else plain[0]
    match command.name:
        case "realpath" | "readlink":
            return shell.path(plain[0]) + "\n"
        case "dirname":
            return (plain[0].rsplit("/", 1)[0] or "/") + "\n" if "/" in plain[0] else ".\n"
    return plain[0].rstrip("/").rsplit("/", 1)[-1] + "\n"


def _list(shell: Shell, command: Words) -> str:
    plain = _plain(command.argv[1:])
    base = shell.path(plain[0]) if plain and not taint(plain[0]) else shell.around.cwd
    return OUTPUT if shell.around.places.in_workspace(base) or shell.around.places.inside(base) else UNKNOWN


# code in other languages, and other clients


def _interpreter(shell: Shell, command: Words) -> str:
    name = INTERPRETERS.match(command.name)
    language = name[1] if name is not None else command.name
    words = command.argv[1:]
    modules: list[str] = []
    flags = {
        "python": "c",
        "pypy": "c",
        "perl": "eE",
        "ruby": "e",
        "node": "ep",
        "nodejs": "ep",
        "php": "r",
        "lua": "e",
        "osascript": "e",
        "Rscript": "e",
        "bun": "e",
        "deno": "",
    }.get(language, "e")
    ran = False
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word.startswith(("-M", "-r")) and language in ("perl", "ruby"):
            modules.append(word[2:])
        if word in ("-m",) and language in ("python", "pypy"):
            return _module(shell, command, words[index + 1 :])
        if word in ("--eval", "--print", "eval") or (
            re.fullmatch(r"-[a-zA-Z0-9]+", word) and word[-1] in flags and language != "deno"
        ):
            _code(shell, language, follows, modules)
            ran = True
            break
        if re.match(r"-c.", word) and "c" in flags and not word.startswith("--"):
            _code(shell, language, word[2:], modules)
            ran = True
            break
    if ran:
        return taint(command.stdin) or OUTPUT
    files = _plain(words, "WX")
    if not files or files[0] in ("-", "/dev/stdin"):
        if NETWORK in taint(command.stdin):
            shell.reading.add("shell.remote_code")
        elif DECODED in taint(command.stdin):
            shell.reading.add("shell.dynamic")
        elif command.stdin is not None:
            _code(shell, language, command.stdin, modules)
        return OUTPUT
    path = shell.path(files[0])
    if path in shell.around.fetched or re.match(r"https?://", files[0]) or "run http" in " ".join(files[:2]):
        shell.reading.add("shell.remote_code")
    elif path in shell.around.written:
        _code(shell, language, shell.around.written[path], modules)
    return OUTPUT


def _module(shell: Shell, command: Words, words: Sequence[str]) -> str:
    if words[:1] == ["pip"]:
        return _install(shell, Words(["pip", *words[1:]]))
    if words[:1] == ["http.server"] and any(w in ("--directory", "-d") for w in words):
        target = words[-1]
        if not shell.around.places.in_workspace(shell.path(target)):
            shell.reading.add("shell.exfiltration")
    if words[:1] == ["base64"]:
        return _base64(shell, Words(["base64", *words[1:]], command.stdin))
    return OUTPUT


def _code(shell: Shell, language: str, text: str, modules: Sequence[str] = ()) -> None:
    if NETWORK in text:
        shell.reading.add("shell.remote_code")
        return
    foreign.judge(shell, language, text, modules)


def _sql_client(shell: Shell, command: Words) -> str:
    """psql, mysql, sqlite3 and the like: what they are told to run is SQL."""
    dialect = {
        "psql": "postgres",
        "mysql": "mysql",
        "mariadb": "mysql",
        "sqlite3": "sqlite",
        "sqlcmd": "tsql",
        "sqlplus": "oracle",
        "snowsql": "snowflake",
        "bq": "bigquery",
        "clickhouse-client": "clickhouse",
        "duckdb": "duckdb",
    }.get(command.name)
    texts: list[str] = []
    words = command.argv[1:]
    for index, word in enumerate(words):
        follows = words[index + 1] if index + 1 < len(words) else ""
        if word in ("-c", "-e", "--command", "--execute", "-q", "-Q", "--query", "-cmd"):
            texts.append(follows)
        elif re.match(r"--(?:command|execute|query)=", word):
            texts.append(word.partition("=")[2])
        elif re.match(r"-[ceqQ].", word) and not word.startswith("--"):
            texts.append(word[2:])
    if command.name in ("sqlite3", "duckdb", "bq"):
        texts.extend(_plain(words)[1:])
    if command.stdin is not None and not taint(command.stdin):
        texts.append(command.stdin)
    for text in texts:
        if taint(text) or not text.strip():
            continue
        if text.strip().startswith(("\\", ".")):
            meta = re.match(r"\s*(?:\\!|\.shell|\.system)\s*(.*)", text, re.DOTALL)
            if meta is not None:
                shell.nested(meta[1])
            continue
        for code, values in sql.read(text, dialect, shell.around.now).findings:
            if code != "sql.unparseable":
                shell.reading.add(code, **values)
    return OUTPUT


def _store_client(shell: Shell, command: Words) -> str:
    text = " ".join([*command.argv[1:], command.stdin or ""])
    if re.search(
        r"\b(?:FLUSHALL|FLUSHDB|SHUTDOWN|dropDatabase|deleteMany\(\s*\{\s*\}|\.drop\(|DEBUG\s+SEGFAULT)",
        text,
        re.IGNORECASE,
    ):
        shell.reading.add("shell.destructive", command=command.name, object="store")
    if re.search(r"\bCONFIG\s+SET\s+(?:dir|dbfilename)|\bSLAVEOF\b|\bREPLICAOF\b|MODULE\s+LOAD", text, re.IGNORECASE):
        shell.reading.add("shell.persistence", command=command.name)
    if command.name in ("dropdb", "dropuser") or (
        command.name == "mysqladmin" and {"drop", "shutdown"} & set(command.argv)
    ):
        shell.reading.add("shell.destructive", command=command.name, object="database")
    return OUTPUT


_PRIVILEGED = re.compile(
    r"--privileged|--pid=host|--cap-add[= ](?:ALL|SYS_ADMIN)|docker\.sock|--volume[= ]/:|-v[= ]?/(?:etc|root|"
    r"home|var)?/?:",
    re.IGNORECASE,
)


def _containers(shell: Shell, command: Words) -> str:
    text = " ".join(command.argv[1:])
    if re.search(r"(?:^|\s)(?:run|create|exec)\s", text + " ") and _PRIVILEGED.search(text):
        shell.reading.add("shell.privilege", command=command.name)
    if re.search(
        r"(?:system|volume)\s+prune\b.*(?:--volumes|-a\b|--all)|volume\s+rm\s+.*\ue004|rm\s+.*-f.*\ue004", text
    ):
        shell.reading.add("shell.destructive", command=command.name, object="volumes")
    return OUTPUT


# git

_PROTECTED = re.compile(r"(?:refs/heads/)?(?:main|master|release(?:[/\-_].+)?|trunk|production|prod|live|stable)\Z")


def _protected(shell: Shell, ref: str) -> bool:
    name = ref.removeprefix("refs/heads/").removeprefix("origin/")
    return bool(_PROTECTED.match(ref)) or name in shell.around.protected_branches


def _git(shell: Shell, command: Words) -> str:
    words = command.argv[1:]
    while words and words[0].startswith("-"):
        if (
            words[0] == "-c"
            and len(words) > 1
            and re.match(r"(?:core\.(?:sshCommand|pager|editor|hooksPath|fsmonitor)|alias\.\w+)=", words[1], re.I)
        ):
            value = words[1].partition("=")[2]
            shell.nested(value.lstrip("!"))
        if words[0] == "-C" and len(words) > 1:
            words = words[2:]
            continue
        words = words[2:] if words[0] in ("-c", "--git-dir", "--work-tree") and "=" not in words[0] else words[1:]
    if not words:
        return OUTPUT
    verb, rest = words[0], words[1:]
    plain = _plain(rest, "mbo")
    if verb in ("checkout", "switch"):
        targets = [w for w in plain if not taint(w)]
        if targets:
            shell.around.branch = targets[0]
    elif verb == "push":
        _push(shell, rest)
    elif verb == "clean" and any(re.match(r"-[a-zA-Z]*f|--force", w) for w in rest) and "-n" not in rest:
        for word in plain:
            lost(shell, word, True, "git_clean")
        if not shell.around.places.in_workspace(shell.around.cwd):
            shell.reading.add("shell.destructive", command="git_clean", object=shell.around.cwd)
    elif verb == "branch" and any(w in ("-D", "-d", "--delete", "-f", "--force", "-M") for w in rest):
        if (any(_protected(shell, w) for w in plain[:1]) and not {"-f", "--force"} & set(rest)) or (
            {"-D", "--delete", "-d"} & set(rest) and any(_protected(shell, w) for w in plain)
        ):
            shell.reading.add("git.history_rewrite")
    elif (verb == "update-ref" and any(_protected(shell, w) for w in plain)) or (
        verb == "reflog" and plain[:1] in (["expire"], ["delete"]) and re.search(r"now|all", " ".join(rest))
    ):
        shell.reading.add("git.history_rewrite")
    elif verb == "config":
        text = " ".join(plain)
        if re.match(
            r"(?:core\.(?:hooksPath|sshCommand|fsmonitor)|alias\.\w+\s+!|credential\.helper\s+!)", text, re.IGNORECASE
        ):
            shell.reading.add("shell.persistence", command="git_config")
    elif verb == "remote" and plain[:1] in (["add"], ["set-url"]) and len(plain) > 2:
        shell.around.variables[f"_remote_{plain[1]}"] = plain[2]
    elif verb in ("clone",) and any("ext::" in w for w in rest):
        shell.reading.add("shell.remote_code")
    elif (verb == "submodule" and plain[:1] == ["foreach"]) or (
        verb in ("rebase", "bisect") and ("--exec" in rest or "-x" in rest or plain[:1] == ["run"])
    ):
        shell.nested(" ".join(plain[1:]))
    return OUTPUT


def _push(shell: Shell, rest: Sequence[str]) -> None:
    flags = [w for w in rest if w.startswith("-")]
    plain = _plain(rest, "o")
    remote = plain[0] if plain else ""
    refs = plain[1:]
    forced = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force(?:-with-lease.*|-if-includes)?", w) for w in flags)
    bare_force = any(re.fullmatch(r"-[a-zA-Z]*f[a-zA-Z]*|--force", w) for w in flags)
    deletes = any(w in ("--delete", "-d") for w in flags)
    everything = any(w in ("--mirror", "--all", "--prune") for w in flags)
    outside = (
        "://" in remote or re.match(r"[\w.\-]+@[\w.\-]+:", remote) or f"_remote_{remote}" in shell.around.variables
    )
    if outside and (everything or re.search(r"//[^/@]+:[^/@]+@", remote)):
        shell.reading.add("shell.exfiltration")
    if "--mirror" in flags or (everything and forced):
        shell.reading.add("git.history_rewrite")
    for ref in refs:
        source, colon, target = ref.partition(":")
        goal = target if colon else source.lstrip("+")
        if not _protected(shell, goal) and not (goal in ("HEAD", "@") and _protected(shell, shell.around.branch)):
            continue
        if forced or deletes or ref.startswith("+") or (colon and not source):
            shell.reading.add("git.history_rewrite")
    if bare_force and not refs and (not shell.around.branch or _protected(shell, shell.around.branch)):
        shell.reading.add("git.history_rewrite")


def _kubectl(shell: Shell, command: Words) -> str:
    for code, values in kubectl.judge_words(
        command.argv, command.stdin, shell.around.protected_namespaces, shell.around.variables.get("_k8s_ns", "")
    ):
        shell.reading.add(code, **values)
    words = command.argv[1:]
    for word in words:
        if word.startswith("--namespace=") and "set-context" in words:
            shell.around.variables["_k8s_ns"] = word.partition("=")[2]
    if (
        "secret" in " ".join(words).lower()
        and "get" in words
        and any(w.startswith(("-o", "--output", "-oyaml", "-ojson")) for w in words)
    ):
        return SECRET
    if "exec" in words and "--" in words:
        inner = words[words.index("--") + 1 :]
        before = shell.around.places, shell.around.cwd
        shell.around.places, shell.around.cwd = places.Places("/app"), "/app"
        shell.run(Words(list(inner)))
        shell.around.places, shell.around.cwd = before
    return OUTPUT


def _cloud(shell: Shell, command: Words) -> str:
    for code, values in cloud.judge_words(command.argv, shell.around.variables.get("_tf_workspace", "")):
        shell.reading.add(code, **values)
    words = command.argv[1:]
    if words[:2] == ["workspace", "select"] and len(words) > 2:
        shell.around.variables["_tf_workspace"] = words[2]
    if cloud.prints_secrets(command.argv):
        return SECRET
    return OUTPUT


_LOOKUPS = frozenset("dig nslookup host ping ping6 drill kdig getent resolvectl traceroute mtr delv whois".split())
_READERS = frozenset("strings od hexdump more less nl tac paste join cut sort uniq".split())
_QUIET = frozenset("echo printf test [ export cat grep read".split())
Family = Callable[[Shell, Words], str | None]
_FAMILIES: tuple[tuple[Family, str], ...] = (
    (_rm, "rm rmdir unlink srm trash"),
    (_find, "find fd"),
    (_move, "mv"),
    (_copy, "cp install ln link"),
    (_truncate, "truncate shred"),
    (_dd, "dd dcfldd"),
    (_rights, "chmod chown chgrp setfacl chattr"),
    (_tee, "tee sponge"),
    (_read, "cat less more head tail strings od hexdump nl tac bat zcat"),
    (_search, "grep egrep fgrep sed awk gawk mawk nawk jq yq"),
    (_shell, " ".join(SHELLS)),
    (_eval, "eval"),
    (_source, "source ."),
    (
        _wrapper,
        " ".join(
            [
                *(n for n in _VALUED if n not in ("xargs", "parallel", "systemd-run")),
                "nohup",
                "command",
                "builtin",
                "caffeinate",
                "unbuffer",
                "chronic",
                "torify",
                "proxychains",
                "torsocks",
                "fakeroot",
                "ltrace",
                "catchsegv",
                "pkexec",
            ]
        ),
    ),
    (_busybox, "busybox toybox coproc"),
    (_su, "su"),
    (_xargs, "xargs parallel"),
    (_trap, "trap"),
    (_alias, "alias"),
    (_cd, "cd pushd"),
    (_echo, "echo"),
    (_printf, "printf"),
    (_base64, "base64 base32 gbase64"),
    (_xxd, "xxd"),
    (_rev, "rev"),
    (_tr, "tr"),
    (_decode, "openssl gpg gunzip bunzip2 unxz zstd gzip xz uudecode rot13 uncompress"),
    (_filter, "sort uniq cut fold paste column nl"),
    (_fetch, "curl wget fetch http https aria2c httpie xh"),
    (_netcat, "nc ncat netcat socat telnet pwncat"),
    (_remote, "ssh autossh mosh plink"),
    (_transfer, "scp rsync sftp rclone pscp lftp"),
    (_archive, "tar zip 7z bsdtar cpio unzip ar"),
    (_mail, "mail mailx sendmail mutt msmtp swaks"),
    (
        _install,
        "pip pip3 npm pnpm yarn gem cargo go uv uvx pipx npx apt apt-get dpkg rpm yum dnf brew conda easy_install",
    ),
    (
        _devices,
        "wipefs parted fdisk sfdisk sgdisk gdisk mkswap blkdiscard hdparm lvremove vgremove pvremove zpool "
        "zfs mdadm cryptsetup "
        "debugfs tune2fs badblocks",
    ),
    (_power, "shutdown reboot halt poweroff init telinit"),
    (_kill, "kill pkill killall killall5 skill"),
    (_services, "systemctl service launchctl update-rc.d chkconfig rc-update initctl"),
    (_firewall, "iptables ip6tables nft ufw firewall-cmd"),
    (_tracks, "history journalctl auditctl setenforce dmesg fc shopt"),
    (_set_builtin, "set"),
    (
        _accounts,
        "useradd usermod adduser groupadd gpasswd passwd chpasswd chsh visudo vipw deluser userdel newusers "
        "chage ssh-copy-id setcap",
    ),
    (_schedule, "crontab at batch"),
    (_kernel, "insmod modprobe rmmod sysctl mount umount kexec"),
    (_stress, "stress stress-ng fallocate"),
    (_yes, "yes"),
    (_printenv, "printenv"),
    (_mktemp, "mktemp"),
    (_editor, "vim vi nvim ex ed view"),
    (_read_builtin, "read mapfile readarray"),
    (_path_words, "pwd realpath readlink dirname basename"),
    (_list, "ls dir"),
    (_sql_client, "psql mysql mariadb sqlite3 sqlcmd sqlplus snowsql bq clickhouse-client duckdb pgcli mycli"),
    (_store_client, "redis-cli valkey-cli mongo mongosh dropdb dropuser mysqladmin cqlsh"),
    (_containers, "docker podman nerdctl ctr"),
    (_git, "git"),
    (_kubectl, "kubectl k oc helm kustomize kubens kubectx k3s microk8s"),
    (
        _cloud,
        "aws gcloud gsutil az terraform tofu pulumi terragrunt eksctl doctl ibmcloud oci cdk serverless sls "
        "cdktf heroku flyctl fly",
    ),
)
_TABLE: dict[str, Family] = {name: family for family, names in _FAMILIES for name in names.split()}
