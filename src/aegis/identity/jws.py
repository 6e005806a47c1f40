"""Compact JSON Web Signatures, read strictly (RFC 7515, RFC 8725). Nothing in a token chooses how it is verified:
the algorithm comes from the key, and the key from configuration.
"""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from aegis.kernel.jsontree import JsonError, parse

MAX_TOKEN_BYTES = 8 * 1024
MAX_KEYS = 64
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_EMBEDDED = ("jwk", "jku", "x5u", "x5c")
_TYPES = frozenset({"jwt", "at+jwt", "application/at+jwt"})


class Refused(Exception):
    """The token is not to be believed; `code` is stable, the message never repeats the token."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key with the one algorithm that it verifies."""

    kid: str | None
    algorithm: str
    public: Ed25519PublicKey | rsa.RSAPublicKey | ec.EllipticCurvePublicKey


@dataclass(frozen=True, slots=True)
class Token:
    """A token that was taken apart; nothing of it is verified."""

    algorithm: str
    kid: str | None
    claims: dict[str, Any]
    signed: bytes
    signature: bytes


def take_apart(text: str) -> Token:
    """Raises Refused for what no honest issuer sends."""
    if len(text) > MAX_TOKEN_BYTES:
        raise Refused("auth.too_large", f"expected a token of at most {MAX_TOKEN_BYTES} bytes")
    if _TOKEN.fullmatch(text) is None:
        raise Refused("auth.malformed", "expected three base64url parts")
    first, second, third = text.split(".")
    header, claims = _object(first, "header"), _object(second, "claims")
    if any(member in header for member in _EMBEDDED):
        raise Refused("auth.embedded_key", "a token doesn't bring its own key: expected none of jwk, jku, x5u, x5c")
    if "crit" in header or header.get("b64") is False:
        raise Refused("auth.critical", "expected no critical extensions")
    kind, algorithm, kid = header.get("typ"), header.get("alg"), header.get("kid")
    if kind is not None and (not isinstance(kind, str) or kind.lower() not in _TYPES):
        raise Refused("auth.malformed", "expected the type JWT")
    if not isinstance(algorithm, str):
        raise Refused("auth.algorithm", "expected an algorithm")
    if kid is not None and not (isinstance(kid, str) and 0 < len(kid) <= 256):
        raise Refused("auth.malformed", "expected a key id of 1 to 256 characters")
    return Token(algorithm, kid, claims, f"{first}.{second}".encode("ascii"), _decode(third))


def check(token: Token, key: VerifyKey) -> None:
    """Raises Refused when the token isn't signed by `key` with the key's own algorithm."""
    if token.algorithm != key.algorithm:
        raise Refused("auth.algorithm", "the token's algorithm is not its key's")
    try:
        match key.public:
            case Ed25519PublicKey():
                key.public.verify(token.signature, token.signed)
            case rsa.RSAPublicKey():
                key.public.verify(token.signature, token.signed, padding.PKCS1v15(), SHA256())
            case _:
                key.public.verify(_der(token.signature), token.signed, ec.ECDSA(SHA256()))
    except InvalidSignature:
        raise Refused("auth.signature", "the signature does not verify") from None


def read_key_set(body: bytes) -> tuple[VerifyKey, ...]:
    """The usable keys of a JWK set (RFC 7517); others are passed over. Raises ValueError for what is no set."""
    try:
        document = parse(body)
    except JsonError as error:
        raise ValueError("expected a JSON object with keys") from error
    entries = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(entries, list) or len(entries) > MAX_KEYS:
        raise ValueError(f"expected a JWK set of at most {MAX_KEYS} keys")
    keys = tuple(key for key in map(_read_key, entries) if key is not None)
    kids = [key.kid for key in keys if key.kid is not None]
    if len(set(kids)) != len(kids):
        raise ValueError("expected each kid once")
    return keys


def decode_part(text: str) -> bytes:
    """Base64url without padding, in its one canonical form. Raises ValueError."""
    data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    if encode_part(data) != text:
        raise ValueError("expected canonical base64url")
    return data


def encode_part(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _read_key(entry: Any) -> VerifyKey | None:
    if not isinstance(entry, dict) or entry.get("use", "sig") != "sig" or "d" in entry or "k" in entry:
        return None
    if "verify" not in entry.get("key_ops", ["verify"]):
        return None
    kid = entry.get("kid")
    if kid is not None and not isinstance(kid, str):
        return None
    try:
        match entry.get("kty"):
            case "RSA":
                return _fitting(entry, VerifyKey(kid, "RS256", _rsa(entry)))
            case "EC" if entry.get("crv") == "P-256":
                x, y = (int.from_bytes(decode_part(entry[name]), "big") for name in ("x", "y"))
                public = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
                return _fitting(entry, VerifyKey(kid, "ES256", public))
            case _:
                return None
    except (KeyError, TypeError, ValueError):
        return None


def _rsa(entry: dict[str, Any]) -> rsa.RSAPublicKey:
    n, e = (int.from_bytes(decode_part(entry[name]), "big") for name in ("n", "e"))
    if not 2048 <= n.bit_length() <= 8192 or not 3 <= e < 2**32:
        raise ValueError("expected an RSA key of 2048 to 8192 bits")
    return rsa.RSAPublicNumbers(e, n).public_key()


def _fitting(entry: dict[str, Any], key: VerifyKey) -> VerifyKey | None:
    return key if entry.get("alg", key.algorithm) == key.algorithm else None


def _der(signature: bytes) -> bytes:
    if len(signature) != 64:
        raise InvalidSignature
    return encode_dss_signature(int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big"))


def _decode(part: str) -> bytes:
    try:
        return decode_part(part)
    except (ValueError, binascii.Error):
        raise Refused("auth.malformed", "expected canonical base64url") from None


def _object(part: str, what: str) -> dict[str, Any]:
    try:
        tree = parse(_decode(part))
    except JsonError:
        raise Refused("auth.malformed", f"expected the {what} as a JSON object") from None
    if not isinstance(tree, dict):
        raise Refused("auth.malformed", f"expected the {what} as a JSON object")
    return tree
