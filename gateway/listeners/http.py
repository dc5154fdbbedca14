"""The HTTP listener's application: Quart for what is not on the request path, the data plane before it."""

import time
from typing import cast

import structlog
from quart import Quart, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from gateway.context import RequestContext, no_certificate
from gateway.errors import GatewayError, MethodNotAllowedError, NotFoundError
from gateway.listeners.client_certificate import CERTIFICATE
from gateway.listeners.data_plane import DataPlane
from gateway.listeners.disconnect import AsgiApp
from gateway.listeners.errors import ErrorAnswer, internal_error, problem
from gateway.listeners.inbound import host_name, join_headers, request_id
from gateway.listeners.model_list import (
    GEMINI_MODELS_PATH,
    MODELS_PATH,
    OLLAMA_TAGS_PATH,
    OPENAI_MODELS,
    ModelDialect,
    models_dialect,
)
from gateway.listeners.preflight import mark_for
from gateway.listeners.service import GatewayService
from gateway.types import Operation

_log = structlog.get_logger("janua.http")


def make_http_app(service: GatewayService, *, max_body_bytes: int) -> Quart:
    """The ASGI application of the HTTP listener."""
    app = Quart("gateway.listeners.http", static_folder=None)
    started = int(time.time())

    @app.before_request
    async def take_request_id() -> None:
        g.request_id = request_id(request.headers.get("x-request-id", "").encode("latin-1", "replace"))

    @app.after_request
    async def tell_request_id(response: Response) -> Response:
        response.headers["x-request-id"] = g.request_id
        if "origin" in request.headers and service.pipeline is not None:
            context = _context()
            mark_for(context, service.pipeline.cross_origins_of_host(context).policies)
            for name, value in context.answer_headers:
                response.headers.add(name.decode(), value.decode("latin-1"))
        return response

    @app.get(MODELS_PATH)
    @app.get(GEMINI_MODELS_PATH)
    @app.get(OLLAMA_TAGS_PATH)
    async def list_models() -> Response:
        context = _context()
        models = await service.pin().models(context)
        return _json(app, _dialect(context).many(models, started))

    @app.get(f"{MODELS_PATH}/<path:model_id>")
    @app.get(f"{GEMINI_MODELS_PATH}/<path:model_id>")
    async def get_model(model_id: str) -> Response:
        context = _context()
        for model in await service.pin().models(context):
            if model.id == model_id:
                return _json(app, _dialect(context).one(model, started))
        raise NotFoundError(f"there is no model '{model_id}'", reason="MODEL_NOT_FOUND", param="model")

    @app.errorhandler(GatewayError)
    async def on_gateway_error(error: GatewayError) -> Response:
        return _error(error)

    @app.errorhandler(HTTPException)
    async def on_http_error(error: HTTPException) -> Response:
        if isinstance(error, MethodNotAllowed):
            text = f"{request.path} does not take {request.method}"
            return _error(MethodNotAllowedError(text, allowed=list(error.valid_methods or ())))
        if error.code == 404:
            service.pin()  # without a configuration nobody knows what is served
            return _error(NotFoundError(f"nothing is served at {request.path}", reason="PATH_NOT_FOUND"))
        return _error(GatewayError(error.description or error.name), error.code)

    @app.errorhandler(Exception)
    async def on_fault(error: Exception) -> Response:
        _log.error("request failed", request_id=g.request_id, path=request.path, exc_info=error)
        return _error(internal_error(g.request_id))

    # Quart's documented way to put a layer before an application; it types ASGI messages more closely than we do.
    inner = cast("AsgiApp", app.asgi_app)
    setattr(app, "asgi_app", DataPlane(inner, service, max_body_bytes=max_body_bytes))  # noqa: B010
    return app


def _headers() -> dict[bytes, bytes]:
    return join_headers((name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in request.headers)


def _context() -> RequestContext:
    headers = _headers()
    return RequestContext(
        request_id=g.request_id,
        protocol="http",
        operation=Operation.CHAT,
        method=request.method,
        path=request.path,
        host=host_name(headers.get(b"host", b"")),
        query_string=request.query_string,
        headers=headers,
        model="",
        is_streaming=False,
        client_address=request.remote_addr or "",
        started=time.perf_counter(),
        client_certificate=request.scope.get("state", {}).get(CERTIFICATE, no_certificate),
    )


def _dialect(context: RequestContext) -> ModelDialect:
    return models_dialect(context.path, context.headers) or OPENAI_MODELS


def _json(app: Quart, content: object) -> Response:
    return Response(app.json.dumps(content), content_type="application/json")


def _error(error: GatewayError, status: int | None = None) -> Response:
    dialect = models_dialect(request.path, _headers())
    answer: ErrorAnswer = problem(error) if dialect is None else dialect.errors.answer(error)
    headers = {name.decode(): value.decode() for name, value in answer.all_headers()}
    return Response(answer.body, status or answer.status, headers=headers)
