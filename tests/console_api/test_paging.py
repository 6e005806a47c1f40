"""Versions and pages of what has no document of its own: people, issuers, kill switches."""

from __future__ import annotations

from typing import Any

import pytest

from tests.console_api.conftest import Installation, Tenant

ISSUER = {"issuer": "https://paging.test", "jwks_uri": "https://paging.test/keys", "audience": "aegis",
          "max_role": "viewer"}  # fmt: skip


@pytest.fixture
def tenant(installation: Installation) -> Tenant:
    return installation.tenant("paging")


def test_a_change_of_a_person_that_was_not_seen_is_kept(tenant: Tenant) -> None:
    person = {"email": f"{tenant.id}@paging.test", "role": "viewer"}
    path = f"/v1/users/{tenant.admin.post('/v1/users', person).expect(201)['id']}"
    seen = tenant.admin.get(path).headers["etag"]
    changed = tenant.admin.patch(path, {"role": "auditor"}, if_match=seen)
    changed.expect(200)
    for answer in (
        tenant.admin.patch(path, {"role": "admin"}, if_match=seen),
        tenant.admin.delete(path, if_match=seen),
    ):
        assert answer.expect(412)["code"] == "request.precondition"
    current = tenant.admin.get(path)
    assert current.json["role"] == "auditor" and current.headers["etag"] == changed.headers["etag"]
    tenant.admin.delete(path, if_match=current.headers["etag"]).expect(204)


def test_a_change_of_an_issuer_that_was_not_seen_is_kept(tenant: Tenant) -> None:
    mine: dict[str, Any] = {**ISSUER, "issuer": f"https://{tenant.id}.test"}
    path = "/v1/issuers/idp"
    tenant.admin.put(path, mine, if_match='"anything"').expect(412)
    first = tenant.admin.put(path, mine)
    assert first.headers["etag"] == tenant.admin.get(path).headers["etag"]
    tenant.admin.put(path, {**mine, "max_role": "auditor"}, if_match=first.headers["etag"]).expect(200)
    tenant.admin.put(path, mine, if_match=first.headers["etag"]).expect(412)
    tenant.admin.delete(path, if_match=first.headers["etag"]).expect(412)
    assert tenant.admin.get(path).expect(200)["max_role"] == "auditor"


def test_kill_switches_come_in_pages_that_hold_each_once(tenant: Tenant) -> None:
    scopes = sorted(f"tool:t{n}" for n in range(5))
    for scope in scopes:
        tenant.security.put(f"/v1/kill-switches/{scope.replace(':', '%3A')}", {"reason": "a drill"}).expect(200)
    seen: list[str] = []
    cursor = ""
    for _ in range(3):
        page = tenant.security.get(f"/v1/kill-switches?limit=2{cursor}").expect(200)
        seen += [each["scope"] for each in page["items"]]
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == scopes and page["next_cursor"] is None
    tenant.security.get("/v1/kill-switches?limit=0").expect(422)
