"""Addresses as a resolver would read them: every spelling of an IP address, userinfo, nested addresses, schemes."""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from dataclasses import dataclass
from urllib.parse import parse_qsl, unquote, urlsplit

PRIVATE, METADATA, SCHEME, UNPARSEABLE = "url.private_network", "url.metadata_service", "url.scheme", "url.unparseable"
SCHEMES = frozenset(
    {
        "http",
        "https",
        "ws",
        "wss",
        "mailto",
        "s3",
        "gs",
        "git",
        "ssh",
        "git+ssh",
        "git+https",
        "sftp",
        "ftp",
        "ftps",
        "postgres",
        "postgresql",
        "mysql",
        "redis",
        "rediss",
        "amqp",
        "amqps",
        "kafka",
        "mongodb",
        "mongodb+srv",
        "tel",
        "urn",
        "did",
        "data",
        "azblob",
        "abfss",
        "hdfs",
        "oci",
        "docker",
        "arn",
        "slack",
        "spotify",
        "magnet",
        "about",
        "nats",
        "mqtt",
        "mqtts",
        "jdbc",
    }
)
_REFUSED = frozenset(
    {
        "file",
        "gopher",
        "dict",
        "ldap",
        "ldaps",
        "ldapi",
        "jar",
        "netdoc",
        "tftp",
        "php",
        "phar",
        "expect",
        "javascript",
        "vbscript",
        "view-source",
        "blob",
        "smb",
        "cifs",
        "nfs",
        "afp",
        "telnet",
        "rlogin",
        "imap",
        "smtp",
        "pop3",
        "glob",
        "zip",
        "ogg",
        "compress.zlib",
        "rtsp",
        "x-apple",
        "chrome",
        "intent",
        "ms-settings",
        "unix",
        "http+unix",
        "netcat",
        "finger",
        "svn",
        "svn+ssh",
    }
)
_BUCKETS = frozenset({"s3", "gs", "azblob", "abfss", "oci", "docker"})
"""Schemes whose first part names a store and no host."""
_DATA_IS_FINE = frozenset({"data", "mailto", "tel", "urn", "did", "arn", "about", "magnet", "slack", "spotify"})
_METADATA_HOSTS = frozenset(
    {
        "metadata",
        "metadata.google.internal",
        "metadata.goog",
        "instance-data",
        "instance-data.ec2.internal",
        "metadata.azure.com",
        "metadata.azure.internal",
        "metadata.tencentyun.com",
        "metadata.packet.net",
        "metadata.platformequinix.com",
    }
)
_METADATA_ADDRESSES = frozenset(
    ipaddress.ip_address(a)
    for a in (
        "169.254.169.254",
        "169.254.170.2",
        "169.254.170.23",
        "100.100.100.200",
        "192.0.0.192",
        "168.63.129.16",
        "169.254.169.123",
        "fd00:ec2::254",
        "fd00:ec2::23",
        "fd20:ce::254",
    )
)
_LOCAL_NAMES = re.compile(
    r"(?:^|\.)(?:localhost|localdomain|local|internal|intranet|corp|lan|home\.arpa|home|svc|cluster\.local|consul|localtest\.me|lvh\.me|vcap\.me|"
    r"localh\.st|traefik\.me|spoofed\.burpcollaborator\.net|bugbounty\.dod\.network|lacolhost\.com|localho\.st|docker|host\.docker\.internal|private)$",
    re.IGNORECASE,
)
_EMBEDDED = re.compile(r"(?:^|[.\-])((?:\d{1,3}[.\-]){3}\d{1,3})(?=[.\-])")
_DOCUMENTATION = tuple(
    ipaddress.ip_network(n) for n in ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24", "2001:db8::/32")
)
_CGNAT = ipaddress.ip_network("100.64.0.0/10")
_SCHEME = re.compile(r"\s*([A-Za-z][A-Za-z0-9+.\-]*):")
_PARAMETERS = re.compile(
    r"url|uri|to|dest|destination|target|redirect|next|src|source|host|link|site|feed|callback|return|goto|image|img|proxy|fetch|path|q|u|page|"
    r"file|load|open|continue|webhook|endpoint|remote|ref",
    re.IGNORECASE,
)


