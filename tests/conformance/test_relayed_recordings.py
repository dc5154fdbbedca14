"""Real exchanges of clients and providers, with a node between them that has nothing to translate.

What the provider gets is what the client sent, and what the client gets what the provider answered, byte for byte.
"""

import json
from collections.abc import Mapping
from urllib.parse import quote

import aiohttp
import pytest

from tests.conformance.configuration import Configuration, one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.proxying import ProxiedAnswer, ProxyClient, proxied
from tests.support import recordings
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.recordings import Recording
from tests.support.scripts import answer

pytestmark = pytest.mark.component("recordings")

PATHS: Mapping[str, str] = {
    "api-chat": "/api/chat",
    "batchEmbedContents": "/v1beta/models/{model}:batchEmbedContents",
    "chat-completions": "/v1/chat/completions",
    "completions": "/v1/completions",
    "countTokens": "/v1beta/models/{model}:countTokens",
    "embeddings": "/v1/embeddings",
    "generateContent": "/v1beta/models/{model}:generateContent",
    "messages": "/v1/messages",
    "responses": "/v1/responses",
    "streamGenerateContent": "/v1beta/models/{model}:streamGenerateContent",
    "v2-chat": "/v2/chat",
    "v2-embed": "/v2/embed",
    "v2-rerank": "/v2/rerank",
}
"""Where clients of inference ask a node."""

SHOWN = {401: 502, 403: 502}
"""The statuses that clients see where it is not the provider's: a credential is the operator's."""

AS_ONE_ARRAY = "gemini/streamGenerateContent/reasoning"
"""The stream of a client that asked for no events, which a node does not serve."""

FAILED_MIDWAY = "groq/chat-completions/stream-mid-stream-error-tools-reasoning"
"""The stream that the provider ended with an error."""

APIS = sorted({name.split("/")[1] for name in recordings.everything() if "/" in name} - {"models"}) or ["absent"]


def path_of(recording: Recording) -> str:
    """Where its client would ask a node: inference has a path of its own, all else the provider's."""
    path = PATHS.get(recording.api)
    if path is None:
        return recording.path
    asked, _, query = recording.path.partition("?")
    model = asked.partition("/models/")[2].rpartition(":")[0]
    return path.format(model=quote(model, safe="")) + ("?alt=sse" if "alt=sse" in query else "")


def body_of(recording: Recording) -> bytes:
    """The request; those of Azure's older paths name no model, which a client of a node must."""
    if recording.api in PATHS and "{model}" not in PATHS[recording.api] and "model" not in recording.request:
        return b'{"model":"m",' + recording.body[1:]
    return recording.body


def said_by_provider(recording: Recording) -> bytes:
    """The whole answer as the provider sent it."""
    return response(recording.status, recording.answer, content_type=recording.content_type)


@pytest.fixture
def client(gateway: Gateway, session: aiohttp.ClientSession) -> ProxyClient:
    """A client of the node."""
    return ProxyClient(gateway.addresses.http, session)


async def ask(client: ProxyClient, recording: Recording) -> ProxiedAnswer:
    headers = {"content-type": "application/json"}
    return await client.send(path_of(recording), recording.method, headers=headers, data=body_of(recording))


@pytest.mark.parametrize("api", APIS)
async def test_recorded_exchange_passes_through(
    api: str, gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    is_inference = api in PATHS
    await gateway.apply(inference(upstream) if is_inference else proxied(upstream.address))
    for name in recordings.names([api]):
        recording = recordings.load(name)
        if name in (AS_ONE_ARRAY, FAILED_MIDWAY):
            continue
        upstream.script = answer(said_by_provider(recording))
        answered = await ask(client, recording)
        assert json.loads(upstream.requests[-1].body or b"null") == json.loads(body_of(recording) or b"null"), name
        assert answered.status == (SHOWN if is_inference else {}).get(recording.status, recording.status), name
        if recording.status < 400 or not is_inference:
            assert answered.body == recording.answer, name
            assert answered.header("content-type") == recording.content_type, name
        elif answered.status == recording.status:
            text = recording.json()["error"]["message"]
            assert json.loads(answered.body)["error"]["message"] == text, name


def inference(upstream: FaultyUpstream) -> Configuration:
    """A service that is only relayed to, whatever its dialect."""
    target = {"upstream": "pool", "schema": "PASSTHROUGH"}
    return one_pool(upstream.address, service={"upstream_service": target, "retry_policy": {"num_retries": 0}})


async def test_recorded_stream_that_fails_midway_passes_through_and_is_no_end(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    recording = recordings.load(FAILED_MIDWAY)
    await gateway.apply(inference(upstream))
    upstream.script = answer(said_by_provider(recording))
    answered = await ask(client, recording)
    assert answered.body == recording.answer  # its own error is the last event
    assert b"[DONE]" not in answered.body


async def test_recorded_request_for_a_stream_as_one_array_is_refused_by_name(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    await gateway.apply(inference(upstream))
    answered = await ask(client, recordings.load(AS_ONE_ARRAY))
    assert answered.status == 400
    assert "alt=sse" in json.loads(answered.body)["error"]["message"]
    assert upstream.requests == []


async def test_list_of_models_has_the_fields_of_the_recorded_one(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    recorded = recordings.load("openai/models/basic").json()
    await gateway.apply(one_pool(upstream.address, route={"match": {"models": ["m"]}}))
    told = json.loads((await client.send("/v1/models")).body)
    assert told.keys() == recorded.keys()
    assert told["data"][0].keys() == recorded["data"][0].keys()
