"""The policy child: OPA behind a pipe. Frames, each answered by one:

L tenant? pinned? archive   compiles a bundle -> JSON {"digest", "packages", "reads", "why_not"} or {"problems"}
E digest (32 bytes) input   -> `=` and OPA's envelope, or `-` when the bundle is not here
D digest (32 bytes)         forgets a bundle -> nothing
C tenant? archive           compiles, keeps nothing -> as L
T archive                   runs the bundle's tests -> JSON {"tests"} or {"problems"}
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from aegis.policy.bundle import Bundle, BundleUnreadable, read
from aegis.policy.check import Problem
from aegis.policy.compiled import ANSWER, BundleRefused, Compiled, Parser, compiled
from aegis.policy.rego_tests import run

DIGEST_BYTES = 32
MAX_TENANT_BUNDLES = 32
YES = b"\x01"


def serve(setup: bytes) -> Callable[[bytes], bytes]:
    """The target of the policy pool; its setup is empty."""
    return _Bundles().answer


class _Bundles:
    """Compiled bundles by digest. Tenants' are forgotten from the oldest use on; pinned ones stay."""

    def __init__(self) -> None:
        self._parser = Parser()
        self._pinned: dict[bytes, Compiled] = {}
        self._lately: OrderedDict[bytes, Compiled] = OrderedDict()

    def answer(self, frame: bytes) -> bytes:
        kind, rest = frame[:1], frame[1:]
        if kind == b"E":
            return self._evaluate(rest[:DIGEST_BYTES], rest[DIGEST_BYTES:])
        if kind == b"X":
            return self._compile_and_evaluate(rest)
        if kind == b"L":
            return self._load(rest[2:], tenant=rest[:1] == YES, pinned=rest[1:2] == YES)
        if kind == b"D":
            self._unpin(rest)
            return b""
        if kind == b"C":
            return self._check(rest[1:], tenant=rest[:1] == YES)
        if kind == b"T":
            return _told(lambda: {"tests": [asdict(each) for each in run(read(rest), self._parser)]})
        raise ValueError(f"couldn't read a frame: expected L, E, X, D, C or T, got {kind!r}")

    def _evaluate(self, digest: bytes, given: bytes) -> bytes:
        there = self._pinned.get(digest)
        if there is None:
            if digest not in self._lately:
                return b"-"
            self._lately.move_to_end(digest)
            there = self._lately[digest]
        return b"=" + there.engine.ask(ANSWER, given)

    def _compile_and_evaluate(self, rest: bytes) -> bytes:
        digest, size = rest[:DIGEST_BYTES], int.from_bytes(rest[DIGEST_BYTES : DIGEST_BYTES + 4], "big")
        archive, given = rest[DIGEST_BYTES + 4 :][:size], rest[DIGEST_BYTES + 4 + size :]
        if digest not in self._pinned and digest not in self._lately:
            self._load(archive, tenant=False, pinned=False)  # whose it is was checked when it was loaded first
        return self._evaluate(digest, given)

    def _load(self, archive: bytes, *, tenant: bool, pinned: bool) -> bytes:
        def load() -> dict[str, Any]:
            bundle = read(archive)
            digest = bytes.fromhex(bundle.digest.removeprefix("sha256:"))
            there = self._pinned.get(digest) or self._lately.get(digest)
            if there is None or tenant:  # the same bytes may be refused as a tenant's
                fresh = compiled(bundle, self._parser, tenant=tenant)
                if there is None:
                    there = fresh
                else:
                    fresh.engine.close()
            if pinned:
                self._pinned[digest] = self._lately.pop(digest, there)
            elif digest not in self._pinned:
                self._keep(digest, there)
            return _described(bundle, there)

        return _told(load)

    def _check(self, archive: bytes, *, tenant: bool) -> bytes:
        def check() -> dict[str, Any]:
            bundle = read(archive)
            there = compiled(bundle, self._parser, tenant=tenant)
            there.engine.close()
            return _described(bundle, there)

        return _told(check)

    def _unpin(self, digest: bytes) -> None:
        """Calls that began before the swap may still ask for it."""
        there = self._pinned.pop(digest, None)
        if there is not None:
            self._keep(digest, there)

    def _keep(self, digest: bytes, there: Compiled) -> None:
        self._lately[digest] = there
        self._lately.move_to_end(digest)
        if len(self._lately) > MAX_TENANT_BUNDLES:
            self._lately.popitem(last=False)[1].engine.close()


def _described(bundle: Bundle, there: Compiled) -> dict[str, Any]:
    return {
        "digest": bundle.digest,
        "packages": [".".join(package) for package in there.packages],
        "reads": there.reads.paths,
        "why_not": there.reads.why_not,
    }


def _told(work: Callable[[], dict[str, Any]]) -> bytes:
    try:
        answer = work()
    except BundleRefused as error:
        answer = {"problems": [problem.as_tree() for problem in error.problems]}
    except BundleUnreadable as error:
        answer = {"problems": [Problem("", 0, 0, "policy.bundle", str(error)).as_tree()]}
    return json.dumps(answer).encode()
