"""A shell word as the words that the shell would pass on: quotes, escapes, variables, substitutions, braces.

What isn't known stands as a mark from Unicode's private use area, which says where the unknown part comes from; a
mark in an argument is how taint travels.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping

UNKNOWN, NETWORK, SECRET, DECODED, OUTPUT = "\ue000", "\ue001", "\ue002", "\ue003", "\ue004"
"""A variable nobody set here; bytes from the network; a secret; something decoded; another command's output."""
MARKS = frozenset((UNKNOWN, NETWORK, SECRET, DECODED, OUTPUT))
_MARK_OR_PRIVATE = re.compile("[\ue000-\ue0ff]")
MAX_WORDS = 256
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*|[0-9@*#?$!\-]")
_BRACES = re.compile(r"\{([^{}]*,[^{}]*|[A-Za-z0-9]+\.\.[A-Za-z0-9]+)\}")
_ANSI = re.compile(
    r"\\(?:x([0-9A-Fa-f]{1,2})|u([0-9A-Fa-f]{1,4})|U([0-9A-Fa-f]{1,8})|([0-7]{1,3})|c(.)|(.))", re.DOTALL
)
_PLAIN_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "a": "\a", "b": "\b", "e": "\x1b", "E": "\x1b", "f": "\f", "v": "\v"}
BRACED = 512 * 1024
"""Characters that the expansion of one word's braces may go through."""
_SPLIT = "\ue0f0"
_GLUE = "\ue0f1"
_LIST = re.compile(r"\$@|\$\{@\}|\$\{[A-Za-z_]\w*\[@\]\}")
_ARRAY_INDEX = re.compile(r"\[[^\]]*\]")

Run = Callable[[str], str]
"""What a command substitution prints, with marks for what isn't known."""
Pipe = Callable[[str, bool], str]
"""The path that a process substitution stands for; True if the process reads what is written there."""


def without_marks(text: str) -> str:
    """`text` without the private characters that marks use: none can be forged; and without NUL, which shells drop."""
    return _MARK_OR_PRIVATE.sub("\ufffd", text.replace("\0", ""))


def taint(text: str | None) -> str:
    """The marks in `text`, each once."""
    return "".join(sorted({c for c in text or "" if c in MARKS}))


def ansi(text: str) -> str:
    """`$'...'` and printf's escapes."""

    def one(match: re.Match[str]) -> str:
        hexa, four, eight, octal, control, plain = match.groups()
        if hexa or four or eight:
            number = int(hexa or four or eight, 16)
            return chr(number) if number < 0x110000 else ""
        if octal:
            return chr(int(octal, 8) & 0xFF)
        if control:
            return chr(ord(control) & 0x1F)
        return _PLAIN_ESCAPES.get(plain, plain if plain in "\\'\"?" else "\\" + plain)

    return _ANSI.sub(one, text)


class TooManyBraces(Exception):
    """A word whose braces stand for more words than anyone reads."""


def expand(raw: str, variables: Mapping[str, str], run: Run, home: str, pipe: Pipe | None = None) -> list[str]:
    """The words that `raw` becomes. Globs stay as they are; more than `MAX_WORDS` words end as one unknown."""
    words: list[str] = []
    for piece in _brace(raw, 0, [BRACED + len(raw)]) if "{" in raw and ("," in raw or ".." in raw) else [raw]:
        text = _one(piece, variables, run, home, pipe)
        words.extend(w.replace(_GLUE, "") for w in text.split(_SPLIT) if w)
        if len(words) > MAX_WORDS:
            return [*words[:MAX_WORDS], UNKNOWN]
    return words


def _brace(raw: str, depth: int, left: list[int]) -> list[str]:
    """Brace expansion outside quotes; `${...}` is none. `left` are the characters that it may still go through."""
    left[0] -= len(raw)
    if left[0] < 0:
        raise TooManyBraces
    if depth > 6 or any(q in raw for q in "'\"`"):
        return _brace_quoted(raw)
    for match in _BRACES.finditer(raw):
        if match.start() and raw[match.start() - 1] in "$\\":
            continue
        body = match[1]
        options = body.split(",") if "," in body else _range(body)
        result: list[str] = []
        for option in options[:64]:
            result.extend(_brace(raw[: match.start()] + option + raw[match.end() :], depth + 1, left))
            if len(result) > MAX_WORDS:
                break
        return result
    return [raw]


