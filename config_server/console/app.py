"""The console: a page for people, metrics for scrapers, health for supervisors. It changes nothing."""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from quart import Quart, Response, render_template, request
from quart.typing import ResponseReturnValue

from config_server.console.overview import Overviews
from config_server.metrics import Metrics

_PUBLIC = frozenset({"/livez", "/readyz"})
_HEADERS = {
    # Names in the configuration are anybody's text: the page loads nothing and runs nothing.
    "content-security-policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "cache-control": "no-store",
    "x-content-type-options": "nosniff",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleView:
    """What the console may see. `admits` says of a token, None if there is none, whether its owner may look.

    `is_known_host` says of the name that a browser calls the server by, without the port, whether it can be meant.
    """

    overview: Overviews
    metrics: Metrics
    is_ready: Callable[[], bool]
    admits: Callable[[str | None], bool]
    is_known_host: Callable[[str], bool]


def make_console_app(view: ConsoleView) -> Quart:
    """The ASGI application."""
    app = Quart("config_server.console", static_folder=None)

    @app.before_request
    async def admit() -> ResponseReturnValue | None:
        if request.path in _PUBLIC:
            return None
        if not view.is_known_host(_host()):
            text = "this console is called by an address, or localhost: by another name only with an access file\n"
            return Response(text, 403, content_type="text/plain")
        if view.admits(_token()):
            return None
        text = "give a token of somebody who may read, as bearer token or as password\n"
        return Response(text, 401, {"www-authenticate": 'Basic realm="janua"'}, content_type="text/plain")

    @app.after_request
    async def add_headers(response: Response) -> Response:
        response.headers.extend(_HEADERS)
        return response

    @app.get("/livez")
    async def livez() -> Response:
        return Response("ok\n", content_type="text/plain")

    @app.get("/readyz")
    async def readyz() -> Response:
        is_ready = view.is_ready()
        return Response("ok\n" if is_ready else "draining\n", 200 if is_ready else 503, content_type="text/plain")

    @app.get("/metrics")
    async def metrics() -> Response:
        return Response(view.metrics.render(), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.get("/")
    async def page() -> str:
        return await render_template("overview.html", overview=await view.overview())

    return app


def _host() -> str:
    try:
        return urlsplit(f"//{request.headers.get('host', '')}").hostname or ""
    except ValueError:
        return ""


def _token() -> str | None:
    """Of `Bearer TOKEN`, or of `Basic`, where it is the password."""
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    match scheme.lower():
        case "bearer":
            return value.strip()
        case "basic":
            try:
                return base64.b64decode(value, validate=True).decode().partition(":")[2]
            except (binascii.Error, UnicodeDecodeError):
                return ""
        case _:
            return None
