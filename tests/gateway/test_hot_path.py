"""What a request costs, as the number of functions of the gateway that it calls: a figure that no noise changes.

More calls than here need a reason. Who has one writes the new number down, in a commit that says why; who makes them
fewer lowers it.
"""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import gateway
from gateway.listeners.data_plane import DataPlane
from gateway.listeners.disconnect import AsgiMessage, Scope
from gateway.listeners.service import GatewayService
from gateway.pipeline import Pipeline
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.upstream.connections import Connections
from tests.gateway.compile.resources import policy, resource, route, service, upstream
from tests.gateway.test_pipeline import Node

SOURCE = f"{Path(gateway.__file__).parent}/"
ALLOWED_GROWTH = 1.05

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

    def __init__(self, content_type: bytes, pieces: Iterable[bytes]) -> None:
        self._content_type = content_type
        self._pieces = list(pieces)

    async def send(self, *_: Any, **__: Any) -> "Answer":
        return Answer(self._content_type, iter(self._pieces))


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


def data_plane(node: Node, monkeypatch: pytest.MonkeyPatch, content_type: bytes, pieces: Iterable[bytes]) -> DataPlane:
    """A node's HTTP side with an API key, metrics and an access log, before that backend."""
    pipeline: Pipeline = node.use(
        upstream("u"),
        service("v"),
        policy("keys"),
        resource("consumer", "ann", api_keys=[{"key_sha256": sha256(b"sk-ann").hexdigest()}]),
        route("r", "v", ["keys"], models=["m"]),
    )
    monkeypatch.setattr(Connections, "http", Answering(content_type, pieces))
    gateway_service = GatewayService(metrics=Metrics(), access_log=AccessLog(BytesIO()))
    gateway_service.pipeline = pipeline

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("the request was not taken for one of a model")

    return DataPlane(nothing_else, gateway_service, max_body_bytes=1 << 20)


async def ask(app: DataPlane, body: bytes) -> list[AsgiMessage]:
    """What is sent to a client."""
    sent: list[AsgiMessage] = []

    async def receive() -> AsgiMessage:
        return {"type": "http.request", "body": body, "more_body": False}

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


@contextmanager
def counting() -> Iterator[Callable[[], int]]:
    """Counts the calls of functions of the gateway, each step of a coroutine as one."""
    calls = 0

    def count(frame: FrameType, event: str, _: object) -> None:
        nonlocal calls
        if event == "call" and frame.f_code.co_filename.startswith(SOURCE):
            calls += 1

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        yield lambda: calls
    finally:
        sys.setprofile(before)


async def calls_of(app: DataPlane, **body: object) -> tuple[int, list[AsgiMessage]]:
    """How many calls a request makes once everything that is remembered is."""
    written = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x" * 900}], **body}).encode()
    for _ in range(3):
        await ask(app, written)
    with counting() as count:
        sent = await ask(app, written)
        calls = count()
    assert sent[0]["status"] == 200
    return calls, sent


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    running = asyncio.create_task(node.clusters.run())
    await asyncio.sleep(0)
    yield node
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_whole_answer(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    calls, sent = await calls_of(data_plane(node, monkeypatch, b"application/json", [ANSWER]))
    assert sent[-1]["body"] == ANSWER
    assert calls <= 145 * ALLOWED_GROWTH


async def test_stream_that_comes_in_one_piece(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    pieces = [CHUNK * 100 + DONE]
    calls, sent = await calls_of(data_plane(node, monkeypatch, b"text/event-stream", pieces), stream=True)
    assert b"".join(message.get("body", b"") for message in sent) == b"".join(pieces)
    assert calls <= 172 * ALLOWED_GROWTH


async def test_each_further_piece_of_a_stream(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    few, _ = await calls_of(data_plane(node, monkeypatch, b"text/event-stream", [*[CHUNK] * 10, DONE]), stream=True)
    many, _ = await calls_of(data_plane(node, monkeypatch, b"text/event-stream", [*[CHUNK] * 110, DONE]), stream=True)
    assert (many - few) / 100 <= 3
