"""Python read by syntax tree: what it runs, deletes, overwrites, with values followed through names and loops."""

from __future__ import annotations

import ast
import base64
import binascii
import codecs
import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from aegis.policy.hard_deny import places
from aegis.policy.hard_deny.shell.effects import judge_deletion, judge_write
from aegis.policy.hard_deny.shell.session import HOME
from aegis.policy.hard_deny.shell.walk import Shell
from aegis.policy.hard_deny.shell.words import expand

CHOICES = 32
"""Values that one name is followed with."""
LENGTH = 64 * 1024
"""Characters of a text that is put together here."""
FOUND = "\ue012found"
"""A name that a directory's listing gives."""
_RUNS = frozenset(
    "system popen getoutput getstatusoutput run call check_call check_output Popen execl execlp execv execvp "
    "execve spawnl spawnlp spawnv spawnvp create_subprocess_shell create_subprocess_exec spawn startfile "
    "posix_spawn posix_spawnp".split()
)
_WORDS_FOLLOW = ("exec", "spawn", "posix_spawn", "create_subprocess_exec")
_DELETES = {"rmtree": True, "unlink": False, "remove": False, "rmdir": False, "removedirs": True}
_MOVES = frozenset("move rename renames replace".split())
_WRITES = {"copy": 1, "copyfile": 1, "copy2": 1, "copytree": 1, "symlink": 1, "link": 1, "truncate": 0}
_LISTS = frozenset("walk fwalk scandir iterdir rglob glob iglob".split())
_SAME = frozenset(
    "str abspath realpath normpath fspath expanduser expandvars resolve absolute Path PosixPath PurePath".split()
)

