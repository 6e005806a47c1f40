"""A gateway process: every door. Straight-line construction, then uvicorn until it is asked to drain.

Run by `aegis up` with a `channel`, in production with listening `sockets`; see `roles.serving.serve`.
"""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any

from argon2 import PasswordHasher
from redis.asyncio import Redis

from aegis.audit import keys as log_keys
from aegis.audit.committer import Committer
from aegis.autonomy.approvals import Approvals
from aegis.behavior.follower import BaselineFollower
from aegis.behavior.peers import Peers
from aegis.children.pool import ChildPool
from aegis.config import Config
from aegis.console_api.app import build as console
from aegis.console_api.services import Services
from aegis.db.database import Database
from aegis.execution.credentials import Credentials, EnvironmentSecrets, FileSecrets, SealedSecrets
from aegis.execution.network import Guard
from aegis.execution.run import Execution
from aegis.identity.issuers import IssuerDirectory
from aegis.identity.jwks import KeySets
from aegis.identity.sessions import Sessions
from aegis.identity.sign_on import SignOn
from aegis.identity.spent import Spent
from aegis.identity.tokens import AUDIENCE, TokenSigner
from aegis.identity.verify import Authenticator
from aegis.inspection.injection import RuleScanner
from aegis.kernel.clock import now_us
from aegis.kill_switch.acknowledge import Obedience
from aegis.kill_switch.in_flight import InFlight
from aegis.kill_switch.spool import Spool
from aegis.kill_switch.switches import Switches
from aegis.pipeline import analysts as children
from aegis.pipeline.idempotency import Idempotency
from aegis.pipeline.outcomes import Outcomes
from aegis.pipeline.pipeline import Pipeline
from aegis.pipeline.recorder import Recorder
from aegis.pipeline.run import Register, Runs
from aegis.pipeline.stages.authenticate import Authenticate
from aegis.pipeline.stages.behavior import Behavior
from aegis.pipeline.stages.decide import Decide
from aegis.pipeline.stages.enforce import ApprovalDesk, Enforce
from aegis.pipeline.stages.filter_output import FarInspection, FilterOutput
from aegis.pipeline.stages.inference import Inference
from aegis.pipeline.stages.kill_switch import KillSwitch, stopped
from aegis.pipeline.stages.policy import PolicyStage
from aegis.pipeline.stages.rate_limit import Holdings, RateLimit
from aegis.pipeline.throttles import Throttles
from aegis.policy.evaluate import Policy
from aegis.policy.memo import Memo
from aegis.policy.opa import Opa
from aegis.policy.shipped import shipped
from aegis.policy.store import PolicyStore
from aegis.quota.fallback import FallbackBuckets
from aegis.quota.limits import Limits, limits_of
from aegis.quota.rebuild import UsageLog
from aegis.quota.report import report
from aegis.quota.settled import SettledBuckets
from aegis.quota.valkey import ValkeyBuckets, baseline_key, connect, spent_key
from aegis.roles.figures import Figures, Readiness
from aegis.roles.logs import log_to_stderr
from aegis.roles.serving import Application, Message, Scope, serve
from aegis.surfaces.asks import priced
from aegis.surfaces.permits import Permits
from aegis.surfaces.probes import Probes
from aegis.surfaces.rest import Rest
from aegis.surfaces.session_desk import SessionDesk
from aegis.tenants.follow import Follower, announce_kill
from aegis.tenants.pins import Pins
from aegis.tenants.processes import Processes
from aegis.tenants.settle import Settling
from aegis.tenants.views import Views

JWKS_BYTES, JWKS_S = 256 * 1024, 3.0
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]


def main(config: Config, *, sockets: Sequence[socket.socket] = (), channel: socket.socket | None = None) -> None:
    """Returns after draining. Raises SystemExit(3) when something it needs can't be had at the start."""
    log_to_stderr(config.log_level)
    serve(application(config), config, sockets=sockets, channel=channel)


