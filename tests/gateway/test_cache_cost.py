"""What a cache adds to a request that it has no answer for: calls of functions, and nothing that is left behind."""

import asyncio
import gc
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest

from gateway.listeners.data_plane import DataPlane
from gateway.listeners.service import GatewayService
from gateway.telemetry.access_log import AccessLog
from gateway.telemetry.metrics import Metrics
from gateway.upstream.connections import Connections
from tests.gateway.compile.resources import policy, resource, route, service, upstream
from tests.gateway.test_hot_path import ALLOWED_GROWTH, counting
from tests.gateway.test_pipeline import Node
from tests.support.in_process import ANSWER, CHUNK, DONE, Answering, ask


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    running = [asyncio.create_task(each.run()) for each in (node.clusters, node.live.answers)]
    await asyncio.sleep(0)
    yield node
    for task in running:
        task.cancel()
    await asyncio.gather(*running, return_exceptions=True)


def data_plane(node: Node, monkeypatch: pytest.MonkeyPatch, *, streamed: bool) -> DataPlane:
    """A node's HTTP side with a cache."""
    pipeline = node.use(
        upstream("u"),
        service("v"),
        policy("keys"),
        resource("policy", "kept", cache={"ttl": "300s"}),
        route("r", "v", ["kept"], models=["m"]),
    )
    pieces = [CHUNK * 100 + DONE] if streamed else [ANSWER]
    content_type = b"text/event-stream" if streamed else b"application/json"
    monkeypatch.setattr(Connections, "http", Answering(content_type, pieces))
    gateway_service = GatewayService(metrics=Metrics(), access_log=AccessLog(BytesIO()))
    gateway_service.pipeline = pipeline

    async def nothing_else(*_: Any) -> None:
        raise AssertionError("the request was not taken for one of a model")

    return DataPlane(nothing_else, gateway_service, max_body_bytes=1 << 20)


def body(number: int, *, streamed: bool) -> bytes:
    message = {"role": "user", "content": f"{number} {'x' * 900}"}
    return json.dumps({"model": "m", "stream": streamed, "messages": [message]}, separators=(",", ":")).encode()


@pytest.mark.parametrize(("streamed", "miss", "hit"), [(False, 246, 109), (True, 286, 111)], ids=["whole", "stream"])
async def test_calls_of_functions(
    node: Node, monkeypatch: pytest.MonkeyPatch, streamed: bool, miss: int, hit: int
) -> None:
    app = data_plane(node, monkeypatch, streamed=streamed)
    for number in range(3):
        await ask(app, body(number, streamed=streamed))
    counted = []
    for number in (3, 3):
        with counting() as count:
            await ask(app, body(number, streamed=streamed))
            counted.append(count())
    assert counted[0] <= miss * ALLOWED_GROWTH
    assert counted[1] <= hit * ALLOWED_GROWTH


@pytest.mark.parametrize("streamed", [False, True], ids=["whole", "stream"])
async def test_answers_leave_no_cycles(node: Node, monkeypatch: pytest.MonkeyPatch, streamed: bool) -> None:
    """Field failure: memory grows beyond the bound of the cache. What refers to itself waits for the garbage collector,
    and each call would take its answer along."""
    app = data_plane(node, monkeypatch, streamed=streamed)
    await ask(app, body(0, streamed=streamed))
    gc.collect()
    gc.disable()
    try:
        for number in range(1, 21):
            await ask(app, body(number, streamed=streamed))
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        left = {type(each).__name__ for each in gc.garbage}
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert left.isdisjoint({"Flight", "FlightReader", "RequestContext", "deque", "_Recorder", "CachedCall"})
