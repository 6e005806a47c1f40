"""The schema's history: Alembic keeps the order, the SQL is written by hand in `sql/`."""
