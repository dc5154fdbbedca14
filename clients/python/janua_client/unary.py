"""One unary call: its deadline, its retries, and its failure as one of our errors."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol, TypeVar

import grpc

from janua_client.backoff import Backoff
from janua_client.errors import UnavailableError, from_rpc_error

Request = TypeVar("Request", contravariant=True)
Response = TypeVar("Response", covariant=True)

Sleep = Callable[[float], Awaitable[None]]


class Method(Protocol[Request, Response]):
    """A unary method of a gRPC stub."""

    def __call__(self, request: Request, /, *, timeout: float | None = None) -> Awaitable[Response]: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Retries:
    """How a call that met UNAVAILABLE is repeated."""

    attempts: int = 5
    backoff: Backoff = field(default_factory=Backoff)
    sleep: Sleep = asyncio.sleep


ONCE = Retries(attempts=1)
"""For calls that must not be repeated."""


async def call(method: Method[Request, Response], request: Request, *, timeout: float, retries: Retries) -> Response:
    """Calls, and calls again while the server is UNAVAILABLE, all within `timeout` seconds. Raises `JanuaError`.

    With more than one attempt only for what may safely happen twice.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    waits = islice(retries.backoff.waits(), retries.attempts - 1)
    while True:
        try:
            return await method(request, timeout=deadline - loop.time())
        except grpc.aio.AioRpcError as error:
            failure = from_rpc_error(error)
            wait = next(waits, None)
            if wait is None or not isinstance(failure, UnavailableError) or loop.time() + wait >= deadline:
                raise failure from error
        await retries.sleep(wait)