Run = Callable[[Shell, str], None]
"""Judges text that Python evaluates."""


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of several values."""

    values: tuple[object, ...]


@dataclass(slots=True)
class _Known:
    """Values by variable, and functions by the other names they go by."""

    values: dict[str, object] = field(default_factory=dict)
    functions: dict[str, str] = field(default_factory=dict)


def judge_python(shell: Shell, tree: ast.AST, evaluate: Run) -> None:
    """Adds the findings of a program; `evaluate` judges text that it evaluates in turn."""
    nodes = list(ast.walk(tree))
    known = _known(nodes)
    for node in nodes:
        if isinstance(node, ast.Call):
            _call(shell, node, known, evaluate)


def _known(nodes: Iterable[ast.AST]) -> _Known:
    known = _Known()
    bodies: dict[str, list[str]] = {}
    for node in nodes:
        if isinstance(node, ast.ImportFrom):
            known.functions.update({a.asname: a.name for a in node.names if a.asname})
        elif isinstance(node, ast.FunctionDef):
            bodies[node.name] = [a.arg for a in node.args.args]
    for node in nodes:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda(args=given)):
                bodies[name] = [a.arg for a in given.args]
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                _assign(known, name, value)
            case ast.NamedExpr(target=ast.Name(id=name), value=value):
                _assign(known, name, value)
            case ast.For(target=target, iter=source) | ast.comprehension(target=target, iter=source):
                _loop(known, target, _folded(source, known))
            case ast.Call(func=ast.Lambda(args=given)):
                _bind(known, [a.arg for a in given.args], node)
            case ast.Call(func=ast.Name(id=name)) if name in bodies:
                _bind(known, bodies[name], node)
    return known


def _assign(known: _Known, name: str, value: ast.expr) -> None:
    folded = _folded(value, known)
    if folded is not None:
        known.values[name] = folded
    elif isinstance(value, (ast.Attribute, ast.Name, ast.Subscript, ast.Call)) and (real := _called(value, known)):
        known.functions[name] = real


def _bind(known: _Known, names: Iterable[str], call: ast.Call) -> None:
    for name, value in zip(names, call.args, strict=False):
        folded = _folded(value, known)
        if folded is not None:
            known.values[name] = _choice([*_each(known.values.get(name)), *_each(folded)])


def _loop(known: _Known, target: ast.expr, items: object) -> None:
    names = [n.id for n in ast.walk(target) if isinstance(n, ast.Name)]
    if isinstance(items, list):
        for name in names:
            known.values[name] = _choice([v for v in items if v is not None])
    elif isinstance(items, (str, _Choice)):
        for place, name in enumerate(names):
            known.values[name] = items if place == 0 else FOUND


def _each(value: object) -> list[object]:
    if value is None:
        return []
    return list(value.values) if isinstance(value, _Choice) else [value]


def _choice(values: list[object]) -> object:
    return (values[0] if len(values) == 1 else _Choice(tuple(values[:CHOICES]))) if values else None


def _texts(value: object) -> Iterator[str]:
    for each in _each(value):
        if isinstance(each, str):
            yield each
        elif isinstance(each, bytes):
            yield each.decode("utf-8", "replace")


def _call(shell: Shell, node: ast.Call, known: _Known, evaluate: Run) -> None:
    name = _called(node.func, known)
    given = [_folded(a, known) for a in node.args]
    first = given[0] if given else None
    if first is None:
        first = next((_folded(k.value, known) for k in node.keywords if k.arg in ("args", "cmd", "command")), None)
    if name == "map" and len(node.args) > 1:
        called = _called(node.args[0], known)
        items = given[1] if isinstance(given[1], list) else _each(given[1])
        for item in items:
            _effect(shell, called, node.args[0], [item], known)
        return
    if name in ("exec", "eval", "compile") and isinstance(node.func, ast.Name):
        _evaluated(shell, node, first, evaluate)
    elif name in ("open", "write_text", "write_bytes"):
        _opened(shell, node, first, given, known)
    else:
        _effect(shell, name, node.func, given or [first], known)


def _effect(shell: Shell, name: str, func: ast.expr, given: list[object], known: _Known) -> None:
    first = given[0] if given else None
    if name in _RUNS:
        _hand_over(shell, given if name.startswith(_WORDS_FOLLOW) and len(given) > 1 else first)
    elif name in _DELETES:
        for target in _texts(first) if first is not None else _texts(_owner(func, known)):
            _delete(shell, target, _DELETES[name])
    elif name in _MOVES and len(given) > 1:
        for target in _texts(first):
            if target.startswith(("/", "~", "..")):
                _delete(shell, target, False)
        for target in _texts(given[1]):
            judge_write(shell, target, "code")
    elif name in _WRITES and len(given) > _WRITES[name]:
        for target in _texts(given[_WRITES[name]]):
            if target.startswith(("/", "~", "..")):
                judge_write(shell, target, "code")
    elif name in ("chmod", "chown") and len(given) > 1:
        for target in _texts(first):
            if places.is_secret(shell.path(target)) and given[1] not in (0o600, 0o400, 0o700):
                shell.reading.add("shell.sensitive_file", object=shell.path(target))
    elif name in ("kill", "killpg") and first in (1, -1):
        shell.reading.add("shell.denial_of_service", command="kill")


def _evaluated(shell: Shell, node: ast.Call, first: object, evaluate: Run) -> None:
    known = list(_texts(first))
    for text in known:
        evaluate(shell, text)
    inner = ast.dump(node)
    if not known and any(
        w in inner for w in ("b64decode", "fromhex", "decompress", "unhexlify", "rot", "chr", "reversed", "loads")
    ):
        shell.reading.add("shell.dynamic")


def _opened(shell: Shell, node: ast.Call, first: object, given: list[object], known: _Known) -> None:
    opens = _called(node.func, known) == "open"
    mode = given[1] if len(given) > 1 and isinstance(given[1], str) else ""
    mode = mode or next((str(_folded(k.value, known)) for k in node.keywords if k.arg == "mode"), "")
    targets = first if opens and isinstance(first, (str, _Choice)) else _owner(node.func, known)
    for target in _texts(targets):
        _open(shell, shell.path(_home(target)), not opens or any(c in mode for c in "wax+"))


def _open(shell: Shell, path: str, writes: bool) -> None:
    if places.is_secret(path):
        shell.reading.add("shell.sensitive_file", object=path)
    if writes and places.starts_by_itself(path):
        shell.reading.add("shell.persistence", command="open")
    elif writes and (places.is_device(path) or re.match(r"/(?:etc|usr|bin|boot|var|root|lib|sys|proc)/", path)):
        shell.reading.add("shell.destructive", command="open", object=path)


def _owner(func: ast.expr, known: _Known) -> object:
    """`Path("/x").unlink()`: the path that the method belongs to."""
    return _folded(func.value, known) if isinstance(func, ast.Attribute) else None


def _called(func: ast.expr, known: _Known) -> str:
    """The function's own name, by whatever name it is called."""
    match func:
        case ast.Attribute(attr=attr):
            return attr
        case ast.Name(id=name):
            return known.functions.get(name, name)
        case ast.Subscript(slice=index):
            return next(_texts(_folded(index, known)), "")
        case ast.Call(args=[_, second, *_]) if _called(func.func, known) == "getattr":
            return next(_texts(_folded(second, known)), "")
    return ""


