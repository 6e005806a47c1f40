"""Secrets go, look-alikes stay. All values here are made up."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import random
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from aegis.inspection.secrets import Redacted, Spared, contains_secret, redact

_pick = random.Random(7)
SHARED = Path(os.environ.get("AEGIS_SHARED", Path(__file__).parents[3] / "shared"))


def made(length: int, letters: str = string.ascii_letters + string.digits) -> str:
    return "".join(_pick.choice(letters) for _ in range(length))


HEX = "0123456789abcdef"
UPPER = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"

TOKENS = {
    "an AWS access key id": ("aws_access_key", "AKIA" + made(16, UPPER)),
    "a Google API key": ("gcp_api_key", "AIza" + made(35)),
    "a Google OAuth token": ("gcp_oauth", "ya29." + made(60)),
    "a GitHub token": ("github_token", "ghp_" + made(36)),
    "a fine-grained GitHub token": ("github_token", "github_pat_" + made(22) + "_" + made(59)),
    "a GitLab token": ("gitlab_token", "glpat-" + made(20)),
    "a Slack bot token": ("slack_token", f"xoxb-{made(12, '123456789')}-{made(12, '123456789')}-{made(24)}"),
    "a Stripe live key": ("stripe_key", "sk_live_" + made(24)),
    "a Stripe webhook secret": ("stripe_key", "whsec_" + made(32)),
    "an OpenAI project key": ("openai_key", "sk-proj-" + made(48)),
    "an Anthropic key": ("anthropic_key", "sk-ant-api03-" + made(90)),
    "a Hugging Face token": ("huggingface_token", "hf_" + made(34, string.ascii_letters)),
    "an npm token": ("npm_token", "npm_" + made(36)),
    "a PyPI token": ("pypi_token", "pypi-AgEIcHlwaS5vcmc" + made(70)),
    "a SendGrid key": ("sendgrid_key", f"SG.{made(22)}.{made(43)}"),
    "a DigitalOcean token": ("digitalocean_token", "dop_v1_" + made(64, HEX)),
    "a Vault token": ("vault_token", "hvs." + made(40)),
    "one of our own API keys": ("aegis_key", "aegis_" + made(40)),
    "a Databricks token": ("cloud_token", "dapi" + made(32, HEX)),
    "an Azure AD secret": ("azure_secret", made(3) + "8Q~" + made(34)),
    "a Telegram bot token": ("telegram_token", made(9, "123456789") + ":AA" + made(33)),
    "a bcrypt hash": ("password_hash", "$2b$12$" + made(53)),
}


@pytest.mark.parametrize(("kind", "token"), TOKENS.values(), ids=TOKENS)
def test_a_vendors_token_goes_wherever_it_stands(kind: str, token: str) -> None:
    for text in (token, f"the value is {token}, keep it", f"x={token}\ny=1", f"<b>{token}</b>", f'{{"v":"{token}"}}'):
        done = redact(text)
        assert token not in done.output
        assert done.output == text.replace(token, f"[redacted:{kind}]")
        assert contains_secret(text) == kind
    assert redact({"deep": [{token: 1}]}).output == {"deep": [{f"[redacted:{kind}]": 1}]}


CONTEXTS = {
    "a password in YAML": ("password: {s}\npool: 5", "T7h3-sUn.9x"),
    "a quoted password in YAML": ('password: "{s}"\npool: 5', "kJ8s0qPz1LmN"),
    "an environment variable": ("export DB_PASSWORD={s}", "p4sSw0rd-xk1"),
    "an API key in code": ("client = Client(api_key='{s}')", "8f3a9c2b7d6e4f10"),
    "a header": ("X-Api-Key: {s}", "8f3a9c2b7d6e4f10"),
    "a bearer header": ("Authorization: Bearer {s}", "mF9.B5f-4.1JqMz81kQ"),
    "a password in a database URL": ("postgresql://app:{s}@db.internal:5432/shop", "w8!xQz+12"),
    "a password in a Redis URL": ("redis://:{s}@cache:6379/0", "Zx81kqPw03"),
    "a token in a query string": ("GET /v1/me?access_token={s}&x=1", "a8f93Kd02lsPqW91"),
    "a command line option": ("mysql --password={s} -h db", "Jq81-xkPw0"),
    "curl's user option": ("curl -u admin:{s} https://api.test/x", "Jq81xkPw0z"),
    "an XML element": ("<password>{s}</password>", "Jq81xkPw0z"),
    "a .NET connection string": ("Server=db;User Id=app;Password={s};Pooling=true", "Jq81xkPw0z"),
    "prose that tells it": ("the password is {s}, please change it", "hunter2x"),
    "German": ("Passwort: {s}", "Geheim77!x"),
    "an AWS secret": ("aws_secret_access_key = {s}", made(40)),
    "an Azure account key": ("AccountName=a;AccountKey={s};EndpointSuffix=x", made(86) + "=="),
    "an .npmrc line": ("//registry.test/:_authToken={s}", "a1b2c3d4-x9y8-z7"),
}


@pytest.mark.parametrize(("text", "secret"), CONTEXTS.values(), ids=CONTEXTS)
def test_a_secret_goes_for_the_words_before_it(text: str, secret: str) -> None:
    whole = text.format(s=secret)
    done = redact(whole)
    before, after = text.split("{s}")
    assert secret not in done.output
    assert done.output.startswith(before)
    assert done.output.endswith(after)
    assert done.redactions[0].path == ""
    assert done.findings[0].code == "secret.leak"
    assert secret not in done.findings[0].message


STAYS = {
    "a uuid": {"id": "0b9d6b1e-52a5-4c3e-9a3b-7f1f6d2c8e11", "session_id": "0b9d6b1e-52a5-4c3e-9a3b-7f1f6d2c8e11"},
    "a commit": "commit " + made(40, HEX),
    "a digest": "sha256:" + made(64, HEX),
    "an integrity hash": {"integrity": "sha512-" + made(86) + "=="},
    "a public key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + made(43) + " dev@example.com",
    "a certificate": "-----BEGIN CERTIFICATE-----\n" + made(64) + "\n" + made(64) + "\n-----END CERTIFICATE-----",
    "a PEM public key": "-----BEGIN PUBLIC KEY-----\n" + made(64) + "\n-----END PUBLIC KEY-----",
    "an image": "data:image/png;base64,iVBORw0KGgo" + made(300),
    "a placeholder in angles": "token: <your-token>",
    "a row of x": "aws_access_key_id = AKIAXXXXXXXXXXXXXXXX",
    "the vendor's example": "AKIAIOSFODNN7EXAMPLE",
    "a shell variable": "Authorization: Bearer $TOKEN",
    "a template": "password: {{ .Values.db.password }}",
    "a read from the environment": "secret = os.environ['APP_SECRET']",
    "a call": "password = get_password()",
    "an attribute": "api_key=settings.api_key",
    "prose on passwords": "The password policy asks for 12 characters; the token expires after 9 hours.",
    "a form": {"password": {"type": "string", "required": True}},
    "a schema": {"properties": {"token": {"type": "string", "description": "the token"}}},
    "a page token": {"next_page_token": "CAUQAA1b2c3d4e5f6", "items": []},
    "a count of tokens": {"prompt_tokens": 512, "max_tokens": "4096"},
    "a primary key": {"primary_key": "customer_id_2024_001"},
    "a URL with a port": "http://localhost:8080/path@here",
    "an address": "mailto:anna@example.com",
    "a stack trace": "File \"/srv/app/tokens.py\", line 12, in token\n    raise TokenError('token: expired')",
    "base64 of ordinary text": base64.b64encode(b"hello world, this is a harmless sentence").decode(),
    "a password's name": {"passwordPolicy": "at-least-12", "password_reset_url": "https://example.com/reset/a1b2"},
    "a masked value": {"password": "********", "apiKey": "sk-...abcd"},
    "an error about a token": "error: invalid token: unexpected end of input",
}


@pytest.mark.parametrize("value", STAYS.values(), ids=STAYS)
def test_what_only_looks_like_a_secret_stays(value: Any) -> None:
    assert redact(value) == Redacted(value)


def test_a_members_name_makes_its_value_a_secret() -> None:
    done = redact(
        {"db": {"password": "correcthorse", "user": "app"}, "env": [{"name": "API_SECRET", "value": "zq81-xx"}]}
    )
    assert done.output == {
        "db": {"password": "[redacted:password]", "user": "app"},
        "env": [{"name": "API_SECRET", "value": "[redacted:secret]"}],
    }
    assert [(r.path, r.kind, r.count) for r in done.redactions] == [
        ("/db/password", "password", 1),
        ("/env/0/value", "secret", 1),
    ]
    assert done.findings[0].path == "/output/db/password"


def test_json_inside_a_string_stays_json() -> None:
    token = "ghp_" + made(36)
    done = redact({"body": json.dumps({"n": 1, "t": json.dumps({"token": token})})})
    inner = json.loads(json.loads(done.output["body"])["t"])
    assert inner == {"token": "[redacted:github_token]"}


def test_a_secret_within_base64_goes_with_it() -> None:
    encoded = base64.b64encode(f"key=sk_live_{made(24)}".encode()).decode()
    assert redact({"data": encoded}).output == {"data": "[redacted:stripe_key]"}


@pytest.mark.parametrize(
    "between",
    ["</span><span>", "\n", "\n    ", "<br>", "\u200b", "' +\n  '", "</b><b>"],
    ids=["tags", "a line break", "an indented line", "a br", "a zero-width space", "a string join", "inline tags"],
)
def test_a_secret_that_is_cut_in_two_goes_whole(between: str) -> None:
    token = "ghp_" + made(36)
    done = redact(f"see {token[:20]}{between}{token[20:]} here")
    assert token[:20] not in done.output
    assert token[20:] not in done.output
    assert done.output.startswith("see ")
    assert done.output.endswith(" here")
    assert sum(r.count for r in done.redactions) == 1


def test_what_follows_on_the_next_line_is_not_the_secrets() -> None:
    token = "npm_" + made(36)
    assert redact(f"{token}\nalways-auth=true").output == "[redacted:npm_token]\nalways-auth=true"


def test_a_private_key_goes_with_its_frame_even_without_its_end() -> None:
    body = "\n".join(made(64) for _ in range(4))
    whole = f"key:\n-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----\ndone"
    assert redact(whole).output == "key:\n[redacted:private_key]\ndone"
    assert body[-64:] not in redact(f"-----BEGIN PRIVATE KEY-----\n{body}").output


def test_what_the_tenant_spares_is_left() -> None:
    own, other = "aegis_" + made(40), "aegis_" + made(40)
    digest = hashlib.sha256(own.encode()).hexdigest()
    assert redact([own, other], Spared(digests={digest})).output == [own, "[redacted:aegis_key]"]
    login = {"access_token": "ey81-" + made(30)}
    assert redact(login, Spared(pointers={"/access_token"})).output == login
    assert redact(login).output == {"access_token": "[redacted:token]"}


def test_two_keys_that_become_the_same_stay_two() -> None:
    done = redact({"ghp_" + made(36): 1, "ghp_" + made(36): 2})
    assert done.output == {"[redacted:github_token]": 1, "[redacted:github_token]#2": 2}


_texts = (
    st.text(max_size=200)
    | st.sampled_from([t for _, t in TOKENS.values()])
    | st.sampled_from([text.format(s=secret) for text, secret in CONTEXTS.values()])
)
_trees = st.recursive(
    st.none() | st.booleans() | st.integers() | _texts | st.lists(_texts, max_size=3).map("\n".join),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_texts, inner, max_size=4),
    max_leaves=12,
)


@given(_trees)
@example({"AKIA0000000000000012": "0001"})
def test_redacting_twice_changes_nothing_more(tree: Any) -> None:
    once = redact(tree)
    again = redact(once.output)
    assert again.output == once.output
    assert not again.redactions


@pytest.mark.parametrize(
    "below", ["password: hunter2-Correct9", {"password": "hunter2-Correct9"}], ids=["text", "a member"]
)
def test_a_secret_in_a_key_is_in_no_path(below: Any) -> None:
    key = TOKENS["a GitHub token"][1]
    found = redact({"keys": {key: below}})
    told = repr((found.output, found.redactions, found.findings))
    assert len(found.redactions) == 2 and key not in told and "hunter2" not in told


@given(st.text(st.characters(codec=None), max_size=300))
def test_no_text_makes_it_fail(text: str) -> None:
    redact(text)
    contains_secret(text)


@given(st.sampled_from(sorted(TOKENS)), st.text("abc \n.,:", max_size=40), st.text("abc \n.,:", max_size=40))
def test_no_surroundings_save_a_token(name: str, before: str, after: str) -> None:
    token = TOKENS[name][1]
    assert token not in redact(f"{before} {token} {after}").output


def test_a_megabyte_of_near_misses_is_only_read_once() -> None:
    for piece in ("password: ", "ghp_", "-----BEGIN PRIVATE KEY----- ", "<", "eyJ", "://a:", '"\n"', "a" * 64 + " "):
        redact(piece * (1_000_000 // len(piece)))


def _shared() -> list[Any]:
    file = SHARED / "eval" / "secrets.jsonl"
    if not file.exists():
        return [
            pytest.param(
                None,
                marks=pytest.mark.skip(reason="needs test vectors that are no part of this repository: nothing to do"),
            )
        ]
    return [pytest.param(row, id=row["id"]) for row in map(json.loads, file.read_text("utf-8").splitlines())]


@pytest.mark.parametrize("row", _shared())
def test_the_labelled_outputs(row: dict[str, Any]) -> None:
    done = redact(row["output"])
    seen = done.output if isinstance(done.output, str) else json.dumps(done.output, ensure_ascii=False)
    assert [s for s in row.get("secrets", []) if s in seen] == []
    assert [k for k in row.get("keep", []) if k not in seen] == []
    if row["label"] == "benign":
        assert done.output == row["output"]
