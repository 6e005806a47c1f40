"""OPA in spawned children, behind the `PolicyEngine` port."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import orjson

from aegis.children.pool import ChildCrashed, ChildPool, ChildTimeout, ChildUnavailable
from aegis.policy.engine import BundleRejected, Evaluated, Loaded, PolicyFailed, problems_of
from aegis.policy.rego_tests import TestOutcome

DISTRIBUTION = "opa-golib-python-bindings"
CARRIES = {"0.4.4": "1.20.2"}
LOAD_MS = 3_000
COMPILE_MS = 1_000
YES, NO = b"\x01", b"\x00"


class Opa:
    """A `PolicyEngine`. A child that lacks a tenant's bundle is sent it with the question, within the load's time."""

    def __init__(
        self, *, size: int = 2, deadline_ms: int = 250, memory_bytes: int = 512 << 20, sources: Sequence[Path] = ()
    ) -> None:
        self._deadline_ms = deadline_ms
        self.pool = ChildPool(
            name="policy",
            target="aegis.policy.opa_child:serve",
            size=size,
            deadline_ms=deadline_ms,
            memory_bytes=memory_bytes,
            sources=sources,
        )
        self.name = engine_name()

    async def start(self, *, first: int | None = None) -> None:
        """As a pool's. Raises ChildUnavailable, in one line with the way to get OPA where it is missing."""
        try:
            await self.pool.start(first=first)
        except ChildUnavailable as error:
            if "opa_bindings" not in str(error):
                raise
            raise ChildUnavailable(
                "couldn't start the policy engine: OPA is not installed; `make install` installs it"
            ) from None

    async def close(self) -> None:
        await self.pool.close()

    async def load(self, archive: bytes, *, tenant: bool = True, pinned: bool = False, key: str = "") -> Loaded:
        """Pinned: compiled by every child, beside what they serve. Otherwise by one; others when they need it."""
        if not pinned:
            return _loaded(await self._asked(_load_frame(archive, tenant=tenant), LOAD_MS, key))
        checked = await self.check(archive, tenant=tenant, key=key)
        frame = _load_frame(archive, tenant=tenant, pinned=True)
        answers = await self.pool.broadcast(frame, key=checked.digest, deadline_ms=LOAD_MS)
        if not any(isinstance(answer, bytes) for answer in answers):
            self.pool.forget(checked.digest)
            raise PolicyFailed("policy.unavailable", f"no child took the bundle: {answers!r:.300}")
        return checked

    async def check(self, archive: bytes, *, tenant: bool = True, key: str = "") -> Loaded:
        """As `load`, and keeps nothing."""
        return _loaded(await self._asked(b"C" + (YES if tenant else NO) + archive, LOAD_MS, key))

    async def evaluate(self, digest: str, archive: bytes, given: bytes, *, key: str = "") -> Evaluated:
        digest_bytes = bytes.fromhex(digest.removeprefix("sha256:"))
        answer = await self._asked(b"E" + digest_bytes + given, self._deadline_ms, key)
        if answer[:1] == b"-":
            frame = b"".join((b"X", digest_bytes, len(archive).to_bytes(4, "big"), archive, given))
            answer = await self._asked(frame, self._deadline_ms + COMPILE_MS, key)
        if answer[:1] != b"=":
            raise PolicyFailed("policy.error", "the bundle doesn't compile any more")
        return evaluated(answer[1:])

    async def unload(self, digest: str) -> None:
        self.pool.forget(digest)
        await self.pool.broadcast(b"D" + bytes.fromhex(digest.removeprefix("sha256:")), deadline_ms=LOAD_MS)

    async def test(self, archive: bytes, *, key: str = "") -> tuple[TestOutcome, ...]:
        tree = _tree(await self._asked(b"T" + archive, LOAD_MS, key))
        return tuple(TestOutcome(**each) for each in tree["tests"])

    async def _asked(self, frame: bytes, deadline_ms: int, key: str) -> bytes:
        try:
            return await self.pool.ask(frame, deadline_ms=deadline_ms, key=key)
        except ChildTimeout as error:
            raise PolicyFailed("policy.timeout", str(error), lethal=error.lethal) from None
        except ChildCrashed as error:
            raise PolicyFailed("policy.unavailable", str(error), lethal=True) from None
        except ChildUnavailable as error:
            raise PolicyFailed("policy.unavailable", str(error)) from None


def _load_frame(archive: bytes, *, tenant: bool, pinned: bool = False) -> bytes:
    return b"L" + (YES if tenant else NO) + (YES if pinned else NO) + archive


def evaluated(envelope: bytes) -> Evaluated:
    """What OPA's envelope says. Raises PolicyFailed: policy.error, policy.undefined or policy.shape."""
    tree = orjson.loads(envelope)
    if error := tree.get("error"):
        code = "policy.undefined" if error.get("code") == "undefined" else "policy.error"
        raise PolicyFailed(code, str(error.get("message"))[:1000])
    try:
        results = tree["result"]
        if not results or not results[0].get("expressions"):
            raise PolicyFailed("policy.undefined", "some package's `findings` is undefined")
        value = results[0]["expressions"][0]["value"]
        return Evaluated(value["findings"], bool(value["awake"]))
    except (KeyError, TypeError, IndexError, AttributeError):
        raise PolicyFailed("policy.shape", "expected OPA's envelope, got another") from None


def engine_name() -> str:
    """`opa/<version of OPA>`, by the version of the library that carries it."""
    try:
        library = version(DISTRIBUTION)
    except PackageNotFoundError:
        return "opa/missing"
    return f"opa/{CARRIES.get(library, f'library-{library}')}"


def _loaded(answer: bytes) -> Loaded:
    tree = _tree(answer)
    return Loaded(
        tree["digest"], tuple(tree["packages"]), tuple(tuple(path) for path in tree["reads"]), tree["why_not"]
    )


def _tree(answer: bytes) -> dict[str, Any]:
    tree: dict[str, Any] = orjson.loads(answer)
    if "problems" in tree:
        raise BundleRejected(problems_of(tree["problems"]))
    return tree
