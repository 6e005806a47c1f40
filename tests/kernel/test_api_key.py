import pytest
from hypothesis import given
from hypothesis import strategies as st

from aegis.kernel import api_key
from aegis.kernel.ids import new_id

TENANT, KEY, SECRET = "ten_abcdefghijklmnop", "key_abcdefghijklmnop", "a" * 52
WORD = "abcdefghijklmnopqrstuvwxyz234567"
TEXT = f"aegis_{'abcdefghijklmnop'}_{'abcdefghijklmnop'}_{SECRET}"


def test_a_key_says_its_tenant_and_its_id() -> None:
    assert api_key.parse_key(TEXT) == api_key.ApiKeyText(TENANT, KEY, SECRET)
    operator = str(api_key.ApiKeyText(api_key.OPERATOR_TENANT, KEY, SECRET))
    assert api_key.parse_key(operator) == api_key.ApiKeyText("ten_operator", KEY, SECRET)


@given(st.text(WORD, min_size=52, max_size=52))
def test_what_is_written_is_read_again(secret: str) -> None:
    tenant, key = new_id("ten"), new_id("key")
    written = api_key.ApiKeyText(tenant, key, secret)
    assert api_key.parse_key(str(written)) == written
    agents = api_key.AgentSecretText(tenant, secret)
    assert api_key.parse_agent_secret(str(agents)) == agents
    assert api_key.parse_key(str(agents)) is None and api_key.parse_agent_secret(str(written)) is None


@pytest.mark.parametrize(
    "text",
    ["", "aegis_", TEXT + "a", TEXT[:-1], TEXT.upper(), TEXT + "\n", " " + TEXT, TEXT.replace("_", "-"), "x" * 10_000,
     TEXT.replace("a", "1", 1), TEXT.replace("a", "\u0430", 1)],
    ids=lambda text: repr(text[:12]),
)  # fmt: skip
def test_what_is_no_key(text: str) -> None:
    assert api_key.parse_key(text) is None
    assert api_key.parse_agent_secret(text) is None


def test_a_secret_matches_its_digest_under_its_tenants_key_alone() -> None:
    secret, key = api_key.new_secret(), b"k" * 32
    stored = api_key.digest(key, secret)
    assert len(secret) == 52 and len(stored) == 32
    assert api_key.matches(key, secret, stored)
    assert not api_key.matches(b"j" * 32, secret, stored)
    assert not api_key.matches(key, api_key.new_secret(), stored)


def test_secrets_stay_out_of_what_is_logged() -> None:
    assert SECRET not in repr(api_key.parse_key(TEXT))
    assert SECRET not in repr(api_key.AgentSecretText(TENANT, SECRET))
