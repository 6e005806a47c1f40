"""Our own bearer tokens: EdDSA JWTs with `iss aud sub tenant role exp iat jti`."""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import dataclass, field
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aegis.identity.jws import VerifyKey, encode_part
from aegis.kernel.call import Role
from aegis.kernel.clock import MicroSeconds

LIFETIME_S = 3600
AUDIENCE = "aegis"


@dataclass(frozen=True, slots=True)
class IssuedToken:
    text: str = field(repr=False)
    jti: str
    expires_at: MicroSeconds


class TokenSigner:
    """Signs for one installation. `seed` is 32 bytes; `issuer` is the installation's name."""

    def __init__(self, seed: bytes, issuer: str, audience: str = AUDIENCE) -> None:
        self._private = Ed25519PrivateKey.from_private_bytes(seed)
        self.issuer, self.audience = issuer, audience
        public = self._private.public_key()
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.key = VerifyKey(hashlib.sha256(b"aegis-token\x00" + raw).hexdigest()[:16], "EdDSA", public)
        self._header = encode_part(_json({"alg": "EdDSA", "kid": self.key.kid, "typ": "JWT"}))

    def issue(
        self,
        *,
        tenant: str,
        subject: str,
        role: Role,
        now: MicroSeconds,
        lifetime_s: int = LIFETIME_S,
        agent: str | None = None,
        single_use: bool = False,
        jti: str | None = None,
        extra: dict[str, Any] | None = None,
    ) -> IssuedToken:
        """`extra` claims never replace the registered ones."""
        issued_s = now // 1_000_000
        jti = jti or f"jti_{secrets.token_hex(16)}"
        claims: dict[str, Any] = {
            **(extra or {}),
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "tenant": tenant,
            "role": role.value,
            "iat": issued_s,
            "exp": issued_s + lifetime_s,
            "jti": jti,
        }
        if agent is not None:
            claims["agent"] = agent
        if single_use:
            claims["single_use"] = True
        return IssuedToken(self.sign(claims), jti, claims["exp"] * 1_000_000)

    def sign(self, claims: dict[str, Any]) -> str:
        signed = f"{self._header}.{encode_part(_json(claims))}"
        return f"{signed}.{encode_part(self._private.sign(signed.encode('ascii')))}"


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()
