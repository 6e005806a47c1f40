"""Command lines of containers, clusters and clouds, judged by `kubectl` and `cloud`."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence

from aegis.policy.hard_deny import cloud, kubectl
from aegis.policy.hard_deny.shell.effects import is_sensitive_upload
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import NETWORK, OUTPUT, SECRET, taint

CONTEXT, NAMESPACE, WORKSPACE = "_k8s_context", "_k8s_ns", "_tf_workspace"
"""Variables, by names that no text sets, of what was chosen for later commands."""
_PRIVILEGED = re.compile(
    r"--privileged|--pid=host|--cap-add[= ](?:ALL|SYS_ADMIN)|docker\.sock|--volume[= ]/:|"
    r"-v[= ]?/(?:etc|root|home|var)?/?:|--mount[= ]\S*(?:source|src)=/(?:etc|root|home|var)?/?(?:,|\s|$)|"
    r"--security-opt[= ]\S*unconfined|--device[= ]/dev/(?:sd|nvme|mem|vd|kmsg)",
    re.IGNORECASE,
)
_CONTAINER_VALUED = frozenset(
    "-v --volume -w --workdir -u --user -e --env --env-file -p --publish --name --network --net --mount --entrypoint "
    "-l --label --platform -m --memory --cpus --add-host -h --hostname --cap-add --cap-drop --device --security-opt "
    "--index -f --file --project-name --profile --context -H --host --pull --gpus --ulimit --tmpfs --restart "
    "--log-driver".split()
)
_LOST_INSIDE = re.compile(
    r"/(?:\*|etc|usr|bin|sbin|lib\w*|boot|root|home|data|srv|var/lib|var|opt)?(?:/\*|/(?:mysql|postgres)\w*.*)?\Z"
)
"""What a container's loss takes with it, beyond what its own work leaves."""


