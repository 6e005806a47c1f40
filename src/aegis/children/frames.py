"""A frame: four bytes of length, big-endian, then that many bytes."""

from __future__ import annotations

HEADER_BYTES = 4
MAX_FRAME_BYTES = 64 * 1024 * 1024


def packed(payload: bytes) -> bytes:
    return len(payload).to_bytes(HEADER_BYTES, "big") + payload


def length_of(header: bytes | memoryview) -> int:
    """Raises ValueError for a frame over `MAX_FRAME_BYTES`."""
    size = int.from_bytes(header, "big")
    if size > MAX_FRAME_BYTES:
        raise ValueError(f"couldn't read a frame: expected at most {MAX_FRAME_BYTES} bytes, got {size}")
    return size
