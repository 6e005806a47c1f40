import asyncio
from dataclasses import replace

import pytest

from aegis.kernel.tenancy import KillSwitch, Settings, TenantView, Tool
from aegis.kill_switch.in_flight import ORDER_HOLDS_S, InFlight
from aegis.kill_switch.judge import CallScope

CALL = CallScope("agt_a", "tea_1", "shell", "ses_1", asked="Bash")
VIEW = TenantView(
    tenant="ten_a", name="", status="active", version=1, kill_epoch=0, settings=Settings(), agents={},
    tools={"shell": Tool("shell", "destructive"), "sh": Tool("sh", "destructive", alias_of="shell")},
    upstreams={}, quotas={}, contracts={}, switches={}, keys={}, issuers={}, revoked=frozenset(),
    ended_sessions=frozenset(), policy=None, label_key=b"k" * 32,
)  # fmt: skip


def engaged(**epochs: int) -> TenantView:
    scopes = {name.replace("__", ":"): epoch for name, epoch in epochs.items()}
    return replace(VIEW, switches={scope: KillSwitch(scope, epoch, 0, "r") for scope, epoch in scopes.items()})


class Stops(list[str]):
    def __call__(self, scope: str) -> None:
        self.append(scope)


@pytest.mark.parametrize(
    ("tenant", "scope", "stops"),
    [
        ("ten_a", "tenant", True),
        ("ten_a", "team:tea_1", True),
        ("ten_a", "agent:agt_a", True),
        ("ten_a", "tool:shell", True),
        ("ten_a", "tool:Bash", True),
        ("ten_a", "session:ses_1", True),
        ("ten_a", "agent:agt_b", False),
        ("ten_a", "tool:sql", False),
        ("ten_b", "tenant", False),
    ],
)
def test_an_order_stops_the_running_calls_of_its_scope(tenant: str, scope: str, stops: bool) -> None:
    in_flight, stopped = InFlight(), Stops()
    running = in_flight.register("ten_a", CALL, stopped)
    assert in_flight.cancel(tenant, scope) == int(stops)
    assert stopped == ([scope] if stops else [])
    assert running.killed_by == (scope if stops else None)


def test_a_call_is_stopped_once() -> None:
    in_flight, stopped = InFlight(), Stops()
    in_flight.register("ten_a", CALL, stopped)
    assert [in_flight.cancel("ten_a", "tenant"), in_flight.cancel("ten_a", "agent:agt_a")] == [1, 0]
    assert stopped == ["tenant"]


def test_a_call_that_ended_is_not_stopped() -> None:
    in_flight, stopped = InFlight(), Stops()
    with in_flight.register("ten_a", CALL, stopped):
        assert len(in_flight) == 1
    assert len(in_flight) == 0
    assert in_flight.cancel("ten_a", "tenant") == 0 and stopped == []


async def test_a_task_is_cancelled() -> None:
    in_flight = InFlight()
    task = asyncio.create_task(asyncio.Event().wait())
    in_flight.register("ten_a", CALL, task)
    assert in_flight.cancel("ten_a", "tool:shell") == 1
    with pytest.raises(asyncio.CancelledError):
        await task


def test_only_new_switches_are_obeyed_and_each_says_how_many_it_stopped() -> None:
    in_flight, stopped = InFlight(), Stops()
    for _ in range(2):
        in_flight.register("ten_a", CALL, stopped)
    first = engaged(agent__agt_b=1)
    assert in_flight.obey("ten_a", None, first) == [("agent:agt_b", 1, 0)]
    second = engaged(agent__agt_b=1, tool__sh=2)
    assert in_flight.obey("ten_a", first, second) == [("tool:sh", 2, 2)], "an alias stops the tool that it means"
    again = engaged(agent__agt_b=3, tool__sh=2)
    assert in_flight.obey("ten_a", second, again) == [("agent:agt_b", 3, 0)]
    assert in_flight.obey("ten_a", again, again) == []


def test_a_call_that_was_allowed_before_a_kill_and_starts_after_it_is_stopped_at_once() -> None:
    in_flight, stopped = InFlight(), Stops()
    in_flight.obey("ten_a", VIEW, engaged(tool__sh=1))
    running = in_flight.register("ten_a", CALL, stopped)
    assert running.killed_by == "tool:shell" and stopped == ["tool:shell"]
    in_flight.obey("ten_a", engaged(tool__sh=1), VIEW)
    assert in_flight.register("ten_a", CALL, Stops()).killed_by is None


def test_an_order_whose_switch_cannot_be_read_yet_holds_for_a_while() -> None:
    now = [100.0]
    in_flight = InFlight(lambda: now[0])
    in_flight.register("ten_a", CALL, Stops())
    assert in_flight.order("ten_a", "agent:agt_a") == 1
    assert in_flight.register("ten_a", CALL, Stops()).killed_by == "agent:agt_a"
    assert in_flight.register("ten_b", CALL, Stops()).killed_by is None
    now[0] += ORDER_HOLDS_S
    assert in_flight.register("ten_a", CALL, Stops()).killed_by is None


def test_an_order_that_is_heard_after_its_release_stops_nothing() -> None:
    in_flight = InFlight()
    known = replace(engaged(tool__shell=1), kill_epoch=1)
    in_flight.obey("ten_a", VIEW, known)
    released = replace(VIEW, kill_epoch=1)
    in_flight.obey("ten_a", known, released)
    running = in_flight.register("ten_a", CALL, Stops())
    assert in_flight.order("ten_a", "tool:shell", epoch=1) == 0
    assert running.killed_by is None
    assert in_flight.register("ten_a", CALL, Stops()).killed_by is None


def test_an_order_ends_with_the_first_view_that_has_come_so_far_even_if_it_is_released_there() -> None:
    in_flight = InFlight()
    in_flight.register("ten_a", CALL, Stops())
    assert in_flight.order("ten_a", "tool:shell", epoch=2) == 1
    in_flight.obey("ten_a", VIEW, replace(VIEW, kill_epoch=1))
    assert in_flight.register("ten_a", CALL, Stops()).killed_by == "tool:shell", "this view hasn't come so far"
    in_flight.obey("ten_a", VIEW, replace(VIEW, kill_epoch=2))
    assert in_flight.register("ten_a", CALL, Stops()).killed_by is None


def test_everything_is_stopped_when_nobody_waits_for_this_process_any_more() -> None:
    in_flight, stopped = InFlight(), Stops()
    for tenant in ("ten_a", "ten_b"):
        in_flight.register(tenant, CALL, stopped)
    assert in_flight.cancel_all() == 2 and stopped == ["tenant", "tenant"]
