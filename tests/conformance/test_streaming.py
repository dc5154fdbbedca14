"""Streams: nothing is held back, nothing is lost, nothing is held in memory, however the bytes are cut."""

import asyncio

import pytest

from tests.conformance.calls import Caller, Question, ask, assert_answered
from tests.conformance.configuration import one_pool
from tests.conformance.conftest import Upstreams
from tests.conformance.gateway import Gateway
from tests.conformance.upstream_scripts import (
    MODEL,
    ROLE,
    STOP,
    USAGE,
    Endless,
    open_stream,
    stream_of,
    text_event,
)
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, sse
from tests.support.scripts import Exchange, answer, chat_completion, stepped

RENAMED = {"models": [{"name": "m", "upstream_name": MODEL}]}
MIB = 1024 * 1024


@pytest.mark.parametrize("service", [{}, RENAMED], ids=["bytes pass", "renamed"])
async def test_each_piece_arrives_before_the_next_is_sent(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, service: dict[str, object]
) -> None:
    """Field failure: streamed answers buffered, first token delayed by a batching tick."""
    await gateway.apply(one_pool(upstream.address, service=service))
    words = [f"word-{number} " for number in range(20)]
    role, *pieces = sse(ROLE, *(text_event(word) for word in words), STOP)
    permits = asyncio.Semaphore(1)
    head = open_stream(role)
    chunks = [open_stream(piece).removeprefix(open_stream()) for piece in pieces]
    upstream.script = stepped([head + chunks[0], *chunks[1:-1], chunks[-1] + b"0\r\n\r\n"], permits)

    received = []
    async with caller.stream(Question()) as stream:
        async for piece in stream:
            if piece.text:
                received.append(piece.text)
                permits.release()  # only now may the backend send the next one
            if piece.finish_reason:
                permits.release()

    assert received == words


async def test_preamble_is_held_until_the_first_content(gateway: Gateway, upstreams: Upstreams, caller: Caller) -> None:
    """Seen from outside: the role of an attempt that failed does not show, and that of the other shows once."""
    first, second = await upstreams(2)
    preamble = open_stream(*sse({**ROLE, "id": "of-the-first"}, done=False))

    async def fail_after_preamble(exchange: Exchange) -> None:
        await exchange.send(preamble)
        exchange.close()

    first.script = fail_after_preamble
    await gateway.apply(one_pool(first.address, second.address))
    answer = await ask(caller, streamed=True)
    assert_answered(answer)
    texts = [piece for piece in answer.pieces if not piece.text and not piece.finish_reason and not piece.usage]
    assert len(texts) <= 1


@pytest.mark.parametrize("service", [{}, RENAMED], ids=["bytes pass", "renamed"])
@pytest.mark.parametrize("size", [1, 2, 3, 7, 64])
async def test_bytes_may_be_cut_anywhere(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, service: dict[str, object], size: int
) -> None:
    await gateway.apply(one_pool(upstream.address, service=service))
    text = "größe 🎉 日本語"
    data = b"".join(_sse_of_utf8(text))
    upstream.script = stream_of([data[at : at + size] for at in range(0, len(data), size)])
    assert_answered(await ask(caller, streamed=True), text)


def _sse_of_utf8(text: str) -> list[bytes]:
    """The events of an answer whose characters are not escaped."""
    return [piece.replace(b"TEXT", text.encode()) for piece in sse(ROLE, text_event("TEXT"), STOP)]


FORMS = {
    "CRLF": lambda data: data.replace(b"\n", b"\r\n"),
    "comments": lambda data: b": connected\n\n" + data.replace(b"data:", b": keep-alive\n\ndata:"),
    "comment within an event": lambda data: data.replace(b"data:", b": note\ndata:"),
    "no space": lambda data: data.replace(b"data: ", b"data:"),
    "named events": lambda data: data.replace(b"data:", b"event: message\nid: 7\nretry: 10\ndata:"),
    "byte order mark": lambda data: b"\xef\xbb\xbf" + data,
    "data on two lines": lambda data: data.replace(b', "choices"', b',\ndata: "choices"'),
    "blank lines": lambda data: b"\n\n" + data.replace(b"\n\n", b"\n\n\n\n"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("service", [{}, RENAMED], ids=["bytes pass", "renamed"])
async def test_every_form_of_event_stream_is_understood(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, service: dict[str, object], form: str
) -> None:
    """Field failure: CRLF, comments, multi-line `data:`."""
    await gateway.apply(one_pool(upstream.address, service=service))
    data = FORMS[form](b"".join(sse(ROLE, text_event("hello"), text_event(" there"), STOP, USAGE)))
    upstream.script = stream_of([data])
    answer = await ask(caller, streamed=True)
    assert_answered(answer)
    assert answer.usage == (1, 2)
    if service:
        assert answer.models == {"m"}


async def test_large_answer_is_whole(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    part = "0123456789abcdef" * 4096
    count = 10 * MIB // len(part)
    if streamed:
        upstream.script = stream_of(sse(ROLE, *(text_event(part) for _ in range(count)), STOP))
    else:
        upstream.script = answer(json_response(200, chat_completion(part * count, model="m")))
    got = await ask(caller, streamed=streamed)
    assert_answered(got, part * count)


async def test_two_hundred_streams_at_once(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    all_here = asyncio.Event()

    async def echo_when_all_are_here(exchange: Exchange) -> None:
        await all_here.wait()
        text = exchange.request.json()["messages"][0]["content"]
        await exchange.send(chunked_response(sse(ROLE, text_event(text), STOP)))

    upstream.script = echo_when_all_are_here
    questions = [Question(text=f"question-{number}") for number in range(200)]
    asking = asyncio.gather(*(ask(caller, question, streamed=True) for question in questions))
    await upstream.wait_for_requests(200)
    await gateway.wait_for_active_requests(200)
    all_here.set()
    for question, got in zip(questions, await asking, strict=True):
        assert_answered(got, question.text)


async def test_slow_client_slows_the_backend_down(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    """A client that does not read must cost neither memory nor, when it reads on, any of its answer. Its slowness is
    not the backend's silence either."""
    await gateway.apply(one_pool(upstream.address, service={"timeouts": {"stream_idle": "200ms"}}))
    upstream.script = endless = Endless()
    before = gateway.process.resident_bytes

    async with caller.stream(Question()) as stream:
        await endless.wait_until_blocked()
        taken = endless.sent
        assert taken < 48 * MIB
        assert gateway.process.resident_bytes - before < 48 * MIB

        size = 0
        async for piece in stream:
            size += len(piece.text)
            if size > taken + MIB:
                break

    assert endless.sent > taken
    await upstream.wait_for_disconnects(1)
