"""Permits: what a tool can check before it acts for an agent. A C2SP signed note, under a key of its own.

aegis.permit/1
{"action_digest":"sha256:...","aud":"sql.query","decision_id":"...","exp":"...","jti":"..."}

— <installation>/permit <signature>
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable

from aegis.audit import canonical
from aegis.audit.notes import NoteSigner
from aegis.kernel.call import Call
from aegis.kernel.clock import MicroSeconds, iso
from aegis.kernel.ids import uuid7

VERSION = "aegis.permit/1"
LIFETIME_US = 5_000_000
"""A tenant's kill switch could cover any call, so no permit outlives five seconds."""


class Permits:
    """`seed` is 32 bytes; the permit key is derived from it, so that no key signs two kinds of notes."""

    def __init__(self, name: str, seed: bytes, clock: Callable[[], MicroSeconds]) -> None:
        self._signer = NoteSigner(name, hmac.digest(seed, b"aegis-permit-key", hashlib.sha256))
        self._clock = clock

    @property
    def vkey(self) -> str:
        return self._signer.vkey

    def __call__(self, call: Call) -> str:
        """The permit for an allowed action, good once and for five seconds."""
        said = {
            "decision_id": call.decision_id,
            "action_digest": call.action.digest,
            "aud": call.action.tool if call.action.tool.isascii() else call.action.digest,
            "exp": iso(self._clock() + LIFETIME_US),
            "jti": uuid7(),
        }
        return self._signer.sign(f"{VERSION}\n{canonical.encode(said).decode()}\n")
