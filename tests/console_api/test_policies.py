"""A tenant's bundles over the API: checked, drafted, activated, rolled back; each change in the log."""

from __future__ import annotations

from typing import Any

import pytest

from aegis.policy.bundle import build
from tests.console_api.conftest import Caller, Installation, Tenant


def bundle(package: str, rule: str = "findings := []") -> bytes:
    return build({"rules.rego": f"package tenant.{package}\n\n{rule}\n".encode()}).archive


def refuses(package: str, tool: str) -> bytes:
    return bundle(
        package,
        f"""findings contains found if {{
    input.action.tool == "{tool}"
    found := {{"code": "policy.refused", "severity": "high", "message": "not here", "path": ""}}
}}""",
    )


def send(caller: Caller, archive: bytes) -> Any:
    return caller.raw("POST", "/v1/policies", archive, {"content-type": "application/gzip"})


def drafted(tenant: Tenant, archive: bytes) -> str:
    return str(send(tenant.security, archive).expect(201)["digest"])


def active(tenant: Tenant) -> list[str]:
    return [
        each["digest"] for each in tenant.auditor.get("/v1/policies").expect(200)["items"] if each["status"] == "active"
    ]


def verdict(tenant: Tenant, tool: str) -> str:
    return str(tenant.agent_caller.post("/v1/decide", {"tool": tool, "arguments": {}}).expect(200)["verdict"])


@pytest.fixture(scope="module")
def tenant(installation: Installation) -> Tenant:
    return installation.tenant("policies")


def test_a_bundle_that_passes_becomes_a_draft_with_its_checks(tenant: Tenant) -> None:
    answer = send(tenant.security, bundle("first"))
    made = answer.expect(201)
    assert made["status"] == "draft" and made["digest"].startswith("sha256:")
    assert {each["check"]: each["passed"] for each in made["checks"]}["compiles"]
    assert answer.headers["location"] == f"/v1/policies/{made['digest']}"
    assert tenant.auditor.get(answer.headers["location"]).expect(200)["status"] == "draft"
    assert tenant.auditor.get("/v1/policies/sha256:none").expect(404)["code"] == "policies.unknown"
    assert active(tenant) == []


def test_the_same_bytes_again_are_the_same_draft(tenant: Tenant) -> None:
    assert drafted(tenant, bundle("again")) == drafted(tenant, bundle("again"))


@pytest.mark.parametrize(
    ("archive", "code"),
    [
        pytest.param(b"", "policy.bundle", id="nothing"),
        pytest.param(b"\x1f\x8b not a gzip", "policy.bundle", id="no gzip"),
        pytest.param(build({"rules.rego": b"package other\n\nfindings := []\n"}).archive, "policy.package",
                     id="a package outside the tenant's"),
        pytest.param(bundle("net", 'findings := http.send({"url": "x"})'), "policy.impure", id="network"),
        pytest.param(bundle("clock", "findings := [time.now_ns()]"), "policy.impure", id="clock"),
        pytest.param(bundle("slip", "findings := [input.acton]"), "policy.input", id="a slip of the pen"),
        pytest.param(bundle("nothing", "other := 1"), "policy.entry", id="nothing to say"),
    ],
)  # fmt: skip
def test_what_does_not_pass_is_422_and_kept_nowhere(archive: bytes, code: str, tenant: Tenant) -> None:
    before = tenant.auditor.get("/v1/policies").expect(200)
    told = send(tenant.security, archive).expect(422)
    assert told["code"] == code
    assert tenant.auditor.get("/v1/policies").expect(200) == before


def test_a_mistake_is_told_by_file_line_and_column(tenant: Tenant) -> None:
    told = send(tenant.security, bundle("broken", "findings := [")).expect(422)
    place = told["problems"][0]
    assert place["file"] == "rules.rego" and place["line"] >= 3 and place["column"] >= 1
    assert told["errors"][0]["path"] == "/rules.rego" and "line" in told["errors"][0]["message"]


def test_a_bundle_whose_own_tests_fail_is_refused(tenant: Tenant) -> None:
    files = {
        "rules.rego": b"package tenant.tested\n\nfindings := []\n",
        "rules_test.rego": b"package tenant.tested\n\ntest_it_refuses if {\n\tcount(findings) == 1\n}\n",
    }
    told = send(tenant.security, build(files).archive).expect(422)
    assert told["code"] == "policy.tests"
    assert "test_it_refuses" in told["errors"][0]["message"]


def test_an_active_bundle_has_a_say_and_rolling_back_takes_it_away(tenant: Tenant) -> None:
    assert verdict(tenant, "coffee.make") != "kill"
    quiet, strict = drafted(tenant, bundle("quiet")), drafted(tenant, refuses("strict", "coffee.make"))
    assert tenant.security.post(f"/v1/policies/{quiet}/activate").expect(200)["before"] is None
    made = tenant.security.post(f"/v1/policies/{strict}/activate").expect(200)
    assert (made["status"], made["before"], active(tenant)) == ("active", quiet, [strict])
    assert verdict(tenant, "coffee.make") == "kill"
    back = tenant.security.post("/v1/policies/rollback", {"reason": "no coffee"}).expect(200)
    assert (back["digest"], back["before"], active(tenant)) == (quiet, strict, [quiet])
    assert verdict(tenant, "coffee.make") != "kill"
    rows = [row for row in tenant.rows() if row["kind"] == "policy"]
    assert [(row["detail"]["action"], row["policy"]) for row in rows][-3:] == [
        ("policies.activate", quiet),
        ("policies.activate", strict),
        ("policies.rollback", quiet),
    ]
    assert rows[-1]["detail"]["before"] == strict


@pytest.mark.parametrize("digest", ["sha256:" + "0" * 64, "nonsense", "sha256:../../x"])
def test_a_bundle_that_nobody_kept_cannot_be_activated(digest: str, tenant: Tenant) -> None:
    tenant.security.post(f"/v1/policies/{digest.replace('/', '%2F')}/activate").expect(404)


def test_without_an_earlier_bundle_there_is_nothing_to_go_back_to(home: Tenant) -> None:
    assert home.security.post("/v1/policies/rollback").expect(409)["code"] == "policies.first"


def test_the_list_has_pages(tenant: Tenant) -> None:
    for number in range(3):
        drafted(tenant, bundle(f"page{number}"))
    whole = [each["digest"] for each in tenant.auditor.get("/v1/policies").expect(200)["items"]]
    seen, cursor = [], ""
    while cursor is not None:
        made = tenant.auditor.get(f"/v1/policies?limit=2{cursor and '&cursor=' + cursor}").expect(200)
        seen += [each["digest"] for each in made["items"]]
        cursor = made["next_cursor"]
    assert seen == whole
