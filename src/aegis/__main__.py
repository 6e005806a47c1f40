"""The command `aegis`."""

from __future__ import annotations

import sys


def main() -> None:
    from aegis.cli import aegis

    try:
        aegis()
    except Exception as error:
        line = one_line(error)
        if line is None:
            raise
        print(f"aegis: {line}", file=sys.stderr)
        sys.exit(1)


def one_line(error: Exception) -> str | None:
    """The message of an error that says everything itself; None for one that needs its traceback."""
    names = {kind.__name__ for kind in type(error).__mro__}
    told = names & {"CannotStart", "ConfigError", "SchemaTooNew", "PoolerInTheWay", "KeyFileError"}
    return str(error) if told else None


if __name__ == "__main__":
    main()
