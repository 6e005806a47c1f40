"""Code of other languages inside a call: what it hands to a shell, deletes, or connects.

Python is read by syntax tree; for the others string literals are told from code, so that what is only printed is
not taken for what is run.
"""

from __future__ import annotations

import ast
import base64
import binascii
import re
import shlex
from collections.abc import Iterator, Sequence

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.effects import judge_deletion
from aegis.policy.hard_deny.shell.session import HOME
from aegis.policy.hard_deny.shell.walk import Shell
from aegis.policy.hard_deny.shell.words import expand

_RUNS = frozenset(
    "system popen getoutput getstatusoutput run call check_call check_output Popen execl execlp execv execvp "
    "execve spawnl "
    "spawnlp spawnv spawnvp create_subprocess_shell create_subprocess_exec spawn startfile".split()
)
_DELETES = {"rmtree": True, "unlink": False, "remove": False, "rmdir": False, "removedirs": True}
_LITERAL = r"""(?:"((?:\\.|[^"\\])*)"|'((?:\\.|[^'\\])*)'|`((?:\\.|[^`\\])*)`)"""
_HANDED = re.compile(
    r"(?:\b(?:system|exec|execSync|spawn|spawnSync|execFile|execFileSync|popen|shell_exec|passthru|proc_open|qx|Open3\.\w+|os\.execute|io\.popen"
    r"|do\s+shell\s+script|fork|IO\.popen|Kernel\.\w+)\s*\(?\s*|%x[({\[])" + _LITERAL + r"(?:\s*,\s*\[([^\]]*)\])?",
    re.DOTALL,
)
_WIPES = re.compile(
    r"(?:\b(?:rmtree|remove_tree|rm_rf|rm_r|remove_entry_secure|rmSync|rmdirSync|unlinkSync|removeSync|rimraf(?:\.sync)?|remove_dir_all|unlink|"
    r"rm|Delete|delTree|RemoveAll)\b)\s*\(?\s*(?:glob\s*\(?\s*)?(?:\[\s*)?(?:Dir(?:\.glob)?[\[(]\s*)?" + _LITERAL,
    re.DOTALL,
)
_PERL_BACKTICKS = re.compile(r"`([^`]+)`")
_STRINGS = re.compile(r"\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*'", re.DOTALL)
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
_FORKS = re.compile(r"\bfork\b(?:\(\))?\s*(?:while|until)\b|\b(?:while|loop)\b[^;\n]{0,40}\n?\s*(?:\w+\.)?fork\b")
_GLOBBED = re.compile(r"\b(?:unlink|rmtree|rm_rf)\s*\(?\s*<([^>\n]+)>")
_EVALUATES = re.compile(
    r"\b(?:exec|eval|Function|instance_eval|loads|compile|create_function|assert|vm\.runIn\w+)\s*\("
)


def judge(shell: Shell, language: str, text: str, modules: Sequence[str] = ()) -> None:
    """Adds the findings of `text`, a program in `language`."""
    code = _STRINGS.sub('""', text)
    if (
        _CONNECTS.search(text)
        and _SHELL_WORD.search(text)
        and _HANDS_OVER.search(text)
        and _CONNECTS.search(code + text)
    ):
        shell.reading.add("shell.reverse_shell")
    if _FORKS.search(code):
        shell.reading.add("shell.denial_of_service", command=language)
    if _FETCHES.search(text) and _EVALUATES.search(code):
        shell.reading.add("shell.remote_code")
    if language in ("python", "pypy", "code", ""):
        try:
            tree = ast.parse(text)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            if language in ("python", "pypy"):
                _by_literals(shell, language, text)
            else:
                _by_literals(shell, "node", text)
            return
        _python(shell, tree)
        return
    _by_literals(shell, language, text)


def _python(shell: Shell, tree: ast.AST) -> None:
    constants: dict[str, object] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            value = _folded(node.value, constants)
            if value is not None:
                constants[node.targets[0].id] = value
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        name = _called(node.func)
        given = [_folded(a, constants) for a in node.args]
        first = (
            given[0]
            if given
            else next((_folded(k.value, constants) for k in node.keywords if k.arg in ("args", "cmd", "command")), None)
        )
        if name in _RUNS:
            _hand_over(
                shell,
                given if name.startswith(("exec", "spawn", "create_subprocess_exec")) and len(given) > 1 else first,
            )
        elif name in _DELETES:
            target = first if isinstance(first, str) else _of_path(node.func, constants)
            if target is not None:
                _delete(shell, target, _DELETES[name])
        elif name in ("exec", "eval", "compile") and isinstance(node.func, ast.Name):
            _evaluated(shell, node, first)
        elif name in ("open", "write_text", "write_bytes"):
            _opened(shell, node, first, given, constants)


def _evaluated(shell: Shell, node: ast.Call, first: object) -> None:
    if isinstance(first, bytes):
        first = first.decode("utf-8", "replace")
    if isinstance(first, str):
        if shell.depth < 6:
            shell.depth += 1
            judge(shell, "python", first)
            shell.depth -= 1
        return
    inner = ast.dump(node)
    if any(w in inner for w in ("b64decode", "fromhex", "decompress", "unhexlify", "rot", "chr", "reversed", "loads")):
        shell.reading.add("shell.dynamic")


