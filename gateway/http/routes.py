"""Every endpoint in one table: method, path, name for metrics and logs, handler. Nothing else registers a path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import web

from gateway.http.endpoints import (
    admin,
    cache,
    chat,
    embeddings,
    explain,
    feedback,
    health,
    metrics,
    models,
    pipelines,
    warm,
)

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
Table = tuple[tuple[str, str, str, Handler], ...]

CLIENT: Table = (
    ("POST", "/v1/chat/completions", "chat", chat.create),
    ("POST", "/chat/completions", "chat", chat.create),
    ("POST", "/v1/embeddings", "embeddings", embeddings.create),
    ("POST", "/embeddings", "embeddings", embeddings.create),
    ("GET", "/v1/models", "models", models.list_all),
    ("GET", "/models", "models", models.list_all),
    ("GET", "/v1/models/{model:.+}", "models", models.show),
    ("GET", "/models/{model:.+}", "models", models.show),
    ("POST", "/v1/feedback", "feedback", feedback.create),
    ("POST", "/feedback", "feedback", feedback.create),
    ("POST", "/v1/pipelines/{name}", "pipeline", pipelines.run),
    ("POST", "/pipelines/{name}", "pipeline", pipelines.run),
    ("POST", "/v1/warm", "warm", warm.create),
    ("POST", "/warm", "warm", warm.create),
    ("GET", "/v1/warm/{id}", "warm", warm.show),
    ("GET", "/warm/{id}", "warm", warm.show),
    ("GET", "/explain/{id}", "explain", explain.show),
    ("GET", "/health/live", "health", health.live),
    ("GET", "/health/liveliness", "health", health.live),
    ("GET", "/healthz", "health", health.live),
    ("GET", "/health/ready", "health", health.ready),
    ("GET", "/health/readiness", "health", health.ready),
    ("GET", "/readyz", "health", health.ready),
)
OPS: Table = (
    ("GET", "/metrics", "metrics", metrics.render),
    ("GET", "/admin/status", "admin", admin.status),
    ("GET", "/admin/cache", "admin", cache.stats),
    ("GET", "/admin/cache/{id}", "admin", cache.show),
    ("POST", "/admin/cache", "admin", cache.withdraw),
)


ENDPOINTS = frozenset({name for _, _, name, _ in (*CLIENT, *OPS)} | {"none"})
ENDPOINT_OF = {handler: name for _, _, name, handler in (*CLIENT, *OPS)}


def register(app: web.Application, table: Table) -> None:
    """Add a table to an application."""
    for method, path, _, handler in table:
        app.router.add_route(method, path, handler)


def endpoint_of(request: web.Request) -> str:
    """Return the endpoint's name from the table, `none` for a path that is in no table; never the client's path."""
    return ENDPOINT_OF.get(request.match_info.handler, "none")
