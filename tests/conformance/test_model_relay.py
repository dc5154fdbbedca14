"""OpenAI's operations that are passed through: routed by the model that their bodies name, under its name at the
backend, with nothing held that need not be."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Mapping
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.conformance.configuration import api_key, first_then, one_pool, proxy_service, with_keys
from tests.conformance.conftest import MAX_BODY_BYTES, Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.http2_client import http2_client
from tests.conformance.polling import until_still
from tests.conformance.proxying import ProxiedAnswer, ProxyClient
from tests.conformance.upstream_scripts import MODEL, open_stream
from tests.conformance.watched_memory import Watched
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import LAST_CHUNK, chunk, chunked_response, json_response, response, sse
from tests.support.raw_backend import raw_backend, read_chunk, read_head
from tests.support.scripts import Exchange, Script, answer, cut, fail, huge, reset, stall

MIB = 1024 * 1024
SOUND = b"ID3\x00\xff" * 1000
MODERATION: Mapping[str, Any] = {"id": "modr-1", "model": MODEL, "results": [{"flagged": False}]}
SPEECH_PATH, TRANSCRIPTION_PATH = "/v1/audio/speech", "/v1/audio/transcriptions"
JSON = {"content-type": "application/json"}
MODELS = {"models": [{"name": "m", "upstream_name": MODEL}]}


@pytest.fixture
async def client(gateway: Gateway, session: aiohttp.ClientSession, upstream: FaultyUpstream) -> ProxyClient:
    """A client of a node that serves `m` and what begins with `w` from one upstream."""
    await gateway.apply(one_pool(upstream.address, service=MODELS, route={"match": {"models": ["m", "w*"]}}))
    return ProxyClient(gateway.addresses.http, session)


async def post(client: ProxyClient, path: str, value: object) -> ProxiedAnswer:
    return await client.send(path, "POST", headers=JSON, data=json.dumps(value))


def openai_error(answered: ProxiedAnswer) -> tuple[int, str, str | None]:
    """Status, code and parameter of an error in OpenAI's form."""
    assert answered.header("content-type") == "application/json"
    error = json.loads(answered.body)["error"]
    assert error["message"]
    return answered.status, error["code"], error["param"]


FORM = {"content-type": "multipart/form-data; boundary=b0undary"}


def form(*fields: tuple[str, str | bytes]) -> bytes:
    """A form with these parts, in this order; those of bytes are files."""
    parts = []
    for name, value in fields:
        head = f'--b0undary\r\ncontent-disposition: form-data; name="{name}"'
        match value:
            case bytes():
                parts.append(f"{head}; filename=a.wav\r\n\r\n".encode() + value)
            case str():
                parts.append(f"{head}\r\n\r\n{value}".encode())
    return b"".join(part + b"\r\n" for part in parts) + b"--b0undary--\r\n"


async def in_pieces(data: bytes, size: int = 65536) -> AsyncIterator[bytes]:
    for at in range(0, len(data), size):
        yield data[at : at + size]


# Where requests go.


@pytest.mark.parametrize(
    "path", ["/v1/images/generations", "/v1/images/edits", SPEECH_PATH, "/v1/moderations"], ids=lambda path: path[4:]
)
async def test_json_goes_to_the_backend_of_its_model_under_the_name_there(
    client: ProxyClient, upstream: FaultyUpstream, path: str
) -> None:
    upstream.script = answer(json_response(200, MODERATION))
    answered = await post(client, f"{path}?x=1", {"prompt": "a cat", "model": "m", "own": [1.50]})
    assert answered.status == 200
    assert json.loads(answered.body) == {**MODERATION, "model": "m"}
    assert (answered.header("x-janua-route"), answered.header("x-janua-service")) == ("chat", "llm")
    (request,) = upstream.requests
    assert (request.method, request.target) == ("POST", f"{path}?x=1")
    assert request.json() == {"prompt": "a cat", "model": MODEL, "own": [1.50]}
    assert request.header("content-length") == str(len(request.body))


