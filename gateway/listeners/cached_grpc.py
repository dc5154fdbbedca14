"""Answers of routes with a cache, over gRPC. Messages are bytes."""

import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import TypeVar

from gateway.context import RequestContext
from gateway.listeners.cached import CachedCall
from gateway.listeners.grpc_call import Call, answer_metadata
from gateway.response_cache.flight import Flight
from gateway.response_cache.recording import AnswerHead

A = TypeVar("A")


async def cached_message(
    call: Call, context: RequestContext, cached: CachedCall[A], encode: Callable[[RequestContext, A], Awaitable[bytes]]
) -> bytes:
    """The message that answers a call. Tells the caller who answers. Raises what a backend or `encode` raises."""

    async def ask(context: RequestContext) -> bytes:
        answer = await cached.forward(context)
        context.first_content_at = time.perf_counter()
        return await encode(context, answer)

    async def produce(flight: Flight) -> None:
        message = await ask(flight.context)
        flight.write_whole(AnswerHead(True, edits=flight.header_edits), message)

    answer = await cached.answer(context, produce)
    if answer is None:
        message = await ask(context)
        await call.send_initial_metadata(answer_metadata(context))
        return message
    async with answer:
        await answer.read_head()
        message = await answer.read() or b""
        # By its end it is kept, for those who ask at once.
        await answer.read()
        await call.send_initial_metadata(answer_metadata(context))
        return message


async def cached_messages(
    call: Call,
    context: RequestContext,
    cached: CachedCall[A],
    encode: Callable[[RequestContext, A], AsyncGenerator[bytes]],
) -> AsyncGenerator[bytes]:
    """The messages that answer a call, as they come. Otherwise like `cached_message`."""

    async def ask(context: RequestContext) -> AsyncGenerator[bytes]:
        answer = await cached.forward(context)
        context.first_content_at = time.perf_counter()
        return encode(context, answer)

    async def produce(flight: Flight) -> None:
        async with aclosing(await ask(flight.context)) as messages:
            flight.begin(AnswerHead(False, edits=flight.header_edits))
            async for message in messages:
                await flight.write(message)

    answer = await cached.answer(context, produce)
    if answer is None:
        async with aclosing(await ask(context)) as messages:
            # Only what has begun can be closed, so the first message comes before what might fail.
            message = await anext(messages, None)
            await call.send_initial_metadata(answer_metadata(context))
            while message is not None:
                yield message
                message = await anext(messages, None)
        return
    async with answer:
        await answer.read_head()
        await call.send_initial_metadata(answer_metadata(context))
        while (piece := await answer.read()) is not None:
            yield piece
