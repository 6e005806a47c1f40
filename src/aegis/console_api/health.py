"""Whether this process lives and is ready, and its metrics."""

from __future__ import annotations

from aegis.console_api.routes import Ask, Reply, Route


async def healthz(ask: Ask) -> Reply:
    """This process answers."""
    return Reply(body={"status": "ok"})


async def readyz(ask: Ask) -> Reply:
    """200 when everything that a decision needs is there; else 503 with what isn't."""
    missing = await ask.services.ready()
    if missing:
        return Reply(503, {"status": "not ready", "missing": missing})
    return Reply(body={"status": "ready"})


async def metrics(ask: Ask) -> Reply:
    """Prometheus text. Figures of this process only, and nothing of any tenant."""
    return Reply(body=ask.services.metrics(), headers=[(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")])


ROUTES: tuple[Route, ...] = (
    Route("GET", "/healthz", healthz, None, "lives", query=("*",), is_public=True),
    Route("GET", "/readyz", readyz, None, "is ready", query=("*",), is_public=True),
    Route("GET", "/metrics", metrics, None, "metrics", query=("*",), is_public=True),
)
