"""Tools of operations: what each calls its way to delete clusters, stores, backups, repositories and databases."""

from __future__ import annotations

import re

from aegis.policy.hard_deny.commands.carried import judge_carried
from aegis.policy.hard_deny.environments import is_expendable, mentions_production
from aegis.policy.hard_deny.shell.effects import is_sensitive_upload
from aegis.policy.hard_deny.shell.session import Command
from aegis.policy.hard_deny.shell.walk import Families, Shell, families
from aegis.policy.hard_deny.shell.words import OUTPUT, SECRET

LENGTH = 16 * 1024
"""Characters of one command's words that the patterns here are tried on."""
_DESTROYS: dict[str, str] = {
    "argocd": r"(?:app|appset|proj|cluster) (?:delete|rm)",
    "helmfile": r"\b(?:destroy|delete)\b",
    "flux": r"(?:delete|uninstall)",
    "istioctl": r"uninstall .*--purge",
    "velero": r"(?:\w+ delete|delete \w+)",
    "kops": r"delete (?:cluster|instancegroup)",
    "kubeadm": r"reset",
    "etcdctl": r"del .*--(?:prefix|from-key)|del ''",
    "consul": r"kv delete .*-recurse",
    "vault": r"(?:secrets|auth|audit) disable|kv (?:metadata delete|destroy)|^delete |operator (?:seal|step-down)",
    "nomad": r"(?:job )?stop .*-purge|system gc|namespace delete|volume delete",
    "s3cmd": r"(?:^|\s)(?:rb|del|rm)\b.*(?:--recursive|-r\b|--force)|--delete-removed",
    "s5cmd": r"(?:^|\s)(?:rm|rb)\b.*(?:\*|/\s*$)|sync .*--delete",
    "mc": r"(?:^|\s)(?:rb|rm)\b.*(?:--force|--recursive|-r\b)|mirror .*--remove",
    "rclone": r"(?:^|\s)(?:purge|delete|rmdirs)\b",
    "eb": r"terminate\b",
    "sam": r"delete\b",
    "copilot": r"(?:app|env|svc|job) delete",
    "amplify": r"^(?:delete|env remove)",
    "chalice": r"^delete",
    "linode-cli": r"\b(?:delete|rebuild)\b",
    "hcloud": r"\bdelete\b",
    "vercel": r"^(?:rm|remove|project rm|env rm)\b",
    "netlify": r"sites:delete|api deleteSite",
    "wrangler": r"^(?:delete|kv\S* .*delete|r2 .*delete|d1 delete)|(?:kv|r2|d1)\b.*\bdelete\b",
    "supabase": r"db reset .*--linked|projects delete",
    "firebase": r"(?:firestore|database|functions|hosting|projects|apps):(?:delete|remove|disable)",
    "railway": r"^(?:down|delete|volume delete)",
    "gh": r"repo (?:delete|archive)|api .*(?:-X|--method)[ =]?DELETE|(?:secret|release|environment|ruleset) delete",
    "glab": r"(?:repo|project|release) delete|api .*(?:-X|--method)[ =]?DELETE",
    "hdfs": r"dfs .*-(?:rm|rmr|rmdir)\b.*(?:-r|-R|-skipTrash|-rmr)|namenode -format",
    "hadoop": r"fs .*-(?:rm|rmr)\b.*(?:-r|-R|-skipTrash|-rmr)",
    "rabbitmqctl": r"^(?:force_)?reset|delete_(?:vhost|queue|user)|purge_queue",
    "kafka-topics": r"--delete\b",
    "kafka-topics.sh": r"--delete\b",
    "kafka-delete-records": r"--offset-json-file",
    "kafka-delete-records.sh": r"--offset-json-file",
    "nodetool": r"(?:decommission|removenode|clearsnapshot|drain|assassinate)",
    "pg_dropcluster": r".",
    "pg_ctl": r"stop .*-m\s*i",
    "pgbackrest": r"stanza-delete|expire .*--set",
    "barman": r"^delete\b",
    "restic": r"forget\b(?!.*--keep-[\w-]+[= ][1-9])|key remove",
    "borg": r"^(?:-\S+ )*delete\b",
    "duplicity": r"remove-all",
    "virsh": r"undefine|destroy|vol-delete|pool-delete|vol-wipe",
    "lxc": r"^delete\b",
    "incus": r"^delete\b",
    "qm": r"^destroy\b",
    "pct": r"^destroy\b",
    "multipass": r"^delete .*--all|^purge",
}
"""For each tool a pattern over its words, joined by spaces. Names that say development or test are spared."""
_EXPOSES = {"gh": r"repo edit .*--visibility[= ]public|gist create .*(?:-p\b|--public)"}
_PRODUCTION_ONLY = {
    "helmfile": r"\b(?:destroy|delete|apply|sync)\b",
    "ansible-playbook": r"destroy|delete|wipe|teardown|decommission",
    "kind": r"delete cluster",
    "k3d": r"cluster delete",
    "rails": r"db:(?:drop|reset|schema:load|purge|truncate_all|migrate:reset)",
    "rake": r"db:(?:drop|reset|schema:load|purge|truncate_all|migrate:reset)",
    "mix": r"ecto\.(?:drop|reset|rollback)",
    "prisma": r"migrate reset|--force-reset|--accept-data-loss",
    "sequelize": r"db:drop|undo:all",
    "sequelize-cli": r"db:drop|undo:all",
    "typeorm": r"schema:drop|migration:revert",
    "alembic": r"downgrade\b",
    "flyway": r"\bclean\b|\bundo\b",
    "liquibase": r"drop-?all|rollback",
    "knex": r"rollback",
    "dotnet": r"ef database drop",
    "artisan": r"migrate:(?:fresh|reset|refresh)|db:wipe",
}
"""What is daily work on a machine of one's own, and not where production is named."""
_PASTES = frozenset(
    "pastebinit gist ftp-upload transfer.sh termbin sendgrid croc wormhole ffsend magic-wormhole".split()
)


