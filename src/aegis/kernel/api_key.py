"""API keys as text: `aegis_<tenant>_<key>_<secret>`, so that the tenant is known before anything is looked up.

The secret has 256 random bits, so a plain keyed digest of it is enough to store. Agents' secrets for sign-on have
the same form without a key id: `agsec_<tenant>_<secret>`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import re
from dataclasses import dataclass

OPERATOR_TENANT = "ten_operator"
"""The reserved tenant of the installation itself: the operator's keys and log; no agents, no calls."""

MAX_LENGTH = 128
_KEY = re.compile(r"aegis_([a-z2-7]{16}|operator)_([a-z2-7]{16})_([a-z2-7]{52})")
_AGENT_SECRET = re.compile(r"agsec_([a-z2-7]{16})_([a-z2-7]{52})")


@dataclass(frozen=True, slots=True)
class ApiKeyText:
    """What a key says about itself; nothing of it is verified."""

    tenant: str
    key: str
    secret: str

    def __str__(self) -> str:
        return f"aegis_{self.tenant.removeprefix('ten_')}_{self.key.removeprefix('key_')}_{self.secret}"

    def __repr__(self) -> str:
        return f"ApiKeyText({self.tenant}, {self.key})"


@dataclass(frozen=True, slots=True)
class AgentSecretText:
    tenant: str
    secret: str

    def __str__(self) -> str:
        return f"agsec_{self.tenant.removeprefix('ten_')}_{self.secret}"

    def __repr__(self) -> str:
        return f"AgentSecretText({self.tenant})"


def parse_key(text: str) -> ApiKeyText | None:
    found = _KEY.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return None if found is None else ApiKeyText(f"ten_{found[1]}", f"key_{found[2]}", found[3])


def parse_agent_secret(text: str) -> AgentSecretText | None:
    found = _AGENT_SECRET.fullmatch(text) if len(text) <= MAX_LENGTH else None
    return None if found is None else AgentSecretText(f"ten_{found[1]}", found[2])


def new_secret() -> str:
    """52 characters of base32: 256 random bits."""
    return base64.b32encode(os.urandom(32)).decode().rstrip("=").lower()


def digest(label_key: bytes, secret: str) -> bytes:
    """What is stored: 32 bytes, bound to the tenant by its label key."""
    return hmac.digest(label_key, b"aegis-secret\x00" + secret.encode("ascii"), hashlib.sha256)


def matches(label_key: bytes, secret: str, stored: bytes) -> bool:
    """Constant in time."""
    return hmac.compare_digest(digest(label_key, secret), stored)
