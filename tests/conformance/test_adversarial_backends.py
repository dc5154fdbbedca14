"""Backends that do not keep to their dialect, before every client, where a node translates and where it relays.

What fails before its content is never a 200, and what fails after it ends with an error in the client's dialect.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from gateway.framing.aws_event_stream import encode_frame
from gateway.framing.sse import MAX_EVENT_BYTES
from tests.conformance.dialect_backends import Backend
from tests.conformance.dialect_table import BACKENDS, CLIENTS, RESPONSES
from tests.conformance.dialects import Ask, Call, Client, Reply, Told
from tests.conformance.translation_world import World
from tests.support.http_wire import LAST_CHUNK, chunk, chunked_response, json_response, response, sse
from tests.support.pieces import single_bytes
from tests.support.scripts import Exchange, Script, answer, cut, reset, stall

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELLO = Told(text="hello there")
GREETING = Told(text="Grüße, 世界 🌍🏽")
HTML = b"<html><body><h1>502 Bad Gateway</h1></body></html>"
MIB = 1024 * 1024


@pytest.fixture(params=CLIENTS, ids=lambda client: f"from-{client.name}")
def client(request: pytest.FixtureRequest) -> Client:
    """A client of each dialect."""
    found: Client = request.param
    return found


@pytest.fixture(params=[*BACKENDS, RESPONSES], ids=lambda backend: f"to-{backend.name}")
def backend(request: pytest.FixtureRequest) -> Backend:
    """A backend of each dialect."""
    found: Backend = request.param
    return found


def stream_of(backend: Backend, *pieces: bytes) -> bytes:
    """The pieces as a streamed answer that ends in order."""
    return chunked_response(pieces, content_type=backend.stream_type)


def open_stream(backend: Backend, *pieces: bytes) -> bytes:
    """The same without its end."""
    return stream_of(backend, *pieces).removesuffix(LAST_CHUNK)


def content(backend: Backend) -> list[bytes]:
    """A stream's pieces up to the end of its content."""
    return backend.pieces(HELLO)[: -backend.end_pieces()]


def event(backend: Backend, data: bytes) -> bytes:
    """One event with that data."""
    return data + b"\n" if "ndjson" in backend.stream_type else b"data: " + data + b"\n\n"


def bad_beginnings(backend: Backend) -> Mapping[str, Script]:
    """Answers that fail before they say anything."""
    return {
        "nothing": answer(stream_of(backend)),
        "a page": answer(response(200, HTML, content_type="text/html")),
        "a page as a stream": answer(response(200, HTML, content_type=backend.stream_type)),
        "an error that is none by its status": answer(json_response(200, backend.error_body("", "kaputt"))),
        "an error as the first event": answer(stream_of(backend, backend.error_piece("kaputt"))),
        "no JSON": answer(stream_of(backend, event(backend, b'{"broken'))),
        "another JSON": answer(stream_of(backend, event(backend, b"[7]"))),
        "bytes that are no text": answer(stream_of(backend, event(backend, b'{"a":"\xff\xfe"}'))),
        "headers and a reset": reset(open_stream(backend), len(open_stream(backend))),
        "the end alone": answer(stream_of(backend, backend.pieces(HELLO)[0][:7])),
    }


FAULTS = list(bad_beginnings(BACKENDS[0]))


@pytest.mark.parametrize("fault", FAULTS)
async def test_what_fails_before_its_content_is_never_a_200(
    client: Client, backend: Backend, fault: str, world: World
) -> None:
    """Field failure: a failed upstream answer turned into 200 with an empty `stop`."""
    world.upstream.script = bad_beginnings(backend)[fault]
    reply = await world.ask(client, backend, streamed=True)
    assert reply.status in {"502", "504", client.kinds[502], client.kinds[504]}, reply
    assert reply.kind in {client.kinds[502], client.kinds[504]}
    assert reply.error


async def test_silence_before_content_is_never_a_200(client: Client, backend: Backend, world: World) -> None:
    begun = open_stream(backend)
    world.upstream.script = stall(begun, len(begun))
    reply = await world.ask(client, backend, streamed=True, service="-impatient")
    assert reply.status in {"504", client.kinds[504]}, reply
    assert reply.kind == client.kinds[504]


@pytest.mark.parametrize("fault", ["a page", "an error that is none by its status"])
async def test_whole_answer_that_is_an_error_is_never_a_200(
    client: Client, backend: Backend, fault: str, world: World
) -> None:
    world.upstream.script = bad_beginnings(backend)[fault]
    reply = await world.ask(client, backend, streamed=False)
    assert reply.status in {"502", client.kinds[502]}, reply
    assert reply.error


