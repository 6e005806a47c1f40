"""Code of other languages inside a call: what it hands to a shell, deletes, connects or sends.

Python is read by syntax tree; for the others string literals are told from code, so that what is only printed is
not taken for what is run.
"""

from __future__ import annotations

import ast
import base64
import binascii
import itertools
import re
import shlex
from collections.abc import Iterator, Sequence

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.commands.carried import begins_with_harm
from aegis.policy.hard_deny.commands.python_code import judge_python
from aegis.policy.hard_deny.shell.effects import judge_deletion
from aegis.policy.hard_deny.shell.session import HOME
from aegis.policy.hard_deny.shell.walk import Shell
from aegis.policy.hard_deny.shell.words import expand

DEPTH = 6
"""Programs within programs."""
PROGRAM = 96 * 1024
"""Characters of a program that is read by syntax tree."""
LITERALS = 400
"""String literals of a program that are looked at; one that runs something and has more is refused."""
_LITERAL = r"""(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|`((?:\\.|[^`\\])*)`)"""
_HANDED = re.compile(
    r"(?:\b(?:system|exec|execSync|spawn|spawnSync|execFile|execFileSync|popen|shell_exec|passthru|proc_open|qx|Open3\.\w+|os\.execute|io\.popen"
    r"|do\s++shell\s++script|fork|IO\.popen|Kernel\.\w+|shell-command(?:-to-string)?|os:cmd|callCommand)\s*+\(?+\s*+|%x[({\[])"
    + _LITERAL
    + r"(?:\s*+,\s*+\[(?:([^\]]{0,8192})\]|(.)))?",
    re.DOTALL,
)
_WIPES = re.compile(
    r"(?:\b(?:rmtree|remove_tree|rm_rf!?|rm_r|remove_entry_secure|remove_dir|rmSync|rmdirSync|unlinkSync|removeSync|rimraf(?:\.sync)?|"
    r"remove_dir_all|unlink|delete-directory|delete-file|rm|Delete|delTree|RemoveAll|File\.delete|deleteRecursively)(?![\w\-]))"
    r"\s*+\(?+\s*+(?:glob\s*+\(?+\s*+)?(?:\[\s*+)?(?:Dir(?:\.glob)?[\[(]\s*+)?" + _LITERAL,
    re.DOTALL,
)
_LISTED = re.compile(r"\bglob\b\s*+\(?+\s*+" + _LITERAL)
_DELETES = re.compile(r"unlink|delete|remove|rm_r|rmSync", re.IGNORECASE)
_TICKS = re.compile(r"`([^`]+)`")
_QUOTED_WORDS = re.compile(
    r"\b(?:qw|qx|q|qq)\s*(?:\(([^)]*)\)|\{([^}]*)\}|\[([^\]]*)\]|/([^/]*)/|\|([^|]*)\|)|%x\(([^)]*)\)"
)
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)
_ANY_STRING = re.compile(_LITERAL, re.DOTALL)
_CONCATENATED = re.compile(r"([\"'])\s*+(?:\.\.?|\+|<>|&)\s*+\1")
_BETWEEN = re.compile(r"[\s,\[\](){}]*+(?:args\s*+[:=]\s*+[\s\[({]*+)?\Z")
_RUNS_SOMETHING = re.compile(
    r"system|exec|spawn|popen|child_process|passthru|subprocess|Command|\bqx\b|%x|os:cmd|sys\.process|Bun\.\$|\bsh\b|"
    r"proc_open|callCommand|\beval\b|\brun\b|Runtime|ProcessBuilder|\bopen\b|`",
    re.IGNORECASE,
)
_PRINTS = re.compile(
    r"(?:print(?:f|ln|_r)?|puts|say|echo|console\.\w+|log(?:ger)?(?:\.\w+)?|warn|write|p|die|raise|Error|message)\s*\(?\s*\Z"
)
_DECODES = re.compile(r"base64|atob|decode64|Buffer\.from|pack|hex2bin|fromhex|unhex", re.IGNORECASE)
_CONNECTS = re.compile(
    r"socket|TCPSocket|net\.(?:connect|Socket|createConnection)|fsockopen|IO::Socket|PF_INET|/dev/tcp", re.IGNORECASE
)
_SHELL_WORD = re.compile(
    r"/bin/(?:ba|z|da)?sh|\bcmd(?:\.exe)?\b|\bpty\b|[\"'](?:ba)?sh(?:\s+-i)?[\"']|powershell", re.IGNORECASE
)
_HANDS_OVER = re.compile(r"dup2|exec|spawn|>&S|popen|subprocess|\.pipe\(|proc_open|system|pty", re.IGNORECASE)
_FETCHES = re.compile(
    r"urlopen|requests\.get|https?\.get|fetch\(|open-uri|URI\.open|LWP|file_get_contents\s*\(\s*['\"]https?:|urllib|httpx|Net::HTTP"
)
_FORKS = re.compile(r"\bfork\b(?:\(\))?\s*+(?:while|until)\b|\b(?:while|loop)\b[^;\n]{0,40}\n?\s*(?:\w+\.)?fork\b")
_GLOBBED = re.compile(r"\b(?:unlink|rmtree|rm_rf)\s*+\(?+\s*+<([^>\n]{1,4096})>")
_EVALUATES = re.compile(
    r"\b(?:exec|eval|Function|instance_eval|loads|compile|create_function|assert|vm\.runIn\w+)\s*\("
)
_SENDS = re.compile(
    r"(?:requests|httpx|axios|session|client)\.(?:post|put|patch|request)\b|urlopen\s*+\([^)]{0,8192},|Request\s*+\([^)]{0,8192}data|\.sendall?\(|smtplib|"
    r"\bfetch\s*+\([^)]{0,8192}method|https?\.request|Net::HTTP\.post|\.post\s*\(|curl_exec|sendmail",
    re.IGNORECASE | re.DOTALL,
)
_READS = re.compile(
    r"(?:\bopen|read_text|read_bytes|readFileSync|readFile|File\.read|IO\.read|file_get_contents|Path|slurp)\s*+\(\s*+"
    + _LITERAL
)
_WHOLE_ENVIRONMENT = re.compile(
    r"(?:dict|str|repr|dumps|json|data)\s*+[(=]\s*+(?:dict\()?os\.environ(?!\s*[\[.](?!copy))|stringify\(process\.env\)|ENV\.to_(?:h|json)"
)
_TCL = re.compile(r"(?:^|[;\[\n])\s*(?:exec|spawn|system|eval\s+exec)\s+(?:-\w+\s+)*([^\n;\]]+)")
_TCL_DELETES = re.compile(r"\bfile\s+delete\s+(?:-force\s+|--\s+)*(\S+)")


