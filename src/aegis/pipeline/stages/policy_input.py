"""What rules see of a call. `policies/README.md` describes each member.

What the arguments amount to stands under `analysis`: the rules read that, and not the arguments themselves, so calls
that differ only in their words share one answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import orjson

from aegis.kernel.call import Call
from aegis.kernel.jsontree import JsonTree
from aegis.kernel.tenancy import Tool
from aegis.pipeline.stage import SoFar
from aegis.pipeline.stages.inference import texts
from aegis.policy.features import features, host_of
from aegis.policy.kinds import Argument

LISTED = 64
LOOKED_AT = 32
TEXT_LIMIT = 4096
REMOVING = frozenset({"delete", "deletecollection", "drain"})


def policy_input(
    call: Call,
    so_far: SoFar,
    tool: Tool | None,
    analysis: Mapping[str, Any],
    *,
    environment: str | None,
    workspace: str | None,
) -> dict[str, Any]:
    """Time comes in as `now`, microseconds since 1970."""
    session = so_far.facts["authenticate"].session
    history = so_far.facts["rate_limit"].history
    agent = so_far.view.agents.get(call.principal.agent or "")
    user = None if session is None else session.user
    return {
        "action": {"tool": call.action.tool, "arguments": call.action.arguments, "resource": call.action.resource},
        "tool": {
            "effect": tool.effect if tool else "unknown",
            "output_trust": tool.output_trust if tool else "untrusted",
            "risk": tool.risk if tool else 0.0,
            "registered": tool is not None,
        },
        "analysis": analysis,
        "context": {**call.context.given, "environment": environment, "workspace": workspace},
        "agent": {
            "id": call.principal.agent,
            "name": agent.name if agent else None,
            "team": agent.team if agent else None,
            "labels": dict(agent.labels) if agent else {},
        },
        "user": None if user is None else {"id": user.id, "known": user.known, "groups": list(user.groups)},
        "session": None if session is None else {"id": session.id, "intent": session.intent},
        "history": {
            "steps": history.steps if history else 0,
            "tools": dict(history.tools) if history else {},
            "last": [list(each) for each in history.last] if history else [],
            "micro_usd": history.micro_usd if history else 0,
        },
        "now": call.received_at,
    }


def amounts_to(
    arguments: Sequence[Argument],
    tree: JsonTree,
    parsed: Mapping[str, Any],
    secret_in: Callable[[str], str | None],
) -> dict[str, Any]:
    """The members of `analysis`. `parsed` is what the parsers of code found, `secret_in` tells a secret from text."""
    secrets = secrets_in(tree, secret_in)
    return {
        **parsed,
        **features(arguments, tree),
        "k8s": [change for a in arguments if a.kind == "k8s" for change in change_of(a)][:LISTED],
        "secrets": {"count": len(secrets), **({"path": secrets[0]} if secrets else {})},
    }


def named_by(arguments: Sequence[Argument], parsed: Mapping[str, Any]) -> tuple[str, ...]:
    """What the arguments themselves name, as contracts list resources: `table:x`, `host:x`, `path:x`, `namespace:x`."""
    found = [f"table:{table}" for each in parsed.get("sql", ()) for table in each.get("tables", ())]
    for argument in arguments:
        if argument.kind == "url":
            found.append(f"host:{host_of(argument.text) or ''}")
        elif argument.kind == "path":
            found.append(f"path:{argument.text}")
        elif argument.kind == "k8s":
            found += [f"namespace:{change['namespace']}" for change in change_of(argument) if change["namespace"]]
    return tuple(dict.fromkeys(found))[:LISTED]


def secrets_in(tree: JsonTree, secret_in: Callable[[str], str | None]) -> list[str]:
    """Paths of the strings that hold a secret, among the first few and their beginnings."""
    looked_at = list(texts(tree))[:LOOKED_AT]
    return [path for path, text in looked_at if secret_in(text[:TEXT_LIMIT]) is not None]


def change_of(argument: Argument) -> list[dict[str, Any]]:
    """A structured call of the Kubernetes API, as far as it names its verb."""
    try:
        call = orjson.loads(argument.text)
    except orjson.JSONDecodeError:
        return []
    if not isinstance(call, dict):
        return []
    verb = str(call.get("verb") or call.get("method") or "").lower()
    namespace = call.get("namespace")
    return [
        {
            "path": argument.path,
            "verb": verb,
            "kind": str(call.get("kind") or call.get("resource") or "object")[:64],
            "namespace": namespace if isinstance(namespace, str) else "",
            "destructive": verb in REMOVING,
        }
    ]
