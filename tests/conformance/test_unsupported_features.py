"""What a backend cannot do is refused before it is called, left out, or asked of another backend that can."""

import json
from collections.abc import Mapping
from typing import Any

import aiohttp
import grpc
import pytest
from janua.inference.v1 import chat_pb2, inference_service_pb2_grpc

from tests.conformance.calls import Caller, CallFailedError, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import Configuration, one_pool
from tests.conformance.conftest import Upstreams
from tests.conformance.dialect_table import CLIENTS
from tests.conformance.dialects import IMAGE, Ask, Client, Node
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer, chat, fail

PICTURE = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{IMAGE}"}}
SCHEMA = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
FUNCTION = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
SAID = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": [PICTURE, {"type": "text", "text": "?"}]},
]


def without(address: str, *features: str, **service: Any) -> Configuration:
    return one_pool(address, service={"unsupported_features": features, **service})


async def post(gateway: Gateway, session: aiohttp.ClientSession, path: str, body: Mapping[str, Any]) -> tuple[int, Any]:
    async with session.post(f"http://{gateway.addresses.http}{path}", json=body) as response:
        return response.status, json.loads(await response.read())


# The field is told as the caller's dialect has it.

CHAT = "/v1/chat/completions"
GEMINI = "/v1beta/models/m:generateContent"
BLOB = {"inlineData": {"mimeType": "image/png", "data": IMAGE}}
SNAKE_BLOB = {"inline_data": {"mime_type": "audio/wav", "data": IMAGE}}


@pytest.mark.parametrize(
    ("path", "feature", "fields", "place"),
    [
        (CHAT, "IMAGES", {"messages": SAID}, "messages[1].content[0].image_url"),
        (CHAT, "TOOLS", {"messages": SAID, "tools": [FUNCTION]}, "tools"),
        (CHAT, "JSON_SCHEMA", {"messages": SAID, "response_format": SCHEMA}, "response_format"),
        (CHAT, "JSON_OBJECT", {"messages": SAID, "response_format": {"type": "json_object"}}, "response_format"),
        (CHAT, "REASONING", {"messages": SAID, "reasoning_effort": "low"}, "reasoning_effort"),
        (CHAT, "LOGPROBS", {"messages": SAID, "logprobs": True}, "logprobs"),
        (CHAT, "MULTIPLE_CHOICES", {"messages": SAID, "n": 2}, "n"),
        (CHAT, "STREAMING", {"messages": SAID, "stream": True}, "stream"),
        (CHAT, "CHAT", {"messages": SAID}, "model"),
        ("/v1/completions", "MULTIPLE_CHOICES", {"prompt": "hi", "n": 3}, "n"),
        ("/v1/completions", "LOGPROBS", {"prompt": "hi", "logprobs": 0}, "logprobs"),
        (
            "/v1/responses",
            "IMAGES",
            {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "https://a.example/b.png"}]}]},
            "input[0].content[0]",
        ),
        ("/v1/embeddings", "EMBEDDINGS", {"input": "hi"}, "model"),
    ],
)
async def test_openai_names_the_field(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    path: str,
    feature: str,
    fields: Mapping[str, Any],
    place: str,
) -> None:
    await gateway.apply(without(upstream.address, feature, unsupported_fields="REJECT"))
    status, body = await post(gateway, session, path, {"model": "m", **fields})
    assert (status, body["error"]["code"], body["error"]["param"]) == (400, "unsupported_feature", place)
    assert body["error"]["type"] == "invalid_request_error"
    assert "llm" in body["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("path", "feature", "body", "place"),
    [
        (
            "/v1/messages",
            "IMAGES",
            {
                "model": "m",
                "max_tokens": 9,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "text", "text": "?"},
                            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": IMAGE}},
                        ],
                    }
                ],
            },
            "messages[0].content[1]",
        ),
        (GEMINI, "IMAGES", {"contents": [{"parts": [{"text": "?"}, BLOB]}]}, "contents[0].parts[1].inlineData"),
        (GEMINI, "AUDIO", {"contents": {"parts": SNAKE_BLOB}}, "contents.parts.inlineData"),
        (
            "/api/chat",
            "IMAGES",
            {"model": "m", "stream": False, "messages": [{"role": "user", "content": "?", "images": [IMAGE]}]},
            "messages[0].images",
        ),
        (
            "/v2/chat",
            "TOOLS",
            {"model": "m", "messages": [{"role": "user", "content": "?"}], "tools": [FUNCTION]},
            "tools",
        ),
    ],
)
async def test_other_dialects_name_the_field_too(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    path: str,
    feature: str,
    body: Mapping[str, Any],
    place: str,
) -> None:
    await gateway.apply(without(upstream.address, feature))
    status, answered = await post(gateway, session, path, body)
    assert status == 400
    assert place in json.dumps(answered)
    assert upstream.requests == []