def judge(shell: Shell, language: str, text: str, modules: Sequence[str] = ()) -> None:
    """Adds the findings of `text`, a program in `language`."""
    code = _STRINGS.sub('""', text)
    if _CONNECTS.search(text) and _SHELL_WORD.search(text) and _HANDS_OVER.search(text):
        shell.reading.add("shell.reverse_shell")
    if _FORKS.search(code):
        shell.reading.add("shell.denial_of_service", command=language)
    if _FETCHES.search(text) and _EVALUATES.search(code):
        shell.reading.add("shell.remote_code")
    if _SENDS.search(text) and _reads_secret(shell, text):
        shell.reading.add("shell.exfiltration")
    if language in ("python", "pypy", "code", ""):
        if len(text) > PROGRAM:
            shell.reading.add("shell.unparseable")
            return
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            _by_literals(shell, language if language in ("python", "pypy") else "node", text)
            return
        judge_python(shell, tree, _again)
        return
    if language in ("tclsh", "expect"):
        for match in _TCL.finditer(text):
            shell.nested(match[1])
        for match in _TCL_DELETES.finditer(text):
            judge_deletion(shell, match[1], True, language)
    _by_literals(shell, language, text)


def _again(shell: Shell, text: str, language: str = "python") -> None:
    if shell.depth < DEPTH:
        shell.depth += 1
        try:
            judge(shell, language, text)
        finally:
            shell.depth -= 1


def _reads_secret(shell: Shell, text: str) -> bool:
    if _WHOLE_ENVIRONMENT.search(text):
        return True
    for match in _READS.finditer(text):
        path = shell.path(next((g for g in match.groups() if g is not None), ""))
        if places.is_secret(path) or places.is_project_secret(path):
            return True
    return False


