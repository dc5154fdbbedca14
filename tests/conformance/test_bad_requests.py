"""Requests that cannot be served: the right status, in the dialect of the path, with the field that is wrong."""

import json

import aiohttp
import grpc
import pytest
from janua.inference.v1 import chat_pb2, embeddings_pb2
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.conformance.calls import Caller, CallFailedError, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway
from tests.conformance.grpc_caller import failure_of
from tests.conformance.raw_http import connected, post
from tests.support.faulty_upstream import FaultyUpstream

CHAT = "/v1/chat/completions"


async def test_without_a_model(gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool) -> None:
    await gateway.apply(one_pool(upstream.address))
    failure = assert_refused(
        await ask(caller, Question(model=""), streamed=streamed), Kind.INVALID_REQUEST, "INVALID_REQUEST"
    )
    assert (failure.param or "").endswith("model")
    assert upstream.requests == []


async def test_embeddings_without_a_model(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    with pytest.raises(CallFailedError) as refused:
        await caller.embed("", ["text"])
    assert refused.value.failure.status == Kind.INVALID_REQUEST.on(caller.wire)
    assert refused.value.failure.param == "model"


async def test_body_over_the_limit(gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool) -> None:
    await gateway.apply(one_pool(upstream.address))
    answer = await ask(caller, Question(text="x" * MAX_BODY_BYTES), streamed=streamed)
    assert answer.failure is not None
    assert answer.failure.status == Kind.TOO_LARGE.on(caller.wire)
    assert upstream.requests == []


async def test_body_just_under_the_limit(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(caller, Question(text="x" * (MAX_BODY_BYTES - 1024))))


@pytest.mark.parametrize(
    ("body", "reason", "param"),
    [
        (b"", "invalid_json", None),
        (b'{"model": "m"', "invalid_json", None),
        (b"model=m", "invalid_json", None),
        (b'{"model": "m\xff"}', "invalid_json", None),
        (b'{"model": "m", "messages": ' + b"[" * 100_000, "invalid_json", None),
        (b"[]", "invalid_request", None),
        (b'{"messages": []}', "invalid_request", "model"),
        (b'{"model": 5}', "invalid_request", "model"),
        (b'{"model": null}', "invalid_request", "model"),
        (b'{"model": "m", "stream": "yes"}', "invalid_request", "stream"),
        (b'{"model": "m", "stream_options": []}', "invalid_request", "stream_options"),
        (b'{"model": "m", "stream_options": {"include_usage": 1}}', "invalid_request", "stream_options.include_usage"),
    ],
    ids=lambda value: repr(value)[:40],
)
async def test_body_that_is_no_request(
    gateway: Gateway,
    upstream: FaultyUpstream,
    session: aiohttp.ClientSession,
    body: bytes,
    reason: str,
    param: str | None,
) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with session.post(f"http://{gateway.addresses.http}{CHAT}", data=body) as response:
        error = (await response.json())["error"]
    assert response.status == 400
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", reason, param)
    assert error["message"]
    assert upstream.requests == []


async def test_two_models_in_one_body_are_one_for_the_backend(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(one_pool(upstream.address, route={"match": {"models": ["cheap"]}}))
    body = b'{"model": "dear", "temperature": 0, "mod\\u0065l": "cheap"}'
    async with session.post(f"http://{gateway.addresses.http}{CHAT}", data=body) as response:
        assert response.status == 200
    pairs = json.loads(upstream.requests[0].body, object_pairs_hook=list)
    assert pairs == [("model", "cheap"), ("temperature", 0)]


async def test_announced_body_over_the_limit_is_refused_unread(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(b"", f"content-length: {MAX_BODY_BYTES + 1}"))
        response = await connection.response()
    assert response is not None
    assert response.status == 413
    assert json.loads(response.body)["error"]["code"] == "payload_too_large"


async def test_unannounced_body_over_the_limit_is_not_read_to_its_end(
    gateway: Gateway, upstream: FaultyUpstream
) -> None:
    await gateway.apply(one_pool(upstream.address))
    piece = b"%x\r\n" % 65536 + b" " * 65536 + b"\r\n"
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(b"", "transfer-encoding: chunked") + piece * (MAX_BODY_BYTES // 65536 + 1))
        response = await connection.response()
    assert response is not None
    assert response.status == 413


@pytest.mark.parametrize(
    ("path", "status"), [(CHAT, 413), ("/v1/models", 405), ("/none", 404)], ids=["413", "405", "404"]
)
async def test_refusal_reaches_a_client_that_sends_all_before_it_reads(
    gateway: Gateway, path: str, status: int
) -> None:
    body = b" " * (8 * MAX_BODY_BYTES)
    async with connected(gateway.addresses.http) as connection:
        await connection.send(post(body, f"content-length: {len(body)}", path=path))
        response = await connection.response()
        assert response is not None
        assert response.status == status
        # The whole body was taken, so that the connection is good for more.
        await connection.send(post(b"", "content-length: 0", path="/none"))
        following = await connection.response()
    assert following is not None
    assert following.status == 404


@pytest.mark.parametrize(("method", "path"), [("GET", CHAT), ("PUT", "/v1/embeddings"), ("POST", "/v1/models")])
async def test_wrong_method(gateway: Gateway, session: aiohttp.ClientSession, method: str, path: str) -> None:
    async with session.request(method, f"http://{gateway.addresses.http}{path}") as response:
        error = (await response.json())["error"]
    assert (response.status, error["code"]) == (405, "method_not_allowed")
    allowed = {name.strip() for name in response.headers["allow"].split(",")}
    assert method not in allowed
    assert allowed & {"GET", "POST"}
    assert response.headers["x-request-id"]


async def test_unknown_path_of_the_openai_api(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    headers = {"x-request-id": "req-42"}
    async with session.get(f"http://{gateway.addresses.http}/v1/none", headers=headers) as response:
        error = (await response.json())["error"]
    assert (response.status, error["type"], error["code"]) == (404, "not_found_error", "path_not_found")
    assert response.headers["x-request-id"] == "req-42"


async def test_unknown_path_of_no_dialect(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with session.get(f"http://{gateway.addresses.http}/none") as response:
        problem = json.loads(await response.read())
    assert (response.status, response.content_type) == (404, "application/problem+json")
    assert (problem["status"], problem["code"]) == (404, "PATH_NOT_FOUND")


async def test_unknown_method_of_the_grpc_service(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
        "/janua.inference.v1.InferenceService/CreateSong"
    )
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await call(b"")
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


ASSISTANT, USER = chat_pb2.Message.ROLE_ASSISTANT, chat_pb2.Message.ROLE_USER


@pytest.mark.parametrize(
    ("request_", "field"),
    [
        (chat_pb2.ChatCompletionRequest(model="m"), "request.messages"),
        (chat_pb2.ChatCompletionRequest(model="m", messages=[chat_pb2.Message()]), "request.messages[0].role"),
        (
            chat_pb2.ChatCompletionRequest(
                model="m",
                messages=[
                    chat_pb2.Message(role=ASSISTANT),
                    chat_pb2.Message(role=USER, content=[chat_pb2.ContentPart()]),
                ],
            ),
            "request.messages[1].content[0]",
        ),
    ],
    ids=["messages", "role", "content"],
)
async def test_typed_request_that_is_not_complete(
    gateway: Gateway,
    upstream: FaultyUpstream,
    channel: grpc.aio.Channel,
    request_: chat_pb2.ChatCompletionRequest,
    field: str,
) -> None:
    await gateway.apply(one_pool(upstream.address))
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await InferenceServiceStub(channel).CreateChatCompletion(chat_pb2.CreateChatCompletionRequest(request=request_))
    failure = failure_of(refused.value)
    assert (failure.status, failure.reason, failure.param) == ("INVALID_ARGUMENT", "INVALID_REQUEST", field)
    assert upstream.requests == []


async def test_typed_extra_field_that_has_a_place_of_its_own(
    gateway: Gateway, upstream: FaultyUpstream, channel: grpc.aio.Channel
) -> None:
    await gateway.apply(one_pool(upstream.address))
    request = chat_pb2.ChatCompletionRequest(model="m", messages=[chat_pb2.Message(role=USER)])
    request.extra["max_tokens"] = 5
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await InferenceServiceStub(channel).CreateChatCompletion(chat_pb2.CreateChatCompletionRequest(request=request))
    assert failure_of(refused.value).param == "extra.max_tokens"


async def test_typed_embeddings_without_texts(gateway: Gateway, channel: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await InferenceServiceStub(channel).CreateEmbeddings(embeddings_pb2.CreateEmbeddingsRequest(model="m"))
    assert failure_of(refused.value).param == "input"
