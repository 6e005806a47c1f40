"""Hostile and honest credentials, each its own case. Views, keys and the database are real; only the issuer's
address answers from memory, because a fetch is a port."""

import base64
import hashlib
import hmac
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from aegis.db.database import Database
from aegis.identity.issuers import IssuerDirectory
from aegis.identity.jwks import KeySets
from aegis.identity.tokens import TokenSigner
from aegis.identity.verify import Authenticator
from aegis.kernel import api_key
from aegis.kernel.call import Principal, Role
from aegis.kernel.problems import Problem
from aegis.tenants.accounts import NewTenant, create_agent, create_tenant
from aegis.tenants.views import Views

NOW = 1_790_000_000_000_000
NOW_S = NOW // 1_000_000
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SMALL_RSA = rsa.generate_private_key(public_exponent=65537, key_size=1024)
EC = ec.generate_private_key(ec.SECP256R1())
OTHER_RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
SIGNER = TokenSigner(b"s" * 32, "aegis-test.local")


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def number(value: int) -> str:
    return b64(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def rsa_jwk(key: rsa.RSAPrivateKey, kid: str, **more: Any) -> dict[str, Any]:
    numbers = key.public_key().public_numbers()
    return {"kty": "RSA", "kid": kid, "n": number(numbers.n), "e": number(numbers.e), **more}


def ec_jwk(kid: str) -> dict[str, Any]:
    numbers = EC.public_key().public_numbers()
    return {"kty": "EC", "crv": "P-256", "kid": kid, "x": b64(numbers.x.to_bytes(32)), "y": b64(numbers.y.to_bytes(32))}


def token(header: dict[str, Any], claims: dict[str, Any], sign: Callable[[bytes], bytes]) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(json.dumps(claims).encode())}"
    return f"{signed}.{b64(sign(signed.encode()))}"


def by_rsa(signed: bytes, key: rsa.RSAPrivateKey = RSA) -> bytes:
    return key.sign(signed, padding.PKCS1v15(), SHA256())


def by_ec(signed: bytes) -> bytes:
    r, s = decode_dss_signature(EC.sign(signed, ec.ECDSA(SHA256())))
    return r.to_bytes(32) + s.to_bytes(32)


