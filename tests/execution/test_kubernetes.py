"""The Kubernetes API as a target: the paths of its API, spoken to a server that answers as one."""

from __future__ import annotations

import datetime
import json
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from aegis.execution.credentials import Credentials, EnvironmentSecrets
from aegis.execution.kubernetes import to_request
from aegis.execution.network import Guard
from aegis.execution.run import Execution
from aegis.execution.targets import Failed, Result
from aegis.kernel.tenancy import Tool, Upstream

TENANT = "ten_aaaaaaaaaaaaaaaa"
WRITE, READ = Tool("k8s", "write"), Tool("k8s.read", "read")


@pytest.mark.parametrize(
    ("arguments", "method", "target"),
    [
        ({"verb": "list", "kind": "pods"}, "GET", "/api/v1/pods"),
        ({"verb": "list", "kind": "Pod", "namespace": "web"}, "GET", "/api/v1/namespaces/web/pods"),
        ({"verb": "list", "kind": "namespace"}, "GET", "/api/v1/namespaces"),
        ({"verb": "list", "kind": "deployments"}, "GET", "/apis/apps/v1/deployments"),
        ({"verb": "get", "kind": "namespace", "name": "web"}, "GET", "/api/v1/namespaces/web"),
        ({"verb": "get", "kind": "configmap", "namespace": "web", "name": "a.b"}, "GET",
         "/api/v1/namespaces/web/configmaps/a.b"),
        ({"verb": "delete", "kind": "deployment", "namespace": "web", "name": "api"}, "DELETE",
         "/apis/apps/v1/namespaces/web/deployments/api"),
        ({"verb": "create", "kind": "pod", "namespace": "web", "name": "p", "body": {}}, "POST",
         "/api/v1/namespaces/web/pods"),
        ({"verb": "create", "kind": "namespace", "body": {"metadata": {"name": "web"}}}, "POST", "/api/v1/namespaces"),
        ({"verb": "apply", "kind": "pod", "namespace": "web", "name": "p", "body": {}}, "PATCH",
         "/api/v1/namespaces/web/pods/p?fieldManager=aegis"),
        ({"verb": "scale", "kind": "deployment", "namespace": "web", "name": "api", "body": {"replicas": 3}}, "PATCH",
         "/apis/apps/v1/namespaces/web/deployments/api/scale"),
    ],
)  # fmt: skip
def test_a_verb_on_a_kind_is_a_path(arguments: dict[str, Any], method: str, target: str) -> None:
    request = to_request(WRITE, arguments, "")
    assert (request.method, request.target) == (method, target)
    assert to_request(WRITE, arguments, "/clusters/a").target == "/clusters/a" + target


POD = {"verb": "create", "kind": "pod", "namespace": "web", "name": "p", "body": {}}
SCALE = {"verb": "scale", "kind": "deployment", "namespace": "web", "name": "api", "body": {"replicas": 3}}
DELETE = {"verb": "delete", "kind": "pod", "namespace": "web", "name": "p"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "arguments"),
        ({**POD, "url": "http://x"}, "unknown-member"),
        ({**POD, "verb": "exec"}, "verb"),
        ({**POD, "verb": "GET"}, "verb"),
        ({**POD, "kind": "secret"}, "kind"),
        ({**POD, "kind": "clusterrolebinding"}, "kind"),
        ({**POD, "kind": ["pod"]}, "kind"),
        ({**SCALE, "kind": "pod"}, "kind"),
        ({**DELETE, "namespace": None}, "namespace"),
        ({**DELETE, "namespace": "../kube-system"}, "namespace"),
        ({**DELETE, "namespace": "Web"}, "namespace"),
        ({**DELETE, "namespace": "web/pods"}, "namespace"),
        ({"verb": "get", "kind": "namespace", "namespace": "web", "name": "x"}, "namespace"),
        ({"verb": "list", "kind": "namespace", "namespace": "web"}, "namespace"),
        ({**DELETE, "name": None}, "name"),
        ({**DELETE, "name": "a/../b"}, "name"),
        ({**DELETE, "name": "a..b"}, "name"),
        ({**DELETE, "name": "p?x=1"}, "name"),
        ({**DELETE, "name": "p\n"}, "name"),
        ({**DELETE, "name": ""}, "name"),
        ({"verb": "list", "kind": "pod", "name": "p"}, "name"),
        ({"verb": "get", "kind": "pod", "namespace": "web", "name": "p", "body": {}}, "body"),
        ({**POD, "body": None}, "body"),
        ({**POD, "body": []}, "body"),
        ({**POD, "body": {"kind": "Secret"}}, "body.kind"),
        ({**POD, "body": {"apiVersion": "v2"}}, "body.apiVersion"),
        ({**POD, "body": {"metadata": []}}, "body.metadata"),
        ({**POD, "body": {"metadata": {"name": "q"}}}, "body.metadata.name"),
        ({**POD, "body": {"metadata": {"namespace": "kube-system"}}}, "body.metadata.namespace"),
        ({**POD, "body": {"metadata": {"generateName": "q"}}}, "body.metadata.generateName"),
        ({**SCALE, "body": {}}, "body.replicas"),
        ({**SCALE, "body": {"replicas": -1}}, "body.replicas"),
        ({**SCALE, "body": {"replicas": True}}, "body.replicas"),
        ({**SCALE, "body": {"replicas": 1, "x": 1}}, "body.replicas"),
        ({**DELETE, "body": {"dryRun": []}}, "body"),
        ({**DELETE, "body": {"propagationPolicy": "All"}}, "body"),
        ({**DELETE, "body": {"gracePeriodSeconds": -1}}, "body.gracePeriodSeconds"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_by_member(arguments: Any, reason: str) -> None:
    with pytest.raises(Failed) as raised:
        to_request(WRITE, arguments, "")
    assert raised.value.values == {"reason": reason}


@pytest.mark.parametrize("arguments", [POD, SCALE, DELETE, {**POD, "verb": "apply"}])
def test_a_tool_that_reads_can_only_get_and_list(arguments: dict[str, Any]) -> None:
    with pytest.raises(Failed):
        to_request(READ, arguments, "")


def test_an_object_is_filled_in_with_what_was_judged() -> None:
    body = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": []}}
    sent = to_request(WRITE, {**POD, "body": body}, "").body
    assert sent is not None and json.loads(sent) == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"labels": {"a": "b"}, "name": "p", "namespace": "web"},
        "spec": {"containers": []},
    }


