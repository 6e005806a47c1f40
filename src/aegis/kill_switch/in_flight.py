"""The calls that run in this process, so that a kill can stop them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from aegis.kernel.tenancy import TenantView
from aegis.kill_switch.judge import CallScope, reach, scopes

Cancel = Callable[[str], None]
"""Stops the call; gets the scope that it was stopped for. Must not raise nor wait."""

ORDER_HOLDS_S = 10.0
"""How long an order that came before its switch could be read stops what is registered."""
MAX_ORDERS = 1024


@dataclass(eq=False, slots=True)
class Running:
    """One running call. `killed_by` is the scope that stopped it."""

    tenant: str
    scopes: frozenset[str]
    cancel: Cancel
    registry: InFlight = field(repr=False)
    killed_by: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.ended()

    def ended(self) -> None:
        """The call is over; nothing stops it any more."""
        self.registry.forget(self)

    def stop(self, scope: str) -> bool:
        """Stops it once; False when it was stopped before."""
        if self.killed_by is not None:
            return False
        self.killed_by = scope
        self.cancel(scope)
        return True


class InFlight:
    """A registry for one process's event loop.

    It knows which switches are engaged, so that a call which was allowed before a kill and is registered after it
    is stopped at its registration: there is no moment between in which it could slip through.
    """

    def __init__(self, monotonic_s: Callable[[], float] = time.monotonic) -> None:
        self._running: dict[str, set[Running]] = {}
        self._engaged: dict[str, frozenset[str]] = {}
        self._obeyed: dict[str, int] = {}
        """The kill epoch that each tenant's view has reached."""
        self._orders: dict[tuple[str, str], tuple[float, int]] = {}
        """Until when an order holds, and its epoch."""
        self._monotonic_s = monotonic_s

    def __len__(self) -> int:
        return sum(map(len, self._running.values()))

    def register(self, tenant: str, call: CallScope, cancel: Cancel | asyncio.Task[Any]) -> Running:
        """Use as a context: `with in_flight.register(...) as running:`.

        `running.killed_by` is set, and `cancel` was called, when a switch covers the call already.
        """
        stop: Cancel = (lambda _: _cancel_task(cancel)) if isinstance(cancel, asyncio.Task) else cancel
        running = Running(tenant, scopes(call), stop, self)
        self._running.setdefault(tenant, set()).add(running)
        for scope in (*self._engaged.get(tenant, ()), *self._ordered(tenant)):
            if scope in running.scopes:
                running.stop(scope)
                break
        return running

    def forget(self, running: Running) -> None:
        of_tenant = self._running.get(running.tenant)
        if of_tenant is not None:
            of_tenant.discard(running)
            if not of_tenant:
                del self._running[running.tenant]

    def cancel(self, tenant: str, scope: str) -> int:
        """Stops every call in the scope; answers how many were stopped by this."""
        return sum(running.stop(scope) for running in tuple(self._running.get(tenant, ())) if scope in running.scopes)

    def cancel_all(self) -> int:
        """Stops everything, for a process that nobody waits for any more (its lease has lapsed)."""
        return sum(self.cancel(tenant, "tenant") for tenant in tuple(self._running))

    def order(self, tenant: str, scope: str, epoch: int = 0) -> int:
        """An order whose switch can't be read yet: stops what runs, and for 10 s what is registered.

        One that the view knew before, and perhaps its release too, stops nothing any more. `epoch` is 0 where the
        order has none yet.
        """
        if 0 < epoch <= self._obeyed.get(tenant, 0):
            return 0
        now = self._monotonic_s()
        self._orders = {place: held for place, held in self._orders.items() if held[0] > now}
        if len(self._orders) < MAX_ORDERS:
            self._orders[tenant, scope] = now + ORDER_HOLDS_S, epoch
        return self.cancel(tenant, scope)

    def obey(self, tenant: str, old: TenantView | None, new: TenantView) -> list[tuple[str, int, int]]:
        """Stops what the new view's switches cover; answers scope, epoch and count of each switch that is new."""
        stopped = []
        for scope, switch in new.switches.items():
            before = None if old is None else old.switches.get(scope)
            if before is None or before.epoch != switch.epoch:
                count = sum(self.cancel(tenant, name) for name in reach(new, scope))
                stopped.append((scope, switch.epoch, count))
                self._orders.pop((tenant, scope), None)
        self._obeyed[tenant] = new.kill_epoch
        for place in [p for p, (_, epoch) in self._orders.items() if p[0] == tenant and 0 < epoch <= new.kill_epoch]:
            del self._orders[place]
        engaged = frozenset(name for scope in new.switches for name in reach(new, scope))
        if engaged:
            self._engaged[tenant] = engaged
        else:
            self._engaged.pop(tenant, None)
        return stopped

    def _ordered(self, tenant: str) -> Iterable[str]:
        if not self._orders:
            return ()
        now = self._monotonic_s()
        return [scope for (of, scope), (until, _) in self._orders.items() if of == tenant and until > now]


def _cancel_task(task: asyncio.Task[Any]) -> None:
    task.cancel()
