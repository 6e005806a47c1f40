"""Upstreams' database URLs: what they may say, and who signs on."""

from __future__ import annotations

import ssl

import pytest

from aegis.execution.credentials import Secret
from aegis.execution.sql_connections import Address, _tls, parse_address
from aegis.execution.targets import Failed


@pytest.mark.parametrize(
    ("url", "secret", "user", "password"),
    [
        ("postgresql://ann@db.example/shop", None, "ann", ""),
        ("postgresql://ann:p%40w@db.example/shop", None, "ann", "p@w"),
        ("postgresql://db.example/shop", "bob:se:cret", "bob", "se:cret"),
        ("postgresql://db.example/shop", "basic:bob:secret", "bob", "secret"),
        ("postgresql://ann@db.example/shop", "only-a-password", "ann", "only-a-password"),
        ("postgresql://ann:x@db.example/shop", "postgresql://bob:p%40w@elsewhere/x", "bob", "p@w"),
    ],
)
def test_the_credential_says_who_signs_on(url: str, secret: str | None, user: str, password: str) -> None:
    address = parse_address(url, None if secret is None else Secret(secret))
    assert (address.user, address.password) == (user, password)
    assert (address.host, address.database) == ("db.example", "shop")
    assert password == "" or password not in repr(address)


@pytest.mark.parametrize(
    "url",
    [
        "mysql://ann@db/shop", "postgresql://ann@/shop", "postgresql://ann@a,b/shop", "postgresql://ann@db:99999/shop",
        "postgresql://ann@db/shop?options=-csearch_path%3Dx", "postgresql://ann@db/shop?passfile=/etc/passwd",
        "postgresql://ann@db/shop?sslrootcert=/etc/passwd", "postgresql://ann@db/shop?sslmode=maybe",
        "postgresql://ann@db/shop?service=x", "postgresql://ann@db/shop?host=a&host=b", "postgresql://ann@db/shop#x",
        "postgresql://ann@db/shop?port=x", "",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(Failed) as raised:
        parse_address(url, None)
    assert raised.value.code == "execute.arguments"


def test_nobody_does_not_sign_on() -> None:
    with pytest.raises(Failed) as raised:
        parse_address("postgresql://db/shop", None)
    assert raised.value.code == "execute.credential"


@pytest.mark.parametrize(
    ("sslmode", "is_public", "mode"),
    [
        (None, True, "verify-full"),
        (None, False, "prefer"),
        ("disable", True, "disable"),
        ("require", True, "require"),
        ("verify-full", False, "verify-full"),
    ],
)
def test_a_public_database_is_spoken_to_over_verified_tls(sslmode: str | None, is_public: bool, mode: str) -> None:
    made = _tls(Address("db.example", 5432, "shop", "ann", "", sslmode), is_public)
    if mode == "verify-full":
        assert isinstance(made, ssl.SSLContext) and made.check_hostname and made.verify_mode is ssl.CERT_REQUIRED
    else:
        assert made == (False if mode == "disable" else mode)
