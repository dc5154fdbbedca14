"""A node's HTTP side in the process that measures it, before a backend that answers at once: what is left is the
gateway's own work."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO
from typing import Any

from gateway.listeners.data_plane import DataPlane
from gateway.listeners.disconnect import AsgiMessage, Scope
from gateway.listeners.service import GatewayService
from gateway.pipeline import Pipeline
from gateway.response_cache.response_cache import ResponseCache
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from tests.gateway.compile.resources import policy, resource, route, service, upstream
from tests.gateway.test_pipeline import Node

CHUNK = b'data: {"id":"a","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'
DONE = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
ANSWER = json.dumps(
    {
        "id": "a",
        "model": "m",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x" * 900}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 20},
    }
).encode()


class Answering:
    """A backend that answers at once with these pieces, in place of connections."""

    def __init__(self, content_type: bytes, pieces: Sequence[bytes]) -> None:
        self._content_type = content_type
        self._pieces = pieces

    async def send(self, *_: Any, **__: Any) -> "Answer":
        return Answer(self._content_type, iter(self._pieces))

    async def close(self) -> None:
        pass


class Answer:
    """One answer of it."""

    status = 200

    def __init__(self, content_type: bytes, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self.headers = [(b"content-type", content_type), (b"date", b"now")]

    def header(self, name: str) -> str | None:
        return next((value.decode() for each, value in self.headers if each.decode() == name), None)

    async def read(self) -> bytes:
        return next(self._pieces, b"")

    async def read_all(self, limit: int) -> bytes:
        return b"".join(self._pieces)

    def abort(self, error: Exception) -> None:
        raise error

    def close(self) -> None:
        pass


@asynccontextmanager
async def data_plane(
    content_type: bytes,
    pieces: Sequence[bytes],
    *,
    is_cached: bool = False,
    answers: ResponseCache | None = None,
    is_logged: bool = True,
) -> AsyncIterator[DataPlane]:
    """A node's HTTP side with an API key, metrics and an access log, which nobody writes out, before a backend that
    answers so; with a cache, if wanted, that keeps `answers`."""
    node = Node()
    node.live.answers = answers or ResponseCache()
    running = [asyncio.create_task(each.run()) for each in (node.clusters, node.live.answers)]
    await asyncio.sleep(0)
    pipeline: Pipeline = node.use(
        upstream("u"),
        service("v"),
        policy("keys"),
        resource("consumer", "ann", api_keys=[{"key_sha256": sha256(b"sk-ann").hexdigest()}]),
        resource("policy", "kept", cache={"ttl": "300s"}),
        route("r", "v", ["keys", "kept"] if is_cached else ["keys"], models=["m"]),
    )
    connections: Any = node.clusters.clusters["u"].connections
    await connections.close()
    connections._http = Answering(content_type, pieces)
    gateway_service = GatewayService(metrics=Metrics(), access_log=AccessLog(BytesIO() if is_logged else None))
    gateway_service.pipeline = pipeline

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("the request was not taken for one of a model")

    try:
        yield DataPlane(nothing_else, gateway_service, max_body_bytes=1 << 20)
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


def request(**fields: object) -> bytes:
    """The body of a request of 1 KB."""
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 900}], **fields}).encode()


async def ask(app: DataPlane, body: bytes) -> list[AsgiMessage]:
    """What is sent to a client."""
    sent: list[AsgiMessage] = []
    received = iter([body])

    async def receive() -> AsgiMessage:
        if (part := next(received, None)) is None:  # whoever waits for the client to go, waits
            await asyncio.get_running_loop().create_future()
        return {"type": "http.request", "body": part, "more_body": False}

    async def send(message: AsgiMessage) -> None:
        sent.append(message)

    headers = [(b"host", b"a"), (b"authorization", b"Bearer sk-ann"), (b"content-type", b"application/json")]
    path = "/v1/chat/completions"
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
    }
    await app(scope, receive, send)
    return sent
