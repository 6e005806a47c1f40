"""Every table of Aegis at its first version."""

from __future__ import annotations

from aegis.db.migrate import run_file

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    run_file("0001_the_house.sql")
    run_file("0001_functions.sql")