async def test_grpc_names_the_field_of_its_messages(
    gateway: Gateway, upstream: FaultyUpstream, channel: grpc.aio.Channel
) -> None:
    await gateway.apply(without(upstream.address, "IMAGES"))
    stub = inference_service_pb2_grpc.InferenceServiceStub(channel)
    parts = [chat_pb2.ContentPart(text="?"), chat_pb2.ContentPart(image=chat_pb2.Image(url="https://a.example/b.png"))]
    message = chat_pb2.Message(role=chat_pb2.Message.ROLE_USER, content=parts)
    request = chat_pb2.ChatCompletionRequest(model="m", messages=[message])
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CreateChatCompletion(chat_pb2.CreateChatCompletionRequest(request=request))
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    details = str(caught.value.trailing_metadata())
    assert "messages[0].content[1].image" in details
    assert "UNSUPPORTED_FEATURE" in details
    assert upstream.requests == []


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: f"from-{client.name}")
@pytest.mark.parametrize(
    ("feature", "asked"),
    [("IMAGES", Ask(image=IMAGE)), ("TOOLS", Ask(tools=("weather",))), ("JSON_SCHEMA", Ask(schema={"type": "object"}))],
    ids=["images", "tools", "schema"],
)
async def test_every_client_is_refused_or_goes_without(
    gateway: Gateway,
    upstream: FaultyUpstream,
    inference_node: Node,
    client: Client,
    streamed: bool,
    feature: str,
    asked: Ask,
) -> None:
    upstream.script = chat()
    await gateway.apply(without(upstream.address, feature))
    refused = await client.ask(inference_node, asked, streamed=streamed)
    assert refused.error is not None
    assert "cannot do this" in refused.error
    assert upstream.requests == []

    assert (await client.ask(inference_node, Ask(), streamed=streamed)).told.text == "hello there"

    await gateway.apply(without(upstream.address, feature, unsupported_fields="DROP"))
    answered = await client.ask(inference_node, asked, streamed=streamed)
    assert (answered.error, answered.told.text) == (None, "hello there")
    sent = upstream.requests[-1].body
    assert not any(word in sent for word in (b"image_url", b'"tools"', b"json_schema"))
    assert b"hello" in sent