def by_seed(signed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(b"s" * 32).sign(signed)


def own_header(**changes: Any) -> dict[str, Any]:
    return {"alg": "EdDSA", "kid": SIGNER.key.kid, "typ": "JWT", **changes}


@dataclass
class World:
    """One tenant with an issuer, an agent and an Authenticator whose clock the test holds."""

    tenant: str
    agent: str
    agent_key: str
    issuer: str
    database: Database
    views: Views
    now: int = NOW
    fetched: list[str] = field(default_factory=list)
    key_set: bytes | Exception = b""
    authenticator: Authenticator = field(init=False)

    def __post_init__(self) -> None:
        self.key_set = json.dumps({"keys": [rsa_jwk(RSA, "rsa-1"), ec_jwk("ec-1")]}).encode()
        self.authenticator = self.new_authenticator()

    def new_authenticator(self) -> Authenticator:
        clock = lambda: self.now  # noqa: E731
        return Authenticator(
            self.views,
            own=SIGNER.key,
            own_issuer=SIGNER.issuer,
            audience="aegis",
            issuers=IssuerDirectory(self.database, clock),
            key_sets=KeySets(self.fetch, clock),
            clock=clock,
        )

    async def fetch(self, url: str) -> bytes:
        self.fetched.append(url)
        if isinstance(self.key_set, Exception):
            raise self.key_set
        return self.key_set

    def own_claims(self, **changes: Any) -> dict[str, Any]:
        claims = {
            "iss": SIGNER.issuer, "aud": "aegis", "sub": self.agent, "tenant": self.tenant, "role": "agent",
            "iat": NOW_S, "exp": NOW_S + 600, "jti": "jti_1", **changes,
        }  # fmt: skip
        return {name: value for name, value in claims.items() if value is not ...}

    def claims(self, **changes: Any) -> dict[str, Any]:
        claims = {"iss": self.issuer, "aud": "aegis-api", "sub": self.agent, "exp": NOW_S + 600, **changes}
        return {name: value for name, value in claims.items() if value is not ...}

    def rs256(self, header: dict[str, Any] | None = None, **changes: Any) -> str:
        return token({"alg": "RS256", "kid": "rsa-1", **(header or {})}, self.claims(**changes), by_rsa)

    async def ask(self, text: str, name: bytes = b"authorization") -> Principal:
        value = f"Bearer {text}" if name == b"authorization" else text
        return await self.authenticator.authenticate({name: value.encode()})

    async def refusal(self, text: str) -> str:
        with pytest.raises(Problem) as raised:
            await self.ask(text)
        assert raised.value.status == 401, raised.value
        assert text not in raised.value.detail
        assert self.authenticator.failures == {raised.value.code: 1}
        return raised.value.code

    async def configure(self, **changes: Any) -> None:
        async with self.database.scope(self.tenant) as connection:
            for column, value in changes.items():
                await connection.execute(
                    f"UPDATE control.issuers SET {column} = $2 WHERE tenant = $1", self.tenant, value
                )
        await self.views.refresh(self.tenant)


@pytest.fixture
async def world(database: Database, tenant: NewTenant) -> World:
    issuer = f"https://id.example/{tenant.id}"
    async with database.scope(tenant.id) as connection:
        agent = await create_agent(connection, tenant.id, "a")
        await connection.execute(
            "INSERT INTO control.issuers (tenant, id, issuer, jwks_uri, audience, max_role)"
            " VALUES ($1, 'iss_1', $2, 'https://id.example/jwks', 'aegis-api', 'agent')",
            tenant.id,
            issuer,
        )
    return World(tenant.id, agent.id, agent.token, issuer, database, Views(database))


# ------------------------------------------------------------------ honest


async def test_our_own_token(world: World) -> None:
    issued = SIGNER.issue(tenant=world.tenant, subject=world.agent, role=Role.AGENT, agent=world.agent, now=NOW)
    principal = await world.ask(issued.text)
    assert principal == Principal(
        world.tenant, world.agent, Role.AGENT, agent=world.agent, credential=issued.jti,
        expires_at=issued.expires_at, issued_at=NOW, issuer="aegis-test.local",
    )  # fmt: skip
    assert issued.expires_at == NOW + 3600 * 1_000_000


async def test_a_single_use_token_says_so(world: World) -> None:
    issued = SIGNER.issue(tenant=world.tenant, subject=world.agent, role=Role.AGENT, now=NOW, single_use=True)
    assert (await world.ask(issued.text)).single_use


async def test_extra_claims_never_replace_registered_ones(world: World) -> None:
    issued = SIGNER.issue(
        tenant=world.tenant, subject=world.agent, role=Role.AGENT, now=NOW, extra={"role": "admin", "tenant": "ten_x"}
    )
    assert (await world.ask(issued.text)).role is Role.AGENT


@pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
async def test_an_api_key_in_either_header(world: World, name: bytes) -> None:
    principal = await world.ask(world.agent_key, name)
    parsed = api_key.parse_key(world.agent_key)
    assert parsed is not None
    assert (principal.tenant, principal.agent, principal.role, principal.credential) == (
        world.tenant, world.agent, Role.AGENT, parsed.key,
    )  # fmt: skip
    assert principal.expires_at is None


async def test_a_revoked_key_is_genuine_still_because_stage_1_records_its_use(world: World) -> None:
    async with world.database.scope(world.tenant) as connection:
        await connection.execute("UPDATE control.keys SET revoked_at = now() WHERE agent = $1", world.agent)
    assert (await world.ask(world.agent_key)).agent == world.agent


async def test_rs256_of_a_configured_issuer(world: World) -> None:
    principal = await world.ask(world.rs256(jti="j-9"))
    assert (principal.tenant, principal.subject, principal.agent) == (world.tenant, world.agent, world.agent)
    assert (principal.role, principal.credential, principal.issuer) == (Role.AGENT, "iss_1:j-9", world.issuer)


async def test_es256_of_a_configured_issuer(world: World) -> None:
    text = token({"alg": "ES256", "kid": "ec-1"}, world.claims(aud=["other", "aegis-api"]), by_ec)
    principal = await world.ask(text)
    assert principal.role is Role.AGENT
    assert principal.credential.startswith("iss_1:")


async def test_a_token_without_a_kid_where_there_is_no_choice(world: World) -> None:
    text = token({"alg": "RS256"}, world.claims(), by_rsa)
    assert (await world.ask(text)).agent == world.agent


async def test_roles_come_from_the_configuration_and_claims_narrow_them(world: World) -> None:
    await world.configure(max_role="admin", role_claim="groups")
    assert (await world.ask(world.rs256(groups="auditor", jti="1"))).role is Role.AUDITOR
    assert (await world.ask(world.rs256(groups=["staff", "security"], jti="2"))).role is Role.SECURITY
    await world.configure(max_role="security")
    assert (await world.ask(world.rs256(groups=["admin"], jti="3"))).role is Role.SECURITY


async def test_a_mapped_claim_names_the_agent(world: World) -> None:
    await world.configure(agent_claim="client_id")
    assert (await world.ask(world.rs256(sub="svc", client_id=world.agent))).agent == world.agent


# ------------------------------------------------------------------ hostile: headers


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        pytest.param({}, "auth.missing", id="no credential"),
        pytest.param({b"authorization": b"Basic YTpi"}, "auth.scheme", id="another scheme"),
        pytest.param({b"authorization": b"DPoP a.b.c"}, "auth.scheme", id="a proof that isn't taken here"),
        pytest.param({b"authorization": b"Bearer "}, "auth.malformed", id="nothing behind the scheme"),
        pytest.param({b"authorization": b"Bearer"}, "auth.malformed", id="the scheme alone"),
        pytest.param({b"authorization": b"Bearer a.b.c", b"x-api-key": b"k"}, "auth.two_credentials", id="two of them"),
        pytest.param({b"authorization": "Bearer \u00e9.b.c".encode()}, "auth.malformed", id="not ASCII"),
        pytest.param({b"authorization": b"Bearer " + b"a" * 8193}, "auth.too_large", id="over 8 KiB"),
        pytest.param({b"x-api-key": b"aegis_"}, "auth.malformed", id="the beginning of a key"),
        pytest.param({b"x-api-key": b"aegis_" + b"a" * 16 + b"_" + b"b" * 16 + b"_" + b"c" * 52}, "auth.tenant",
                     id="a key of no tenant"),
    ],
)  # fmt: skip
async def test_headers_that_bear_no_good_credential(world: World, headers: dict[bytes, bytes], code: str) -> None:
    with pytest.raises(Problem) as raised:
        await world.authenticator.authenticate(headers)
    assert (raised.value.status, raised.value.code) == (401, code)


