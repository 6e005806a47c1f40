"""The control API put together: one table of routes."""

from __future__ import annotations

from aegis.console_api import (
    accounts,
    audit_log,
    control,
    decisions,
    documents,
    health,
    openapi,
    policies,
    sessions,
    stream,
)
from aegis.console_api.routes import Api, Route, unsupported
from aegis.console_api.services import Services
from aegis.identity.roles import Permission

P = Permission

LATER: tuple[Route, ...] = (
    unsupported("POST", "/v1/auth/delegate", P.DELEGATE, "a token that can only narrow"),
    unsupported("GET", "/v1/graph", P.READ_DASHBOARDS, "the identity graph"),
    unsupported("POST", "/v1/graph/blast-radius", P.INVESTIGATE, "what a node reaches"),
    unsupported("POST", "/v1/graph/simulate", P.INVESTIGATE, "what a compromise would reach"),
    unsupported("GET", "/v1/investigations", P.INVESTIGATE, "investigations"),
    unsupported("POST", "/v1/investigations", P.INVESTIGATE, "opens an investigation"),
    unsupported("GET", "/v1/webhooks", P.MANAGE_WEBHOOKS, "webhooks"),
    unsupported("POST", "/v1/webhooks", P.MANAGE_WEBHOOKS, "adds a webhook"),
    unsupported("GET", "/mcp/{upstream}", P.DECIDE, "the MCP door"),
    unsupported("POST", "/mcp/{upstream}", P.DECIDE, "the MCP door"),
    unsupported("DELETE", "/mcp/{upstream}", P.DECIDE, "the MCP door"),
    unsupported("POST", "/v1/messages", P.DECIDE, "the door for Anthropic's clients"),
    unsupported("POST", "/v1/chat/completions", P.DECIDE, "the door for OpenAI's clients"),
    unsupported("POST", "/v1/responses", P.DECIDE, "the door for OpenAI's clients"),
    unsupported("POST", "/access/v1/evaluation", P.DECIDE, "the AuthZEN door"),
    unsupported("POST", "/access/v1/evaluations", P.DECIDE, "the AuthZEN door"),
    unsupported("POST", "/v1/hooks/claude-code", P.DECIDE, "the door for coding agents"),
)

_ROUTES: tuple[Route, ...] = (
    *health.ROUTES,
    *documents.ROUTES,
    *accounts.ROUTES,
    *control.ROUTES,
    *policies.ROUTES,
    *sessions.ROUTES,
    *decisions.ROUTES,
    *audit_log.ROUTES,
    *stream.ROUTES,
    *LATER,
)
ROUTES: tuple[Route, ...] = (*_ROUTES, openapi.serving(_ROUTES))


def build(services: Services) -> Api:
    """The agents' doors stand in the table for their other methods: 405 there, not 404."""
    return Api((*openapi.DOORS, *ROUTES), services)
