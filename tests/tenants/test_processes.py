import asyncio
from typing import Any

from aegis.db.database import Database
from aegis.tenants.processes import Processes


async def ids(processes: Processes, role: str) -> set[Any]:
    return {process.id for process in await processes.live(role)}


async def test_a_process_is_live_from_joining_to_leaving(database: Database) -> None:
    one, other = Processes(database, "test-a"), Processes(database, "test-a")
    await one.join()
    await other.join()
    assert await ids(one, "test-a") == {one.id, other.id}
    assert await ids(one, "test-b") == set()
    assert one.holds_lease
    await other.leave()
    assert await ids(one, "test-a") == {one.id}
    assert not other.holds_lease
    await one.leave()


async def test_a_lease_that_ended_counts_for_dead(database: Database) -> None:
    process = Processes(database, "test-c")
    await process.renew()
    async with database.unscoped() as connection:
        await connection.execute(
            "UPDATE control.processes SET lease_until = clock_timestamp() - interval '1 ms' WHERE id = $1", process.id
        )
    assert await ids(process, "test-c") == set()
    await process.renew()
    assert await ids(process, "test-c") == {process.id}
    await process.leave()


async def test_the_lease_is_renewed_by_itself(database: Database) -> None:
    process = Processes(database, "test-d")
    await process.join()
    read = "SELECT lease_until FROM control.processes WHERE id = $1"
    async with database.unscoped() as connection:
        first = await connection.fetchval(read, process.id)
        async with asyncio.timeout(15):
            while await connection.fetchval(read, process.id) == first:
                await asyncio.sleep(0.05)
    await process.leave()


async def test_a_process_that_cannot_renew_learns_that_its_lease_lapsed(database: Database, wire: Any) -> None:
    through = await Database.connect(wire.url, min_size=1, max_size=2)
    lapsed = asyncio.Event()
    process = Processes(through, "test-e", on_lapse=lapsed.set)
    await process.join()
    await wire.cut()
    await asyncio.wait_for(lapsed.wait(), 30)
    assert not process.holds_lease
    await process.leave()  # the store is away: the lease simply lapses
    through.pool.terminate()
