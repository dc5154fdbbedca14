"""The echo model as a small OpenAI-compatible HTTP server: `python -m janua_client.demo.echo_server --port 0`.

Serves `/v1/chat/completions` (JSON and server-sent events), `/v1/embeddings`, `/v1/models` and `/health`.
"""

import argparse
import asyncio
import signal
import time
import uuid
from collections.abc import Awaitable, Callable

import msgspec
from aiohttp import web

from janua_client.demo.echo_model import EchoModel, Json, Stamp
from janua_client.demo.openai_requests import ChatRequest, EmbeddingsRequest, RequestError, decode
from janua_client.demo.ready_line import print_ready

LARGEST_BODY = 16 * 1024 * 1024  # bytes

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class EchoHandlers:
    """HTTP handlers around one model. `word_delay` is the pause in seconds before each streamed piece."""

    def __init__(self, model: EchoModel, *, word_delay: float = 0.0) -> None:
        self._model = model
        self._word_delay = word_delay
        self._started = int(time.time())

    async def chat(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/chat/completions`."""
        body = decode(await request.read(), ChatRequest)
        self._check_model(body.model)
        stamp = Stamp(id=f"chatcmpl-{uuid.uuid4().hex}", created=int(time.time()))
        if body.stream:
            return await self._stream(request, body, stamp)
        return _json(self._model.complete(body, stamp))

    async def embeddings(self, request: web.Request) -> web.StreamResponse:
        """`POST /v1/embeddings`."""
        body = decode(await request.read(), EmbeddingsRequest)
        self._check_model(body.model)
        return _json(self._model.embed(body))

    async def models(self, request: web.Request) -> web.StreamResponse:
        """`GET /v1/models`."""
        return _json(self._model.list_models(self._started))

    async def health(self, request: web.Request) -> web.StreamResponse:
        """`GET /health`."""
        return _json({"status": "ok"})

    async def _stream(self, request: web.Request, body: ChatRequest, stamp: Stamp) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream", "cache-control": "no-cache"})
        try:
            await response.prepare(request)
            for chunk in self._model.stream(body, stamp):
                await asyncio.sleep(self._word_delay)
                await response.write(b"data: " + msgspec.json.encode(chunk) + b"\n\n")
            await response.write(b"data: [DONE]\n\n")
        except ConnectionResetError:
            pass  # the client has gone away: nobody is left to answer
        return response

    def _check_model(self, name: str) -> None:
        if name not in self._model.models:
            message = f"The model `{name}` does not exist; there is {', '.join(self._model.models)}."
            raise RequestError(404, message, param="model", code="model_not_found")


@web.middleware
async def openai_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives every error the shape of OpenAI's, those of the web framework too."""
    try:
        return await handler(request)
    except RequestError as error:
        return _error(error)
    except web.HTTPException as error:
        response = _error(RequestError(error.status, error.reason))
        if "Allow" in error.headers:
            response.headers["Allow"] = error.headers["Allow"]
        return response


def make_app(model: EchoModel, *, word_delay: float = 0.0) -> web.Application:
    """The web application, not yet listening."""
    handlers = EchoHandlers(model, word_delay=word_delay)
    app = web.Application(middlewares=[openai_errors], client_max_size=LARGEST_BODY)
    app.add_routes(
        [
            web.post("/v1/chat/completions", handlers.chat),
            web.post("/v1/embeddings", handlers.embeddings),
            web.get("/v1/models", handlers.models),
            web.get("/health", handlers.health),
        ]
    )
    return app


async def serve(app: web.Application, host: str, port: int) -> None:
    """Listens until SIGTERM or SIGINT, then gives answers in flight a second. Raises OSError if it cannot listen."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        print_ready(f"http://{host}:{runner.addresses[0][1]}")
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A model server that echoes, with OpenAI's API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one (default)")
    parser.add_argument("--name", default="echo", help="who it says it is")
    parser.add_argument("--models", default="echo", help="names it answers for, separated by commas")
    parser.add_argument("--word-delay", type=float, default=0.0, help="seconds before each streamed word")
    args = parser.parse_args()
    model = EchoModel(name=args.name, models=tuple(args.models.split(",")))
    try:
        asyncio.run(serve(make_app(model, word_delay=args.word_delay), args.host, args.port))
    except OSError as error:
        parser.exit(1, f"cannot listen on {args.host}:{args.port}: {error.strerror}; try --port 0\n")


def _json(body: Json, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


def _error(error: RequestError) -> web.Response:
    fields = {"message": str(error), "type": "invalid_request_error", "param": error.param, "code": error.code}
    return _json({"error": fields}, error.status)


if __name__ == "__main__":
    main()