async def test_a_key_with_another_secret(world: World) -> None:
    assert await world.refusal(world.agent_key[:-1] + ("a" if world.agent_key[-1] != "a" else "b")) == "auth.key"


async def test_a_key_of_another_tenant_under_this_tenants_name(world: World, database: Database) -> None:
    async with database.scope("ten_operator") as connection:
        other = await create_tenant(connection, "other")
    parsed = api_key.parse_key(other.admin.token)
    assert parsed is not None
    forged = str(api_key.ApiKeyText(world.tenant, parsed.key, parsed.secret))
    assert await world.refusal(forged) == "auth.key"


async def test_a_key_that_was_removed_stops_at_once(world: World) -> None:
    await world.ask(world.agent_key)
    async with world.database.scope(world.tenant) as connection:
        await connection.execute("UPDATE control.keys SET gone = true WHERE agent = $1", world.agent)
    await world.views.refresh(world.tenant)
    assert await world.refusal(world.agent_key) == "auth.key"


# ------------------------------------------------------------------ hostile: our own issuer's name

OWN_CASES: list[Any] = [
    pytest.param(
        lambda w: token({"alg": "none", "typ": "JWT"}, w.own_claims(), lambda _: b"x"),
        "auth.key_unknown",
        id="alg none",
    ),
    pytest.param(
        lambda w: token(own_header(alg="none"), w.own_claims(), lambda _: b"x"),
        "auth.algorithm",
        id="alg none with our kid",
    ),
    pytest.param(
        lambda w: token(own_header(), w.own_claims(), lambda _: b"").rstrip("."), "auth.malformed", id="no signature"
    ),
    pytest.param(
        lambda w: token(own_header(alg="HS256"), w.own_claims(), lambda s: hmac.digest(raw_public(), s, "sha256")),
        "auth.algorithm",
        id="HS256 keyed with the public key",
    ),
    pytest.param(
        lambda w: token(own_header(alg="RS256"), w.own_claims(), by_rsa),
        "auth.algorithm",
        id="RS256 under the kid of an Ed25519 key",
    ),
    pytest.param(
        lambda w: token(own_header(alg="eddsa"), w.own_claims(), by_seed),
        "auth.algorithm",
        id="the algorithm in another case",
    ),
    pytest.param(
        lambda w: token(own_header(alg=["EdDSA"]), w.own_claims(), by_seed),
        "auth.algorithm",
        id="the algorithm as a list",
    ),
    pytest.param(
        lambda w: token(own_header(kid="other"), w.own_claims(), by_seed), "auth.key_unknown", id="another kid"
    ),
    pytest.param(
        lambda w: token(own_header(kid=7), w.own_claims(), by_seed), "auth.malformed", id="a kid that is a number"
    ),
    pytest.param(
        lambda w: token(own_header(), w.own_claims(), lambda s: bytes(64)), "auth.signature", id="a signature of zeros"
    ),
    pytest.param(
        lambda w: tampered(SIGNER.sign(w.own_claims()), role="admin"),
        "auth.signature",
        id="a claim changed after signing",
    ),
    pytest.param(
        lambda w: token(own_header(jwk={"kty": "OKP"}), w.own_claims(), by_seed),
        "auth.embedded_key",
        id="its own key inside (jwk)",
    ),
    pytest.param(
        lambda w: token(own_header(jku="https://evil/"), w.own_claims(), by_seed),
        "auth.embedded_key",
        id="an address for its key (jku)",
    ),
    pytest.param(
        lambda w: token(own_header(x5u="https://evil/"), w.own_claims(), by_seed),
        "auth.embedded_key",
        id="an address for its certificate (x5u)",
    ),
    pytest.param(
        lambda w: token(own_header(x5c=["MII"]), w.own_claims(), by_seed),
        "auth.embedded_key",
        id="its own certificate (x5c)",
    ),
    pytest.param(
        lambda w: token(own_header(crit=["exp"], exp=1), w.own_claims(), by_seed),
        "auth.critical",
        id="a critical extension",
    ),
    pytest.param(lambda w: token(own_header(b64=False), w.own_claims(), by_seed), "auth.critical", id="b64 false"),
    pytest.param(
        lambda w: token(own_header(typ="secevent+jwt"), w.own_claims(), by_seed),
        "auth.malformed",
        id="another type of token",
    ),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(exp=NOW_S - 30)), "auth.expired", id="expired by the leeway"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(exp=...)), "auth.claims", id="no expiry"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(exp="9999999999")), "auth.claims", id="an expiry that is text"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(exp=True)), "auth.claims", id="an expiry that is true"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(exp=10**30)), "auth.claims", id="an expiry beyond reason"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(nbf=NOW_S + 31)), "auth.not_yet_valid", id="not yet valid"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(iat=NOW_S + 31)), "auth.not_yet_valid", id="issued in the future"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(aud="other")), "auth.audience", id="another audience"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(aud=...)), "auth.audience", id="no audience"),
    pytest.param(
        lambda w: SIGNER.sign(w.own_claims(aud={"aegis": 1})), "auth.audience", id="an audience that is an object"
    ),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(jti=...)), "auth.claims", id="no jti"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(sub="")), "auth.claims", id="an empty subject"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(role="root")), "auth.claims", id="an unknown role"),
    pytest.param(
        lambda w: SIGNER.sign(w.own_claims(role="operator")), "auth.claims", id="an operator of a plain tenant"
    ),
    pytest.param(
        lambda w: SIGNER.sign(w.own_claims(role="admin", tenant="ten_operator")),
        "auth.claims",
        id="an admin of the installation",
    ),
    pytest.param(
        lambda w: SIGNER.sign(w.own_claims(tenant="ten_aaaaaaaaaaaaaaaa")), "auth.tenant", id="no such tenant"
    ),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(single_use="yes")), "auth.claims", id="single_use that is text"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(iss=...)), "auth.issuer", id="no issuer"),
    pytest.param(
        lambda w: SIGNER.sign(w.own_claims(iss=["aegis-test.local"])), "auth.issuer", id="an issuer that is a list"
    ),
    pytest.param(lambda w: SIGNER.sign(w.own_claims(iss="https://stranger/")), "auth.issuer", id="a strange issuer"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims()) + "=", "auth.malformed", id="padding"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims()) + ".x", "auth.malformed", id="four parts"),
    pytest.param(lambda w: SIGNER.sign(w.own_claims()).replace(".", " . "), "auth.malformed", id="spaces"),
    pytest.param(
        lambda w: malleable(SIGNER.sign(w.own_claims())), "auth.malformed", id="another base64 of one signature"
    ),
    pytest.param(
        lambda w: signed_by_us(own_header(), json.dumps(w.own_claims())[:-1].encode() + b', "role": "admin"}'),
        "auth.malformed",
        id="a claim that stands twice",
    ),
    pytest.param(lambda w: signed_by_us(own_header(), b"[1]"), "auth.malformed", id="claims that are a list"),
    pytest.param(lambda w: f"{b64(b'{' * 60)}.{b64(b'[' * 60)}.{b64(b'x')}", "auth.malformed", id="no JSON"),
    pytest.param(lambda w: f"{b64(b'[' * 3000)}.e30.eA", "auth.malformed", id="deep nesting"),
]


