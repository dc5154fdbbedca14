"""The official OpenAI client for Python, unchanged, with pictures, sound, moderation, files and batches."""

import asyncio
import email.policy
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import openai
import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import MODEL
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import ReceivedRequest, chunked_response, json_response, response, sse
from tests.support.scripts import answer, cut, fail

KEY = "sk-alice"
SOUND = b"RIFF\x00\xff\r\n" * 5000
PICTURE = b"\x89PNG\r\n\x1a\n\x00"
BATCH = {
    "id": "batch_1",
    "object": "batch",
    "endpoint": "/v1/chat/completions",
    "input_file_id": "file-1",
    "completion_window": "24h",
    "status": "validating",
    "created_at": 1,
}
FILE = {
    "id": "file-1",
    "object": "file",
    "bytes": 3,
    "created_at": 1,
    "filename": "a.jsonl",
    "purpose": "batch",
    "status": "processed",
}


@pytest.fixture
async def client(gateway: Gateway, upstream: FaultyUpstream) -> AsyncIterator[openai.AsyncOpenAI]:
    """A client with a key, of a node that serves `m`, and what lies under `/v1/files` and `/v1/batches`."""
    service = {"models": [{"name": "m", "upstream_name": MODEL}], "retry_policy": {"num_retries": 0}}
    base = one_pool(upstream.address, service=service)
    routes: Any = [
        {"name": name, "match": {"path": {"prefix": f"/v1/{name}"}}, "backends": [{"service": "llm"}]}
        for name in ("files", "batches")
    ]
    await gateway.apply(with_keys({**base, "routes": [*base["routes"], *routes]}, api_key(KEY)))
    url = f"http://{gateway.addresses.http}/v1"
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY, max_retries=0, timeout=20) as client:
        yield client


def fields(request: ReceivedRequest) -> dict[str, bytes]:
    """What stands in a form."""
    head = f"content-type: {request.header('content-type')}\r\n\r\n".encode()
    found: dict[str, bytes] = {}
    for part in email.message_from_bytes(head + request.body, policy=email.policy.HTTP).iter_parts():
        content = part.get_payload(decode=True)
        assert isinstance(content, bytes)
        found[str(part.get_param("name", header="content-disposition"))] = content
    return found


async def test_picture(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    usage = {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3, "input_tokens_details": {}}
    upstream.script = answer(json_response(200, {"created": 1, "data": [{"b64_json": "QQ=="}], "usage": usage}))
    made = await client.images.generate(model="m", prompt="a cat", n=1, size="1024x1024")
    assert made.data is not None
    assert made.data[0].b64_json == "QQ=="
    assert made.usage is not None
    assert made.usage.total_tokens == 3
    assert upstream.requests[0].target == "/v1/images/generations"
    assert upstream.requests[0].json() == {"model": MODEL, "prompt": "a cat", "n": 1, "size": "1024x1024"}


async def test_stream_of_a_picture(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    events: list[dict[str, Any]] = [
        {"type": "image_generation.partial_image", "partial_image_index": 0, "b64_json": "QQ=="},
        {"type": "image_generation.completed", "b64_json": "QUE="},
    ]
    upstream.script = answer(chunked_response(sse(*events, done=False)))
    stream = await client.images.generate(model="m", prompt="a cat", stream=True, partial_images=1)
    assert [event.type for event in [event async for event in stream]] == [event["type"] for event in events]


async def test_picture_made_of_another(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"created": 1, "data": [{"url": "https://pictures.example/1"}]}))
    made = await client.images.edit(model="m", image=("a.png", PICTURE), prompt="a hat")
    assert made.data is not None
    assert made.data[0].url == "https://pictures.example/1"
    assert fields(upstream.requests[0]) == {"model": MODEL.encode(), "image": PICTURE, "prompt": b"a hat"}


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_picture_varied_without_a_model(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"created": 1, "data": []}))
    assert (await client.images.create_variation(image=("a.png", PICTURE))).data == []
    assert fields(upstream.requests[0]) == {"image": PICTURE}