def test_a_delete_carries_its_options() -> None:
    sent = to_request(WRITE, {**DELETE, "body": {"propagationPolicy": "Orphan"}}, "").body
    assert sent is not None and json.loads(sent)["propagationPolicy"] == "Orphan"


@dataclass
class Cluster:
    """Answers under its own authority; keeps what it was asked."""

    url: str
    ca: str
    asked: list[tuple[str, str, str | None]] = field(default_factory=list)


def authority(folder: Path) -> tuple[ssl.SSLContext, str]:
    """TLS for 127.0.0.1, self-signed, and its PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "cluster")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "tls.pem").write_bytes(private + pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.pem")
    return context, pem.decode()


@pytest.fixture
async def cluster(tmp_path: Path) -> AsyncIterator[Cluster]:
    tls, ca = authority(tmp_path)
    made = Cluster("", ca)

    async def answer(request: web.Request) -> web.Response:
        made.asked.append((request.method, request.raw_path, request.headers.get("Authorization")))
        if request.headers.get("Authorization") != "Bearer tok":
            return web.json_response({"kind": "Status", "code": 401}, status=401)
        return web.json_response({"kind": "PodList", "items": []})

    application = web.Application()
    application.router.add_route("*", "/{tail:.*}", answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
    made.url = f"https://127.0.0.1:{runner.addresses[0][1]}"
    yield made
    await runner.cleanup()


async def listing(cluster: Cluster, credential: Any) -> Result:
    secrets = EnvironmentSecrets({f"AEGIS_SECRET_{TENANT.upper()}_CLUSTER": json.dumps(credential)})
    execution = Execution.over(Guard.of(["127.0.0.0/8"]), Credentials(secrets))
    upstream = Upstream("cluster", "kubernetes", cluster.url, credential_ref="cluster", timeout_ms=5_000)
    try:
        return await execution.run(TENANT, READ, {"verb": "list", "kind": "pods"}, None, upstream)
    finally:
        await execution.close()


async def test_a_cluster_is_trusted_by_its_own_authority(cluster: Cluster) -> None:
    result = await listing(cluster, {"bearer": "tok", "ca": cluster.ca})
    assert (result.status, result.output) == ("ok", {"kind": "PodList", "items": []})
    assert cluster.asked == [("GET", "/api/v1/pods", "Bearer tok")]


async def test_a_cluster_that_nobody_vouches_for_gets_no_token(cluster: Cluster) -> None:
    result = await listing(cluster, {"bearer": "tok"})
    assert (result.failure, result.effect, cluster.asked) == ("execute.unreachable", "none", [])


async def test_what_is_no_certificate_is_no_credential(cluster: Cluster) -> None:
    result = await listing(cluster, {"bearer": "tok", "ca": "none"})
    assert (result.failure, cluster.asked) == ("execute.credential", [])


async def test_an_error_of_the_cluster_is_an_answer(cluster: Cluster) -> None:
    result = await listing(cluster, {"bearer": "other", "ca": cluster.ca})
    assert (result.status, result.target_code) == ("error", "401")
