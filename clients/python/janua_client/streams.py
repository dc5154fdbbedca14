"""Streams of a server's answers: their failures as our errors, and how a lost one is opened again."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, Protocol, TypeVar

import grpc

from janua_client.backoff import Backoff
from janua_client.errors import CancelledCallError, DeadlineExceededError, JanuaError, UnavailableError, from_rpc_error
from janua_client.unary import Sleep

Response_co = TypeVar("Response_co", covariant=True)
Response = TypeVar("Response")

LOST: Final = (UnavailableError, CancelledCallError, DeadlineExceededError)
"""Failures that a new stream may mend."""


class StreamCall(Protocol[Response_co]):
    """A call that answers many times."""

    def __aiter__(self) -> AsyncIterator[Response_co]: ...

    def cancel(self) -> Any: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconnecting:
    """How a lost stream is opened again. `on_lost` is called with each failure to do so: what was told last may then no
    longer be so."""

    backoff: Backoff = field(default_factory=Backoff)
    sleep: Sleep = asyncio.sleep
    on_lost: Callable[[JanuaError], None] = lambda error: None


async def merged(*iterators: AsyncGenerator[Response]) -> AsyncGenerator[Response]:
    """Yields what any of the iterators yields, as it comes, and closes them in the end."""
    waiting = {asyncio.ensure_future(anext(iterator)): iterator for iterator in iterators}
    try:
        while waiting:
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for future in done:
                iterator = waiting.pop(future)
                try:
                    value = future.result()
                except StopAsyncIteration:
                    continue
                waiting[asyncio.ensure_future(anext(iterator))] = iterator
                yield value
    finally:
        for future in waiting:
            future.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        for iterator in iterators:
            await iterator.aclose()


async def responses(stream: StreamCall[Response]) -> AsyncIterator[Response]:
    """Yields what comes, and ends the call in the end. Raises `JanuaError`."""
    try:
        async for response in stream:
            yield response
    except grpc.aio.AioRpcError as error:
        raise from_rpc_error(error) from error
    finally:
        stream.cancel()
