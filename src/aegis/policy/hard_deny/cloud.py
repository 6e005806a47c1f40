"""What is done to a cloud account: aws, gcloud, az, terraform and like command lines, and structured calls."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from aegis.policy.hard_deny.environments import is_expendable, mentions_production

Found = tuple[str, dict[str, str]]
DESTROYS, EXPOSES, EMPOWERS = "cloud.destructive", "cloud.exposure", "cloud.privilege"
_READS = re.compile(
    r"(?:describe|list|get|head|show|lookup|search|scan|query|simulate|validate|test|check|estimate|preview|view|wait|ls|tail|"
    r"filter|batch-get|select|read|export-|download|cp|presign|assume|generate-credential|login|configure|help)(?:-|$)"
)
_HARMLESS = frozenset(
    "delete-message delete-message-batch delete-tags untag-resource remove-tags delete-object-tagging "
    "delete-bucket-tagging delete-item "
    "delete-object remove-tags-from-resource delete-metric-filter delete-dashboards "
    "delete-launch-template-versions delete-session "
    "delete-event-tracker delete-query-definition delete-comment delete-draft".split()
)
_DESTROYS = re.compile(
    r"(?:delete|terminate|destroy|purge|deregister|schedule-key-deletion|disable-key|stop-logging|stop-configuration-recorder|remove-permission"
    r"|batch-delete|disable-alarm|disassociate-kms|cancel-key|release-address|release-hosts|disable-rule|delete-objects|revoke-db|"
    r"disable-security-hub|disable-organization|disable-ebs-encryption|disable-macie|leave-organization|close-account|rb|abort-environment|"
    r"detach-volume|reset-db|disable-backup|empty-bucket|deactivate-type)(?:-|$)"
)
_EMPOWERS = re.compile(
    r"(?:create-access-key|create-user|create-login-profile|update-login-profile|attach-(?:user|role|group)-policy|put-(?:user|role|group)-policy|"
    r"update-assume-role-policy|add-user-to-group|create-policy-version|set-default-policy-version|delete-account-password-policy|"
    r"update-account-password-policy|deactivate-mfa-device|delete-(?:user|role|group)-permissions-boundary|create-service-specific-credential|"
    r"put-key-policy|create-grant|add-role-to-instance-profile|upload-ssh-public-key|associate-admin-account|create-open-id-connect-provider|"
    r"create-saml-provider|delete-role-policy|enable-organization-admin-account|create-account-assignment|detach-(?:user|role|group)-policy|"
    r"reset-service-specific-credential|update-access-key|put-resource-policy|get-federation-token)$"
)
_WORLD = re.compile(
    r"0\.0\.0\.0/0|::/0|(?<![\d.])0\.0\.0\.0(?![\d.])|\ballUsers\b|\ballAuthenticatedUsers\b", re.IGNORECASE
)
_ANYONE = re.compile(
    r"[\"']?Principal[\"']?\s*[:=]\s*(?:[\"']?\*|\{\s*[\"']?\w+[\"']?\s*[:=]\s*\[?\s*[\"']?\*)", re.IGNORECASE
)
_PUBLIC = re.compile(
    r"public-read(?:-write)?|authenticated-read|--publicly-accessible\b|"
    r"--values-to-add[= ][\"']?all\b|\bPubliclyAccessible[\"']?\s*[:=]\s*true|--group-names[= ]all\b|"
    r"\"?Group(?:Names)?\"?\s*[:=]\s*\[?\s*\"?all\b|[\"']?auth-?type[\"']?\s*[:= ]\s*[\"']?NONE\b|http://acs\.amazonaws\.com/groups/global/\w+|"
    r"(?:BlockPublicAcls|BlockPublicPolicy|RestrictPublicBuckets|IgnorePublicAcls)[\"']?\s*[:=]\s*false|"
    r"--public-access[= ](?:blob|container)|--allow-blob-public-access[= ]true|--public-network-access[= ]enabled|"
    r"--allow-unauthenticated|\bAllUsers\b|--default-action[= ]allow|--source-address-prefix(?:es)?[= "
    r"][\"']?(?:\*|internet|any|0\.0\.0\.0)",
    re.IGNORECASE,
)
_WEB_ONLY = re.compile(r"(?:--port[= ](?:443|80)\b)(?!-)|FromPort[\"']?\s*[:=]\s*(?:443|80)\b")


_SPACES = re.compile(r"\s{2,}")


def judge_words(argv: Sequence[str], workspace: str = "") -> list[Found]:
    """Findings of a cloud command line. `workspace` is the Terraform workspace chosen before."""
    tool = argv[0].rsplit("/", 1)[-1].lower()
    words = [_SPACES.sub(" ", w) for w in argv[1:]]
    if any(w in ("--dry-run", "--dryrun", "--what-if", "--help", "help", "--generate-cli-skeleton") for w in words):
        return []
    match tool:
        case "aws" | "aws2":
            return _aws_words(words)
        case "gcloud":
            return _gcloud(words)
        case "gsutil":
            return _gsutil(words)
        case "az":
            return _az(words)
        case "terraform" | "tofu" | "terragrunt" | "pulumi" | "cdk" | "cdktf" | "serverless" | "sls":
            return _stacks(tool, words, workspace)
    text = " ".join(words)
    if re.search(
        r"\b(?:delete|destroy|rm|remove|reset|terminate)\b|:destroy|:reset|apps:delete", text
    ) and not is_expendable(text):
        return [(DESTROYS, {"service": tool, "operation": "delete"})]
    return []


def prints_secrets(argv: Sequence[str]) -> bool:
    """Commands whose output is a credential."""
    text = " ".join(argv)
    return bool(
        re.search(
            r"get-secret-value|get-parameters?\b.*--with-decryption|secrets versions access|keyvault secret "
            r"(?:show|download)|get-session-token|"
            r"create-access-key|print-access-token|get-access-token|get-login-password|kms decrypt|"
            r"assume-role|print-identity-token|output -json|"
            r"get-credentials|vault (?:kv )?(?:get|read)|iam service-accounts keys create",
            text,
        )
    )


def _options(words: Sequence[str]) -> tuple[list[str], str]:
    plain: list[str] = []
    at = 0
    while at < len(words):
        word = words[at]
        if word.startswith("-"):
            if "=" not in word and at + 1 < len(words) and not words[at + 1].startswith("-") and word in _GLOBALS:
                at += 1
        else:
            plain.append(word)
        at += 1
    return plain, " ".join(words)


_GLOBALS = frozenset(
    "--profile --region --output --query --endpoint-url --project --account --format --subscription -o -g --zone "
    "--location --cli-input-json --color -C --cli-connect-timeout --cli-read-timeout --ca-bundle --cli-binary-format "
    "--page-size --max-items --impersonate-service-account --billing-project --verbosity --configuration".split()
)


def _aws_words(words: Sequence[str]) -> list[Found]:
    plain, text = _options(words)
    if len(plain) < 2:
        return []
    service, operation = plain[0].lower(), plain[1].lower()
    if service == "s3":
        return _aws_s3(operation, words, text)
    return _aws(service, operation, text)


def _aws_s3(operation: str, words: Sequence[str], text: str) -> list[Found]:
    found: list[Found] = []
    targets = " ".join(w for w in words if w.startswith("s3://"))
    spared = is_expendable(targets)
    if operation == "rb" and not spared:
        found.append((DESTROYS, {"service": "s3", "operation": "rb"}))
    if operation in ("rm", "mv") and "--recursive" in words and not spared:
        found.append((DESTROYS, {"service": "s3", "operation": operation}))
    if operation == "rm" and mentions_production(targets):
        found.append((DESTROYS, {"service": "s3", "operation": operation}))
    if (
        operation == "sync"
        and "--delete" in words
        and [w for w in words if not w.startswith("-")][-1].startswith("s3://")
        and not spared
    ):
        found.append((DESTROYS, {"service": "s3", "operation": "sync"}))
    if _PUBLIC.search(text):
        found.append((EXPOSES, {"service": "s3", "operation": operation}))
    return found


def _aws(service: str, operation: str, text: str) -> list[Found]:
    """`operation` in kebab case, `text` everything that was given with it."""
    values = {"service": service, "operation": operation}
    text = text.replace('\\"', '"')
    if _EMPOWERS.match(operation) and service in (
        "iam",
        "kms",
        "sts",
        "organizations",
        "sso-admin",
        "secretsmanager",
        "identitystore",
        "lambda",
    ):
        return [(EMPOWERS, values)]
    if _READS.match(operation):
        return []
    found: list[Found] = []
    if (
        operation == "delete-public-access-block"
        or operation == "delete-bucket-policy"
        or _ANYONE.search(text)
        or _PUBLIC.search(text)
    ):
        found.append((EXPOSES, values))
    if (
        _WORLD.search(text)
        and operation
        not in (
            "create-route",
            "delete-route",
            "replace-route",
            "revoke-security-group-ingress",
        )
        and not (operation == "authorize-security-group-ingress" and _WEB_ONLY.search(text))
    ):
        found.append((EXPOSES, values))
    if re.search(r"add-permission$", operation) and re.search(r"principal[\"'= :]+\*", text, re.IGNORECASE):
        found.append((EXPOSES, values))
    if re.search(r"\"?Action\"?\s*:\s*\[?\s*\"\*\"", text) and "policy" in operation:
        found.append((EMPOWERS, values))
    if operation not in _HARMLESS and _DESTROYS.match(operation) and not _is_spared(text):
        found.append((DESTROYS, values))
    weakened = re.search(
        r"Status[\"']?[:=]\s*[\"']?(?:Suspended|Disabled)|--no-deletion-protection|DeletionProtection[\"']?\s*[:=]\s*false|"
        r"--backup-retention-period[= ]0\b|BackupRetentionPeriod[\"']?\s*[:=]\s*0\b|"
        r"--no-enable-log-file-validation|--no-is-multi-region-trail|"
        r"\"Expiration\"|--no-enable\b|--no-block|PointInTimeRecoveryEnabled[\"']?\s*[=:]\s*false|"
        r"--event-selectors[= ]\[\]",
        text,
    )
    if weakened and re.match(r"(?:put|modify|update|set)", operation):
        found.append((DESTROYS, values))
    zero = re.search(
        r"(?:--(?:desired-count|desired-capacity|max-size|min-size)[= ]|[\"']?(?:desiredCount|DesiredCapacity|"
        r"MaxSize)[\"']?\s*:\s*)0\b",
        text,
    )
    if mentions_production(text) and (
        zero or re.match(r"(?:stop|reboot|restart|restore|reset|disable|suspend|failover)-", operation)
    ):
        found.append((DESTROYS, values))
    return found


def _is_spared(text: str) -> bool:
    """Names that say development and none that says production."""
    return not mentions_production(text) and any(
        is_expendable(p) for p in re.split(r"[\s/=:,;\"'{}\[\]]+", text) if p and not p.startswith("-")
    )


def _gcloud(words: Sequence[str]) -> list[Found]:
    plain, text = _options(words)
    verbs = set(plain)
    group = plain[0] if plain else ""
    values = {"service": group, "operation": next((p for p in reversed(plain[:5]) if re.fullmatch(r"[a-z\-]+", p)), "")}
    found: list[Found] = []
    if "add-iam-policy-binding" in verbs or "set-iam-policy" in verbs:
        found.append((EXPOSES if _WORLD.search(text) else EMPOWERS, values))
    if ("keys" in verbs and "create" in verbs and "service-accounts" in verbs) or (
        "roles" in verbs and verbs & {"create", "update"}
    ):
        found.append((EMPOWERS, values))
    if (_WORLD.search(text) or _PUBLIC.search(text)) and verbs & {
        "create",
        "update",
        "patch",
        "deploy",
        "add",
        "insert",
        "set",
    }:
        found.append((EXPOSES, values))
    if {"firewall-rules", "create"} <= verbs and not re.search(
        r"--source-|egress|--allow[= ](?:tcp:)?(?:443|80)(?:,(?:tcp:)?(?:443|80))*(?:\s|$)", text, re.IGNORECASE
    ):
        found.append((EXPOSES, values))  # without sources a rule lets everyone in
    if verbs & {
        "delete",
        "destroy",
        "purge",
        "disable",
        "remove-iam-policy-binding",
        "abandon-instances",
        "reset",
    } and not _is_spared(text):
        found.append((DESTROYS, values))
    if (
        plain[:2] == ["storage", "rm"]
        and any(re.fullmatch(r"-[rR]|--recursive", w) for w in words)
        and not _is_spared(text)
    ):
        found.append((DESTROYS, values))
    if "--no-deletion-protection" in words or "--no-backup" in words or ("stop" in verbs and mentions_production(text)):
        found.append((DESTROYS, values))
    return found


def _gsutil(words: Sequence[str]) -> list[Found]:
    plain, text = _options(words)
    verb = next(
        (p for p in plain if p in ("rm", "rb", "iam", "acl", "defacl", "rsync", "lifecycle", "versioning", "mv")), ""
    )
    values = {"service": "storage", "operation": verb}
    if re.search(r"allUsers|allAuthenticatedUsers|AllUsers|public-read", text):
        return [(EXPOSES, values)]
    recursive = any(re.fullmatch(r"-[a-zA-Z]*[rRd][a-zA-Z]*", w) for w in words) or text.endswith("**")
    if (
        (verb == "rb" or (verb in ("rm", "rsync") and recursive) or (verb == "versioning" and "off" in plain))
        and not _is_spared(text)
        and (verb != "rsync" or any(re.fullmatch(r"-[a-zA-Z]*d[a-zA-Z]*", w) for w in words))
    ):
        return [(DESTROYS, values)]
    if (verb == "iam" and "set" in plain) or ("ch" in plain and "admin" in text.lower()):
        return [(EMPOWERS, values)]
    return []


def _az(words: Sequence[str]) -> list[Found]:
    _plain, text = _options(words)
    commands = []
    for word in words:
        if word.startswith("-"):
            break
        commands.append(word)
    verb = commands[-1] if commands else ""
    values = {"service": commands[0] if commands else "az", "operation": verb}
    joined = " ".join(commands)
    if re.match(
        r"role (?:assignment|definition) (?:create|update)|ad sp create|ad app credential|ad sp credential|"
        r"keyvault set-policy|ad user create|"
        r"ad group member add|identity create",
        joined,
    ):
        return [(EMPOWERS, values)]
    found: list[Found] = []
    if verb in ("create", "update", "set-permission", "add", "set", "open-port") and (
        _PUBLIC.search(text) or _WORLD.search(text)
    ):
        found.append((EXPOSES, values))
    if (
        verb in ("delete", "purge", "remove", "delete-batch", "reset", "clear")
        and "tag" not in commands
        and joined != "account clear"
        and not _is_spared(text)
    ):
        found.append((DESTROYS, values))
    if re.search(r"^rest\b.*--method[= ]delete|--mode[= ]complete\b", text, re.IGNORECASE) and not _is_spared(text):
        found.append((DESTROYS, values))
    if verb == "open-port" and re.search(r"--port[= ][\"']?(?:\*|22\b|3389\b|0-)", text):
        found.append((EXPOSES, values))
    if verb in ("deallocate", "stop") and mentions_production(text):
        found.append((DESTROYS, values))
    return found


def _stacks(tool: str, words: Sequence[str], workspace: str) -> list[Found]:
    text = " ".join(words)
    plain = [w for w in words if not w.startswith("-")]
    verb = plain[0] if plain else ""
    if verb in ("run-all", "run") and len(plain) > 1:
        verb = plain[1]
    verb = verb.removesuffix("-all")
    values = {"service": tool, "operation": verb}
    production = mentions_production(text) or mentions_production(workspace)
    spared = (_is_spared(text) or is_expendable(workspace)) and not production
    if verb == "plan" and re.search(r"(?:^|\s)--?destroy\b", text) and "-out" in text and not spared:
        return [(DESTROYS, values)]
    if verb == "plan" or verb == "preview" or "preview" in plain[:1]:
        return []
    if (verb in ("destroy", "remove") or "-destroy" in words or "--destroy" in words) and not spared:
        return [(DESTROYS, values)]
    if verb == "state" and plain[1:2] in (["rm"], ["push"], ["delete"], ["replace-provider"]) and not spared:
        return [(DESTROYS, values)]
    if (plain[:2] in (["stack", "rm"], ["workspace", "delete"], ["state", "delete"])) and not spared:
        return [(DESTROYS, values)]
    if verb in ("apply", "up", "deploy", "taint", "import", "update") and production:
        return [(DESTROYS, values)]
    if verb == "apply" and re.search(r"-replace[= ]", text) and "-auto-approve" in text and not spared:
        return [(DESTROYS, values)]
    return []


_SERVICES = frozenset(
    "s3 ec2 rds iam kms lambda dynamodb eks ecs cloudformation cloudtrail route53 sts secretsmanager sqs sns "
    "efs elasticache redshift backup "
    "organizations guardduty cloudwatch logs ssm ecr autoscaling elb elbv2 config apigateway".split()
)


def judge_call(tool_words: frozenset[str], call: Mapping[str, Any]) -> list[Found]:
    """Findings of a structured call: `{"service": "s3", "operation": "DeleteBucket", "params": {...}}`."""
    flat = {str(k).lower(): v for k, v in call.items()}
    operation = next(
        (
            str(flat[k])
            for k in ("operation", "action", "api", "operation_name", "method", "command")
            if isinstance(flat.get(k), str)
        ),
        "",
    )
    service = str(flat.get("service") or flat.get("client") or "")
    if not operation:
        operation = "-".join(
            w
            for w in ("delete", "terminate", "destroy", "create", "put", "attach", "modify", "update", "authorize")
            if w in tool_words
        )
        operation += "-" + "-".join(
            sorted(
                tool_words
                & {"bucket", "instance", "instances", "user", "role", "policy", "database", "cluster", "stack"}
            )
        )
    if "." in operation or ":" in operation:
        service, _, operation = operation.replace(":", ".").rpartition(".")
    kebab = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", "-", operation).lower().strip("-")
    service = service.lower() or next(iter(sorted(tool_words & _SERVICES)), "cloud")
    text = json.dumps(call, ensure_ascii=False, default=str)[:65536]
    if flat.get("dryrun") is True or flat.get("dry_run") is True or '"DryRun": true' in text:
        return []
    if service in ("gcp", "gcloud", "azure", "az") or tool_words & {"gcp", "gcloud", "azure"}:
        found = _aws(service, kebab.replace(" ", "-"), text)
        last = kebab.rsplit("-", 1)[-1]
        if re.match(r"(?:delete|destroy|purge|remove)$", last) and not _is_spared(text):
            found.append((DESTROYS, {"service": service, "operation": kebab[:40]}))
        if re.search(r"iam-?policy|role-?assignment", kebab) and re.search(r"set|add|create|update", kebab):
            found.append((EXPOSES if _WORLD.search(text) else EMPOWERS, {"service": service, "operation": kebab[:40]}))
        return found
    return _aws(service, kebab, text)
