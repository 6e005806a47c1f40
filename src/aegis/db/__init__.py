"""PostgreSQL: pools, scopes, statements, migrations. The only floor that knows the driver's connection."""