def raw_public() -> bytes:
    return SIGNER.key.public.public_bytes(Encoding.Raw, PublicFormat.Raw)


def tampered(text: str, **changes: Any) -> str:
    header, claims, signature = text.split(".")
    changed = json.loads(base64.urlsafe_b64decode(claims + "==")) | changes
    return f"{header}.{b64(json.dumps(changed).encode())}.{signature}"


def malleable(text: str) -> str:
    """The same 64 bytes with other trailing bits in the last character."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return text[:-1] + alphabet[alphabet.index(text[-1]) ^ 1]


def signed_by_us(header: dict[str, Any], body: bytes) -> str:
    signed = f"{b64(json.dumps(header).encode())}.{b64(body)}"
    return f"{signed}.{b64(by_seed(signed.encode()))}"


@pytest.mark.parametrize(("make", "code"), OWN_CASES)
async def test_tokens_in_our_name_that_are_refused(world: World, make: Callable[[World], str], code: str) -> None:
    assert await world.refusal(make(world)) == code


async def test_the_leeway_is_thirty_seconds_on_both_sides(world: World) -> None:
    for number, changes in enumerate(({"exp": NOW_S - 29}, {"nbf": NOW_S + 30}, {"iat": NOW_S + 30})):
        assert (await world.ask(SIGNER.sign(world.own_claims(jti=f"j{number}", **changes)))).tenant == world.tenant


# ------------------------------------------------------------------ hostile: a tenant's issuer

FOREIGN_CASES: list[Any] = [
    pytest.param(
        lambda w: token({"alg": "HS256", "kid": "rsa-1"}, w.claims(), lambda s: hmac.digest(pem(), s, "sha256")),
        "auth.algorithm",
        id="HS256 keyed with the issuer's public key",
    ),
    pytest.param(
        lambda w: token({"alg": "none", "kid": "rsa-1"}, w.claims(), lambda _: b"x"), "auth.algorithm", id="alg none"
    ),
    pytest.param(
        lambda w: token({"alg": "ES256", "kid": "rsa-1"}, w.claims(), by_ec),
        "auth.algorithm",
        id="ES256 under the kid of an RSA key",
    ),
    pytest.param(
        lambda w: token({"alg": "RS256", "kid": "ec-1"}, w.claims(), by_rsa),
        "auth.algorithm",
        id="RS256 under the kid of an EC key",
    ),
    pytest.param(
        lambda w: token({"alg": "RS512", "kid": "rsa-1"}, w.claims(), by_rsa),
        "auth.algorithm",
        id="an algorithm that is not configured",
    ),
    pytest.param(
        lambda w: token({"alg": "EdDSA", "kid": "rsa-1"}, w.claims(), by_seed),
        "auth.algorithm",
        id="our own algorithm in an issuer's name",
    ),
    pytest.param(
        lambda w: token({"alg": "RS256", "kid": "nobody"}, w.claims(), by_rsa), "auth.key_unknown", id="an unknown kid"
    ),
    pytest.param(
        lambda w: token({"alg": "RS256", "kid": "rsa-1"}, w.claims(), lambda s: by_rsa(s, OTHER_RSA)),
        "auth.signature",
        id="another key",
    ),
    pytest.param(
        lambda w: token({"alg": "ES256", "kid": "ec-1"}, w.claims(), lambda s: EC.sign(s, ec.ECDSA(SHA256()))),
        "auth.signature",
        id="an ES256 signature as DER",
    ),
    pytest.param(
        lambda w: token({"alg": "ES256", "kid": "ec-1"}, w.claims(), lambda _: bytes(64)),
        "auth.signature",
        id="an ES256 signature of zeros",
    ),
    pytest.param(lambda w: w.rs256({"jku": "https://evil/jwks"}), "auth.embedded_key", id="an address for its key"),
    pytest.param(lambda w: w.rs256({"jwk": rsa_jwk(RSA, "x")}), "auth.embedded_key", id="its own key"),
    pytest.param(lambda w: w.rs256({"crit": ["b64"]}), "auth.critical", id="a critical extension"),
    pytest.param(lambda w: w.rs256(aud="aegis"), "auth.audience", id="our own audience instead of the issuer's"),
    pytest.param(lambda w: w.rs256(exp=NOW_S - 31), "auth.expired", id="expired"),
    pytest.param(lambda w: w.rs256(exp=...), "auth.claims", id="no expiry"),
    pytest.param(lambda w: w.rs256(nbf=NOW_S + 60), "auth.not_yet_valid", id="not yet valid"),
    pytest.param(lambda w: w.rs256(tenant="ten_aaaaaaaaaaaaaaaa"), "auth.tenant", id="another tenant in its claims"),
    pytest.param(lambda w: w.rs256(sub=...), "auth.claims", id="no subject"),
    pytest.param(lambda w: w.rs256(cnf={"jkt": "x"}), "auth.binding", id="bound to a key without its proof"),
]


def pem() -> bytes:
    return RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


@pytest.mark.parametrize(("make", "code"), FOREIGN_CASES)
async def test_tokens_of_a_configured_issuer_that_are_refused(
    world: World, make: Callable[[World], str], code: str
) -> None:
    assert await world.refusal(make(world)) == code


async def test_another_tenants_issuer_speaks_for_its_own_tenant_only(world: World, database: Database) -> None:
    async with database.scope("ten_operator") as connection:
        other = await create_tenant(connection, "other")
    principal = await world.ask(world.rs256(jti="a"))
    assert principal.tenant == world.tenant != other.id
    assert await world.refusal(world.rs256(tenant=other.id)) == "auth.tenant"


@pytest.mark.parametrize(
    ("max_role", "role_claim", "claims", "code"),
    [
        ("admin", "groups", {}, "auth.role_claim"),
        ("admin", "groups", {"groups": ["staff"]}, "auth.role_claim"),
        ("admin", "groups", {"groups": "operator"}, "auth.role_claim"),
        ("admin", "groups", {"groups": {"admin": True}}, "auth.role_claim"),
        ("auditor", "groups", {"groups": "security"}, "auth.role_claim"),
        ("operator", None, {}, "auth.role_claim"),
        ("root", None, {}, "auth.role_claim"),
    ],
    ids=[
        "no claim",
        "no known role",
        "an operator",
        "an object",
        "a role beside",
        "highest operator",
        "unknown highest",
    ],
)
async def test_roles_that_are_not_given(
    world: World, max_role: str, role_claim: str | None, claims: dict[str, Any], code: str
) -> None:
    await world.configure(max_role=max_role, role_claim=role_claim)
    assert await world.refusal(world.rs256(**claims)) == code


async def test_an_issuer_that_was_removed_stops_at_once(world: World) -> None:
    text = world.rs256()
    await world.ask(text)
    await world.configure(gone=True)
    assert await world.refusal(text) == "auth.issuer"


# ------------------------------------------------------------------ keys of issuers


async def test_an_unknown_kid_leads_to_one_fetch_a_minute(world: World) -> None:
    await world.ask(world.rs256())
    assert len(world.fetched) == 1
    world.now += 60_000_000
    for number in range(5):
        with pytest.raises(Problem):
            await world.ask(token({"alg": "RS256", "kid": f"guess-{number}"}, world.claims(), by_rsa))
    assert len(world.fetched) == 2


async def test_a_key_that_was_added_is_found(world: World) -> None:
    await world.ask(world.rs256())
    world.key_set = json.dumps({"keys": [rsa_jwk(OTHER_RSA, "rsa-2")]}).encode()
    world.now += 61_000_000
    text = token({"alg": "RS256", "kid": "rsa-2"}, world.claims(), lambda s: by_rsa(s, OTHER_RSA))
    assert (await world.ask(text)).agent == world.agent


async def test_an_issuer_that_is_away_keeps_its_keys_for_a_day(world: World) -> None:
    await world.ask(world.rs256(jti="1"))
    world.key_set = OSError("away")
    world.now += 23 * 3600 * 1_000_000
    assert (await world.ask(world.rs256(jti="2", exp=NOW_S + 10**6))).agent == world.agent
    world.now += 2 * 3600 * 1_000_000
    with pytest.raises(Problem) as raised:
        await world.ask(world.rs256(jti="3", exp=NOW_S + 10**6))
    assert (raised.value.status, raised.value.code) == (503, "auth.unavailable")


@pytest.mark.parametrize(
    "key_set",
    [
        b"",
        b"{}",
        b"[]",
        b'{"keys": 1}',
        b'{"keys": []' + b" " * (256 * 1024) + b"}",
        json.dumps({"keys": [{}] * 65}).encode(),
        json.dumps({"keys": [rsa_jwk(RSA, "rsa-1"), rsa_jwk(OTHER_RSA, "rsa-1")]}).encode(),
    ],
    ids=["nothing", "no keys", "a list", "a number", "too large", "too many", "one kid twice"],
)
async def test_an_address_that_gives_no_key_set(world: World, key_set: bytes) -> None:
    world.key_set = key_set
    with pytest.raises(Problem) as raised:
        await world.ask(world.rs256())
    assert (raised.value.status, raised.value.code) == (503, "auth.unavailable")


@pytest.mark.parametrize(
    "jwk",
    [
        rsa_jwk(RSA, "rsa-1", use="enc"),
        rsa_jwk(RSA, "rsa-1", alg="RS512"),
        rsa_jwk(RSA, "rsa-1", key_ops=["encrypt"]),
        rsa_jwk(RSA, "rsa-1", d="AQAB"),
        rsa_jwk(RSA, "rsa-1") | {"n": "!"},
        rsa_jwk(SMALL_RSA, "rsa-1"),
        {"kty": "oct", "kid": "rsa-1", "k": b64(b"secret")},
        ec_jwk("rsa-1") | {"y": b64(struct.pack(">32x"))},
        "rsa-1",
    ],
    ids=["for encryption", "of another algorithm", "of another use", "private", "no number", "1024 bits", "symmetric",
         "not on its curve", "no object"],
)  # fmt: skip
async def test_keys_that_are_not_used(world: World, jwk: Any) -> None:
    world.key_set = json.dumps({"keys": [jwk]}).encode()
    assert await world.refusal(world.rs256()) == "auth.key_unknown"


# ------------------------------------------------------------------ memory


async def test_what_was_verified_is_remembered_until_it_expires(world: World) -> None:
    text = world.rs256()
    first = await world.ask(text)
    world.key_set = OSError("away")
    assert await world.ask(text) is first
    world.now += 631_000_000
    assert await world.refusal(text) == "auth.expired"


async def test_a_change_elsewhere_in_the_tenant_keeps_what_was_verified(world: World) -> None:
    first = await world.ask(world.agent_key)
    async with world.database.scope(world.tenant) as connection:
        await connection.execute("UPDATE control.settings SET body = body WHERE tenant = $1", world.tenant)
    await world.views.refresh(world.tenant)
    assert await world.ask(world.agent_key) is first


async def test_refused_tokens_are_counted_and_not_remembered(world: World) -> None:
    for _ in range(3):
        with pytest.raises(Problem):
            await world.ask("a.b.c")
    assert world.authenticator.failures == {"auth.malformed": 3}


async def test_strange_issuers_are_asked_about_only_so_often(world: World) -> None:
    statuses = []
    for number in range(40):
        with pytest.raises(Problem) as raised:
            await world.ask(SIGNER.sign(world.own_claims(iss=f"https://stranger-{number}/")))
        statuses.append(raised.value.status)
    assert statuses == [401] * 20 + [503] * 20


# ------------------------------------------------------------------ ID tokens


async def test_an_id_token_of_the_tenants_issuer_verifies_its_person(world: World) -> None:
    text = world.rs256(sub="u-1", email="ann@example.com", email_verified=True, groups=["sales"])
    person = await world.authenticator.person(world.tenant, text)
    assert (person.id, person.groups) == ("u-1", ("sales",))
    assert person.names == {"u-1", "ann@example.com"}
    unverified = await world.authenticator.person(world.tenant, world.rs256(sub="u-1", email="boss@example.com"))
    assert unverified.names == {"u-1"}


async def test_an_id_token_of_another_tenants_issuer_verifies_nobody(world: World, database: Database) -> None:
    async with database.scope("ten_operator") as connection:
        other = await create_tenant(connection, "other")
    with pytest.raises(Problem) as raised:
        await world.authenticator.person(other.id, world.rs256(sub="u-1"))
    assert (raised.value.status, raised.value.code) == (422, "session.id_token")


def test_the_fingerprint_of_our_key_is_not_its_bytes() -> None:
    assert SIGNER.key.kid == hashlib.sha256(b"aegis-token\x00" + raw_public()).hexdigest()[:16]
