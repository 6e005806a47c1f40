"""Identifiers: UUIDv7 for calls, short random ones with a prefix for what people name."""

from __future__ import annotations

import base64
import os
import threading
import time
import uuid
from typing import NewType

TenantId = NewType("TenantId", str)
AgentId = NewType("AgentId", str)
SessionId = NewType("SessionId", str)
DecisionId = NewType("DecisionId", str)

_lock = threading.Lock()
_last = 0


def uuid7() -> str:
    """A UUIDv7 that is larger than the one before in this process (RFC 9562 5.7, method 1: 12-bit counter)."""
    global _last
    stamp = time.time_ns() // 1_000_000 << 12
    with _lock:
        _last = max(_last + 1, stamp)
        ordered = _last
    value = (ordered >> 12) << 80 | 0x7 << 76 | (ordered & 0xFFF) << 64 | 0b10 << 62
    value |= int.from_bytes(os.urandom(8), "big") >> 2
    return str(uuid.UUID(int=value))


def new_id(prefix: str) -> str:
    """`prefix_` and 16 characters of base32: 80 random bits."""
    return f"{prefix}_{base64.b32encode(os.urandom(10)).decode().lower()}"
