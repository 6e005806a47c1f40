"""The statements that read the log."""

from __future__ import annotations

from aegis.db.statements import statements

SQL = statements("aegis.console_api", "decisions.sql")