async def test_speech(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(response(200, SOUND, content_type="audio/mpeg"))
    spoken = await client.audio.speech.create(model="m", voice="alloy", input="hello")
    assert spoken.content == SOUND
    assert upstream.requests[0].json() == {"model": MODEL, "voice": "alloy", "input": "hello"}


async def test_stream_of_speech(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(chunked_response([SOUND, SOUND], content_type="audio/pcm"))
    speech = client.audio.speech.with_streaming_response
    async with speech.create(model="m", voice="alloy", input="hello", response_format="pcm") as spoken:
        assert spoken.headers["content-type"] == "audio/pcm"
        assert b"".join([part async for part in spoken.iter_bytes()]) == SOUND + SOUND


async def test_speech_that_breaks_is_an_error(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    begun = chunked_response([SOUND], content_type="audio/mpeg")
    upstream.script = cut(begun, len(begun) - 5)
    with pytest.raises(openai.APIConnectionError):
        await client.audio.speech.create(model="m", voice="alloy", input="hello")


async def test_transcription(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"text": "hello", "usage": {"type": "duration", "seconds": 1}}))
    text = await client.audio.transcriptions.create(
        model="m", file=("a b.wav", SOUND), language="en", timestamp_granularities=["word"]
    )
    assert text.text == "hello"
    assert fields(upstream.requests[0]) == {
        "model": MODEL.encode(),
        "file": SOUND,
        "language": b"en",
        "timestamp_granularities[]": b"word",
    }


async def test_transcription_as_text(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(response(200, b"1\n00:00\nhello\n", content_type="text/plain"))
    text = await client.audio.transcriptions.create(model="m", file=("a.wav", SOUND), response_format="srt")
    assert str(text) == "1\n00:00\nhello\n"


async def test_stream_of_a_transcription(
    gateway: Gateway, client: openai.AsyncOpenAI, upstream: FaultyUpstream
) -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 2, "total_tokens": 16}
    events: list[dict[str, Any]] = [
        {"type": "transcript.text.delta", "delta": "hel"},
        {"type": "transcript.text.done", "text": "hello", "usage": usage},
    ]
    upstream.script = answer(chunked_response(sse(*events)))
    raw = await client.audio.transcriptions.with_raw_response.create(model="m", file=("a.wav", SOUND), stream=True)
    got = [event async for event in raw.parse()]
    assert [event.type for event in got] == ["transcript.text.delta", "transcript.text.done"]
    entry = await gateway.access_log_entry(raw.headers["x-request-id"])
    assert (entry["input_tokens"], entry["output_tokens"], entry["consumer"]) == (14, 2, "alice")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
async def test_translation_of_speech(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"text": "hello"}))
    assert (await client.audio.translations.create(model="m", file=("a.wav", SOUND))).text == "hello"
    assert upstream.requests[0].target == "/v1/audio/translations"


async def test_moderation(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {"id": "modr-1", "model": MODEL, "results": []}))
    judged = await client.moderations.create(model="m", input="hello")
    assert (judged.id, judged.model, judged.results) == ("modr-1", "m", [])


async def test_files(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, FILE))
    made = await client.files.create(file=("a.jsonl", b"{}\n"), purpose="batch")
    assert made.id == "file-1"
    assert fields(upstream.requests[-1]) == {"purpose": b"batch", "file": b"{}\n"}
    assert (await client.files.retrieve("file-1")).filename == "a.jsonl"
    upstream.script = answer(json_response(200, {"object": "list", "data": [FILE], "has_more": False}))
    assert [file.id async for file in client.files.list(limit=5)] == ["file-1"]
    upstream.script = answer(response(200, b"\x00content", content_type="application/octet-stream"))
    assert (await client.files.content("file-1")).content == b"\x00content"
    upstream.script = answer(json_response(200, {"id": "file-1", "object": "file", "deleted": True}))
    assert (await client.files.delete("file-1")).deleted
    assert [(request.method, request.target) for request in upstream.requests] == [
        ("POST", "/v1/files"),
        ("GET", "/v1/files/file-1"),
        ("GET", "/v1/files?limit=5"),
        ("GET", "/v1/files/file-1/content"),
        ("DELETE", "/v1/files/file-1"),
    ]


async def test_batches(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, BATCH))
    made = await client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
    assert made.status == "validating"
    assert (await client.batches.retrieve("batch_1")).id == "batch_1"
    assert (await client.batches.cancel("batch_1")).id == "batch_1"
    upstream.script = answer(json_response(200, {"object": "list", "data": [BATCH], "has_more": False}))
    assert [batch.id async for batch in client.batches.list()] == ["batch_1"]
    assert [(request.method, request.target) for request in upstream.requests] == [
        ("POST", "/v1/batches"),
        ("GET", "/v1/batches/batch_1"),
        ("POST", "/v1/batches/batch_1/cancel"),
        ("GET", "/v1/batches"),
    ]


async def test_wrong_key(client: openai.AsyncOpenAI, upstream: FaultyUpstream) -> None:
    stranger = client.with_options(api_key="sk-wrong")
    asked: list[Awaitable[object]] = [
        stranger.audio.speech.create(model="m", voice="alloy", input="x"),
        stranger.audio.transcriptions.create(model="m", file=("a.wav", SOUND)),
        stranger.files.retrieve("file-1"),
        stranger.batches.retrieve("batch_1"),
    ]
    for refused in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(refused, openai.AuthenticationError)
        assert refused.code == "invalid_api_key"
    assert upstream.requests == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, openai.BadRequestError),
        (401, openai.InternalServerError),
        (404, openai.NotFoundError),
        (429, openai.RateLimitError),
        (503, openai.InternalServerError),
    ],
)
async def test_error_of_the_backend(
    client: openai.AsyncOpenAI, upstream: FaultyUpstream, status: int, kind: type[openai.APIStatusError]
) -> None:
    upstream.script = fail(status, "the model says no", headers=[("retry-after", "3")])
    asked: list[Awaitable[object]] = [
        client.audio.transcriptions.create(model="m", file=("a.wav", SOUND)),
        client.moderations.create(model="m", input="x"),
        client.files.list(),
    ]
    for failed in await asyncio.gather(*asked, return_exceptions=True):
        assert isinstance(failed, kind)
        if status == 429:
            assert failed.response.headers["retry-after"] == "3"