LENGTH = 16 * 1024
"""Characters of an address that is read; `data:` has no host and may be longer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """`code` is None for an address that is fine; `host` as it was understood."""

    code: str | None = None
    host: str = ""
    scheme: str = ""


def judge(text: str, depth: int = 0) -> Judged:
    """What is wrong with the address `text`. Relative addresses have no host and are judged by their parameters."""
    plain = unicodedata.normalize("NFKC", text.strip()).replace("\u3002", ".").replace("\uff61", ".")
    plain = "".join(c for c in plain if unicodedata.category(c) not in ("Cf", "Cc"))
    if len(plain) > LENGTH and not plain.lower().startswith("data:"):
        return Judged(UNPARSEABLE)
    plain = re.sub(r"^jdbc:(?:\w+:(?!/))*", "", plain, flags=re.IGNORECASE)
    scheme = ""
    match = _SCHEME.match(plain)
    if match is not None and (
        plain[match.end() : match.end() + 2] in ("//", "\\\\")
        or match[1].lower() in _REFUSED | _DATA_IS_FINE | {"http", "https"}
    ):
        scheme = match[1].lower()
        if scheme in _REFUSED or (scheme not in SCHEMES and plain[match.end() : match.end() + 2] == "//"):
            return Judged(SCHEME, scheme=scheme)
        if scheme in _DATA_IS_FINE:
            return Judged(None, scheme=scheme)
        if scheme in ("http", "https", "ws", "wss"):
            plain = scheme + "://" + plain[match.end() :].lstrip("/\\")
    elif plain.startswith(("//", "\\\\")):
        plain = "http://" + plain.lstrip("/\\")
    elif plain.startswith(("/", "?", "#")) or not plain:
        return _nested(plain, depth)
    else:
        if re.match(r"[\w.\-]+@", plain) or " " in plain:
            return Judged(None)
        plain = "http://" + plain
    after = re.match(r"[\w+.\-]+://[^/]*?[#\\?]@([^/?#\\]+)", plain)
    if after is not None and (code := judge_host(_host_of(after[1]))) is not None:
        return Judged(code, after[1], scheme)  # readers differ on where the host ends
    plain = plain.replace("\\", "/")
    try:
        parts = urlsplit(plain)
        host = parts.hostname or ""
    except ValueError:
        return Judged(UNPARSEABLE, scheme=scheme)
    authority = parts.netloc
    if "%" in authority or "@" in authority:
        hosts = [_host_of(unquote(piece)) for piece in re.split(r"[@#?/]", unquote(unquote(authority)))]
        users = [h for h in hosts if "." in h or ":" in h or address_of(h) is not None or _LOCAL_NAMES.search(h)]
        for each in [host, *users]:
            if each and each != _last_name(scheme, each) and (code := judge_host(each)) is not None:
                return Judged(code, each, scheme)
        if "%" in authority:
            return Judged(UNPARSEABLE, host, scheme)
    code = judge_host(host) if host != _last_name(scheme, host) else None
    if code is not None:
        return Judged(code, host, scheme)
    return _nested(plain, depth, host, scheme)


def _last_name(scheme: str, host: str) -> str:
    """The name if it is a bucket's, else nothing."""
    is_bucket = scheme in _BUCKETS and address_of(host) is None and host.lower() not in _METADATA_HOSTS
    return host if is_bucket and not _LOCAL_NAMES.search(host) else ""


def _host_of(piece: str) -> str:
    piece = piece.strip()
    if piece.startswith("["):
        return piece.split("]", 1)[0].strip("[")
    return piece.rsplit(":", 1)[0] if piece.count(":") == 1 else piece


_INNER = re.compile(r"(?<=[/#=])https?:[/\\]{1,2}[^\s&?#]+", re.IGNORECASE)
"""Addresses in a path or behind `#`: what a proxy or an archive is asked for."""