def _by_literals(shell: Shell, language: str, text: str) -> None:
    inside = _Strings(text)
    for match in _HANDED.finditer(text):
        if match.start() in inside:
            continue
        if match[5] is not None:  # a list of arguments that is longer than is read
            shell.reading.add("shell.unparseable")
        literal = next((g for g in match.groups()[:3] if g is not None), "")
        rest = re.findall(r"[\"']([^\"']*)[\"']", match[4] or "")
        line = shlex.join([literal, *rest]) if rest else literal.replace('\\"', '"').replace("\\'", "'")
        shell.nested(line)
    for match in _WIPES.finditer(text):
        if match.start() not in inside:
            _delete(shell, next((g for g in match.groups() if g is not None), ""), True)
    for match in _LISTED.finditer(text) if _DELETES.search(text) else ():
        _delete(shell, next((g for g in match.groups() if g is not None), ""), False)
    for match in _GLOBBED.finditer(text):
        _delete(shell, match[1], False)
    if language in ("perl", "ruby", "php", "julia"):
        for match in _TICKS.finditer(text):
            if match.start() not in inside:
                shell.nested(match[1])
    _any_literal(shell, language, text)


def _any_literal(shell: Shell, language: str, text: str) -> None:
    """In a program that runs anything at all, a string that is a harmful command is taken for what it runs."""
    joined = _CONCATENATED.sub("", text)
    if not _RUNS_SOMETHING.search(joined):
        return
    decodes = _DECODES.search(joined) is not None
    words: list[str] = []
    end = -1
    literals = [*itertools.islice(_ANY_STRING.finditer(joined), LITERALS + 1)]
    if len(literals) > LITERALS:
        shell.reading.add("shell.unparseable")
    for match in literals[:LITERALS]:
        literal = next((g for g in match.groups() if g is not None), "")
        if words and _BETWEEN.match(joined[end : match.start()]):
            words.append(literal)
        else:
            _words(shell, words)
            words = [] if _PRINTS.search(joined[max(0, match.start() - 32) : match.start()]) else [literal]
        end = match.end()
        if decodes:
            _encoded(shell, language, literal)
    _words(shell, words)
    for quoted in _QUOTED_WORDS.finditer(joined):
        _words(shell, [next((g for g in quoted.groups() if g is not None), "")])


def _words(shell: Shell, words: Sequence[str]) -> None:
    """Literals that stand beside each other: a line, or a command's words."""
    if not words:
        return
    lines = [line for word in words if begins_with_harm(line := word.strip().strip("|").strip())]
    for line in lines:
        shell.nested(line)
    if not lines and len(words) > 1 and begins_with_harm(shlex.join(words)):
        shell.nested(shlex.join(words))


def _encoded(shell: Shell, language: str, literal: str) -> None:
    for decoded in _decodings(literal):
        if begins_with_harm(decoded):
            shell.nested(decoded)
        else:
            _again(shell, decoded, language)


def _decodings(literal: str) -> Iterator[str]:
    try:
        if re.fullmatch(r"(?:[0-9a-fA-F]{2}){6,}", literal):
            yield bytes.fromhex(literal).decode()
        elif re.fullmatch(r"[A-Za-z0-9+/]{12,}={0,2}", literal):
            yield base64.b64decode(literal + "==").decode()
    except (UnicodeDecodeError, binascii.Error, ValueError):
        return


def _delete(shell: Shell, target: str, recursive: bool) -> None:
    words = expand(target, shell.around.variables, lambda _: "", HOME) if target.startswith("~") else [target]
    for word in words:
        judge_deletion(shell, word, recursive, "code")


class _Strings:
    """The spans of a program's string literals, in order."""

    def __init__(self, text: str) -> None:
        self.spans = [(m.start(), m.end()) for m in _STRINGS.finditer(text)]

    def __contains__(self, place: int) -> bool:
        """Whether `place` lies inside a literal, by bisection."""
        low, high = 0, len(self.spans)
        while low < high:
            middle = (low + high) // 2
            if self.spans[middle][1] <= place:
                low = middle + 1
            else:
                high = middle
        return low < len(self.spans) and self.spans[low][0] < place
