import pytest

from aegis.identity.roles import PERMISSIONS, Permission, may, narrowed
from aegis.kernel.call import Role

P, R = Permission, Role


@pytest.mark.parametrize(
    ("role", "permission", "allowed"),
    [
        (R.OPERATOR, P.MANAGE_TENANTS, True),
        (R.OPERATOR, P.READ_PAYLOADS, False),
        (R.OPERATOR, P.READ_DECISIONS, False),
        (R.OPERATOR, P.KILL, False),
        (R.ADMIN, P.MANAGE_AGENTS, True),
        (R.ADMIN, P.KILL, True),
        (R.ADMIN, P.APPROVE, True),
        (R.ADMIN, P.MANAGE_TENANTS, False),
        (R.ADMIN, P.DECIDE, False),
        (R.SECURITY, P.KILL, True),
        (R.SECURITY, P.APPROVE, True),
        (R.SECURITY, P.MANAGE_POLICIES, True),
        (R.SECURITY, P.INVESTIGATE, True),
        (R.SECURITY, P.MANAGE_PEOPLE, False),
        (R.AUDITOR, P.READ_AUDIT, True),
        (R.AUDITOR, P.READ_PAYLOADS, True),
        (R.AUDITOR, P.EXPORT_AUDIT, True),
        (R.AUDITOR, P.KILL, False),
        (R.AUDITOR, P.APPROVE, False),
        (R.AUDITOR, P.ERASE, False),
        (R.VIEWER, P.READ_DASHBOARDS, True),
        (R.VIEWER, P.READ_PAYLOADS, False),
        (R.AGENT, P.DECIDE, True),
        (R.AGENT, P.OPEN_SESSION, True),
        (R.AGENT, P.READ_OWN, True),
        (R.AGENT, P.APPROVE, False),
        (R.AGENT, P.READ_DECISIONS, False),
        (R.AGENT, P.DRY_RUN, False),
        (R.APPLICATION, P.OPEN_SESSION_FOR, True),
        (R.APPLICATION, P.DECIDE, False),
    ],
    ids=lambda value: str(value),
)
def test_a_role_may_what_the_table_says(role: Role, permission: Permission, allowed: bool) -> None:
    assert may(role, permission) is allowed


def test_readers_change_nothing() -> None:
    changing = {p for p in P if p.value.startswith(("manage_", "kill", "approve", "erase", "quarantine", "decide"))}
    for role in (R.AUDITOR, R.VIEWER):
        assert PERMISSIONS[role].isdisjoint(changing)


@pytest.mark.parametrize(
    ("highest", "claimed", "result"),
    [
        (R.ADMIN, R.AUDITOR, R.AUDITOR),
        (R.SECURITY, R.ADMIN, R.SECURITY),
        (R.VIEWER, R.ADMIN, R.VIEWER),
        (R.AGENT, R.ADMIN, R.AGENT),
        (R.AUDITOR, R.SECURITY, None),
        (R.AGENT, R.VIEWER, None),
        (R.ADMIN, R.OPERATOR, None),
        (R.OPERATOR, R.ADMIN, None),
    ],
    ids=lambda value: str(value),
)
def test_a_claimed_role_can_only_narrow(highest: Role, claimed: Role, result: Role | None) -> None:
    assert narrowed(highest, claimed) is result


def test_narrowing_never_gives_what_the_highest_role_lacks() -> None:
    for highest in R:
        for claimed in R:
            role = narrowed(highest, claimed)
            if role not in (None, R.AGENT, R.APPLICATION):
                assert PERMISSIONS[role] <= PERMISSIONS[highest] | PERMISSIONS[claimed]
                assert PERMISSIONS[role] <= PERMISSIONS[highest]