async def test_body_that_needs_no_other_name_is_not_touched(client: ProxyClient, upstream: FaultyUpstream) -> None:
    body = b'{ "input" : 1.50, "model":"whisper" }'
    upstream.script = answer(response(200, b'{ "id" : 1 }'))
    answered = await client.send("/v1/moderations", "POST", headers=JSON, data=body)
    assert answered.body == b'{ "id" : 1 }'
    assert upstream.requests[0].body == body


@pytest.mark.parametrize(
    "path", [TRANSCRIPTION_PATH, "/v1/audio/translations", "/v1/images/edits", "/v1/images/variations"]
)
@pytest.mark.parametrize("is_first", [True, False], ids=["model first", "model last"])
@pytest.mark.parametrize("model", ["m", "whisper-1"], ids=["renamed", "as it is"])
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
async def test_form_goes_to_the_backend_of_its_model(
    client: ProxyClient, upstream: FaultyUpstream, path: str, is_first: bool, model: str, has_length: bool
) -> None:
    upstream.script = answer(json_response(200, {"text": "hello"}))
    fields: list[tuple[str, str | bytes]] = [("file", SOUND), ("temperature", "0")]
    named = [*fields, ("model", model)] if not is_first else [("model", model), *fields]
    sent = form(*named)
    answered = await client.send(path, "POST", headers=FORM, data=sent if has_length else in_pieces(sent, 700))
    assert (answered.status, json.loads(answered.body)) == (200, {"text": "hello"})
    (request,) = upstream.requests
    assert request.header("content-type") == FORM["content-type"]
    expected = MODEL if model == "m" else model
    assert request.body == form(*((name, expected if name == "model" else value) for name, value in named))
    if has_length:
        assert request.header("content-length") == str(len(request.body))


@pytest.mark.parametrize("is_form", [False, True], ids=["json", "form"])
async def test_request_without_a_model_gets_that_of_its_route(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, is_form: bool
) -> None:
    upstream.script = answer(json_response(200, {"created": 1, "data": []}))
    route = {"match": {}, "backends": [{"service": "llm", "model_override": "m"}]}
    await gateway.apply(one_pool(upstream.address, service=MODELS, route=route))
    if is_form:
        answered = await client.send("/v1/images/edits", "POST", headers=FORM, data=form(("image", SOUND)))
        assert upstream.requests[0].body == form(("model", MODEL), ("image", SOUND))
    else:
        answered = await post(client, "/v1/images/generations", {"prompt": "a cat"})
        assert upstream.requests[0].json() == {"prompt": "a cat", "model": MODEL}
    assert answered.status == 200


@pytest.mark.parametrize("is_form", [False, True], ids=["json", "form"])
async def test_request_without_a_model_leaves_it_to_the_backend(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, is_form: bool
) -> None:
    upstream.script = answer(json_response(200, MODERATION))
    await gateway.apply(one_pool(upstream.address))
    data = form(("image", SOUND)) if is_form else b'{"input": "x"}'
    path = "/v1/images/variations" if is_form else "/v1/moderations"
    answered = await client.send(path, "POST", headers=FORM if is_form else JSON, data=data)
    assert answered.status == 200
    assert upstream.requests[0].body == data


