"""How a tool call becomes an HTTP request on its upstream. Pure; what is refused here was never sent.

Two conventions, told apart by the arguments alone:

- **A request**: `method` is the name of an HTTP method and `path` a string. Members: `method`, `path`, `query`?,
  `headers`?, `body`?. `path` is joined below the upstream's URL, as it stands on the wire: `%XX` is kept, other
  characters that paths don't have are percent-encoded. It is refused, never repaired, where it could mean another
  place: dot segments, backslashes, control characters, `?` and `#`, an authority, in plain or encoded form.
  `query` is an object of strings, numbers, booleans and lists of those. `headers` may be those of `HEADERS`.
  `body`: an object, list, number or boolean is sent as JSON, a string as it is. A tool whose effect is `read` may
  only GET and HEAD.
- **A call** (everything else): `POST <url>/<tool name>` with the arguments as the JSON body.

The upstream's URL has a scheme, a host and perhaps a base path; no user, query or fragment.
"""

from __future__ import annotations

import re
from base64 import b64encode
from dataclasses import dataclass, field
from urllib.parse import SplitResult, quote, unquote, urlencode, urlsplit

from aegis.execution.targets import Failed
from aegis.kernel.jsontree import ExactNumber, JsonError, JsonTree, dumps, parse
from aegis.kernel.tenancy import Tool

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SAFE_METHODS = frozenset({"GET", "HEAD"})
MEMBERS = frozenset({"method", "path", "query", "headers", "body"})
HEADERS = frozenset(
    {
        "accept", "accept-language", "content-language", "content-type", "if-match", "if-modified-since",
        "if-none-match", "if-unmodified-since", "idempotency-key", "prefer", "range",
    }
)  # fmt: skip
MAX_URL_CHARACTERS = 8192
MAX_HEADER_CHARACTERS = 4096
_REASONABLE = "!$&'()*+,;=:@/-._~%"  # RFC 3986 3.3 pchar, the separator, and the percent sign of what is encoded
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPLAIN = re.compile(r"[\x00-\x1f\x7f\\]")
_CONTROL = re.compile(r"[\x00-\x20\x7f]")
_HEADER_VALUE = re.compile(r"[\x20-\x7e\t]*")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,64}")
_FRAMING = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})


