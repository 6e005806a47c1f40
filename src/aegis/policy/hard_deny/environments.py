"""Names of environments: which are production, and which are clearly not."""

from __future__ import annotations

import re

_TOKENS = re.compile(r"[a-z]+|\d+", re.IGNORECASE)
_PRODUCTION = frozenset({"prod", "production", "prd"})
_OTHERS = frozenset(
    "dev devel development test testing tests tst staging stage stg sandbox sbx preview pr qa ci tmp temp "
    "demo e2e feature feat review "
    "playground scratch ephemeral uat local lab experiment experiments poc training loadtest perf "
    "integration int nonprod preprod non "
    "pre branch mock trial canary dummy example sample throwaway old".split()
)
_REGIONS = frozenset(
    "eu us ap apac emea na sa me af asia uk gb de fr in jp au ca br ie nl se sg hk cn kr za east west north "
    "south central northeast "
    "southeast northwest southwest a b c d blue green global europe america primary secondary main use usw "
    "euw euc".split()
)
_SYSTEM = frozenset({"kube-system", "kube-public", "kube-node-lease"})


def is_protected(name: str, more: frozenset[str] = frozenset()) -> bool:
    """Whether an environment or namespace is production, live or the cluster's own."""
    name = name.strip().strip("'\"").lower()
    if name in _SYSTEM or name in more:
        return True
    words = [w.lower() for w in _TOKENS.findall(name)]
    if not words or any(w in _OTHERS for w in words):
        return False
    if any(w in _PRODUCTION for w in words):
        return True
    return "live" in words and all(w == "live" or w in _REGIONS or w.isdigit() for w in words)


def is_expendable(name: str) -> bool:
    """Whether a name says by itself that it is development, test or preview."""
    words = [w.lower() for w in _TOKENS.findall(name)]
    return any(w in _OTHERS for w in words) and not is_protected(name)


def mentions_production(text: str) -> bool:
    """Whether some word of `text` names production."""
    return any(is_protected(part) for part in re.split(r"[\s/=:,;.\\@]+", text) if part)
