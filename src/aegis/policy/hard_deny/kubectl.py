"""What is done to a cluster: kubectl and helm lines, structured calls, and paths of the Kubernetes API."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import yaml

from aegis.policy.hard_deny.environments import is_expendable, is_protected

Found = tuple[str, dict[str, str]]
_READS = frozenset(
    "get describe logs log top explain api-resources api-versions version config auth diff cluster-info "
    "events wait port-forward kustomize "
    "completion options plugin watch list read show view status history head can-i help alpha proxy".split()
)
_CHANGES = frozenset(
    "apply create replace patch edit set scale autoscale rollout label annotate expose run delete debug cp "
    "cordon uncordon drain taint rsh "
    "certificate update post put restart deletecollection remove destroy evict exec attach rollback install "
    "upgrade uninstall".split()
)
_CLUSTER_KINDS = frozenset(
    "node nodes no crd crds customresourcedefinition customresourcedefinitions clusterrole clusterroles "
    "clusterrolebinding "
    "clusterrolebindings pv persistentvolume persistentvolumes storageclass storageclasses sc "
    "validatingwebhookconfiguration "
    "validatingwebhookconfigurations mutatingwebhookconfiguration mutatingwebhookconfigurations apiservice "
    "apiservices priorityclass "
    "priorityclasses csr certificatesigningrequest certificatesigningrequests ingressclass runtimeclass".split()
)
_NAMESPACE_KINDS = frozenset({"ns", "namespace", "namespaces", "project", "projects"})
_VALUED = frozenset(
    "-n --namespace -f --filename -o --output -l --selector --context --cluster --user --kubeconfig -c "
    "--container --field-selector "
    "--grace-period --timeout --replicas --image --type -p --patch --overrides --token --as --as-group -k "
    "--kustomize --server -s "
    "--kube-context --set --values --version --tail --since --cascade --raw --clusterrole --serviceaccount "
    "--role --group -v --v --request-timeout --client-key --client-certificate --certificate-authority "
    "--cache-dir --as-uid --tls-server-name --password --username --profile --burst --qps --log-file "
    "--stderrthreshold --vmodule".split()
)


def judge_words(
    argv: Sequence[str], stdin: str | None, protected: frozenset[str], namespace: str = "", context: str = ""
) -> list[Found]:
    """Findings of a kubectl, oc, k or helm command line; `namespace` and `context` are those chosen before."""
    tool = argv[0].rsplit("/", 1)[-1]
    words = list(argv[1:])
    if tool in ("k3s", "microk8s", "minikube", "k0s", "rancher"):
        if words[:1] != ["kubectl"]:
            return []
        words = words[2:] if words[1:2] == ["--"] else words[1:]
    options, plain = _parsed(words)
    if not plain and "--raw" not in options:
        return []
    if any(w.startswith("--dry-run") and not w.endswith("=none") for w in words):
        return []
    if tool not in ("helm", "kubens", "kubectx", "kustomize"):
        plain = _from_verb(plain)
    verb = plain[0].lower() if plain else "get"
    where = options.get("-n") or options.get("--namespace") or namespace
    elsewhere = [options.get(o, "") for o in ("--context", "--kube-context", "--cluster", "--kubeconfig")]
    in_production = any(
        is_protected(w, protected) for w in (where, *(filter(None, elsewhere) if any(elsewhere) else (context,)))
    )
    if tool == "helm":
        changes = verb in ("uninstall", "delete", "del", "un", "upgrade", "install", "rollback")
        values = [w for o, w in options.items() if o in ("-f", "--values")]
        in_production = in_production or any(is_protected(re.sub(r"\.ya?ml$", "", v), protected) for v in values)
        return [_denied(verb, "release")] if changes and in_production else []
    if tool in ("kubens", "kubectx", "kustomize"):
        return []
    if "--raw" in options and verb not in ("get",):
        return judge_path("DELETE" if verb == "delete" else "POST", options["--raw"], protected)
    return list(_judge_verb(verb, plain[1:], options, words, stdin, in_production, protected))


def _from_verb(plain: Sequence[str]) -> list[str]:
    """The words from the verb on: before it stand values of options nobody listed, and plugins' own words."""
    known = _READS | _CHANGES | {"adm", "new-app", "policy"}
    if plain and plain[0].lower() in known:
        return list(plain)
    at = next((i for i, w in enumerate(plain[:3]) if w.lower() in _CHANGES), 0)
    return list(plain[at:])


