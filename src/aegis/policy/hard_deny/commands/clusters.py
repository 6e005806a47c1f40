"""Command lines of containers, clusters and clouds, judged by `kubectl` and `cloud`."""

from __future__ import annotations

import re

from aegis.policy.hard_deny import cloud, kubectl, places
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, SECRET

_PRIVILEGED = re.compile(
    r"--privileged|--pid=host|--cap-add[= ](?:ALL|SYS_ADMIN)|docker\.sock|--volume[= ]/:|-v[= ]?/(?:etc|root|"
    r"home|var)?/?:",
    re.IGNORECASE,
)


def _containers(shell: Shell, command: Command) -> str:
    text = " ".join(command.argv[1:])
    if re.search(r"(?:^|\s)(?:run|create|exec)\s", text + " ") and _PRIVILEGED.search(text):
        shell.reading.add("shell.privilege", command=command.name)
    if re.search(
        r"(?:system|volume)\s+prune\b.*(?:--volumes|-a\b|--all)|volume\s+rm\s+.*\ue004|rm\s+.*-f.*\ue004", text
    ):
        shell.reading.add("shell.destructive", command=command.name, object="volumes")
    return OUTPUT


def _kubectl(shell: Shell, command: Command) -> str:
    for code, values in kubectl.judge_words(
        command.argv, command.stdin, shell.around.protected_namespaces, shell.around.variables.get("_k8s_ns", "")
    ):
        shell.reading.add(code, **values)
    words = command.argv[1:]
    for word in words:
        if word.startswith("--namespace=") and "set-context" in words:
            shell.around.variables["_k8s_ns"] = word.partition("=")[2]
    if (
        "secret" in " ".join(words).lower()
        and "get" in words
        and any(w.startswith(("-o", "--output", "-oyaml", "-ojson")) for w in words)
    ):
        return SECRET
    if "exec" in words and "--" in words:
        inner = words[words.index("--") + 1 :]
        before = shell.around.places, shell.around.cwd
        shell.around.places, shell.around.cwd = places.Places("/app"), "/app"
        shell.run(Command(list(inner)))
        shell.around.places, shell.around.cwd = before
    return OUTPUT


def _cloud(shell: Shell, command: Command) -> str:
    for code, values in cloud.judge_words(command.argv, shell.around.variables.get("_tf_workspace", "")):
        shell.reading.add(code, **values)
    words = command.argv[1:]
    if words[:2] == ["workspace", "select"] and len(words) > 2:
        shell.around.variables["_tf_workspace"] = words[2]
    if cloud.prints_secrets(command.argv):
        return SECRET
    return OUTPUT


COMMANDS: Families = families(
    (_containers, "docker podman nerdctl ctr"),
    (_kubectl, "kubectl k oc helm kustomize kubens kubectx k3s microk8s"),
    (
        _cloud,
        "aws gcloud gsutil az terraform tofu pulumi terragrunt eksctl doctl ibmcloud oci cdk serverless sls "
        "cdktf heroku flyctl fly",
    ),
)