async def test_route_with_a_path_takes_and_rewrites_them_too(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(json_response(200, MODERATION))
    match = {"path": {"prefix": "/v1/audio"}, "models": ["m"]}
    route = {"match": match, "rewrite": {"path_prefix": "/speech/v2"}}
    await gateway.apply(one_pool(upstream.address, service=MODELS, route=route))
    assert (await post(client, SPEECH_PATH, {"model": "m"})).status == 200
    assert (upstream.requests[0].target, upstream.requests[0].json()) == ("/speech/v2/speech", {"model": MODEL})
    assert (await post(client, SPEECH_PATH, {"model": "other"})).status == 404
    assert (await post(client, "/v1/moderations", {"model": "m"})).status == 404


async def test_failed_backend_is_replaced_by_another_with_its_own_name_for_the_model(
    gateway: Gateway, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    second.script = answer(json_response(200, {**MODERATION, "model": "b"}))
    backends = [{"service": "a"}, {"service": "b", "priority": 1, "model_override": "b"}]
    services = [
        {"name": name, "upstream_service": {"upstream": name, "schema": "OPENAI"}, "retry_policy": {"num_retries": 0}}
        for name in ("a", "b")
    ]
    await gateway.apply(
        {
            "upstreams": [
                {"name": name, "endpoints": [{"address": each.address}]} for name, each in (("a", first), ("b", second))
            ],
            "services": services,
            "routes": [{"name": "any", "match": {"models": ["m"]}, "backends": backends}],
        }
    )
    client = ProxyClient(gateway.addresses.http, session)
    answered = await client.send(TRANSCRIPTION_PATH, "POST", headers=FORM, data=form(("file", SOUND), ("model", "m")))
    assert json.loads(answered.body)["model"] == "m"
    assert first.requests[0].body == form(("file", SOUND), ("model", "m"))
    assert second.requests[0].body == form(("file", SOUND), ("model", "b"))


# Credentials.


async def test_the_callers_key_is_checked_and_the_backend_gets_that_of_the_node(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, tmp_path_factory: pytest.TempPathFactory
) -> None:
    secret = tmp_path_factory.mktemp("secret") / "key"
    secret.write_text("sk-of-the-node")
    upstream.script = answer(json_response(200, MODERATION, headers=[("set-cookie", "a=b"), ("x-own", "1")]))
    service = proxy_service("llm", upstream.url, secret="key")
    secrets = [{"name": "key", "file": str(secret)}]
    base = {**one_pool(upstream.address), "services": [service], "secrets": secrets}
    await gateway.apply(with_keys(base, api_key("sk-alice")))
    refused = await post(client, "/v1/moderations", {"model": "m"})
    assert openai_error(refused) == (401, "missing_api_key", None)
    assert upstream.requests == []
    headers = {**JSON, "authorization": "Bearer sk-alice", "cookie": "c=d", "accept-encoding": "gzip", "x-mine": "1"}
    answered = await client.send("/v1/moderations", "POST", headers=headers, data=b'{"model": "m"}')
    assert answered.status == 200
    assert (answered.header("set-cookie"), answered.header("x-own")) == (None, "1")
    (request,) = upstream.requests
    assert request.header("authorization") == "Bearer sk-of-the-node"
    assert (request.header("cookie"), request.header("x-mine")) == (None, "1")
    assert request.header("accept-encoding") == "identity"
    assert "sk-alice" not in str(request)


# Answers.


async def test_sound_is_streamed_as_it_comes(client: ProxyClient, upstream: FaultyUpstream) -> None:
    goes_on = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        await exchange.send(chunked_response([], content_type="audio/mpeg").removesuffix(LAST_CHUNK) + chunk(SOUND))
        await goes_on.wait()
        await exchange.send(chunk(SOUND) + LAST_CHUNK)

    upstream.script = script
    async with client.open(SPEECH_PATH, "POST", headers=JSON, data=b'{"model": "m", "input": "hi"}') as opened:
        assert opened.headers["content-type"] == "audio/mpeg"
        assert await opened.content.readexactly(len(SOUND)) == SOUND
        goes_on.set()
        assert await opened.content.read() == SOUND


async def test_sound_of_a_known_length_keeps_it(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = answer(response(200, SOUND, content_type="audio/wav"))
    answered = await post(client, SPEECH_PATH, {"model": "m"})
    assert (answered.header("content-length"), answered.body) == (str(len(SOUND)), SOUND)


IMAGE_EVENTS = [
    {"type": "image_generation.partial_image", "b64_json": "A" * 100_000},
    {"type": "image_generation.completed", "b64_json": "A" * 100_000, "usage": {"input_tokens": 7, "output_tokens": 9}},
]


async def test_events_are_relayed_whole_and_their_usage_is_counted(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    events = sse(*IMAGE_EVENTS, done=False)
    upstream.script = answer(chunked_response(events))
    answered = await post(client, "/v1/images/generations", {"model": "m", "stream": True})
    assert answered.body == b"".join(events)
    assert answered.header("content-type") == "text/event-stream"
    assert answered.header("x-accel-buffering") == "no"
    entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
    assert (entry["input_tokens"], entry["output_tokens"], entry["stream"]) == (7, 9, True)
    assert (entry["model"], entry["service"], entry["status"]) == ("m", "llm", "200")


@pytest.mark.parametrize("size", [10, 3 * MIB], ids=["small", "large"])
async def test_usage_of_a_whole_answer_is_counted(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, size: int
) -> None:
    value = {"data": [{"b64_json": "A" * size}], "usage": {"input_tokens": 5, "output_tokens": 6}}
    upstream.script = answer(json_response(200, value))
    answered = await post(client, "/v1/images/generations", {"model": "m"})
    assert json.loads(answered.body) == value
    entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
    assert (entry["input_tokens"], entry["output_tokens"], entry.get("stream")) == (5, 6, None)


async def test_answer_is_counted_and_paid_for(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    models = [{"name": "m", "upstream_name": MODEL, "price": {"output": 2.5}}]
    await gateway.apply(one_pool(upstream.address, service={"models": models}))
    usage = {"input_tokens": 5, "output_tokens": 1_000_000}
    upstream.script = answer(json_response(200, {"data": [], "usage": usage}))
    labels = {"service": "llm", "gen_ai_operation_name": "images", "gen_ai_token_type": "output"}
    before = await gateway.metric("gen_ai_client_token_usage_sum", labels)
    answered = await post(client, "/v1/images/generations", {"model": "m"})
    entry = await gateway.access_log_entry(answered.header("x-request-id") or "")
    assert entry["cost_usd"] == 2.5
    assert await gateway.metric("gen_ai_client_token_usage_sum", labels) - before == 1_000_000


async def test_service_of_another_family_is_passed_over(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(response(200, SOUND, content_type="audio/mpeg"))
    base = one_pool(upstream.address)
    other = {"name": "other", "upstream_service": {"upstream": "pool", "schema": "ANTHROPIC"}}
    route = {"name": "any", "match": {"models": ["m"]}, "backends": [{"service": "other"}, {"service": "llm"}]}
    await gateway.apply({**base, "services": [*base["services"], other], "routes": [route]})
    for _ in range(2):
        assert (await post(client, SPEECH_PATH, {"model": "m"})).header("x-janua-service") == "llm"


async def test_stream_of_events_that_breaks_ends_with_an_error(client: ProxyClient, upstream: FaultyUpstream) -> None:
    begun = open_stream(b'data: {"type": "speech.audio.delta"}\n\n', b'data: {"type": "spee')
    upstream.script = cut(begun, len(begun))
    answered = await post(client, SPEECH_PATH, {"model": "m", "stream_format": "sse"})
    whole, error, rest = answered.body.partition(b"event: error\n")
    assert (whole, error) == (b'data: {"type": "speech.audio.delta"}\n\n', b"event: error\n")
    assert json.loads(rest.removeprefix(b"data: "))["error"]["code"] == "upstream_cut"


async def test_sound_that_breaks_is_cut_and_has_no_error_in_it(client: ProxyClient, upstream: FaultyUpstream) -> None:
    begun = chunked_response([SOUND], content_type="audio/mpeg").removesuffix(LAST_CHUNK)
    upstream.script = cut(begun, len(begun))
    async with client.open(SPEECH_PATH, "POST", headers=JSON, data=b'{"model": "m"}') as opened:
        assert await opened.content.readexactly(len(SOUND)) == SOUND
        with pytest.raises(aiohttp.ClientPayloadError):
            await opened.content.read()


async def test_whole_answer_that_breaks_is_asked_for_again(
    gateway: Gateway, session: aiohttp.ClientSession, upstreams: Upstreams
) -> None:
    first, second = await upstreams(2)
    whole = json_response(200, MODERATION)
    first.script = cut(whole, len(whole) - 5)
    second.script = answer(whole)
    await gateway.apply(first_then(first.address, second.address))
    answered = await post(ProxyClient(gateway.addresses.http, session), "/v1/moderations", {"model": MODEL})
    assert json.loads(answered.body) == MODERATION
    assert answered.header("x-janua-attempts") == "2"


@pytest.mark.parametrize("first", [fail(503), fail(502), reset()], ids=["503", "502", "reset"])
@pytest.mark.parametrize("size", [1000, 500_000], ids=["small", "large"])
async def test_form_that_had_to_be_held_is_sent_again(
    gateway: Gateway, session: aiohttp.ClientSession, upstreams: Upstreams, first: Script, size: int
) -> None:
    failing, well = await upstreams(2)
    failing.script = first
    well.script = answer(json_response(200, {"text": "hi"}))
    await gateway.apply(first_then(failing.address, well.address))
    sent = form(("file", b"\x00" * size), ("model", "m"))
    answered = await ProxyClient(gateway.addresses.http, session).send(
        TRANSCRIPTION_PATH, "POST", headers=FORM, data=sent
    )
    assert (answered.status, answered.header("x-janua-attempts")) == (200, "2")
    assert well.requests[0].body == sent


async def test_client_that_leaves_frees_the_backend(client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = stall()
    asking = asyncio.create_task(post(client, SPEECH_PATH, {"model": "m"}))
    await upstream.wait_for_requests(1)
    asking.cancel()
    async with asyncio.timeout(2):
        await upstream.wait_for_disconnects(1)


# Large bodies.


LARGE = 100 * MIB
MODEL_PART = form(("model", "m")).removesuffix(b"--b0undary--\r\n")
FILE_HEAD = b'--b0undary\r\ncontent-disposition: form-data; name="file"; filename="a"\r\n\r\n'
END = b"\r\n--b0undary--\r\n"


async def large_form() -> AsyncIterator[bytes]:
    yield MODEL_PART + FILE_HEAD
    for _ in range(LARGE // 65536):
        yield b"\r\n\x00x" * 16384
    yield END


async def test_large_upload_with_the_model_first_takes_no_memory(
    gateway: Gateway, session: aiohttp.ClientSession
) -> None:
    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        size = 0
        while part := await read_chunk(reader):
            size += len(part)
        writer.write(json_response(200, {"text": str(size)}))

    async with raw_backend(count) as backend, Watched(gateway) as watched:
        await gateway.apply(one_pool(backend.address, service=MODELS))
        client = ProxyClient(gateway.addresses.http, session)
        answered = await client.send(TRANSCRIPTION_PATH, "POST", headers=FORM, data=large_form())
        size = len(MODEL_PART + FILE_HEAD + END) + LARGE + len(MODEL) - len("m")
        assert json.loads(answered.body) == {"text": str(size)}
    assert watched.growth < 16 * MIB


async def test_slow_backend_slows_the_upload_down(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    goes_on = asyncio.Event()
    sent = 0

    async def read_late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await goes_on.wait()
        await read_head(reader)
        while await read_chunk(reader):
            pass
        writer.write(json_response(200, {"text": "hi"}))

    async def body() -> AsyncIterator[bytes]:
        nonlocal sent
        async for piece in large_form():
            yield piece
            sent += len(piece)

    async with raw_backend(read_late) as backend:
        await gateway.apply(one_pool(backend.address))
        client = ProxyClient(gateway.addresses.http, session)
        sending = asyncio.create_task(client.send(TRANSCRIPTION_PATH, "POST", headers=FORM, data=body()))
        await until_still(lambda: sent, "the client can send no more")
        assert sent < LARGE / 2
        goes_on.set()
        assert (await sending).status == 200


async def test_upload_over_http2(gateway: Gateway, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"text": "hi"}))
    await gateway.apply(one_pool(upstream.address, service=MODELS))
    sent = form(("file", SOUND * 100), ("model", "m"))
    async with http2_client(gateway.addresses.http) as http2:
        number = await http2.begin_post(TRANSCRIPTION_PATH, "content-type", FORM["content-type"])
        await http2.send_data(number, sent)
        await http2.end(number)
        answered = await http2.answer(number)
    assert (answered.status, json.loads(answered.body)) == (200, {"text": "hi"})
    assert upstream.requests[0].body == form(("file", SOUND * 100), ("model", MODEL))


async def test_large_download_takes_no_memory(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    upstream.script = huge(LARGE)
    size = 0
    async with (
        Watched(gateway) as watched,
        client.open("/v1/images/generations", "POST", headers=JSON, data=b'{"model": "m"}') as opened,
    ):
        async for part in opened.content.iter_any():
            size += len(part)
    assert size == LARGE
    assert watched.growth < 16 * MIB


# What is refused.


@pytest.mark.parametrize(
    ("path", "headers", "data", "expected"),
    [
        ("/v1/moderations", JSON, b"{", (400, "invalid_json", None)),
        ("/v1/moderations", JSON, b"", (400, "invalid_json", None)),
        ("/v1/moderations", JSON, b"[]", (400, "invalid_request", None)),
        ("/v1/moderations", JSON, b'{"model": 1}', (400, "invalid_request", "model")),
        ("/v1/moderations", JSON, b'{"model": ""}', (400, "invalid_request", "model")),
        ("/v1/moderations", JSON, b'{"input": "x"}', (404, "model_not_found", "model")),
        ("/v1/moderations", JSON, b'{"model": "other"}', (404, "model_not_found", "model")),
        (TRANSCRIPTION_PATH, {"content-type": "multipart/form-data"}, b"x", (400, "invalid_request", "content-type")),
        (TRANSCRIPTION_PATH, FORM, b"", (400, "invalid_request", None)),
        (TRANSCRIPTION_PATH, FORM, b"no form", (400, "invalid_request", None)),
        (TRANSCRIPTION_PATH, FORM, form(("file", SOUND)), (404, "model_not_found", "model")),
        (TRANSCRIPTION_PATH, FORM, form(("model", "other")), (404, "model_not_found", "model")),
        (TRANSCRIPTION_PATH, FORM, form(("model", "m"), ("model", "m")), (400, "invalid_request", "model")),
        (TRANSCRIPTION_PATH, FORM, form(("model", "m"))[:-10], (400, "invalid_request", None)),
    ],
)
async def test_bad_request(
    client: ProxyClient,
    upstream: FaultyUpstream,
    path: str,
    headers: Mapping[str, str],
    data: bytes,
    expected: tuple[int, str, str | None],
) -> None:
    assert openai_error(await client.send(path, "POST", headers=headers, data=data)) == expected
    assert upstream.requests == []


async def test_second_model_after_a_large_file_is_never_sent(client: ProxyClient, upstream: FaultyUpstream) -> None:
    data = form(("model", "m"), ("file", b"x" * 5 * MIB), ("model", "forbidden"))
    answered = await client.send(TRANSCRIPTION_PATH, "POST", headers=FORM, data=in_pieces(data))
    assert openai_error(answered) == (400, "invalid_request", "model")
    assert upstream.requests == [], "no whole request has come"


@pytest.mark.parametrize(
    ("path", "headers", "data"),
    [
        ("/v1/moderations", JSON, b'{"model": "m", "x": "' + b"x" * MAX_BODY_BYTES + b'"}'),
        (TRANSCRIPTION_PATH, FORM, form(("file", b"x" * 2 * MAX_BODY_BYTES), ("model", "m"))),
    ],
    ids=["json", "form"],
)
@pytest.mark.parametrize("has_length", [True, False], ids=["length", "chunked"])
async def test_body_that_would_have_to_be_held_is_limited(
    client: ProxyClient, upstream: FaultyUpstream, path: str, headers: Mapping[str, str], data: bytes, has_length: bool
) -> None:
    answered = await client.send(path, "POST", headers=headers, data=BytesIO(data) if has_length else in_pieces(data))
    assert openai_error(answered)[:2] == (413, "payload_too_large")
    assert upstream.requests == []


async def test_other_methods_are_refused(client: ProxyClient, upstream: FaultyUpstream) -> None:
    answered = await client.send(SPEECH_PATH, "GET")
    assert openai_error(answered) == (405, "method_not_allowed", None)
    assert answered.header("allow") == "POST"
    assert upstream.requests == []


async def test_service_of_another_family_is_named(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    service = {"upstream_service": {"upstream": "pool", "schema": "ANTHROPIC"}}
    await gateway.apply(one_pool(upstream.address, service=service))
    answered = await post(client, SPEECH_PATH, {"model": "claude"})
    assert openai_error(answered) == (400, "unsupported_by_service", "model")
    assert b"llm speaks ANTHROPIC, which has no audio" in answered.body
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (400, (400, None)),
        (401, (502, "upstream_auth_failed")),
        (404, (404, None)),
        (429, (429, "rate_limited")),
        (500, (502, "upstream_failed")),
        (503, (503, "upstream_unavailable")),
    ],
)
async def test_error_of_the_backend(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, status: int, expected: tuple[int, str | None]
) -> None:
    service = {**MODELS, "retry_policy": {"num_retries": 0}}
    await gateway.apply(one_pool(upstream.address, service=service))
    upstream.script = fail(status, "the backend says no", headers=[("retry-after", "7")])
    answered = await post(client, SPEECH_PATH, {"model": "m"})
    assert openai_error(answered)[:2] == expected
    assert answered.header("retry-after") == ("7" if status in (429, 503) else None)
    assert (b"the backend says no" in answered.body) is (status != 401)


async def test_compressed_answer_that_nobody_asked_for_is_no_answer(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    upstream.script = answer(response(200, gzip.compress(b"{}"), headers=[("content-encoding", "gzip")]))
    answered = await post(client, "/v1/moderations", {"model": "m"})
    assert openai_error(answered)[:2] == (502, "upstream_reset")


# Files and batches: by path alone.


BY_PATH: Mapping[str, Any] = {"match": {"path": {"prefix": "/v1"}}}


@pytest.mark.parametrize("path", ["/v1/files", "/v1/files/file-1/content", "/v1/batches", "/v1/batches/b/cancel"])
async def test_files_and_batches_need_a_route_that_names_their_path(
    client: ProxyClient, upstream: FaultyUpstream, gateway: Gateway, path: str
) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert openai_error(await client.send(path)) == (404, "path_not_found", None)
    await gateway.apply(one_pool(upstream.address, route=BY_PATH))
    upstream.script = answer(response(200, b"\x00content", content_type="application/octet-stream"))
    answered = await client.send(f"{path}?limit=1")
    assert (answered.status, answered.body, answered.header("content-length")) == (200, b"\x00content", "8")
    assert upstream.requests[0].target == f"{path}?limit=1"


async def test_large_file_is_not_looked_into(gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream) -> None:
    await gateway.apply(one_pool(upstream.address, route=BY_PATH))
    upstream.script = answer(json_response(200, {"id": "file-1", "object": "file"}))
    data = form(("model", "a"), ("model", "b"), ("file", b"x" * 3 * MIB))
    answered = await client.send("/v1/files", "POST", headers=FORM, data=in_pieces(data))
    assert (answered.status, json.loads(answered.body)["id"]) == (200, "file-1")
    assert upstream.requests[0].body == data


async def test_batch_is_not_made_twice(gateway: Gateway, session: aiohttp.ClientSession, upstreams: Upstreams) -> None:
    first, second = await upstreams(2)
    first.script = fail(503)
    await gateway.apply(first_then(first.address, second.address, route=BY_PATH))
    client = ProxyClient(gateway.addresses.http, session)
    assert openai_error(await post(client, "/v1/batches", {}))[:2] == (503, "upstream_unavailable")
    assert second.requests == []
    second.script = answer(json_response(200, {"object": "list"}))
    assert (await client.send("/v1/batches")).status == 200


@pytest.mark.parametrize("method", ["PUT", "PATCH", "HEAD"])
async def test_other_methods_of_files_are_refused(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream, method: str
) -> None:
    await gateway.apply(one_pool(upstream.address, route=BY_PATH))
    answered = await client.send("/v1/files", method)
    assert (answered.status, answered.header("allow")) == (405, "DELETE, GET, POST")
    assert upstream.requests == []


async def test_files_of_anthropics_clients_are_passed_through(
    gateway: Gateway, client: ProxyClient, upstream: FaultyUpstream
) -> None:
    service = {"upstream_service": {"upstream": "pool", "schema": "ANTHROPIC"}}
    await gateway.apply(one_pool(upstream.address, route=BY_PATH, service=service))
    upstream.script = answer(json_response(200, {"data": []}))
    assert (await client.send("/v1/files", headers={"anthropic-version": "2023-06-01"})).status == 200
    assert openai_error(await client.send("/v1/files"))[:2] == (400, "unsupported_by_service")
