"""Ed25519 by libsodium: strict verification (S below the order, no small-order keys), about 55 us each."""

from __future__ import annotations

import nacl.bindings
from nacl.exceptions import BadSignatureError


class SigningKey:
    """Signs with the 32-byte `seed`; `public` is the 32-byte public key. Raises ValueError for another length."""

    __slots__ = ("_secret", "public")

    def __init__(self, seed: bytes) -> None:
        if len(seed) != 32:
            raise ValueError(f"couldn't make a signing key: expected a seed of 32 bytes, got {len(seed)}")
        self.public, self._secret = nacl.bindings.crypto_sign_seed_keypair(seed)

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature."""
        return nacl.bindings.crypto_sign(message, self._secret)[:64]


def verify(public: bytes, message: bytes, signature: bytes) -> bool:
    """Whether `signature` (64 bytes) by `public` (32 bytes) is over `message`; False for other lengths."""
    if len(signature) != 64 or len(public) != 32:
        return False
    try:
        nacl.bindings.crypto_sign_open(signature + message, public)
    except BadSignatureError:
        return False
    return True
