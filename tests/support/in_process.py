"""A node's listeners in the process that measures them, without a server and before a backend that answers at once:
what is left is the gateway's own work."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from io import BytesIO
from typing import Any, cast

from janua.inference.v1.chat_pb2 import ChatCompletionRequest, ContentPart, CreateChatCompletionRequest, Message

from gateway.listeners.data_plane import DataPlane
from gateway.listeners.disconnect import AsgiMessage, Scope
from gateway.listeners.grpc import Handler, InferenceServicer
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

# Requests for a whole answer and for a stream have the same form.
_TYPED = CreateChatCompletionRequest(
    request=ChatCompletionRequest(
        model="m", messages=[Message(role=Message.ROLE_USER, content=[ContentPart(text="x" * 900)])]
    )
).SerializeToString()


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
async def gateway_service(
    content_type: bytes,
    pieces: Sequence[bytes],
    *,
    is_cached: bool = False,
    answers: ResponseCache | None = None,
    is_logged: bool = True,
) -> AsyncIterator[GatewayService]:
    """What the listeners of a node share, with an API key, metrics and an access log, which nobody writes out, before a
    backend that answers so; with a cache, if wanted, that keeps `answers`."""
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
    service_of_node = GatewayService(metrics=Metrics(), access_log=AccessLog(BytesIO() if is_logged else None))
    service_of_node.pipeline = pipeline
    try:
        yield service_of_node
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def data_plane(
    content_type: bytes,
    pieces: Sequence[bytes],
    *,
    is_cached: bool = False,
    answers: ResponseCache | None = None,
    is_logged: bool = True,
) -> AsyncIterator[DataPlane]:
    """The HTTP side of such a node."""

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("the request was not taken for one of a model")

    async with gateway_service(
        content_type, pieces, is_cached=is_cached, answers=answers, is_logged=is_logged
    ) as node_service:
        yield DataPlane(nothing_else, node_service, max_body_bytes=1 << 20)


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


class GrpcCall:
    """A call of the typed API, in place of grpcio's."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ("user-agent", "test"), ("authorization", "Bearer sk-ann")

    def time_remaining(self) -> None:
        return None

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    async def send_initial_metadata(self, metadata: object) -> None:
        pass

    async def write(self, message: bytes) -> None:
        self.sent.append(message)


@asynccontextmanager
async def typed_api(content_type: bytes, pieces: Sequence[bytes]) -> AsyncIterator[Mapping[str, Handler]]:
    """The methods of the typed gRPC API of such a node."""
    async with gateway_service(content_type, pieces) as node_service:
        yield InferenceServicer(node_service, created=0).handlers


async def call(methods: Mapping[str, Handler], *, stream: bool = False) -> list[bytes]:
    """The messages that answer a typed request of 1 KB."""
    made = GrpcCall()
    if stream:
        await cast("Any", methods["StreamChatCompletion"].unary_stream)(_TYPED, made)
        return made.sent
    return [await cast("Any", methods["CreateChatCompletion"].unary_unary)(_TYPED, made)]
