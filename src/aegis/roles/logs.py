"""Where a process of Aegis says what went wrong in it. What was decided stands in the log of decisions, not here."""

from __future__ import annotations

import logging


def log_to_stderr(level: str) -> None:
    """One line an event on standard error, from `level` upwards. Nothing of a call's contents is ever said."""
    logging.basicConfig(level=level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", force=True)
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    if level == "info":  # else each start and stop is six lines that say so
        logging.getLogger("uvicorn").setLevel(logging.WARNING)