def _folded(node: ast.expr, known: _Known) -> object:
    """A value as far as it is known: literals, concatenation, formatting, decoding, paths, lists of such; else None."""
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return known.values.get(node.id)
        case ast.UnaryOp(op=ast.USub()):
            value = _folded(node.operand, known)
            return -value if isinstance(value, int) else None
        case ast.BinOp():
            return _operation(node.op, _folded(node.left, known), _folded(node.right, known))
        case ast.List() | ast.Tuple() | ast.Set():
            return [_folded(e, known) for e in node.elts]
        case ast.JoinedStr():
            parts = [_folded(v.value if isinstance(v, ast.FormattedValue) else v, known) for v in node.values]
            return _combined(parts, lambda *p: "".join(map(str, p)))
        case ast.ListComp() | ast.GeneratorExp():
            return _comprehension(node, known)
        case ast.Call():
            return _result(node, known)
        case ast.Attribute(attr="path" | "name"):
            return _folded(node.value, known)
        case ast.Subscript(slice=ast.Slice(lower=None, upper=None, step=ast.UnaryOp())):
            value = _folded(node.value, known)
            return value[::-1] if isinstance(value, str) else None
    return None


def _combined(parts: list[object], combine: Callable[..., object]) -> object:
    """`combine` of every choice of the parts; None if a part is unknown."""
    choices = [_each(p) for p in parts]
    if not all(choices) and parts:
        return None
    try:
        return _choice([combine(*c) for c in itertools.islice(itertools.product(*choices), CHOICES)])
    except (TypeError, ValueError, KeyError, IndexError, AttributeError, OverflowError, MemoryError):
        return None


def _operation(operator: ast.operator, left: object, right: object) -> object:
    match operator:
        case ast.Add():
            return _combined([left, right], lambda a, b: _bounded(a + b) if isinstance(a, (str, bytes, list)) else None)
        case ast.Div():
            return _joined([left, right]) if isinstance(left, (str, _Choice)) else None
        case ast.Mod() if isinstance(left, str) and len(left) < 4096 and not re.search(r"%[^%]*[\d*]{3}", left):
            return _combined([left, _Choice((tuple(right),)) if isinstance(right, list) else right], lambda a, b: a % b)
    return None


def _bounded(value: object) -> object:
    return value if not isinstance(value, (str, bytes, list)) or len(value) <= LENGTH else None


def _comprehension(node: ast.ListComp | ast.GeneratorExp, known: _Known) -> object:
    match node.generators:
        case [ast.comprehension(target=ast.Name(id=name), iter=source)]:
            items = _folded(source, known)
            if isinstance(items, list):
                return [_folded(node.elt, _Known({**known.values, name: i}, known.functions)) for i in items[:1024]]
    return None


def _joined(parts: list[object]) -> object:
    """Parts of a path joined; an unknown later part is some name."""
    if not parts or parts[0] is None:
        return None
    return _combined([parts[0], *(p if isinstance(p, (str, _Choice)) else FOUND for p in parts[1:])], _join)


