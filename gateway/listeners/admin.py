"""The admin listener: is the node alive, is it ready, what does it run, how are its endpoints."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from quart import Quart, Response, request

from gateway.response_cache.request_key import KeyPattern
from gateway.shared_store import StoreUnavailableError
from gateway.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """What the admin listener may see and do.

    `not_ready` gives the reason why the node takes no traffic, or None; `drain` begins draining;
    `purge_cache` forgets kept answers, and gives their number; it raises `StoreUnavailableError`.
    """

    not_ready: Callable[[], str | None]
    config_dump: Callable[[], dict[str, Any]]
    endpoints: Callable[[], list[dict[str, Any]]]
    drain: Callable[[], dict[str, Any]]
    purge_cache: Callable[[KeyPattern], Awaitable[int]]
    metrics: Metrics


def make_admin_app(view: NodeView) -> Quart:
    """The ASGI application of the admin listener. For loopback: it asks nobody who they are."""
    app = Quart("gateway.listeners.admin", static_folder=None)
    app.json.sort_keys = False  # type: ignore[attr-defined]  # of Quart's default provider

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", content_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        reason = view.not_ready()
        return Response(f"{reason or 'ok'}\n", 503 if reason else 200, content_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(view.metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/config_dump")
    async def config_dump() -> dict[str, Any]:
        return view.config_dump()

    @app.get("/endpoints")
    async def endpoints() -> dict[str, Any]:
        return {"endpoints": view.endpoints()}

    @app.post("/drain")
    async def drain() -> dict[str, Any]:
        return view.drain()

    @app.post("/cache/purge")
    async def purge_cache() -> tuple[dict[str, Any], int]:
        unknown = sorted(request.args.keys() - {"route", "consumer"})
        if unknown:
            # One that is misspelt must not forget everything.
            return {"error": f"{', '.join(unknown)}: unknown; route and consumer are known"}, 400
        wanted = KeyPattern(request.args.get("route"), request.args.get("consumer"))
        try:
            return {"purged": await view.purge_cache(wanted)}, 200
        except StoreUnavailableError as error:
            return {"error": f"not purged in the shared store: {error}"}, 503

    return app