def _judge_verb(
    verb: str,
    plain: Sequence[str],
    options: Mapping[str, str],
    words: Sequence[str],
    stdin: str | None,
    in_production: bool,
    protected: frozenset[str],
) -> Iterator[Found]:
    everywhere = any(re.fullmatch(r"(?:-A|--all-namespaces)(?:=true)?", w) for w in words)
    files = options.get("-f") or options.get("--filename") or options.get("-k") or ""
    if verb == "rollout" and plain[:1] in (["status"], ["history"]):
        return
    if verb == "debug" and any(w.startswith(("node/", "nodes/")) for w in plain):
        yield "k8s.cluster", {"verb": verb, "kind": "node"}
    if verb == "auth" and plain[:1] == ["reconcile"] and in_production:
        yield _denied(verb, "role")
    if verb in ("exec", "attach", "debug", "rsh"):
        if in_production:
            yield "k8s.exec", {}
        return
    if verb == "cp":
        source = plain[0] if plain else ""
        if in_production and ":" not in source:
            yield _denied(verb, "file")
        return
    if verb in _READS or (verb not in _CHANGES and verb not in ("adm", "new-app", "policy")):
        return
    kinds = list(_kinds(plain))
    if (
        verb in ("drain", "cordon", "taint")
        or (verb == "certificate" and plain[:1] == ["approve"])
        or verb in ("adm", "policy")
    ):
        yield "k8s.cluster", {"verb": verb, "kind": "node"}
    if any(k in _NAMESPACE_KINDS for k, _ in kinds) and verb == "delete":
        names = [n for _, n in kinds if n]
        if "--all" in words or in_production or not names or any(_guarded(n, protected) for n in names):
            yield "k8s.delete_namespace", {"verb": verb}
    elif any(k in _NAMESPACE_KINDS and is_protected(n, protected) for k, n in kinds):
        yield _denied(verb, "namespace")
    if any(k in _CLUSTER_KINDS for k, _ in kinds) and verb not in ("label", "annotate"):
        yield "k8s.cluster", {"verb": verb, "kind": kinds[0][0]}
    if everywhere:
        yield "k8s.cluster", {"verb": verb, "kind": kinds[0][0] if kinds else "all"}
    if in_production:
        yield _denied(verb, kinds[0][0] if kinds else "object")
    if any(w.startswith(("--privileged",)) and not w.endswith("=false") for w in words) or _is_privileged(
        options.get("--overrides", "")
    ):
        yield "k8s.cluster", {"verb": verb, "kind": "privileged"}
    if files.startswith(("http://", "https://")):
        yield "k8s.cluster", {"verb": verb, "kind": "manifest"}
    elif files in ("-", "/dev/stdin") and stdin is not None:
        yield from judge_manifest(verb, stdin, protected)
    elif files and any(is_protected(part.rsplit(".", 1)[0], protected) for part in files.split("/") if part):
        yield _denied(verb, "manifest")


def _denied(verb: str, kind: str) -> Found:
    return "k8s.protected_namespace", {"verb": verb, "kind": kind}


def _guarded(name: str, protected: frozenset[str]) -> bool:
    return is_protected(name, protected) or not is_expendable(name)


def _parsed(words: Sequence[str]) -> tuple[dict[str, str], list[str]]:
    options: dict[str, str] = {}
    plain: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word == "--":
            break
        if word.startswith("--") and "=" in word:
            name, _, value = word.partition("=")
            options[name] = value
        elif word in _VALUED and at + 1 < len(words):
            options[word] = words[at + 1]
            at += 1
        elif re.match(r"-[nflosc].", word) and not word.startswith("--"):
            options[word[:2]] = word[2:].lstrip("=")
        elif word.startswith("-"):
            options[word] = ""
        else:
            plain.append(word)
        at += 1
    return options, plain