async def test_streams_and_embeddings_are_refused_even_where_fields_are_dropped(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    upstream.script = chat()
    await gateway.apply(without(upstream.address, "STREAMING", "EMBEDDINGS", unsupported_fields="DROP"))
    assert_refused(await ask(caller, streamed=True), Kind.INVALID_REQUEST, "UNSUPPORTED_FEATURE")
    assert_answered(await ask(caller))
    with pytest.raises(CallFailedError) as caught:
        await caller.embed("m", ["hello"])
    assert caught.value.failure.reason == "UNSUPPORTED_FEATURE"
    assert len(upstream.requests) == 1


async def test_dropping_changes_nothing_else_and_shows_no_usage_that_was_not_asked_for(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = chat()
    await gateway.apply(without(upstream.address, "LOGPROBS", "IMAGES", unsupported_fields="DROP"))
    body = {"model": "m", "stream": True, "messages": SAID, "logprobs": True, "seed": 7, "vendor_field": {"a": 1}}
    async with session.post(f"http://{gateway.addresses.http}{CHAT}", json=body) as response:
        assert b'"usage"' not in await response.read()
    sent = upstream.requests[0].json()
    assert (sent["seed"], sent["vendor_field"], sent["stream"]) == (7, {"a": 1}, True)
    assert "logprobs" not in sent
    assert sent["messages"][1]["content"] in ("?", [{"type": "text", "text": "?"}])


async def test_what_a_model_can_do_passes_byte_for_byte(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    """Also what the node could not have read: a host that lacks one thing is not held to what Janua knows."""
    upstream.script = answer(json_response(200, {"choices": []}))
    await gateway.apply(without(upstream.address, "IMAGES"))
    data = b'{ "model":"m",  "messages":[{"role":"unheard-of","content":[{"type":"video"}]}], "tools":[]}'
    async with session.post(f"http://{gateway.addresses.http}{CHAT}", data=data) as response:
        assert response.status == 200
    assert upstream.requests[0].body == data


async def test_single_models_lack_more_than_their_service(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = chat()
    models = [{"name": "blind", "upstream_name": "b", "unsupported_features": ["IMAGES"]}]
    await gateway.apply(without(upstream.address, "AUDIO", models=models))
    assert (await post(gateway, session, CHAT, {"model": "seeing", "messages": SAID}))[0] == 200
    assert (await post(gateway, session, CHAT, {"model": "blind", "messages": SAID}))[0] == 400
    sound = [{"type": "input_audio", "input_audio": {"data": "", "format": "wav"}}]
    for model in ("seeing", "blind"):
        said = [{"role": "user", "content": sound}]
        status, body = await post(gateway, session, CHAT, {"model": model, "messages": said})
        assert (status, body["error"]["param"]) == (400, "messages[0].content[0].input_audio")


# Several backends.


def blind_and_seeing(blind: str, seeing: str, **of_seeing: Any) -> Configuration:
    return {
        "upstreams": [
            {"name": "blind", "endpoints": [{"address": blind}]},
            {"name": "seeing", "endpoints": [{"address": seeing}]},
        ],
        "services": [
            {
                "name": "blind",
                "upstream_service": {"upstream": "blind"},
                "models": [{"name": "small", "unsupported_features": ["IMAGES", "LOGPROBS"]}],
            },
            {"name": "seeing", "upstream_service": {"upstream": "seeing"}},
        ],
        "routes": [
            {
                "name": "chat",
                "match": {"models": ["m"]},
                "backends": [
                    {"service": "blind", "model_override": "small"},
                    {"service": "seeing", **of_seeing},
                ],
                "retry_policy": {"num_retries": 0},
            }
        ],
    }


@pytest.mark.parametrize("of_seeing", [{}, {"priority": 1}], ids=["same tier", "next tier"])
async def test_a_backend_that_can_is_asked(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool, of_seeing: Mapping[str, Any]
) -> None:
    blind, seeing = await upstreams(2)
    blind.script = seeing.script = chat()
    await gateway.apply(blind_and_seeing(blind.address, seeing.address, **of_seeing))
    for _ in range(4):
        reply = await ask(caller, Question(top_logprobs=1), streamed=streamed)
        assert_answered(reply)
        assert reply.headers["x-janua-service"] == "seeing"
        assert reply.headers["x-janua-attempts"] == "1"
    assert (len(blind.requests), len(seeing.requests)) == (0, 4)
    assert {(await ask(caller)).headers["x-janua-service"] for _ in range(4)} >= {"blind"}


async def test_failure_of_the_only_one_that_can_is_told(
    gateway: Gateway, upstreams: Upstreams, caller: Caller, streamed: bool
) -> None:
    blind, seeing = await upstreams(2)
    seeing.script = fail(503)
    await gateway.apply(blind_and_seeing(blind.address, seeing.address))
    reply = await ask(caller, Question(top_logprobs=1), streamed=streamed)
    assert_refused(reply, Kind.UNAVAILABLE, "UPSTREAM_UNAVAILABLE")
    assert blind.requests == []


async def test_none_that_can_is_told_as_what_the_first_cannot(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    blind, other = await upstreams(2)
    configuration = blind_and_seeing(blind.address, other.address)
    services = [{**service, "unsupported_features": ["LOGPROBS"]} for service in configuration["services"]]
    await gateway.apply({**configuration, "services": services})
    failure = assert_refused(await ask(caller, Question(top_logprobs=1)), Kind.INVALID_REQUEST, "UNSUPPORTED_FEATURE")
    assert failure.param in ("logprobs", "top_logprobs")
    assert blind.requests == other.requests == []


async def test_dialect_that_has_no_place_for_a_field_is_passed_over_too(
    gateway: Gateway, upstreams: Upstreams, caller: Caller
) -> None:
    """Anthropic's messages have no probabilities of tokens, OpenAI's chat completions have."""
    theirs, ours = await upstreams(2)
    ours.script = chat()
    configuration = blind_and_seeing(theirs.address, ours.address)
    anthropic = {"name": "blind", "upstream_service": {"upstream": "blind", "schema": "ANTHROPIC"}}
    await gateway.apply({**configuration, "services": [anthropic, configuration["services"][1]]})
    reply = await ask(caller, Question(top_logprobs=1))
    assert_answered(reply)
    assert theirs.requests == []


async def test_what_a_provider_refuses_by_its_documentation_is_known(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    upstream.script = chat()
    await gateway.apply(
        {
            "services": [{"name": "llm", "proxy_service": {"provider": "groq", "base_url": upstream.url}}],
            "routes": [{"name": "chat", "match": {"models": ["*"]}, "backends": [{"service": "llm"}]}],
        }
    )
    said = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
    for field, value in (("n", 2), ("logprobs", True)):
        status, body = await post(gateway, session, CHAT, {**said, field: value})
        assert (status, body["error"]["param"]) == (400, field)
    assert (await post(gateway, session, CHAT, {**said, "n": 1}))[0] == 200
    assert len(upstream.requests) == 1
