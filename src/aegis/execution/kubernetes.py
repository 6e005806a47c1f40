"""The Kubernetes API as a target: a few verbs on a few kinds, by the paths of its API.

Arguments: `verb` (get, list, create, apply, scale, delete), `kind` (namespace, pod, deployment, configmap; plural and
capitals as usual), `namespace`?, `name`?, `body`?.

- get, delete: `name`, and `namespace` for all kinds but namespaces. list: without `namespace` over all of them.
- create, apply: `body` is the object. What it says of kind, version, namespace and name must be what the arguments
  say, for those are what was judged; what it leaves out is filled in. apply is a server-side apply that never forces.
- scale: deployments only; `body` is `{"replicas": n}`.
- delete: `body`? may hold `propagationPolicy` and `gracePeriodSeconds`.

A tool whose effect is `read` may only get and list. The cluster's own certificate authority comes with the credential:
`{"bearer": "...", "ca": "<PEM>"}`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from aegis.execution.credentials import Secret
from aegis.execution.http import HttpWire
from aegis.execution.network import Guard
from aegis.execution.requests import Request, parse_origin
from aegis.execution.targets import Answer, Failed, Run
from aegis.kernel.jsontree import JsonTree, dumps
from aegis.kernel.tenancy import Tool, Upstream

MEMBERS = frozenset({"verb", "kind", "namespace", "name", "body"})
READING = frozenset({"get", "list"})
VERBS = READING | {"create", "apply", "scale", "delete"}
POLICIES = frozenset({"Foreground", "Background", "Orphan"})
MAX_REPLICAS = 10_000
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class Kind:
    title: str
    plural: str
    version: str
    is_namespaced: bool = True

    @property
    def root(self) -> str:
        return f"/api/{self.version}" if "/" not in self.version else f"/apis/{self.version}"


_KINDS = (
    Kind("Namespace", "namespaces", "v1", is_namespaced=False),
    Kind("Pod", "pods", "v1"),
    Kind("ConfigMap", "configmaps", "v1"),
    Kind("Deployment", "deployments", "apps/v1"),
)
KINDS = {name: kind for kind in _KINDS for name in (kind.title, kind.title.lower(), kind.plural)}


@dataclass(frozen=True, slots=True)
class Asked:
    """The arguments after their check. `namespace` is None where the kind has none or all are meant."""

    verb: str
    kind: Kind
    namespace: str | None
    name: str | None
    body: dict[str, JsonTree] | None


class KubernetesTarget:
    def __init__(self, guard: Guard) -> None:
        self._wire = HttpWire(guard)

    async def run(self, run: Run, upstream: Upstream, credential: Secret | None) -> Answer:
        origin = parse_origin(upstream.url)
        return await self._wire.send(
            run, upstream, origin, to_request(run.tool, run.arguments, origin.base), credential
        )

    async def close(self) -> None:
        await self._wire.close()


def to_request(tool: Tool, arguments: JsonTree, base: str) -> Request:
    """The request that this call is. Raises Failed(execute.arguments) with the member that doesn't fit."""
    asked = _asked(tool, arguments)
    accept = ("Accept", "application/json")
    match asked.verb:
        case "get" | "list":
            return Request("GET", base + _path(asked), (accept,))
        case "create":
            body = dumps(_object(asked))
            return Request("POST", base + _collection(asked), (accept, ("Content-Type", "application/json")), body)
        case "apply":
            headers = (accept, ("Content-Type", "application/apply-patch+yaml"))  # JSON is YAML
            return Request("PATCH", base + _path(asked) + "?fieldManager=aegis", headers, dumps(_object(asked)))
        case "scale":
            headers = (accept, ("Content-Type", "application/merge-patch+json"))
            return Request("PATCH", base + _path(asked) + "/scale", headers, dumps(_scale(asked)))
        case _:
            options = _delete_options(asked)
            if options is None:
                return Request("DELETE", base + _path(asked), (accept,))
            headers = (accept, ("Content-Type", "application/json"))
            return Request("DELETE", base + _path(asked), headers, dumps(options))