@dataclass(frozen=True, slots=True)
class Origin:
    """An upstream's URL, taken apart once. `base` begins with `/` and has no slash at its end, or is empty."""

    scheme: str
    host: str
    port: int
    base: str

    @property
    def url(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Request:
    """`target` is path and query as they go on the wire; `headers` holds no credential."""

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None


def parse_origin(url: str) -> Origin:
    """Raises Failed(execute.arguments) for a URL that is not a plain http or https base."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Failed("execute.arguments", reason="upstream.url") from None
    if parts.scheme not in {"http", "https"} or not parts.hostname or _CONTROL.search(url):
        raise Failed("execute.arguments", reason="upstream.url")
    if parts.username is not None or parts.query or parts.fragment:
        raise Failed("execute.arguments", reason="upstream.url")
    base = _plain_path(parts.path).rstrip("/")
    return Origin(parts.scheme, parts.hostname, port or (443 if parts.scheme == "https" else 80), base)


def to_request(tool: Tool, arguments: JsonTree, origin: Origin) -> Request:
    """The request that this call is. Raises Failed(execute.arguments) with the member that doesn't fit."""
    if _is_request(arguments):
        return _as_request(tool, arguments, origin)
    target = origin.base + _plain_path("/" + quote(tool.name, safe=""))
    return Request("POST", target, (("Content-Type", "application/json"),), dumps(arguments))


def redirected(request: Request, status: int, location: str | None, origin: Origin) -> Request:
    """The request to send after a redirect. Raises Failed(execute.redirect) unless it leads below the same base.

    A GET or HEAD is repeated; after 303 everything else becomes a GET. Another method is never sent to another
    place than the one that was judged.
    """
    if request.method not in SAFE_METHODS and status != 303:
        raise Failed("execute.redirect")
    if not location or _CONTROL.search(location) or "\\" in location:
        raise Failed("execute.redirect")
    target = _same_origin_target(request, location, origin)
    kept = tuple((k, v) for k, v in request.headers if k.lower() != "content-type")
    return Request(request.method if request.method in SAFE_METHODS else "GET", target, kept)


@dataclass(frozen=True, slots=True)
class HttpCredential:
    """The header that carries a credential, and the certificate authority (PEM) that alone is trusted with it."""

    name: str
    text: str = field(repr=False)
    ca: str | None = None


def parse_credential(value: str) -> HttpCredential:
    """The credential of a secret's value, in one of the forms of `credentials.py`.

    Raises Failed(execute.credential) for a malformed one.
    """
    ca = None
    if value.startswith("{"):
        value, ca = _from_object(value)
    form, _, rest = value.partition(":")
    match form:
        case "bearer":
            name, text = "Authorization", f"Bearer {rest.strip()}"
        case "basic":
            name, text = "Authorization", f"Basic {b64encode(rest.encode('utf-8')).decode('ascii')}"
        case "header":
            name, _, text = rest.partition(":")
            name, text = name.strip(), text.strip()
        case _:
            name, text = "Authorization", f"Bearer {value.strip()}"
    fits = _HEADER_NAME.fullmatch(name) and _HEADER_VALUE.fullmatch(text) and name.lower() not in _FRAMING
    if not fits:
        raise Failed("execute.credential")
    return HttpCredential(name, text, ca)


def _from_object(value: str) -> tuple[str, str | None]:
    """`{"bearer" | "basic" | "header": text, "ca"?: PEM}` in the plain form, and the authority."""
    try:
        members = parse(value.encode("utf-8"))
    except (JsonError, UnicodeEncodeError):
        raise Failed("execute.credential") from None
    forms = sorted(set(members) - {"ca"}) if isinstance(members, dict) else []
    texts = isinstance(members, dict) and all(isinstance(text, str) for text in members.values())
    if not texts or forms not in (["basic"], ["bearer"], ["header"]):
        raise Failed("execute.credential")
    return f"{forms[0]}:{members[forms[0]]}", members.get("ca")


def _is_request(arguments: JsonTree) -> bool:
    if not isinstance(arguments, dict):
        return False
    method, path = arguments.get("method"), arguments.get("path")
    return isinstance(method, str) and method.upper() in METHODS and isinstance(path, str)


def _as_request(tool: Tool, arguments: dict[str, JsonTree], origin: Origin) -> Request:
    if set(arguments) - MEMBERS:
        raise Failed("execute.arguments", reason="unknown-member")
    method = str(arguments["method"])
    if method not in METHODS or (tool.effect == "read" and method not in SAFE_METHODS):
        raise Failed("execute.arguments", reason="method")
    path = _plain_path("/" + str(arguments["path"]).removeprefix("/"))
    target = origin.base + path + _query(arguments.get("query"))
    if len(target) > MAX_URL_CHARACTERS:
        raise Failed("execute.arguments", reason="path.length")
    headers = _headers(arguments.get("headers"))
    body, kind = _body(arguments.get("body"))
    if body is not None and method in SAFE_METHODS:
        raise Failed("execute.arguments", reason="body")
    if body is not None and not any(name.lower() == "content-type" for name, _ in headers):
        headers = (*headers, ("Content-Type", kind))
    return Request(method, target, headers, body)


def _plain_path(path: str) -> str:
    """`path` for the wire. Raises Failed where any reading of it could leave the place where it stands."""
    if _BAD_PERCENT.search(path) or "?" in path or "#" in path:
        raise Failed("execute.arguments", reason="path")
    if _is_ambiguous(path):
        raise Failed("execute.arguments", reason="path")
    try:
        return quote(path, safe=_REASONABLE)
    except UnicodeEncodeError:
        raise Failed("execute.arguments", reason="path") from None


def _is_ambiguous(path: str) -> bool:
    """Whether `path`, decoded up to three times as careless servers do, begins like an authority or holds a dot
    segment, a backslash or a control character."""
    for _ in range(4):
        if path.startswith("//") or _UNPLAIN.search(path):
            return True
        segments = (segment.partition(";")[0] for segment in path.split("/"))
        if any(segment in {".", ".."} for segment in segments):
            return True
        decoded = unquote(path, errors="surrogateescape")
        if decoded == path:
            return False
        path = decoded
    return True


def _query(query: JsonTree) -> str:
    if query is None:
        return ""
    if not isinstance(query, dict):
        raise Failed("execute.arguments", reason="query")
    pairs = [
        (name, _scalar(v)) for name, value in query.items() for v in (value if isinstance(value, list) else [value])
    ]
    try:
        return "?" + urlencode(pairs) if pairs else ""
    except UnicodeEncodeError:
        raise Failed("execute.arguments", reason="query") from None


def _scalar(value: JsonTree) -> str:
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case ExactNumber():
            return value.source
        case int() | float():
            return dumps(value).decode("ascii")
        case _:
            raise Failed("execute.arguments", reason="query")


def _headers(headers: JsonTree) -> tuple[tuple[str, str], ...]:
    if headers is None:
        return ()
    if not isinstance(headers, dict):
        raise Failed("execute.arguments", reason="headers")
    for name, value in headers.items():
        if name.lower() not in HEADERS or not isinstance(value, str) or len(value) > MAX_HEADER_CHARACTERS:
            raise Failed("execute.arguments", reason="headers")
        if not _HEADER_VALUE.fullmatch(value):
            raise Failed("execute.arguments", reason="headers")
    if len({name.lower() for name in headers}) != len(headers):
        raise Failed("execute.arguments", reason="headers")
    return tuple(headers.items())


def _body(body: JsonTree) -> tuple[bytes | None, str]:
    match body:
        case None:
            return None, ""
        case str():
            try:
                return body.encode("utf-8"), "text/plain; charset=utf-8"
            except UnicodeEncodeError:
                raise Failed("execute.arguments", reason="body") from None
        case _:
            return dumps(body), "application/json"


def _same_origin_target(request: Request, location: str, origin: Origin) -> str:
    try:
        parts = urlsplit(location)
        if (parts.scheme or parts.netloc) and not _is_same_origin(parts, origin):
            raise Failed("execute.redirect")
        path = parts.path if parts.netloc or parts.path.startswith("/") else _sibling(request.target, parts.path)
        plain = _plain_path(path)
        query = f"?{quote(parts.query, safe=_REASONABLE + '?')}" if parts.query else ""
    except (ValueError, Failed):
        raise Failed("execute.redirect") from None
    if plain != origin.base and not plain.startswith(origin.base + "/"):
        raise Failed("execute.redirect")
    target = plain + query
    if len(target) > MAX_URL_CHARACTERS:
        raise Failed("execute.redirect")
    return target or "/"


def _is_same_origin(parts: SplitResult, origin: Origin) -> bool:
    scheme = parts.scheme or origin.scheme
    port = parts.port or (443 if scheme == "https" else 80)
    return (scheme, parts.hostname, port, parts.username) == (origin.scheme, origin.host, origin.port, None)


def _sibling(target: str, path: str) -> str:
    current = target.partition("?")[0]
    return current if not path else current.rpartition("/")[0] + "/" + path