def _kinds(plain: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(kind, name) of each object: `deploy web`, `ns/prod`, `pods,services`, `deployment.apps/web`."""
    if not plain:
        return
    if any("/" in w for w in plain[:1]):
        for word in plain:
            kind, _, name = word.partition("/")
            yield kind.lower().split(".", 1)[0], name
        return
    for kind in plain[0].lower().split(","):
        short = kind.split(".", 1)[0]
        if len(plain) == 1:
            yield short, ""
        for name in plain[1:]:
            yield short, name


def _is_privileged(text: str) -> bool:
    flat = re.sub(r"[\s\"']", "", text)
    return bool(re.search(r"(?:privileged|hostPID|hostNetwork|hostIPC|allowPrivilegeEscalation):true|hostPath:", flat))


NODES = 40_000
"""Of a manifest with its aliases put in."""
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _is_readable(documents: Sequence[Any]) -> bool:
    """Whether the documents, aliases put in, are of a size that is read to the end."""
    stack: list[Any] = list(documents)
    seen = 0
    while stack:
        seen += 1
        if seen > NODES:
            return False
        node = stack.pop()
        if isinstance(node, Mapping):
            stack.extend(node.values())
        elif isinstance(node, list):
            stack.extend(node)
    return True


def judge_manifest(verb: str, text: str, protected: frozenset[str]) -> Iterator[Found]:
    """Findings of manifests (YAML or JSON) that are applied or deleted."""
    if len(text) > 256 * 1024 or (text.count("&") > 50 and text.count("*") > 50):
        yield "k8s.cluster", {"verb": verb, "kind": "manifest"}
        return
    try:
        documents = list(yaml.load_all(text, Loader=_LOADER))
    except (yaml.YAMLError, RecursionError, ValueError):
        return
    if not _is_readable(documents):
        yield "k8s.cluster", {"verb": verb, "kind": "manifest"}
        return
    for document in documents:
        if isinstance(document, Mapping):
            yield from _object(verb, document, protected)


def _object(verb: str, document: Mapping[str, Any], protected: frozenset[str]) -> Iterator[Found]:
    kind = str(document.get("kind", "")).lower()
    if kind == "list":
        for item in document.get("items") or []:
            if isinstance(item, Mapping):
                yield from _object(verb, item, protected)
        return
    meta = document.get("metadata")
    meta = meta if isinstance(meta, Mapping) else {}
    name, namespace = str(meta.get("name", "")), str(meta.get("namespace", ""))
    deletes = verb in ("delete", "remove", "destroy", "deletecollection", "uninstall")
    if kind == "namespace" and deletes and _guarded(name, protected):
        yield "k8s.delete_namespace", {"verb": verb}
    elif kind in _CLUSTER_KINDS:
        yield "k8s.cluster", {"verb": verb, "kind": kind}
    if is_protected(namespace, protected) or (kind == "namespace" and not deletes and is_protected(name, protected)):
        yield _denied(verb, kind)
    if not deletes and _is_privileged(str(dict(document))):
        yield "k8s.cluster", {"verb": verb, "kind": "privileged"}


def judge_path(method: str, path: str, protected: frozenset[str]) -> list[Found]:
    """Findings of a request to the Kubernetes API, by its path with all encodings undone."""
    plain = path
    for _ in range(3):
        plain = unquote(plain)
    parts: list[str] = []
    for part in plain.split("?", 1)[0].replace("\\", "/").split("/"):
        if part == "..":
            parts = parts[:-1]
        elif part not in ("", "."):
            parts.append(part)
    start = next((i for i, p in enumerate(parts) if p in ("api", "apis")), 0)
    parts = parts[start + (3 if parts[start : start + 1] == ["apis"] else 2) :]
    method = method.upper()
    if method in ("GET", "HEAD", "OPTIONS", "LIST", "WATCH", ""):
        return []
    verb = {"DELETE": "delete", "POST": "create", "PUT": "replace", "PATCH": "patch"}.get(method, method.lower())
    if parts[:1] == ["namespaces"] and len(parts) > 1:
        namespace, rest = parts[1], parts[2:]
        if not rest or rest == ["finalize"]:
            if (verb == "delete" and _guarded(namespace, protected)) or (
                verb != "delete" and is_protected(namespace, protected)
            ):
                return [("k8s.delete_namespace", {"verb": verb})]
            return []
        if is_protected(namespace, protected):
            return [("k8s.exec", {})] if rest[-1] in ("exec", "attach", "portforward") else [_denied(verb, rest[0])]
        return []
    if parts[:1] == ["namespaces"] and verb == "delete":
        return [("k8s.delete_namespace", {"verb": verb})]
    if parts and (parts[0].lower() in _CLUSTER_KINDS or verb == "delete"):
        return [("k8s.cluster", {"verb": verb, "kind": parts[0][:40]})]
    return []


def judge_call(tool_words: frozenset[str], call: Mapping[str, Any], protected: frozenset[str]) -> list[Found]:
    """Findings of a structured call: `{"verb": "delete", "kind": "ns", "name": "prod"}` and its many spellings."""
    flat = {str(k).lower().replace("-", "_"): v for k, v in call.items()}
    path = flat.get("path") or flat.get("url") or flat.get("uri")
    method = str(flat.get("method") or flat.get("http_method") or "")
    if isinstance(path, str) and ("/api" in unquote(unquote(path))):
        return judge_path(method or ("DELETE" if "delete" in tool_words else "GET"), path, protected)
    if flat.get("dry_run") not in (None, False, "", [], "none"):
        return []
    given = next(
        (
            str(flat[k]).lower()
            for k in ("verb", "action", "operation", "command", "method")
            if isinstance(flat.get(k), str)
        ),
        "",
    )
    verbs = set(re.findall(r"[a-z]+", given)) | set(tool_words)
    verb = next(
        (
            v
            for v in (
                "delete",
                "deletecollection",
                "remove",
                "destroy",
                "uninstall",
                "drain",
                "cordon",
                "taint",
                "evict",
                "exec",
                "scale",
                "apply",
                "patch",
                "replace",
                "update",
                "edit",
                "restart",
                "rollback",
                "upgrade",
                "install",
                "create",
                "set",
                "rollout",
                "label",
                "annotate",
                "run",
            )
            if v in verbs
        ),
        "",
    )
    if not verb:
        return []
    found: list[Found] = []
    for member in ("manifest", "manifests", "yaml", "body", "object", "spec", "resource", "definition"):
        manifest = flat.get(member)
        if isinstance(manifest, str) and ("kind:" in manifest or '"kind"' in manifest):
            found.extend(judge_manifest(verb, manifest, protected))
        elif isinstance(manifest, Mapping):
            found.extend(_object(verb, manifest, protected))
        elif isinstance(manifest, list):
            for item in manifest:
                if isinstance(item, Mapping):
                    found.extend(_object(verb, item, protected))
    if "apiversion" in flat and isinstance(flat.get("kind"), str):
        found.extend(_object(verb, call, protected))
    kind = next(
        (
            str(flat[k]).lower()
            for k in ("kind", "resource_type", "resourcetype", "type", "resource")
            if isinstance(flat.get(k), str)
        ),
        "",
    )
    kind, _, named = kind.partition("/")
    kind = kind.split(".", 1)[0]
    if not kind and "namespace" in tool_words and verb in ("delete", "remove", "destroy"):
        kind = "namespace"
    if not kind and "node" in tool_words | set(flat) and verb in ("drain", "cordon", "taint", "delete"):
        kind = "node"
    name = str(flat.get("name") or named or flat.get("resource_name") or "")
    namespaces = flat.get("namespace", flat.get("ns", ""))
    spaces = [str(n) for n in (namespaces if isinstance(namespaces, list) else [namespaces])]
    where = str(flat.get("context") or flat.get("cluster") or flat.get("environment") or "")
    if kind in _NAMESPACE_KINDS and verb in ("delete", "remove", "destroy", "deletecollection"):
        if _guarded(name or spaces[0], protected) or is_protected(where, protected):
            found.append(("k8s.delete_namespace", {"verb": verb}))
    elif kind in _CLUSTER_KINDS or verb in ("drain", "cordon", "taint"):
        found.append(("k8s.cluster", {"verb": verb, "kind": kind or "node"}))
    if any(is_protected(s, protected) for s in spaces) or is_protected(where, protected):
        found.append(("k8s.exec", {}) if verb == "exec" else _denied(verb, kind or "object"))
    if flat.get("all_namespaces") is True or "*" in spaces or "all" in spaces:
        found.append(("k8s.cluster", {"verb": verb, "kind": kind or "all"}))
    return found