PAGE_STATUSES = ((400, 400), (403, 502), (404, 404), (429, 429), (500, 502), (503, 503))


async def test_page_instead_of_an_error_is_an_error_of_the_clients_dialect(
    client: Client, backend: Backend, world: World
) -> None:
    """What a proxy or a firewall before the provider answers is nothing that a client could read."""
    for status, shown in PAGE_STATUSES:
        world.upstream.script = answer(response(status, HTML, content_type="text/html"))
        reply = await world.ask(client, backend, streamed=False)
        assert reply.status in {str(shown), client.kinds[shown]}, reply
        assert reply.kind == client.kinds[shown]
        assert reply.error
        assert "html" not in reply.error


def assert_broken(reply: Reply, client: Client, said: str) -> None:
    """What was said is there, and after it an error, in the dialect of the client."""
    assert reply.told.text.startswith(said)
    assert reply.error
    assert reply.status in {client.event_status, client.kinds[502], client.kinds[504]}


async def test_cut_after_content(client: Client, backend: Backend, world: World) -> None:
    """Field failure: the upstream is cut mid-stream, and the client sees a clean end."""
    begun = open_stream(backend, *content(backend)) + b"5\r\nda"  # within a chunk
    world.upstream.script = cut(begun, len(begun))
    assert_broken(await world.ask(client, backend, streamed=True), client, "hello")


async def test_silence_after_content(client: Client, backend: Backend, world: World) -> None:
    begun = open_stream(backend, *content(backend))
    world.upstream.script = stall(begun, len(begun))
    assert_broken(await world.ask(client, backend, streamed=True, service="-soon-tired"), client, "hello there")


@pytest.mark.parametrize("data", [b'{"broken', b"[7]", HTML], ids=["no JSON", "another JSON", "a page"])
async def test_event_that_is_none_after_content(client: Client, backend: Backend, world: World, data: bytes) -> None:
    if client.name == backend.name:
        pytest.skip("what is relayed is not looked into")
    world.upstream.script = answer(stream_of(backend, *content(backend), event(backend, data)))
    assert_broken(await world.ask(client, backend, streamed=True), client, "hello there")


async def test_event_without_end_after_content(client: Client, backend: Backend, world: World) -> None:
    """It is given up once it is larger than any event may be, and not held."""
    begun = open_stream(backend, *content(backend))

    async def script(exchange: Exchange) -> None:
        await exchange.send(begun + chunk(b'data: {"' if "ndjson" not in backend.stream_type else b'{"'))
        for _ in range(MAX_EVENT_BYTES // MIB + 2):
            await exchange.send(chunk(b"x" * MIB))
        await exchange.until_client_gone()

    world.upstream.script = script
    assert_broken(await world.ask(client, backend, streamed=True), client, "hello there")


async def test_events_out_of_order_neither_hang_nor_look_cut_off(
    client: Client, backend: Backend, world: World
) -> None:
    if client.name == backend.name:
        pytest.skip("what is relayed stays in its order")
    world.upstream.script = answer(stream_of(backend, *reversed(backend.pieces(HELLO))))
    reply = await world.ask(client, backend, streamed=True)
    assert reply.error or reply.is_ended


async def test_beginning_that_comes_twice_is_told_once(client: Client, backend: Backend, world: World) -> None:
    """Field failure: `message_start` twice."""
    first, *others = backend.pieces(HELLO)
    if b"hello" in first:
        pytest.skip("its streams begin with content")
    world.upstream.script = answer(stream_of(backend, first, first, *others))
    reply = await world.ask(client, backend, streamed=True)
    assert (reply.error, reply.is_ended, reply.told.text) == (None, True, "hello there")


async def test_characters_of_several_bytes_may_be_cut_anywhere(client: Client, backend: Backend, world: World) -> None:
    """Field failure: multi-byte UTF-8 split across reads. Each byte comes in a write of its own."""
    stream = b"".join(backend.pieces(GREETING))
    unescaped = json.dumps(GREETING.text).strip('"').encode()
    stream = stream.replace(unescaped, GREETING.text.encode()) if unescaped in stream else stream

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream(backend))
        for byte in single_bytes(stream):
            await exchange.send(chunk(byte))
        await exchange.send(LAST_CHUNK)

    world.upstream.script = script
    reply = await world.ask(client, backend, streamed=True)
    assert (reply.error, reply.is_ended, reply.told.text) == (None, True, GREETING.text)


LARGE = Told(calls=(Call(arguments={"text": "x" * (10 * MIB)}),), finish="tool_calls")