def _nested(plain: str, depth: int, host: str = "", scheme: str = "") -> Judged:
    """Addresses in parameters: `?url=http://127.0.0.1/`."""
    if depth >= 3:
        return Judged(None, host, scheme)
    for inner in _INNER.findall(plain[8:])[:16] if _INNER.search(plain[8:]) else ():
        judged = judge(inner.rstrip("/"), depth + 1)
        if judged.code is not None:
            return Judged(judged.code, judged.host, scheme)
    if "?" not in plain:
        return Judged(None, host, scheme)
    query = plain.split("?", 1)[1].split("#", 1)[0] if "?" in plain else ""
    try:
        pairs = parse_qsl(query, keep_blank_values=False, max_num_fields=200)
    except ValueError:
        return Judged(UNPARSEABLE, host, scheme)
    for name, value in pairs:
        for candidate in (value, unquote(value)):
            match = _SCHEME.match(candidate)
            inner = match is not None and (
                candidate[match.end() :].startswith(("//", "\\\\")) or match[1].lower() in _REFUSED
            )
            if (
                inner
                or candidate.startswith("//")
                or (
                    _PARAMETERS.fullmatch(name)
                    and re.fullmatch(r"[\w.\-:\[\]]+(?:/.*)?", candidate)
                    and name.lower() in ("url", "uri", "host", "target", "proxy", "dest")
                    and "." in candidate
                )
            ):
                judged = judge(candidate, depth + 1)
                if judged.code is not None:
                    return Judged(judged.code, judged.host, scheme)
    return Judged(None, host, scheme)


def judge_host(host: str) -> str | None:
    """The code for a host name or an address in any spelling; None if it is public."""
    host = host.strip().strip("[]").rstrip(".").lower()
    if "%" in host:
        host = host.split("%", 1)[0]
    if not host:
        return UNPARSEABLE
    if host in _METADATA_HOSTS:
        return METADATA
    address = address_of(host)
    if address is not None:
        return _judge_address(address)
    if _LOCAL_NAMES.search(host):
        return PRIVATE
    for match in _EMBEDDED.finditer(host):
        embedded = address_of(match[1].replace("-", "."))
        if embedded is not None and (code := _judge_address(embedded)) is not None:
            return code
    hexed = re.match(r"(?:.*\.)?([0-9a-f]{8})\.(?:nip|sslip|xip|rbndr)\.", host)
    if hexed is not None:
        return _judge_address(ipaddress.IPv4Address(int(hexed[1], 16)))
    if "." not in host and ":" not in host:
        return PRIVATE
    return None


def address_of(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` spells, as inet_aton reads it (decimal, octal, hexadecimal, short forms), or IPv6."""
    if ":" in host:
        try:
            return ipaddress.IPv6Address(host.split("%", 1)[0])
        except ValueError:
            return None
    parts = host.split(".")
    if not 1 <= len(parts) <= 4:
        return None
    numbers = []
    for part in parts:
        if len(part) > 24 or not re.fullmatch(r"0x[0-9a-f]*|\d+", part):
            return None
        try:
            numbers.append(
                int(part, 16)
                if part.startswith("0x") and len(part) > 2
                else 0
                if part == "0x"
                else int(part, 8)
                if part.startswith("0") and len(part) > 1 and re.fullmatch(r"[0-7]+", part)
                else int(part)
            )
        except ValueError:
            return None
    last = numbers.pop()
    if any(n > 255 for n in numbers):
        return None
    room = 4 - len(numbers)
    if last >= 256**room:
        last %= 256**room
    value = sum(n << (8 * (3 - i)) for i, n in enumerate(numbers)) + last
    return ipaddress.IPv4Address(value)


def _judge_address(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str | None:
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        value = int(address)
        if inner is None and value >> 32 == 0xFFFF0000:
            inner = ipaddress.IPv4Address(value & 0xFFFFFFFF)
        if inner is None and (value >> 32 in (0, 0x0064FF9B << 64) and value > 1):
            inner = ipaddress.IPv4Address(value & 0xFFFFFFFF)
        if inner is not None:
            return _judge_address(inner) or (
                PRIVATE if address.ipv4_mapped is None and address.sixtofour is None else None
            )
    if address in _METADATA_ADDRESSES:
        return METADATA
    if any(address in network for network in _DOCUMENTATION if network.version == address.version):
        return None
    if address.is_link_local and address.version == 4:
        return METADATA
    if (
        (address.version == 6 and address.is_site_local)
        or not address.is_global
        or address.is_multicast
        or (address.version == 4 and address in _CGNAT)
    ):
        return PRIVATE
    return None
