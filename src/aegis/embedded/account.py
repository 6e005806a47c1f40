"""The operating system's account that the embedded servers run under.

PostgreSQL refuses to run as root. As root the first existing of `aegis`, `postgres`, `nobody` is taken; none is
ever created. `useradd --system aegis` gives the servers an account that they share with nobody.
"""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass

from aegis.embedded.trouble import CannotStart

FITTING = ("aegis", "postgres", "nobody")


@dataclass(frozen=True, slots=True)
class Account:
    """`name` must exist in the machine's list of users: peer authentication and initdb both look it up."""

    name: str
    uid: int
    gid: int
    switched: bool
    """True when it is another account than the one that this process runs under."""


def own_account() -> Account:
    """Raises CannotStart when this process runs under a number without a name (some containers)."""
    uid = os.geteuid()
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise CannotStart(
            f"couldn't start PostgreSQL: expected an account with a name, got user id {uid} which /etc/passwd "
            "doesn't know: run as another user, or set database_url to a PostgreSQL of your own"
        ) from None
    return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switched=False)


def server_account(wanted: str = "") -> Account:
    """The caller's own account, or as root an unprivileged one. Raises CannotStart when there is none."""
    if os.geteuid() != 0:
        return own_account()
    for name in (wanted,) if wanted else FITTING:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        if entry.pw_uid != 0:
            return Account(entry.pw_name, entry.pw_uid, entry.pw_gid, switched=True)
    raise CannotStart(
        f"couldn't start PostgreSQL as root: expected one of the accounts {', '.join((wanted,) if wanted else FITTING)}"
        ", got none: type `useradd --system aegis`"
    )