def _brace_quoted(raw: str) -> list[str]:
    """`{"/etc","/var"}`: quotes inside braces protect nothing that matters here, unless they hold the braces."""
    outside = re.sub(r"'[^']*'|\"(?:\\.|[^\"\\])*\"", lambda m: "\ue0f2" * len(m[0]), raw)
    match = next(
        (m for m in re.finditer(r"\{([^{}]*,[^{}]*)\}", outside) if not m.start() or raw[m.start() - 1] not in "$\\"),
        None,
    )
    if match is None:
        return [raw]
    cuts = [match.start(1) - 1, *(i for i in range(match.start(1), match.end(1)) if outside[i] == ","), match.end(1)]
    options = [raw[a + 1 : b] for a, b in itertools.pairwise(cuts)]
    return [raw[: match.start()] + option + raw[match.end() :] for option in options[:64]]


def _range(body: str) -> list[str]:
    first, last = body.split("..", 1)
    if first.isdigit() and last.isdigit() and abs(int(last) - int(first)) < 64:
        step = 1 if int(last) >= int(first) else -1
        return [str(n) for n in range(int(first), int(last) + step, step)]
    if len(first) == 1 and len(last) == 1:
        return [chr(c) for c in range(ord(first), ord(last) + 1)]
    return [UNKNOWN]


def _one(raw: str, variables: Mapping[str, str], run: Run, home: str, pipe: Pipe | None) -> str:
    out: list[str] = []
    at, end = 0, len(raw)
    if raw.startswith("~"):
        stop = next((i for i, c in enumerate(raw) if c == "/"), end)
        user = raw[1:stop]
        if not user:
            out.append(home)
            at = 1
        elif user == "+":
            out.append(variables.get("PWD", "."))
            at = 2
        elif user.isalnum():
            out.append("/root" if user == "root" else f"/home/{user}")
            at = stop
    while at < end:
        char = raw[at]
        if char == "\\":
            out.append("" if raw[at + 1 : at + 2] == "\n" else raw[at + 1 : at + 2] + _GLUE)
            at += 2
        elif char == "'":
            stop = raw.find("'", at + 1)
            stop = end if stop < 0 else stop
            out.append(raw[at + 1 : stop] + _GLUE)
            at = stop + 1
        elif char == '"':
            stop = _closing_quote(raw, at + 1)
            inside = raw[at + 1 : stop]
            value = _quoted(inside, variables, run, home)
            out.append((_SPLIT.join(value.split()) if _LIST.fullmatch(inside) else value) + _GLUE)
            at = stop + 1
        elif char == "$" and raw[at + 1 : at + 2] == "'":
            stop = _closing_quote(raw, at + 2, "'")
            out.append(ansi(raw[at + 2 : stop]) + _GLUE)
            at = stop + 1
        elif char == "$" and raw[at + 1 : at + 2] == '"':
            at += 1
        elif char in "$`":
            value, at = _dollar(raw, at, variables, run, home)
            separators = variables.get("IFS", " \t\n")
            if separators.strip() and value:
                value = value.translate(dict.fromkeys(map(ord, separators.strip()), " "))
            out.append(_SPLIT.join(value.split()) if not value.isspace() else _SPLIT)
            if value[:1].isspace() and not value.isspace():
                out[-1] = _SPLIT + out[-1]
            if value[-1:].isspace() and not value.isspace():
                out[-1] += _SPLIT
        elif raw.startswith(("<(", ">("), at):
            stop = _closing_paren(raw, at + 2)
            inside = raw[at + 2 : stop]
            out.append(pipe(inside, char == ">") if pipe is not None else "/dev/fd/63" + taint(run(inside)))
            at = stop + 1
        else:
            out.append(char)
            at += 1
    return "".join(out)


def _quoted(body: str, variables: Mapping[str, str], run: Run, home: str) -> str:
    out: list[str] = []
    at = 0
    while at < len(body):
        char = body[at]
        if char == "\\" and at + 1 < len(body):
            follows = body[at + 1]
            out.append("" if follows == "\n" else follows if follows in '$`"\\' else "\\" + follows)
            at += 2
        elif char in "$`":
            value, at = _dollar(body, at, variables, run, home)
            out.append(value)
        else:
            out.append(char)
            at += 1
    return "".join(out)


def substituted(text: str, variables: Mapping[str, str], run: Run, home: str) -> str:
    """A here-document's body with its variables and substitutions put in."""
    return _quoted(text, variables, run, home)


