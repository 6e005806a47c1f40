"""What keeps the embedded servers from starting, in one line that says what to do."""

from __future__ import annotations


class CannotStart(RuntimeError):
    """Its message is one line for the terminal: what was expected, what was found, what to do."""
