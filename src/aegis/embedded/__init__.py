"""PostgreSQL and Valkey as children of this process, from the wheels that carry them. Linux and macOS."""