def _opened(shell: Shell, node: ast.Call, first: object, given: Sequence[object], constants: dict[str, object]) -> None:
    target = first if _called(node.func) == "open" and isinstance(first, str) else _of_path(node.func, constants)
    if target is None:
        return
    path = shell.path(target)
    mode = given[1] if len(given) > 1 and isinstance(given[1], str) else ""
    if places.is_secret(path):
        shell.reading.add("shell.sensitive_file", object=path)
    writes = any(c in mode for c in "wax+") or _called(node.func) != "open"
    if writes and places.starts_by_itself(path):
        shell.reading.add("shell.persistence", command="open")
    elif writes and (places.is_device(path) or re.match(r"/(?:etc|usr|bin|boot|var|root|lib|sys|proc)/", path)):
        shell.reading.add("shell.destructive", command="open", object=path)


def _of_path(func: ast.expr, constants: dict[str, object]) -> str | None:
    """`Path("/x").unlink()`: the path that the method belongs to."""
    if (
        isinstance(func, ast.Attribute)
        and isinstance(func.value, ast.Call)
        and _called(func.value.func) in ("Path", "PosixPath")
    ):
        value = _folded(func.value.args[0], constants) if func.value.args else None
        return value if isinstance(value, str) else None
    return None


def _called(func: ast.expr) -> str:
    if isinstance(func, ast.Attribute):
        return func.attr
    if isinstance(func, ast.Name):
        return func.id
    if isinstance(func, ast.Call) and _called(func.func) == "getattr" and len(func.args) > 1:
        value = _folded(func.args[1], {})
        return value if isinstance(value, str) else ""
    return ""


def _folded(node: ast.expr, constants: dict[str, object]) -> object:
    """A constant's value: literals, concatenation, joined strings, decoding, lists of such."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return constants.get(node.id)
        case ast.BinOp(op=ast.Add()):
            left, right = _folded(node.left, constants), _folded(node.right, constants)
            return left + right if isinstance(left, str) and isinstance(right, str) else None
        case ast.List() | ast.Tuple():
            return [_folded(e, constants) for e in node.elts]
        case ast.JoinedStr():
            parts = [_folded(v.value if isinstance(v, ast.FormattedValue) else v, constants) for v in node.values]
            return "".join(str(p) for p in parts) if all(p is not None for p in parts) else None
        case ast.Call():
            name = _called(node.func)
            owner = _folded(node.func.value, constants) if isinstance(node.func, ast.Attribute) else None
            given = [_folded(a, constants) for a in node.args]
            try:
                if name == "b64decode" and given and isinstance(given[0], (str, bytes)):
                    return base64.b64decode(given[0])
                if name in ("fromhex", "unhexlify") and given and isinstance(given[0], str):
                    return bytes.fromhex(given[0])
                if name == "decode" and isinstance(owner, bytes):
                    return owner.decode("utf-8", "replace")
                if name == "join" and isinstance(owner, str) and given and isinstance(given[0], list):
                    return owner.join(str(x) for x in given[0])
                if name == "chr" and given and isinstance(given[0], int):
                    return chr(given[0])
                if name == "split" and isinstance(owner, str) and not given:
                    return owner.split()
                if name == "expanduser" and given and isinstance(given[0], str):
                    return given[0]
            except (binascii.Error, ValueError):
                return None
        case ast.Subscript(slice=ast.Slice(lower=None, upper=None, step=ast.UnaryOp())):
            value = _folded(node.value, constants)
            return value[::-1] if isinstance(value, str) else None
    return None


def _hand_over(shell: Shell, value: object) -> None:
    if isinstance(value, list):
        words = [str(v) for part in value for v in (part if isinstance(part, list) else [part]) if v is not None]
        if words:
            shell.nested(shlex.join(words))
    elif isinstance(value, (str, bytes)):
        shell.nested(value if isinstance(value, str) else value.decode("utf-8", "replace"))


def _delete(shell: Shell, target: str, recursive: bool) -> None:
    words = expand(target, shell.around.variables, lambda _: "", HOME) if target.startswith("~") else [target]
    for word in words:
        judge_deletion(shell, word, recursive, "code")


def _by_literals(shell: Shell, language: str, text: str) -> None:
    for match in _HANDED.finditer(text):
        if _is_inside_a_string(text, match.start()):
            continue
        literal = next((g for g in match.groups()[:3] if g is not None), "")
        rest = re.findall(r"[\"']([^\"']*)[\"']", match[4] or "")
        line = shlex.join([literal, *rest]) if rest else literal.replace('\\"', '"').replace("\\'", "'")
        shell.nested(line)
    for match in _WIPES.finditer(text):
        if not _is_inside_a_string(text, match.start()):
            _delete(shell, next((g for g in match.groups() if g is not None), ""), True)
    for match in _GLOBBED.finditer(text):
        _delete(shell, match[1], False)
    if language in ("perl", "ruby", "php"):
        for match in _PERL_BACKTICKS.finditer(text):
            if not _is_inside_a_string(text, match.start()):
                shell.nested(match[1])


def _is_inside_a_string(text: str, at: int) -> bool:
    return any(start < at < end for start, end in _spans(text))


def _spans(text: str) -> Iterator[tuple[int, int]]:
    for match in _STRINGS.finditer(text):
        yield match.start(), match.end()
