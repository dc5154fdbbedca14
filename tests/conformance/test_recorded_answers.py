"""Real answers of providers before clients of all dialects: each reads what a client of the provider's own would."""

import json
from dataclasses import replace

import pytest

from tests.conformance.dialect_backends import Backend
from tests.conformance.dialect_table import BACKENDS, CLIENTS, HTTP_CLIENTS
from tests.conformance.dialects import Client, HttpClient, Reply, Told
from tests.conformance.translation_world import World
from tests.gateway.schemas import bedrock_recordings
from tests.support import recordings
from tests.support.http_wire import response
from tests.support.recordings import Recording
from tests.support.scripts import answer

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANSWERS = (
    "openai/chat-completions/basic",
    "openai/chat-completions/finish-length-reasoning-params",
    "openai/chat-completions/parallel-tools-system",
    "openai/chat-completions/stream-system-params",
    "openai/chat-completions/stream-parallel-tools-system",
    "openai/chat-completions/stream-tool-result-tool-call-tool-choice",
    "openai/chat-completions/tool-call",
    "anthropic/messages/basic",
    "anthropic/messages/tool-call",
    "anthropic/messages/stream-document-input-prompt-caching-cache-control",
    "anthropic/messages/stream-finish-length",
    "anthropic/messages/stream-params",
    "anthropic/messages/stream-parallel-tools-params",
    "anthropic/messages/stream-tool-result-tool-call-cache-control",
    "gemini/generateContent/basic",
    "gemini/generateContent/finish-length-reasoning-system",
    "gemini/generateContent/tool-result-tool-call-reasoning",
    "gemini/streamGenerateContent/stream-parallel-tools-reasoning-system",
    "gemini/streamGenerateContent/stream-reasoning-params",
    "cohere/v2-chat/basic",
    "cohere/v2-chat/finish-stop-sequence-stop",
    "cohere/v2-chat/parallel-tools",
    "cohere/v2-chat/reasoning-reasoning-replay-multi-turn",
    "cohere/v2-chat/tool-result-tool-call-tool-choice",
    "cohere/v2-chat/stream-params",
    "cohere/v2-chat/stream-text",
    "ollama/api-chat/basic",
    "ollama/api-chat/stream-text",
)
OF_CONVERSATIONS = ("chat-completions", "completions", "messages", "responses")
REFUSALS = [name for name in recordings.names(OF_CONVERSATIONS) if "/error-" in name] or ["absent"]
"""All that were recorded of these."""
SHOWN = {401: 502}
"""What clients see of a status that is not theirs: the provider refused the operator's key."""
SPEAKS_AS = {"azure": "openai", "openrouter": "openai"}
"""Whose errors these providers' have the form of."""


@pytest.fixture(params=CLIENTS, ids=lambda client: f"from-{client.name}")
def client(request: pytest.FixtureRequest) -> Client:
    """A client of each dialect."""
    found: Client = request.param
    return found


def replay(world: World, recording: Recording) -> Backend:
    """A backend that answers as the provider did."""
    (backend,) = (each for each in BACKENDS if each.name == _provider(recording.name))
    content_type = backend.stream_type if recording.is_streaming else "application/json"
    world.upstream.script = answer(response(recording.status, recording.answer, content_type=content_type))
    return backend


def _provider(name: str) -> str:
    provider = name.partition("/")[0]
    return SPEAKS_AS.get(provider, provider)


def comparable(told: Told, client: Client) -> Told:
    """What the client's dialect can tell; not the ids of calls, signatures and stop sequences, which few can."""
    read, cached, written = told.usage
    return replace(
        told,
        signature="",
        stop_sequence="",
        calls=tuple(replace(call, id="") for call in told.calls),
        sources=told.sources if "sources" in client.has else (),
        usage=(read, cached if "cached tokens" in client.has else 0, written),
        thought_tokens=told.thought_tokens if "thinking tokens" in client.has else 0,
    )


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERS)
async def test_answer_is_what_a_client_of_the_provider_reads(client: Client, name: str, world: World) -> None:
    recording = recordings.load(name)
    (speaker,) = (each for each in HTTP_CLIENTS if each.name == _provider(name))
    told = _read(speaker, recording).told
    reply = await world.ask(client, replay(world, recording), streamed=recording.is_streaming)
    assert (reply.error, reply.is_ended) == (None, True)
    assert comparable(reply.told, client) == comparable(told, client)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", bedrock_recordings.STREAMS)
async def test_recorded_frames_of_bedrock_are_read_to_their_end(client: Client, name: str, world: World) -> None:
    recording = bedrock_recordings.load(name)
    (backend,) = (each for each in BACKENDS if each.name == "bedrock")
    world.upstream.script = answer(response(200, recording.answer, content_type=backend.stream_type))
    reply = await world.ask(client, backend, streamed=True)
    assert (reply.error, reply.is_ended) == (None, True)
    told = [(event.event, json.loads(event.data)) for event in recording.events]
    deltas = [data["delta"] for kind, data in told if kind == "contentBlockDelta"]
    assert reply.told.text == "".join(delta.get("text", "") for delta in deltas)
    (usage,) = (data["usage"] for kind, data in told if kind == "metadata")
    assert reply.told.usage[2] == usage["outputTokens"]


def _read(speaker: HttpClient, recording: Recording) -> Reply:
    return speaker.read_stream(recording.answer) if recording.is_streaming else speaker.read_whole(recording.json())


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", REFUSALS)
async def test_refusal_keeps_its_class_and_text(client: Client, name: str, world: World, streamed: bool) -> None:
    recording = recordings.load(name)
    reply = await world.ask(client, replay(world, recording), streamed=streamed)
    shown = SHOWN.get(recording.status, recording.status)
    assert reply.status in (str(shown), client.kinds[shown])
    text: str = recording.json()["error"]["message"]
    assert (reply.error == text) is (shown != 502)