def _containers(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    text = " ".join(words)
    if re.search(r"(?:^|\s)(?:run|create|exec)\s", text + " ") and _PRIVILEGED.search(text):
        shell.reading.add("shell.privilege", command=command.name)
    if re.search(
        r"(?:system|volume)\s+prune\b.*(?:--volumes|-a\b|--all)|system\s+(?:reset|prune\s+-\w*a\w*)|"
        r"volume\s+rm\s+.*\ue004|\brm\s+.*-\w*f.*\ue004|(?:stack|service)\s+rm\s",
        text,
    ):
        shell.reading.add("shell.destructive", command=command.name, object="volumes")
    verb = next((i for i, w in enumerate(words) if w in ("exec", "run")), None)
    if verb is not None:
        mounts = [follows for word, follows in itertools.pairwise(words) if word in ("-v", "--volume")]
        inside = _operands(words[verb + 1 :])[1:]
        if inside:
            _in_container(shell, command, inside, mounts)
    return OUTPUT


def _operands(words: Sequence[str]) -> list[str]:
    """The image or container, and the command for it."""
    at = 0
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in _CONTAINER_VALUED else 1
    return list(words[at:])


def _in_container(shell: Shell, command: Command, inner: Sequence[str], mounts: Sequence[str]) -> None:
    """A command in a container: what it deletes of its own is its own, what is mounted is the machine's."""
    before = list(shell.reading.findings)
    with shell.elsewhere("/app"):
        shell.run(Command(list(inner), command.stdin))
    for code, values in shell.reading.findings[len(before) :]:
        lost = values.get("object", "")
        mounted = next((m for m in mounts if ":" in m and _under(lost, m.split(":")[1])), None)
        if mounted is not None:
            source = shell.path(mounted.split(":")[0])
            harmful = source != shell.around.places.workspace and shell.around.places.is_lost(source)
        else:
            harmful = code != "shell.outside_workspace" and (
                code not in ("shell.destructive", "shell.sensitive_file", "shell.persistence")
                or (code == "shell.destructive" and (not lost.startswith("/") or bool(_LOST_INSIDE.match(lost))))
            )
        if not harmful:
            shell.reading.findings.remove((code, values))


def _under(path: str, directory: str) -> bool:
    return path == directory or path.startswith(directory.rstrip("/") + "/")


def _kubectl(shell: Shell, command: Command) -> str:
    words = command.argv[1:]
    tool = command.name.lower().removesuffix(".exe")
    chosen = shell.around.variables
    context = command.assigned.get("KUBECONFIG") or chosen.get(CONTEXT) or chosen.get("KUBECONFIG", "")
    for code, values in kubectl.judge_words(
        [tool, *words], command.stdin, shell.around.protected_namespaces, chosen.get(NAMESPACE, ""), context
    ):
        shell.reading.add(code, **values)
    _choose(chosen, tool, words)
    _manifests(shell, command)
    if tool == "kustomize" and words[:1] == ["build"]:
        return "".join(f"kind: Overlay\nmetadata:\n  namespace: {w}\n" for w in words[1:2])
    if (
        "secret" in " ".join(words).lower()
        and "get" in words
        and any(w.startswith(("-o", "--output", "-oyaml", "-ojson")) for w in words)
    ):
        return SECRET
    inner: Sequence[str] = ()
    if "exec" in words and "--" in words:
        inner = words[words.index("--") + 1 :]
    elif "rsh" in words:
        inner = _operands(words[words.index("rsh") + 1 :])[1:]
    if inner:
        with shell.elsewhere("/app"):
            shell.run(Command(list(inner), command.stdin))
    return OUTPUT


def _choose(chosen: dict[str, str], tool: str, words: Sequence[str]) -> None:
    """Contexts and namespaces that commands choose for those after them."""
    plain = [w for w in words if not w.startswith("-")]
    if tool == "kubens" or plain[:1] == ["ns"] or (tool == "oc" and plain[:1] == ["project"]):
        chosen[NAMESPACE] = plain[0 if tool == "kubens" else 1] if len(plain) > (tool != "kubens") else ""
    elif tool == "kubectx" or plain[:1] == ["ctx"]:
        chosen[CONTEXT] = plain[0 if tool == "kubectx" else 1] if len(plain) > (tool != "kubectx") else ""
    elif "use-context" in plain[:2] and len(plain) > 2:
        chosen[CONTEXT] = plain[2]
    elif "set-context" in plain[:2]:
        for word, follows in itertools.zip_longest(words, words[1:], fillvalue=""):
            if word.startswith("--namespace"):
                chosen[NAMESPACE] = word.partition("=")[2] or follows


def _manifests(shell: Shell, command: Command) -> None:
    """Manifests that this text fetched or wrote, and which are applied now."""
    words = command.argv[1:]
    verb = next((w for w in words if w in ("apply", "create", "delete", "replace", "patch")), None)
    if verb is None:
        return
    for word, follows in itertools.zip_longest(words, words[1:], fillvalue=""):
        named = re.fullmatch(r"(?:-f|--filename)=?(.*)", word)
        if named is None:
            continue
        target = named[1] or follows
        path = shell.path(target)
        if path in shell.around.fetched or (target in ("-", "/dev/stdin") and NETWORK in taint(command.stdin)):
            shell.reading.add("k8s.cluster", verb=verb, kind="manifest")
        known = shell.around.written.get(path, "")
        for code, values in kubectl.judge_manifest(verb, known, shell.around.protected_namespaces):
            shell.reading.add(code, **values)


def _cloud(shell: Shell, command: Command) -> str:
    chosen: Mapping[str, str] = {**shell.around.variables, **command.assigned}
    here = shell.around.cwd.removeprefix(shell.around.places.workspace)
    workspace = chosen.get("TF_WORKSPACE") or chosen.get(WORKSPACE) or here.replace("\ue010", "")
    argv = [*command.argv]
    if any("destroy" in v for k, v in chosen.items() if k.startswith("TF_CLI_ARGS")):
        argv.append("-destroy")
    for code, values in cloud.judge_words(argv, workspace):
        shell.reading.add(code, **values)
    words = command.argv[1:]
    if words[:2] == ["workspace", "select"] and len(words) > 2:
        shell.around.variables[WORKSPACE] = words[2]
    _on_machines(shell, words)
    uploads = words[:2] in (["s3", "cp"], ["s3", "mv"]) and words[-1].startswith("s3://")
    if uploads and any(is_sensitive_upload(shell, w) for w in words[2:-1] if not w.startswith(("-", "s3://"))):
        shell.reading.add("shell.exfiltration")
    if re.search(r"\b(?:cp|cat)\b.*(?:s3|gs)://.*(?:\s-$|$)", " ".join(words)) and (
        words[-1] == "-" or "cat" in words[:2]
    ):
        return NETWORK
    if cloud.prints_secrets(command.argv):
        return SECRET
    return OUTPUT


def _on_machines(shell: Shell, words: Sequence[str]) -> None:
    """Lines that a cloud's own tools run on its machines: ssh, send-command, run-command."""
    lines: list[str] = []
    text = " ".join(words)
    if not re.search(r"\bssh\b|send-command|run-command|command invoke|\bconsole\b|run:detached|\brun\b", text):
        return
    for word, follows in itertools.zip_longest(words, words[1:], fillvalue=""):
        named = re.fullmatch(r"(?:--(?:command|scripts|parameters|remote-command)|-c|-C)(?:=(.*))?", word, re.DOTALL)
        if named is not None:
            lines.append(named[1] or follows)
    if "--" in words:
        lines.append(" ".join(words[words.index("--") + 1 :]))
    with shell.elsewhere("/home/remote"):
        for line in lines:
            for command in [line, *re.findall(r"[\"']([^\"']+)[\"']", line)] if "commands" in line else [line]:
                if command.strip() and not taint(command) and "commands" not in command[:12]:
                    shell.nested(command)


COMMANDS: Families = families(
    (_containers, "docker docker-compose podman podman-compose nerdctl ctr"),
    (
        _kubectl,
        "kubectl k oc helm kustomize kubens kubectx k3s microk8s kubecolor minikube k0s rancher microk8s.kubectl",
    ),
    (
        _cloud,
        "aws aws2 gcloud gsutil az terraform tofu pulumi terragrunt eksctl doctl ibmcloud oci cdk serverless sls "
        "cdktf heroku flyctl fly",
    ),
)