def application(config: Config) -> Application:
    doors: list[Rest] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            return await doors[0](scope, receive, send)
        await receive()
        async with AsyncExitStack() as stack:
            try:
                doors.append(await build(config, stack))
            except Exception as error:
                await send({"type": "lifespan.startup.failed", "message": f"couldn't start: {error}"})
                raise
            _keep_what_is_here()
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    return app


def _keep_what_is_here() -> None:
    """What the start made stays for ever: the collector need not walk it again and again under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


async def build(config: Config, stack: AsyncExitStack) -> Rest:
    """Leaves first, then who uses them; `stack` closes in reverse. Raises what can't be had."""
    data = Path(config.data_dir or ".")
    keys = log_keys.load(Path(config.keys.dir), create=False)
    database = await Database.connect(
        config.database_url,
        direct_url=config.direct_url,
        max_size=config.gateway.database_connections,
        pooled=config.database_pooled,
    )
    stack.push_async_callback(database.close)
    installation = await _installation(database)
    client = Redis.from_url(config.redis_url, socket_timeout=2.0, socket_connect_timeout=1.0)
    stack.push_async_callback(client.aclose)
    guard = Guard.of(config.networks.allow, allow_unix=config.networks.allow_unix)

    analysts = ChildPool(
        name="analysis",
        target=children.TARGET,
        size=config.children.analysis_count,
        deadline_ms=config.children.analysis_deadline_ms,
        memory_bytes=config.children.analysis_memory_bytes,
    )
    engine = Opa(
        size=config.children.policy_count,
        deadline_ms=config.children.policy_deadline_ms,
        memory_bytes=config.children.policy_memory_bytes,
    )
    stack.push_async_callback(analysts.close)
    stack.push_async_callback(engine.close)
    await asyncio.gather(analysts.start(first=1), engine.start(first=1))
    bundles = PolicyStore(database)
    memo = Memo(config.policy.memo_entries) if config.policy.memo else None
    policies = Policy(engine, bundles, memo=memo, deadline_ms=config.children.policy_deadline_ms)
    await policies.ship(shipped().archive)

    views = Views(database)
    follower = Follower(views, database, client)
    in_flight = InFlight()
    processes = Processes(database, "gateway", on_lapse=lambda: obedience.on_lapse())
    obedience = Obedience(database, in_flight, processes.id)
    settling = Settling(client, str(processes.id), processes.live)
    views.subscribe(obedience.on_view)
    views.subscribe(settling.on_view)
    follower.on_kill(obedience.on_order)
    stack.push_async_callback(obedience.close)
    stack.push_async_callback(follower.close)
    stack.push_async_callback(processes.leave)

    committer = Committer(database, keys, instance=str(processes.id), clock=now_us)
    stack.push_async_callback(committer.close)
    await committer.start()
    switches = Switches(
        database, committer, tell=partial(announce_kill, client), spool=Spool(data / "spool" / "kill", now_us)
    )

    signer = TokenSigner(keys.token_seed, installation)
    authenticator = Authenticator(
        views,
        own=signer.key,
        own_issuer=installation,
        audience=AUDIENCE,
        issuers=IssuerDirectory(database, now_us),
        key_sets=KeySets(lambda url: guard.fetch(url, JWKS_BYTES, JWKS_S), now_us),
        clock=now_us,
    )
    spent = Spent(client, now_us, spent_key)
    sessions = Sessions(database, keys.token_seed, now_us)
    approvals = Approvals(database, committer)
    usage = UsageLog(database)
    buckets_client = connect(config.redis_url)
    stack.push_async_callback(buckets_client.aclose)
    baselines = BaselineFollower(database, client, baseline_key)
    store = ValkeyBuckets(buckets_client, usage.counts, when_emptied=baselines.republish)
    await store.warm()
    buckets = FallbackBuckets(
        store,
        SettledBuckets(usage.totals, lambda: config.gateway.workers),
        time.monotonic,
    )
    holdings = Holdings(buckets, now_us)
    limits = Limits()
    peers = Peers()
    scanner = RuleScanner()
    parsers = children.Analysts(analysts, children.PARSE)
    inspectors = children.Analysts(analysts, children.INSPECT)
    far = FarInspection(inspectors)
    execution = Execution.over(
        guard,
        Credentials(
            EnvironmentSecrets(os.environ),
            FileSecrets(data / "secrets"),
            SealedSecrets(database, keys.vault_key),
        ),
    )
    stack.push_async_callback(execution.close)

    recorder = Recorder(committer, os.urandom)
    idempotency = Idempotency(database, processes.id)
    output_filter = FilterOutput(scanner, inspectors)
    runs = Runs(
        execution=execution,
        running=Register(in_flight),
        output_filter=output_filter,
        settlement=holdings,
        recorder=recorder,
        views=views,
        is_stopped=lambda call, view: bool(stopped(call, view)),
        idempotency=idempotency,
        clock=now_us,
        ticks=time.monotonic_ns,
    )
    throttles = Throttles(committer, now_us)
    probes = Probes(buckets, limits, scanner, far.scan, committer, now_us)
    figures = Figures(committer=committer, memo=memo, analysts=analysts, refusals=authenticator.failures)
    for work in (throttles.run(), probes.run(), switches.merge_forever(), execution.warm()):
        stack.push_async_callback(_ended, asyncio.create_task(work))
    pipeline = Pipeline(
        stages=(
            KillSwitch(),
            Authenticate(sessions),
            RateLimit(buckets, limits, peers),
            Inference(scanner, far, Pins(database)),
            PolicyStage(policies, parsers, deadline_ms=config.children.analysis_deadline_ms),
            Behavior(peers),
            Decide(),
            Enforce(approvals),
        ),
        views=views,
        recorder=recorder,
        runner=runs,
        approvals=ApprovalDesk(approvals),
        reservations=holdings,
        throttles=throttles,
        observers=(figures.observe,),
        clock=now_us,
        ticks=time.monotonic_ns,
    )
    stack.push_async_callback(pipeline.drain)
    await follower.start()
    await processes.join()

    permits = Permits(f"{installation}/permit", keys.token_seed, now_us)

    async def used(tenant: str, scope: str, now: int) -> dict[str, Any]:
        view = await views.get(tenant)
        caps = limits_of(view.quotas.get(scope), scope, guard=scope == "tenant")
        return report(caps, await buckets.standing(tenant, scope, now), now)

    services = Services(
        database=database,
        views=views,
        authenticator=authenticator,
        spent=spent,
        ledger=committer,
        keys=keys,
        guard=guard,
        vkey=committer.vkey,
        sign_note=committer.sign_note,
        permit_vkey=permits.vkey,
        switches=switches,
        processes=processes,
        approvals=approvals,
        sessions=sessions,
        sign_on=SignOn(database, signer, now_us),
        hash_password=PasswordHasher().hash,
        engine=engine,
        policies=bundles,
        settle=settling.wait,
        used=used,
        ready=Readiness(database, follower, processes).missing,
        metrics=figures.text,
        clock=now_us,
        body_limit=config.gateway.max_body_bytes,
    )
    return Rest(
        pipeline=pipeline,
        authenticator=authenticator,
        views=views,
        idempotency=idempotency,
        outcomes=Outcomes(database, recorder, output_filter, holdings, now_us),
        probes=probes,
        sessions=SessionDesk(sessions, authenticator, views),
        access=services.refused,
        spend=spent.spend,
        permit=permits,
        price=priced,
        clock=now_us,
        body_limit=config.gateway.max_body_bytes,
        rest=console(services),
    )


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def _installation(database: Database) -> str:
    async with database.unscoped() as connection:
        return str(await connection.fetchval("SELECT name FROM control.installation"))
