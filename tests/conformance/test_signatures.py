"""Signatures of thoughts go back to backends of the dialect that made them, and to no others."""

import json
from itertools import permutations
from pathlib import Path

import pytest

from tests.conformance.dialect_backends import SECRET, Backend, answering, configuration
from tests.conformance.dialect_table import BACKENDS, CLIENTS, RESPONSES
from tests.conformance.dialects import UPSTREAM_MODEL, Ask, Client, Json, Node, Told
from tests.conformance.gateway import Gateway
from tests.conformance.translation_world import World
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer

SIGNATURE = "c2lnbmF0dXJl"
SEALED = "amFudWE6"
HELLO = Told(text="hello there")
THOUGHT = Told(thinking="They greet me.", signature=SIGNATURE, text="hello there")

PAIRS = [
    pytest.param(client, first, second, id=f"{client.name}-{first.name}-{second.name}")
    for client in CLIENTS
    for first, second in (*permutations(BACKENDS, 2), (RESPONSES, BACKENDS[0]), (BACKENDS[0], RESPONSES))
    if "thinking replayed" in client.has & first.has
]


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The file with the credential of providers."""
    path = tmp_path / "key"
    path.write_text(SECRET, "utf-8")
    return path


async def put(gateway: Gateway, upstream: FaultyUpstream, backend: Backend, key: Path, **service: object) -> None:
    await gateway.apply(configuration(backend, upstream.address, key, **service))


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize(("client", "first", "second"), PAIRS)
async def test_thought_of_one_backend_reaches_another_without_its_signature(
    client: Client, first: Backend, second: Backend, world: World
) -> None:
    told = (await world.ask(client, first, Ask(thinks=True), streamed=True, told=THOUGHT)).told
    assert told.signature

    ask = Ask(thinks=True, before=told)
    assert (await world.ask(client, second, ask, streamed=False, told=HELLO)).error is None
    said = world.seen(second).said
    assert (said.text, said.signature) == ("hello there", "")
    for trace in (SIGNATURE, SEALED, "janua"):
        assert trace not in world.request.body.decode()

    # After a way over another backend it still is the first one's.
    assert (await world.ask(client, first, ask, streamed=True, told=HELLO)).error is None
    assert world.seen(first).said.signature == SIGNATURE


async def test_what_else_stands_in_a_request_is_kept_when_a_signature_is_taken_out(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, key: Path
) -> None:
    openai, anthropic = (next(each for each in BACKENDS if each.name == name) for name in ("openai", "anthropic"))
    client = next(each for each in CLIENTS if each.name == "openai")
    await put(gateway, upstream, anthropic, key)
    upstream.script = answering(anthropic, THOUGHT)
    told = (await client.ask(inference_node, Ask(thinks=True), streamed=False)).told
    await put(gateway, upstream, openai, key)
    upstream.script = answering(openai, HELLO)
    for thinks in (True, False):
        before = told if thinks else Told(text=told.text)
        ask = Ask(thinks=True, before=before, has_own=True, settings={"seed": 7})
        assert (await client.ask(inference_node, ask, streamed=True)).error is None
    cleaned, plain = (request.json() for request in upstream.requests[-2:])
    assert cleaned.keys() == plain.keys()
    for name in cleaned.keys() - {"messages"}:
        assert cleaned[name] == plain[name]
    assert cleaned["messages"][0] == plain["messages"][0]


@pytest.mark.parametrize("is_whole", [False, True], ids=["contents", "whole request"])
async def test_gemini_counts_tokens_without_signatures_of_others(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, key: Path, is_whole: bool
) -> None:
    gemini, anthropic = (next(each for each in BACKENDS if each.name == name) for name in ("gemini", "anthropic"))
    client = next(each for each in CLIENTS if each.name == "gemini")
    await put(gateway, upstream, anthropic, key)
    upstream.script = answering(anthropic, THOUGHT)
    told = (await client.ask(inference_node, Ask(thinks=True), streamed=False)).told
    assert told.signature.startswith(SEALED)
    parts: list[Json] = [
        {"text": told.thinking, "thought": True, "thoughtSignature": told.signature},
        {"text": told.text},
    ]
    contents: list[Json] = [{"role": "user", "parts": [{"text": "hello"}]}, {"role": "model", "parts": parts}]
    whole = {"model": "models/m", "contents": contents, "systemInstruction": {"parts": [{"text": "Be short."}]}}
    asked: Json = {"generateContentRequest": whole} if is_whole else {"contents": contents}
    await put(gateway, upstream, gemini, key)
    upstream.script = answer(json_response(200, {"totalTokens": 9}))
    url = f"http://{inference_node.http}/v1beta/models/m:countTokens"
    async with inference_node.session.post(url, json=asked) as response:
        assert (response.status, await response.json()) == (200, {"totalTokens": 9})
    sent = upstream.requests[-1].json()["generateContentRequest"]
    del parts[0]["thoughtSignature"]
    assert sent == {**(whole if is_whole else {"contents": contents}), "model": f"models/{UPSTREAM_MODEL}"}


async def test_tokens_are_counted_without_signatures_of_others(
    gateway: Gateway, upstream: FaultyUpstream, inference_node: Node, key: Path
) -> None:
    gemini, anthropic = (next(each for each in BACKENDS if each.name == name) for name in ("gemini", "anthropic"))
    client = next(each for each in CLIENTS if each.name == "anthropic")
    await put(gateway, upstream, gemini, key)
    upstream.script = answering(gemini, THOUGHT)
    told = (await client.ask(inference_node, Ask(thinks=True), streamed=False)).told
    thinking = {"type": "thinking", "thinking": told.thinking, "signature": told.signature}
    asked: Json = {
        "model": "m",
        "unheard_of": True,
        "messages": [
            {"role": "user", "content": "hello"},
            {"role": "assistant", "content": [thinking, {"type": "text", "text": told.text}]},
            {"role": "user", "content": "and now?"},
        ],
    }
    url = f"http://{inference_node.http}/v1/messages/count_tokens"
    for backend, signature, count in (
        (gemini, SIGNATURE, {"totalTokens": 9}),
        (anthropic, None, {"input_tokens": 9}),
    ):
        await put(gateway, upstream, backend, key, unsupported_fields="DROP")
        upstream.script = answer(json_response(200, count))
        async with inference_node.session.post(url, json=asked) as response:
            assert (response.status, await response.json()) == (200, {"input_tokens": 9})
        sent = upstream.requests[-1]
        assert SEALED not in sent.body.decode()
        assert (SIGNATURE in sent.body.decode()) is (signature is not None)
    assert sent.json()["unheard_of"] is True
    assert json.dumps(told.text) in sent.body.decode()
