"""Every dialect of clients before every dialect of backends: what survives the way there and back.

docs/conformance.md is made from these tests. What a dialect has of what not all have stands in its `has`.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from tests.conformance.cells import (
    on_every_pair,
    on_fields_of_their_own,
    where_both_have,
    where_the_backend_lacks,
    where_the_backend_passes_over,
    where_the_client_lacks,
)
from tests.conformance.dialect_backends import Backend, breaking, failing, stopping_short, waiting
from tests.conformance.dialect_table import PAIRS
from tests.conformance.dialects import (
    IMAGE,
    PDF,
    PDF_NAME,
    SOUND,
    TEXT_NAME,
    TOOL_PARAMETERS,
    UPSTREAM_MODEL,
    Ask,
    Call,
    Client,
    Reply,
    Token,
    Told,
    base64_of,
)
from tests.conformance.translation_world import World, model_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = Told(text="hello there")
CALLS = Told(calls=(Call(),), finish="tool_calls")
SIGNATURE = "c2lnbmF0dXJl"  # Gemini's are base64
THOUGHT = Told(thinking="They greet me.", signature=SIGNATURE, text="hello there")
REFUSAL = "I cannot say that."
SOURCES = (("https://a.example/rain", "Rain"), ("https://b.example/", "Snow"))
TOKENS = (Token("hello", -0.25, (("hi", -1.5), ("hey", -2.5))), Token(" there", -0.5, (("!", -3.0),)))
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}

SETTINGS: Mapping[str, Any] = {
    "temperature": 0.5,
    "top_p": 0.75,
    "top_k": 5,
    "seed": 7,
    "presence penalty": 0.25,
    "frequency penalty": 0.125,
    "stop sequences": ["END", "STOP"],
    "limit of tokens": 99,
    "user": "alice",
    "labels": {"team": "a"},
}
PICTURE_URL, PDF_URL, NOTES = "https://a.example/b.png", "https://a.example/c.pdf", "Rain is wet."
BESIDE_TEXT: Mapping[str, Mapping[str, Any]] = {
    "system prompt": {"system": "Be short."},
    "image": {"image": IMAGE},
    "image by address": {"image_url": PICTURE_URL},
    "audio": {"audio": SOUND},
    "PDF": {"pdf": PDF},
    "PDF by address": {"pdf_url": PDF_URL},
    "document of text": {"document": NOTES},
    "name of a document": {},
    "marks to cache": {"caches": True},
}
TWO_TOOLS = ("weather", "clock")


def assert_success(reply: Reply) -> None:
    """The client has a whole answer, and no error."""
    assert reply.status in ("200", "OK"), reply
    assert reply.error is None, reply
    assert reply.is_ended, reply


def without_ids(told: Told) -> Told:
    """The same without the ids of calls, which not all dialects have."""
    return replace(told, calls=tuple(replace(call, id="") for call in told.calls))


@on_every_pair("text", "usage", "model renamed")
async def test_text(client: Client, backend: Backend, world: World, streamed: bool) -> None:
    """Field failure: usage of a streamed answer missing."""
    reply = await world.ask(client, backend, streamed=streamed, told=HELLO)
    assert_success(reply)
    assert reply.told == HELLO
    assert reply.models == ({model_of(backend)} if client.names_model else set())
    (request,) = world.upstream.requests
    assert request.target == backend.path(streamed=streamed)
    assert request.header("accept") == (backend.stream_type if streamed else "application/json")
    seen = backend.read(request)
    assert (seen.model, seen.texts, seen.is_streaming) == (UPSTREAM_MODEL, ("hello",), streamed)


@on_every_pair("text at once")
async def test_text_is_passed_on_as_it_comes(client: Client, backend: Backend, world: World) -> None:
    gate = asyncio.Event()
    world.upstream.script = waiting(backend, HELLO, gate)
    disconnects = world.upstream.disconnects
    async with asyncio.timeout(20):
        await client.first_words(world.node, Ask(model=model_of(backend)), until="hello")
        await world.upstream.wait_for_disconnects(disconnects + 1)
    assert not gate.is_set()


@where_both_have(*BESIDE_TEXT)
async def test_what_is_said_beside_the_text(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    fields: dict[str, Any] = {}
    for row in rows:
        fields |= BESIDE_TEXT[row]
    assert_success(await world.ask(client, backend, Ask(**fields), streamed=streamed, told=HELLO))
    seen = world.seen(backend)
    pictures = {"image by address": PICTURE_URL, "image": IMAGE}
    assert (seen.system, seen.texts) == ("Be short." if "system prompt" in rows else "", ("hello",))
    assert seen.images == tuple(picture for row, picture in pictures.items() if row in rows)
    assert seen.sounds == ((SOUND,) if "audio" in rows else ())
    assert seen.file_urls == ((PDF_URL,) if "PDF by address" in rows else ())
    files = {"PDF": (PDF_NAME, "application/pdf", PDF), "document of text": (TEXT_NAME, "text/plain", base64_of(NOTES))}
    has_names = "name of a document" in rows
    named = [(name if has_names else "", *file) for row, (name, *file) in files.items() if row in rows]
    assert seen.files == tuple(named)
    assert seen.caches is ("marks to cache" in rows)


@where_the_backend_passes_over("name of a document", of="document of text")
async def test_name_of_a_document_is_left_out(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    assert_success(await world.ask(client, backend, Ask(document=NOTES), streamed=streamed, told=HELLO))
    assert world.seen(backend).files == (("", "text/plain", base64_of(NOTES)),)


@where_the_backend_passes_over("marks to cache", of="system prompt")
async def test_mark_to_cache_is_left_out(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    assert_success(await world.ask(client, backend, Ask(caches=True), streamed=streamed, told=HELLO))
    assert (world.seen(backend).texts, world.seen(backend).caches) == (("hello",), False)


@where_both_have(*SETTINGS)
async def test_settings(client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool) -> None:
    settings = {row: SETTINGS[row] for row in rows}
    assert_success(await world.ask(client, backend, Ask(settings=settings), streamed=streamed, told=HELLO))
    assert world.seen(backend).settings == settings


@where_both_have("JSON schema", "JSON without a schema")
async def test_form_of_the_answer(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    told = Told(text='{"city": "Oslo"}')
    reply = await world.ask(client, backend, Ask(schema=SCHEMA), streamed=streamed, told=told)
    assert reply.told == told
    assert world.seen(backend).schema == SCHEMA
    if "JSON without a schema" in rows:
        assert_success(await world.ask(client, backend, Ask(is_json=True), streamed=streamed))
        assert world.seen(backend).is_json


@where_both_have("tool call", "tool result", "failure of a tool")
async def test_call_of_a_tool_and_its_result(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    ask = Ask(tools=("weather",))
    first = await world.ask(client, backend, ask, streamed=streamed, told=CALLS)
    assert_success(first)
    assert without_ids(first.told) == without_ids(CALLS)
    assert world.seen(backend).tools == {"weather": TOOL_PARAMETERS}

    ask = replace(ask, before=first.told, result="12 °C")
    assert_success(await world.ask(client, backend, ask, streamed=streamed, told=HELLO))
    seen = world.seen(backend)
    (call,) = seen.said.calls
    assert (call.name, call.arguments) == ("weather", {"city": "Oslo"})
    ((answered, text),) = seen.results
    assert text == "12 °C"
    assert answered in (call.id, "weather")
    assert not seen.failed
    if "failure of a tool" in rows:
        assert_success(await world.ask(client, backend, replace(ask, failed=True), streamed=streamed))
        assert world.seen(backend) == replace(seen, failed=True)


@where_the_backend_passes_over("failure of a tool", of="tool result")
async def test_failure_of_a_tool_is_told_by_its_text_alone(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    ask = Ask(tools=("weather",), before=CALLS, result="no such city", failed=True)
    assert_success(await world.ask(client, backend, ask, streamed=streamed, told=HELLO))
    ((_, text),) = world.seen(backend).results
    assert text == "no such city"


@where_both_have("parallel tool calls")
async def test_parallel_tool_calls(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    second = Call(id="call_2", arguments={"city": "Rome"})
    told = Told(text="I look.", calls=(Call(), second), finish="tool_calls")
    reply = await world.ask(client, backend, Ask(tools=("weather",)), streamed=streamed, told=told)
    assert_success(reply)
    assert without_ids(reply.told) == without_ids(told)
    if reply.told.calls[0].id:
        assert len({call.id for call in reply.told.calls}) == 2


CHOSEN: Mapping[str, Mapping[str, Any]] = {
    "tool choice: required": {"choice": "required"},
    "tool choice: one function": {"choice": "clock"},
    "tool choice: none": {"choice": "none"},
    "one call at a time": {"one_call": True},
}
# What else says the same: no tools, or this one alone.
OTHERWISE_CHOSEN: Mapping[str, Sequence[tuple[str, ...]]] = {"none": [()], "clock": [("clock",)]}


@where_both_have(*CHOSEN)
async def test_choice_among_tools(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    for row in rows:
        ask = Ask(tools=TWO_TOOLS, **CHOSEN[row])
        assert_success(await world.ask(client, backend, ask, streamed=streamed, told=HELLO))
        seen = world.seen(backend)
        assert tuple(seen.tools) in (TWO_TOOLS, *OTHERWISE_CHOSEN.get(ask.choice, ()))
        if seen.tools:
            assert (seen.choice, seen.one_call) == (ask.choice, ask.one_call)


@where_both_have("thinking", "thinking replayed")
async def test_thinking(client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool) -> None:
    """Field failure: reasoning signatures not replayed, and the next turn is rejected."""
    first = await world.ask(client, backend, Ask(thinks=True), streamed=streamed, told=THOUGHT)
    assert_success(first)
    assert (first.told.thinking, first.told.text) == (THOUGHT.thinking, THOUGHT.text)
    assert world.seen(backend).thinks
    if "thinking replayed" in rows:
        ask = Ask(thinks=True, before=first.told)
        assert_success(await world.ask(client, backend, ask, streamed=streamed))
        said = world.seen(backend).said
        assert (said.thinking, said.signature, said.text) == (THOUGHT.thinking, SIGNATURE, THOUGHT.text)


@where_both_have("cached tokens", "thinking tokens")
async def test_parts_of_usage(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    """Field failure: cached tokens counted twice or not at all."""
    cached, thoughts = (count if row in rows else 0 for row, count in (("cached tokens", 80), ("thinking tokens", 3)))
    told = replace(HELLO, usage=(100, cached, 7), thought_tokens=thoughts)
    reply = await world.ask(client, backend, streamed=streamed, told=told)
    assert reply.told == told


@where_both_have("logprobs", "logprobs of other tokens")
async def test_probabilities_of_tokens(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    has_others = "logprobs of other tokens" in rows
    told = replace(HELLO, tokens=TOKENS if has_others else tuple(replace(token, others=()) for token in TOKENS))
    ask = Ask(logprobs=2 if has_others else 0)
    reply = await world.ask(client, backend, ask, streamed=streamed, told=told)
    assert_success(reply)
    assert reply.told == told
    assert world.seen(backend).logprobs == ask.logprobs


@where_both_have("several choices")
async def test_several_choices(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    told = replace(HELLO, others=("good day", "hey you"))
    ask = Ask(settings={"several choices": 3})
    reply = await world.ask(client, backend, ask, streamed=streamed, told=told)
    assert_success(reply)
    assert reply.told == told
    assert world.seen(backend).settings["several choices"] == 3


@where_both_have("sources")
async def test_sources_of_an_answer(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    told = replace(HELLO, sources=SOURCES)
    reply = await world.ask(client, backend, streamed=streamed, told=told)
    assert_success(reply)
    assert reply.told == told


@where_both_have("refusal")
async def test_refusal(client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool) -> None:
    reply = await world.ask(client, backend, streamed=streamed, told=Told(refusal=REFUSAL))
    assert_success(reply)
    assert reply.told.refusal == REFUSAL


@where_the_client_lacks("refusal", how="as text")
async def test_refusal_is_a_text_where_there_are_none(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    reply = await world.ask(client, backend, streamed=streamed, told=Told(refusal=REFUSAL))
    assert_success(reply)
    assert reply.told.text == REFUSAL


@on_every_pair("stop by length")
async def test_answer_that_is_too_long(client: Client, backend: Backend, world: World, streamed: bool) -> None:
    told = replace(HELLO, finish="length")
    reply = await world.ask(client, backend, streamed=streamed, told=told)
    assert_success(reply)
    assert reply.told == told


@where_both_have("stop by a filter", "stop sequence told")
async def test_why_an_answer_ended(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    filtered = replace(HELLO, finish="content_filter")
    reply = await world.ask(client, backend, streamed=streamed, told=filtered)
    assert_success(reply)
    assert (reply.told.finish, reply.told.text) == ("content_filter", "hello there")
    if "stop sequence told" in rows:
        told = replace(HELLO, stop_sequence="END")
        ask = Ask(settings={"stop sequences": ["END"]})
        assert (await world.ask(client, backend, ask, streamed=streamed, told=told)).told == told
        assert world.seen(backend).wants_stop_sequence


@on_every_pair("credentials and headers")
async def test_what_a_backend_learns_of_the_caller(
    client: Client, backend: Backend, world: World, streamed: bool
) -> None:
    assert_success(await world.ask(client, backend, streamed=streamed, told=HELLO, key="sk-of-the-caller"))
    request = world.request
    assert "sk-of-the-caller" not in str(request)
    names = {"authorization", "x-api-key", "api-key", "x-goog-api-key"}
    credentials = [(name.lower(), value) for name, value in request.headers if name.lower() in names]
    assert credentials == ([backend.credential] if backend.credential else [])
    assert request.header("anthropic-version") == ("2023-06-01" if backend.name == "anthropic" else None)
    is_same = client.name == backend.name
    assert request.header("anthropic-beta") == ("some-beta" if is_same and client.name == "anthropic" else None)


OF_OPENAI = {"openai", "responses", "completions"}
"""Whose errors have one form."""


@on_every_pair("errors by class")
async def test_error_before_content(client: Client, backend: Backend, world: World, streamed: bool) -> None:
    statuses = {400: 400, 401: 502, 404: 404, 413: 413, 429: 429, 500: 502, 503: 503, 504: 504}
    for status, shown in statuses.items():
        world.upstream.script = failing(backend, status, "the model says no", headers=[("retry-after", "3")])
        reply = await world.ask(client, backend, streamed=streamed)
        is_same = client.name == backend.name or {client.name, backend.name} <= OF_OPENAI
        if is_same and status in (400, 404, 413):  # as the backend wrote it
            assert reply.status == str(status)
        else:
            assert reply.status in (str(shown), client.kinds[shown])
            assert reply.kind == client.kinds[shown]
        assert reply.error is not None
        assert ("the model says no" in reply.error) is (status != 401)
        if status == 429:
            assert reply.headers["retry-after"] == "3"


@on_every_pair("overload retried")
async def test_overload_is_retried_unseen(client: Client, backend: Backend, world: World, streamed: bool) -> None:
    world.upstream.next.append(failing(backend, 529, "the model is overloaded", kind="overloaded"))
    reply = await world.ask(client, backend, streamed=streamed, told=HELLO, service="-retrying")
    assert_success(reply)
    assert reply.told == HELLO
    assert len(world.upstream.requests) == 2


@on_every_pair("error amid a stream")
async def test_error_after_content_is_the_last_event(client: Client, backend: Backend, world: World) -> None:
    world.upstream.script = breaking(backend, HELLO, "the model crashed")
    reply = await world.ask(client, backend, streamed=True)
    assert reply.told.text == "hello there"
    assert reply.error is not None
    assert "the model crashed" in reply.error
    assert reply.status == (client.event_status or client.kinds[502])
    assert len(world.upstream.requests) == 1


@on_every_pair("stream cut off")
async def test_stream_that_is_cut_off_never_ends_well(client: Client, backend: Backend, world: World) -> None:
    world.upstream.script = stopping_short(backend, HELLO)
    reply = await world.ask(client, backend, streamed=True)
    assert reply.told.text == "hello there"
    assert reply.error is not None
    assert "cut off" in reply.error
    assert reply.status == (client.event_status or client.kinds[502])


# What may be refused: the fields of `Ask` that ask for it, and what the error calls it.
REFUSED: Mapping[str, tuple[Mapping[str, Any], str]] = {
    "image by address": (BESIDE_TEXT["image by address"], "a picture by its address"),
    "audio": (BESIDE_TEXT["audio"], "sound"),
    "PDF": (BESIDE_TEXT["PDF"], "file"),
    "PDF by address": (BESIDE_TEXT["PDF by address"], "file"),
    "document of text": (BESIDE_TEXT["document of text"], "file"),
    "JSON without a schema": ({"is_json": True}, "JSON without a schema"),
    "tool choice: required": ({"tools": TWO_TOOLS, "choice": "required"}, "tool_choice"),
    "tool choice: one function": ({"tools": TWO_TOOLS, "choice": "clock"}, "tool_choice"),
    "one call at a time": ({"tools": TWO_TOOLS, "one_call": True}, "parallel_tool_calls"),
    "logprobs": ({"logprobs": 0}, "probabilities of tokens"),
    "logprobs of other tokens": ({"logprobs": 2}, "probabilities of"),
    "several choices": ({"settings": {"several choices": 2}}, "n cannot"),
    "top_k": ({"settings": {"top_k": 5}}, "top_k cannot"),
    "stop sequences": ({"settings": {"stop sequences": ["END"]}}, "stop cannot"),
    "seed": ({"settings": {"seed": 7}}, "seed cannot"),
    "presence penalty": ({"settings": {"presence penalty": 0.5}}, "presence_penalty cannot"),
    "frequency penalty": ({"settings": {"frequency penalty": 0.5}}, "frequency_penalty cannot"),
    "user": ({"settings": {"user": "alice"}}, "user cannot"),
    "labels": ({"settings": {"labels": {"team": "a"}}}, "metadata cannot"),
}


@where_the_backend_lacks(REFUSED)
async def test_what_the_backend_lacks_is_refused_by_name_or_left_out(
    client: Client, backend: Backend, rows: Sequence[str], world: World, streamed: bool
) -> None:
    asked: dict[str, Any] = {}
    for row in rows:
        fields, name = REFUSED[row]
        reply = await world.ask(client, backend, Ask(**fields), streamed=streamed, told=HELLO)
        assert reply.status in ("400", "INVALID_ARGUMENT"), row
        assert reply.error is not None
        assert name in reply.error
        asked |= {**fields, "settings": {**asked.get("settings", {}), **fields.get("settings", {})}}
    assert world.upstream.requests == []

    left = Ask(tools=asked.get("tools", ()), logprobs=0 if "logprobs" in backend.has and "logprobs" in asked else None)
    for ask in (left, Ask(**asked)):
        assert_success(await world.ask(client, backend, ask, streamed=streamed, service="-dropping"))
    without, dropped = map(backend.read, world.upstream.requests)
    assert dropped == without


@on_fields_of_their_own("field of its own")
async def test_field_that_no_other_dialect_has(client: Client, backend: Backend, world: World, streamed: bool) -> None:
    assert client.own_field is not None
    name, value = client.own_field
    ask = Ask(has_own=True)
    if client.name == backend.name:
        assert_success(await world.ask(client, backend, ask, streamed=streamed, told=HELLO))
        assert world.request.json()[name] == value
        return
    reply = await world.ask(client, backend, ask, streamed=streamed, told=HELLO)
    assert reply.status in ("400", "INVALID_ARGUMENT")
    assert reply.error is not None
    assert name in reply.error
    assert world.upstream.requests == []
    assert_success(await world.ask(client, backend, ask, streamed=streamed, service="-dropping"))
    assert name not in world.request.json()


# What is not refused: passed over in a request, or nothing that anybody asks for.
UNREFUSED = {
    "name of a document",
    "marks to cache",
    "failure of a tool",
    "cached tokens",
    "thinking tokens",
    "thinking replayed",
    "sources",
    "refusal",
    "stop by a filter",
    "stop sequence told",
}


async def test_all_that_a_client_asks_for_is_carried_or_refused() -> None:
    """There is a row for everything that some dialect has, and a refusal of all that one has and another lacks."""
    marks = [
        mark for name, test in globals().items() if name.startswith("test_") for mark in getattr(test, "pytestmark", ())
    ]
    params = [param for mark in marks if mark.name == "parametrize" for param in mark.args[1]]
    rows = {row for param in params for mark in param.marks for row in mark.args}
    for client, backend in PAIRS:
        assert client.has | backend.has <= rows
        assert client.has - backend.has <= REFUSED.keys() | UNREFUSED