def _asked(tool: Tool, arguments: JsonTree) -> Asked:
    if not isinstance(arguments, dict):
        raise _unfit("arguments")
    if set(arguments) - MEMBERS:
        raise _unfit("unknown-member")
    verb, kind = arguments.get("verb"), arguments.get("kind")
    if verb not in VERBS or (tool.effect == "read" and verb not in READING):
        raise _unfit("verb")
    if not isinstance(kind, str) or kind not in KINDS or (verb == "scale" and KINDS[kind].title != "Deployment"):
        raise _unfit("kind")
    found = KINDS[kind]
    namespace = _named(arguments.get("namespace"), "namespace", _LABEL)
    name = _named(arguments.get("name"), "name", _NAME)
    body = arguments.get("body")
    if body is not None and (not isinstance(body, dict) or verb in READING):
        raise _unfit("body")
    if verb == "create" and name is None:
        name = _named(_metadata(body).get("name"), "body.metadata.name", _NAME)
    if found.is_namespaced is (namespace is None) and not (found.is_namespaced and verb == "list"):
        raise _unfit("namespace")
    if (name is None) is not (verb == "list"):
        raise _unfit("name")
    return Asked(verb, found, namespace, name, body)


def _path(asked: Asked) -> str:
    return _collection(asked) if asked.name is None else f"{_collection(asked)}/{asked.name}"


def _collection(asked: Asked) -> str:
    within = "" if asked.namespace is None else f"/namespaces/{asked.namespace}"
    return f"{asked.kind.root}{within}/{asked.kind.plural}"


def _object(asked: Asked) -> dict[str, JsonTree]:
    """The object to send, complete, and about nothing but what was asked."""
    if asked.body is None:
        raise _unfit("body")
    metadata = _metadata(asked.body)
    said = {
        "body.kind": (asked.body.get("kind"), asked.kind.title),
        "body.apiVersion": (asked.body.get("apiVersion"), asked.kind.version),
        "body.metadata.name": (metadata.get("name"), asked.name),
        "body.metadata.namespace": (metadata.get("namespace"), asked.namespace),
    }
    for place, (given, meant) in said.items():
        if given is not None and given != meant:
            raise _unfit(place)
    if "generateName" in metadata:
        raise _unfit("body.metadata.generateName")
    whole = {**metadata, "name": asked.name}
    if asked.namespace is not None:
        whole["namespace"] = asked.namespace
    return {**asked.body, "apiVersion": asked.kind.version, "kind": asked.kind.title, "metadata": whole}


def _metadata(body: Any) -> dict[str, JsonTree]:
    metadata = body.get("metadata", {}) if isinstance(body, dict) else {}
    if not isinstance(metadata, dict):
        raise _unfit("body.metadata")
    return metadata


def _scale(asked: Asked) -> dict[str, JsonTree]:
    body = asked.body or {}
    replicas = body.get("replicas")
    if set(body) != {"replicas"} or isinstance(replicas, bool) or not isinstance(replicas, int):
        raise _unfit("body.replicas")
    if not 0 <= replicas <= MAX_REPLICAS:
        raise _unfit("body.replicas")
    return {"spec": {"replicas": replicas}}


def _delete_options(asked: Asked) -> dict[str, JsonTree] | None:
    body = asked.body
    if body is None:
        return None
    policy, grace = body.get("propagationPolicy"), body.get("gracePeriodSeconds")
    if set(body) - {"propagationPolicy", "gracePeriodSeconds"} or policy not in {None, *POLICIES}:
        raise _unfit("body")
    if grace is not None and (isinstance(grace, bool) or not isinstance(grace, int) or not 0 <= grace <= 86_400):
        raise _unfit("body.gracePeriodSeconds")
    return {"apiVersion": "v1", "kind": "DeleteOptions", **body}


def _named(value: JsonTree, member: str, form: re.Pattern[str]) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not form.fullmatch(value) or ".." in value:
        raise _unfit(member)
    return value


def _unfit(reason: str) -> Failed:
    return Failed("execute.arguments", reason=reason)