def _join(first: str, *rest: str) -> str:
    path = first
    for part in rest:
        path = part if part.startswith("/") else f"{path.rstrip('/')}/{part}"
    return path[:LENGTH]


def _result(node: ast.Call, known: _Known) -> object:
    name = _called(node.func, known)
    owner = _owner(node.func, known)
    given = [_folded(a, known) for a in node.args]
    if name in _LISTS:
        return _listing(name, owner, given)
    if name == "listdir":
        return FOUND
    if name == "home":
        return "~"
    if name in ("joinpath", "join") and (name == "joinpath" or not isinstance(owner, str)):
        return _joined([owner, *given] if name == "joinpath" else given)
    if name in _SAME:
        return given[0] if given else owner
    if name == "map" and len(node.args) > 1 and isinstance(given[1], list) and _called(node.args[0], known) == "chr":
        return [chr(v) for v in given[1] if isinstance(v, int) and 0 <= v < 0x110000]
    try:
        return _decoded(name, owner, given)
    except (binascii.Error, ValueError, LookupError, TypeError, OverflowError):
        return None


def _listing(name: str, owner: object, given: list[object]) -> object:
    """Paths below a directory, as a pattern."""
    if isinstance(owner, (str, _Choice)):
        return _joined([owner, given[0] if given and isinstance(given[0], str) else "*"])
    if name in ("glob", "iglob"):
        return given[0] if given else None
    return given[0] if given and isinstance(given[0], (str, _Choice)) else None


def _decoded(name: str, owner: object, given: list[object]) -> object:
    first = given[0] if given else None
    match name:
        case "b64decode" if isinstance(first, (str, bytes)):
            return base64.b64decode(first)
        case "fromhex" | "unhexlify" if isinstance(first, str):
            return bytes.fromhex(first)
        case "bytes" | "bytearray" if isinstance(first, list):
            return bytes(v for v in first if isinstance(v, int))
        case "decode" if isinstance(owner, bytes):
            return owner.decode("utf-8", "replace")
        case "decode" if isinstance(first, str) and len(given) > 1 and given[1] in ("rot13", "rot_13"):
            return codecs.decode(first, "rot13")
        case "encode" if isinstance(owner, str):
            return owner.encode()
        case "join" if isinstance(owner, str) and isinstance(first, list):
            return owner.join(str(x) for x in first)[:LENGTH]
        case "chr" if isinstance(first, int):
            return chr(first)
        case "split" if isinstance(first, str) and not isinstance(owner, str):
            return shlex.split(first)
        case "split" if isinstance(owner, str):
            return owner.split(first) if isinstance(first, str) else owner.split()
        case "replace" if isinstance(owner, str) and len(given) == 2 and len(owner) < 4096:
            return _bounded(owner.replace(str(first), str(given[1])))
        case "strip" | "lower" | "upper" | "lstrip" | "rstrip" if isinstance(owner, str) and not given:
            return {"lower": owner.lower, "upper": owner.upper}.get(name, owner.strip)()
        case "format" if isinstance(owner, str) and not re.search(r"\{[^}]*\d{3}", owner):
            return _combined([owner, *given], lambda form, *values: form.format(*values))
    return None


def _hand_over(shell: Shell, value: object) -> None:
    if isinstance(value, list):
        words = [str(v) for part in value for v in (part if isinstance(part, list) else [part]) if v is not None]
        if words:
            shell.nested(shlex.join(words))
        return
    for each in _each(value):
        if isinstance(each, list):
            _hand_over(shell, each)
    for text in _texts(value):
        shell.nested(text)


def _home(target: str) -> str:
    no_variables: Mapping[str, str] = {}
    return expand(target, no_variables, lambda _: "", HOME)[0] if target.startswith("~") else target


def _delete(shell: Shell, target: str, recursive: bool) -> None:
    judge_deletion(shell, _home(target), recursive, "code")