def _dollar(raw: str, at: int, variables: Mapping[str, str], run: Run, home: str) -> tuple[str, int]:
    if raw[at] == "`":
        stop = raw.find("`", at + 1)
        stop = len(raw) if stop < 0 else stop
        return run(raw[at + 1 : stop].replace("\\`", "`")), stop + 1
    if raw.startswith("$((", at):
        stop = _closing_paren(raw, at + 3)
        body = raw[at + 3 : stop]
        if "$(" in body or "`" in body:
            body = _quoted(body, variables, run, home)
        return _arithmetic(body), min(len(raw), stop + 2)
    if raw.startswith("$(", at):
        stop = _closing_paren(raw, at + 2)
        return run(raw[at + 2 : stop]), stop + 1
    if raw.startswith("${", at):
        stop = _closing_brace(raw, at + 2)
        return _parameter(raw[at + 2 : stop], variables, run, home), stop + 1
    name = _NAME.match(raw, at + 1)
    if name is None:
        return "$", at + 1
    return _variable(name[0], variables), name.end()


def _variable(name: str, variables: Mapping[str, str]) -> str:
    return variables.get(name, UNKNOWN)


def _parameter(body: str, variables: Mapping[str, str], run: Run, home: str) -> str:
    if body.startswith("#"):
        return "0"
    if body.startswith("!"):
        return variables.get(variables.get(body[1:], ""), UNKNOWN)
    name = _NAME.match(body)
    if name is None:
        return UNKNOWN
    rest = (
        _ARRAY_INDEX.sub("", body[name.end() :], count=1) if body[name.end() :].startswith("[") else body[name.end() :]
    )
    value = variables.get(name[0])
    if not rest:
        return _variable(name[0], variables)
    if rest[:2] in (":-", ":=") or rest[0] in "-=":
        word = _quoted(rest.lstrip(":")[1:].strip("\"'"), variables, run, home)
        return value if value else word
    if rest[0] == "+" or rest.startswith(":+"):
        word = _quoted(rest.lstrip(":")[1:], variables, run, home)
        return word if value else ""
    if value is None or UNKNOWN in value:
        return UNKNOWN
    if rest[0] == ":" and (cut := re.fullmatch(r":\s*(-?\d+)(?::\s*(\d+))?", rest)):
        start = int(cut[1])
        part = value[start:]
        return part[: int(cut[2])] if cut[2] else part
    if rest[0] == "/" and (parts := rest.lstrip("/").split("/", 1)):
        return value.replace(parts[0], parts[1] if len(parts) > 1 else "", -1 if rest.startswith("//") else 1)
    if rest in ("^^", "^"):
        return value.upper() if rest == "^^" else value[:1].upper() + value[1:]
    if rest in (",,", ","):
        return value.lower()
    if rest[0] in "#%":
        pattern = rest.lstrip("#%")
        if not any(c in pattern for c in "*?["):
            return value.removeprefix(pattern) if rest[0] == "#" else value.removesuffix(pattern)
    return value if rest[0] == "@" else UNKNOWN


def _arithmetic(body: str) -> str:
    if re.fullmatch(r"[\d\s+\-*]{1,20}", body):
        total = 0
        for sign, number in re.findall(r"([+\-]?)\s*(\d+)", body):
            total += -int(number) if sign == "-" else int(number)
        return str(total) if "*" not in body else "7"
    return "7"


def _closing_quote(raw: str, at: int, quote: str = '"') -> int:
    depth = 0
    while at < len(raw):
        if raw[at] == "\\":
            at += 2
            continue
        if raw.startswith("$(", at) and quote == '"':
            depth += 1
        elif raw[at] == ")" and depth:
            depth -= 1
        elif raw[at] == quote and not depth:
            return at
        at += 1
    return len(raw)


def _closing_paren(raw: str, at: int) -> int:
    depth = 1
    while at < len(raw):
        char = raw[at]
        if char == "\\":
            at += 2
            continue
        if char == "'":
            stop = raw.find("'", at + 1)
            at = len(raw) if stop < 0 else stop + 1
            continue
        if char == '"':
            at = _closing_quote(raw, at + 1) + 1
            continue
        depth += (char == "(") - (char == ")")
        if depth == 0:
            return at
        at += 1
    return len(raw)


def _closing_brace(raw: str, at: int) -> int:
    depth = 1
    while at < len(raw):
        if raw[at] == "\\":
            at += 2
            continue
        depth += (raw[at] == "{") - (raw[at] == "}")
        if depth == 0:
            return at
        at += 1
    return len(raw)
