"""`examples/transform.yaml`: what the backend gets, and what the caller, over HTTP and gRPC, whole and streamed."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user

from tests.examples.test_examples import KEY, start
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.processes import NodeFactory


@pytest.fixture
async def upstream() -> AsyncIterator[FaultyUpstream]:
    upstream = FaultyUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


def assert_changed(upstream: FaultyUpstream) -> None:
    """The last request is as the file says."""
    request = upstream.requests[-1]
    body, headers = request.json(), dict(request.headers)
    assert body["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "hello"},
    ]
    assert (body["max_tokens"], body["temperature"]) == (256, 0.2)
    assert "user" not in body
    assert headers["x-team"] == "search"
    assert "x-internal" not in headers


async def test_every_conversation_is_changed(node: NodeFactory, upstream: FaultyUpstream) -> None:
    gateway = await start(node, "transform.yaml", MODEL=upstream.address)
    messages = [{"role": "user", "content": "hello"}]
    body = {"model": "assistant", "max_tokens": 9999, "user": "ann", "messages": messages}
    for streamed in (False, True):
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"http://{gateway.http}/v1/chat/completions",
                json={**body, "stream": streamed},
                headers={**KEY, "x-internal": "1"},
            ) as reply,
        ):
            assert (reply.status, reply.headers["x-content-type-options"]) == (200, "nosniff")
            await reply.read()
        assert_changed(upstream)

    async with InferenceClient(gateway.grpc, api_key="janua-demo-key") as client:
        request = ChatCompletionRequest(model="assistant", max_output_tokens=9999, user="ann", messages=[user("hello")])
        answer = await client.chat(request)
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert_changed(upstream)
