"""Answers of routes with a cache, over HTTP."""

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from gateway.listeners.cached import CachedCall
from gateway.listeners.disconnect import AsgiMessage, Send
from gateway.listeners.http_exchange import AnswerSink, HttpExchange
from gateway.response_cache.flight import Flight
from gateway.response_cache.recording import AnswerHead, AnswerReader

A = TypeVar("A")


async def answer_cached(
    exchange: HttpExchange, call: CachedCall[A], relay: Callable[[AnswerSink, A], Awaitable[None]]
) -> None:
    """Answers a request of a route with a cache. `relay` writes the answer of a backend. Raises what both raise."""

    async def ask(sink: AnswerSink) -> None:
        answer = await call.forward(sink.context)
        sink.context.first_content_at = time.perf_counter()
        await relay(sink, answer)

    answer = await call.answer(exchange.context, lambda flight: ask(Recorder(flight)))
    if answer is None:
        await ask(exchange)
        return
    async with answer:
        await send_answer(exchange, answer)
        if exchange.is_stream:
            await exchange.send_part(b"", is_last=True)


async def send_answer(exchange: HttpExchange, answer: AnswerReader) -> None:
    """Sends an answer, of a streamed one all but the end. Raises what the call fails with."""
    head = await answer.read_head()
    headers = list(head.headers)
    piece = await answer.read()
    if head.is_whole:
        # By its end it is kept, for those who ask at once.
        await answer.read()
        await exchange.answer(head.status, headers, piece or b"")
        return
    await exchange.start_stream(head.status, headers)
    while piece is not None:
        await exchange.send_part(piece)
        piece = await answer.read()


class Recorder:
    """Writes an answer to a flight, as an exchange writes it to its client."""

    def __init__(self, flight: Flight) -> None:
        self.context = flight.context
        self.flight = flight

    @property
    def send(self) -> Send:
        """Takes a part of a streamed body. Not kept: what refers to itself stays until the garbage collector comes."""
        return self._send

    async def answer(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """A whole answer."""
        self.flight.write_whole(AnswerHead(True, status, tuple(headers), self.flight.header_edits), body)

    async def start_stream(self, status: int, headers: list[tuple[bytes, bytes]]) -> None:
        """Begins an answer whose body follows."""
        self.flight.begin(AnswerHead(False, status, tuple(headers), self.flight.header_edits))

    async def send_part(self, data: bytes, *, is_last: bool = False) -> None:
        """A part of a streamed body."""
        if data:
            await self.flight.write(data)

    async def _send(self, message: AsgiMessage) -> None:
        await self.send_part(message["body"])
