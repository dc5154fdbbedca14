"""What a scripted upstream does in the cases of these tests, beyond the scripts that all tests share."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from tests.conformance.polling import eventually
from tests.support.http_wire import LAST_CHUNK, chunked_response, json_response, sse
from tests.support.scripts import Exchange, Script, chat_completion, chat_events

Json = Mapping[str, Any]

MODEL = "upstream-model"
ROLE, HELLO, THERE, STOP = chat_events("hello there", model=MODEL)
"""The events of one streamed answer."""
USAGE = chat_events("hello there", model=MODEL, usage=True)[-1]
ERROR = {"error": {"message": "the model crashed", "type": "server_error", "code": None, "param": None}}

_BLOCKED_PAUSES = 30
"""Looks in a row, 10 ms apart, at which a stream has not grown."""

FIRST_EVENTS = b"".join(sse(ROLE, HELLO, done=False))


def as_asked(completion: Json, events: Iterable[Json]) -> Script:
    """Answers whole or streamed."""

    async def script(exchange: Exchange) -> None:
        if exchange.request.json().get("stream"):
            await exchange.send(chunked_response(sse(*events)))
        else:
            await exchange.send(json_response(200, completion))

    return script


def open_stream(*pieces: bytes) -> bytes:
    """A streamed answer of these pieces, without its end."""
    return chunked_response(pieces).removesuffix(LAST_CHUNK)


def stream_of(pieces: Sequence[bytes]) -> Script:
    """A streamed answer, each piece in a chunk and a write of its own."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream())
        for piece in pieces:
            await exchange.send(open_stream(piece).removeprefix(open_stream()))
        await exchange.send(LAST_CHUNK)

    return script


def after(gate: asyncio.Event, script: Script) -> Script:
    """Does nothing until the gate is open."""

    async def waiting(exchange: Exchange) -> None:
        await gate.wait()
        await script(exchange)

    return waiting


def hello_until(gate: asyncio.Event) -> Script:
    """A streamed answer, `hello`, that is finished only when the gate is open."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(open_stream(FIRST_EVENTS))
        await gate.wait()
        await exchange.send(chunked_response(sse(STOP)).removeprefix(open_stream()))

    return script


def embeddings(vectors: Sequence[Sequence[float]]) -> Script:
    """Answers with these vectors as lists of numbers, whatever is asked."""
    data = [{"object": "embedding", "index": index, "embedding": vector} for index, vector in enumerate(vectors)]

    async def script(exchange: Exchange) -> None:
        usage = {"prompt_tokens": 5, "total_tokens": 5}
        model = exchange.request.json()["model"]
        await exchange.send(json_response(200, {"object": "list", "data": data, "model": model, "usage": usage}))

    return script


def truncated_json() -> bytes:
    """The first half of a whole answer."""
    data = json_response(200, chat_completion("hello there", model=MODEL))
    return data[: len(data) // 2]


class Endless:
    """A stream without an end, as fast as it is taken. Counts what it could write."""

    def __init__(self, size: int = 16 * 1024) -> None:
        self.sent = 0
        event = {**HELLO, "choices": [_delta("x" * size)]}
        self._chunk = open_stream(*sse(event, done=False)).removeprefix(open_stream())

    async def __call__(self, exchange: Exchange) -> None:
        await exchange.send(open_stream())
        while True:
            await exchange.send(self._chunk)
            self.sent += len(self._chunk)
            await asyncio.sleep(0)  # lets others run while nothing blocks

    async def wait_until_blocked(self) -> None:
        """Returns once nothing more is taken for longer than a moment."""
        before, pauses = self.sent, 0

        async def is_blocked() -> bool:
            nonlocal pauses, before
            pauses = pauses + 1 if self.sent == before else 0
            before = self.sent
            return before > 0 and pauses > _BLOCKED_PAUSES

        await eventually(is_blocked, "the stream is blocked")


def text_event(text: str, model: str = MODEL) -> Json:
    """One chunk with this text."""
    return {**HELLO, "model": model, "choices": [_delta(text)]}


def _delta(text: str) -> Json:
    return {"index": 0, "delta": {"content": text}, "finish_reason": None}