async def test_arguments_of_ten_megabytes(client: Client, backend: Backend, world: World) -> None:
    """In as few events as the backend writes them in."""
    if backend is RESPONSES and client is not CLIENTS[0]:
        pytest.skip("it writes them several times, and once is enough to see them read")
    reply = await world.ask(client, backend, Ask(tools=("weather",)), streamed=True, told=LARGE)
    assert (reply.error, reply.is_ended) == (None, True)
    (call,) = reply.told.calls
    assert (call.name, len(call.arguments["text"])) == ("weather", 10 * MIB)


def interleaved(backend: Backend, pieces: int, size: int) -> list[bytes]:
    """Two calls whose arguments come by turns, in so many pieces of that size each."""
    texts = ['{"text": "', *["x" * size] * pieces, '"}']
    if backend.name == "openai":
        head: dict[str, Any] = {"id": "a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        heads = [{"index": n, "id": f"c{n}", "type": "function", "function": {"name": f"f{n}"}} for n in range(2)]
        more = [{"index": n, "function": {"arguments": text}} for text in texts for n in range(2)]
        deltas = [{"role": "assistant"}, *({"tool_calls": [call]} for call in heads + more)]
        choices: list[dict[str, Any]] = [{"index": 0, "delta": delta, "finish_reason": None} for delta in deltas]
        choices.append({"index": 0, "delta": {}, "finish_reason": "tool_calls"})
        return sse(*({**head, "choices": [choice]} for choice in choices))
    begun, *_, told, end = backend.pieces(Told(calls=(Call(),), finish="tool_calls"))
    blocks = [{"type": "tool_use", "id": f"c{n}", "name": f"f{n}", "input": {}} for n in range(2)]
    between = [{"type": "content_block_start", "index": n, "content_block": block} for n, block in enumerate(blocks)]
    between += [
        {"type": "content_block_delta", "index": n, "delta": {"type": "input_json_delta", "partial_json": text}}
        for text in texts
        for n in range(2)
    ]
    between += [{"type": "content_block_stop", "index": n} for n in range(2)]
    return [begun, *sse(*between, done=False), told, end]


@pytest.mark.parametrize("backend", [each for each in BACKENDS if each.name in ("openai", "anthropic")], indirect=True)
@pytest.mark.parametrize(("pieces", "size"), [(3, 1), (1280, 4096)], ids=["short", "10 MB in pieces of 4 KB"])
async def test_arguments_of_calls_that_come_by_turns(
    client: Client, backend: Backend, world: World, pieces: int, size: int
) -> None:
    """Field failure: tool-call arguments lost."""
    if client.name == backend.name == "anthropic":
        pytest.skip("its own clients want one block after another, and what is relayed stays as it is")
    world.upstream.script = answer(stream_of(backend, *interleaved(backend, pieces, size)))
    reply = await world.ask(client, backend, Ask(tools=("weather",)), streamed=True)
    assert (reply.error, reply.is_ended, reply.told.finish) == (None, True, "tool_calls")
    assert [(call.name, len(call.arguments["text"])) for call in reply.told.calls] == [
        ("f0", pieces * size),
        ("f1", pieces * size),
    ]


# Bedrock's streams, in binary frames.

START = ("messageStart", {"role": "assistant"})
DELTA = ("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "hello"}})
STOP = ("messageStop", {"stopReason": "end_turn"})


def frame(kind: str, value: Any) -> bytes:
    return encode_frame(json.dumps(value).encode(), kind)


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :]


BEDROCK = next(backend for backend in BACKENDS if backend.name == "bedrock")


def frames(*pieces: bytes) -> Script:
    return answer(chunked_response(pieces, content_type="application/vnd.amazon.eventstream"))


@pytest.mark.parametrize("at", [1, 9, -1, 40], ids=["length", "sum of the prelude", "sum of the frame", "a header"])
async def test_damaged_frame_is_an_error_and_never_a_200(client: Client, world: World, at: int) -> None:
    whole = frame(*DELTA)
    world.upstream.script = frames(frame(*START), damaged(whole, at % len(whole)), frame(*STOP))
    reply = await world.ask(client, BEDROCK, streamed=True)
    assert reply.status in {"502", client.kinds[502]}, reply
    assert reply.error


@pytest.mark.parametrize("at", [1, 9, -1, 40], ids=["length", "sum of the prelude", "sum of the frame", "a header"])
async def test_damaged_frame_after_content_is_the_last_event(client: Client, world: World, at: int) -> None:
    whole = frame(*DELTA)
    world.upstream.script = frames(frame(*START), whole, damaged(whole, at % len(whole)), frame(*STOP))
    assert_broken(await world.ask(client, BEDROCK, streamed=True), client, "hello")