def _operation(shell: Shell, command: Command) -> str:
    name = command.name
    text = " ".join(command.argv[1:])
    if len(text) > LENGTH:
        shell.reading.add("shell.unparseable")
        return OUTPUT
    pattern = _DESTROYS.get(name, "")
    if pattern and re.search(pattern, text) and not _is_spared(text):
        shell.reading.add("cloud.destructive", service=name, operation="delete")
    if (exposes := _EXPOSES.get(name)) and re.search(exposes, text):
        shell.reading.add("cloud.exposure", service=name, operation="publish")
    where = " ".join([text, *command.assigned.values(), *_named_environment(shell)])
    if (pattern := _PRODUCTION_ONLY.get(name, "")) and re.search(pattern, text) and mentions_production(where):
        shell.reading.add("cloud.destructive", service=name, operation="reset")
    if name == "gh" and "gist" in command.argv[1:2]:
        _paste(shell, command)
    if name == "gh" and command.argv[1:3] == ["auth", "token"]:
        return SECRET
    if name == "gh":
        return OUTPUT
    judge_carried(shell, command)
    return OUTPUT


def _named_environment(shell: Shell) -> list[str]:
    names = (
        "RAILS_ENV",
        "RACK_ENV",
        "NODE_ENV",
        "APP_ENV",
        "ENVIRONMENT",
        "MIX_ENV",
        "DATABASE_URL",
        "DJANGO_SETTINGS_MODULE",
    )
    return [shell.around.variables.get(n, "") for n in names]


def _is_spared(text: str) -> bool:
    return is_expendable(text) and not mentions_production(text)


def _paste(shell: Shell, command: Command) -> str:
    """Files and input that are put where others read them."""
    files = [w for w in command.argv[1:] if not w.startswith("-")]
    if any(is_sensitive_upload(shell, w) for w in files if "." in w or "/" in w) or SECRET in (command.stdin or ""):
        shell.reading.add("shell.exfiltration")
    return OUTPUT


def _keychain(shell: Shell, command: Command) -> str | None:
    """macOS' keychain, which prints secrets."""
    text = " ".join(command.argv[1:])
    if re.search(r"find-(?:generic|internet)-password.*-w|dump-keychain|export\b.*-k", text):
        shell.reading.add("shell.sensitive_file", object="keychain")
        return SECRET
    return OUTPUT


def _getent(shell: Shell, command: Command) -> str:
    if command.argv[1:2] in (["shadow"], ["gshadow"]):
        shell.reading.add("shell.sensitive_file", object="/etc/shadow")
        return SECRET
    return OUTPUT


COMMANDS: Families = families(
    (_operation, " ".join({**_DESTROYS, **_PRODUCTION_ONLY})),
    (_paste, " ".join(_PASTES)),
    (_keychain, "security"),
    (_getent, "getent"),
)
