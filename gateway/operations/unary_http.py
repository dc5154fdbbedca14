"""One HTTP request with a whole answer, as one backend is to get it."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from gateway.errors import UpstreamRejectedError
from gateway.operations.http_proxy import attempt_failures
from gateway.schemas.dialect import ErrorReader
from gateway.transport.http import HttpResponse
from gateway.upstream.answer import UnaryAnswer
from gateway.upstream.lease import Lease
from gateway.upstream.status_errors import reset, status_error

A = TypeVar("A")

_MAX_ANSWER_BYTES = 64 * 1024 * 1024

# With these, backends refuse bodies that they cannot read, and tell of faults of their own.
_UNCLEAR_STATUSES = frozenset({422, 500})


@dataclass(frozen=True, slots=True, kw_only=True)
class UnaryHttp(Generic[A]):
    """What is sent, and what is made of the answer.

    `answer_statuses` are answers beside the successes. `understand` makes of an answer what the caller gets; it raises
    `AttemptFailedError` for one that cannot be used. `find_fault` tells what is wrong with the request itself, if
    anything is: it is asked only once a backend has failed at it. `deadline` is a time of the event loop's clock.
    """

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = field(repr=False)
    body: bytes | None = field(repr=False)
    errors: ErrorReader
    answer_statuses: frozenset[int]
    understand: Callable[[UnaryAnswer], A]
    find_fault: Callable[[], UpstreamRejectedError | None]
    connect_timeout_s: float
    per_try_timeout_s: float | None
    deadline: float
    is_repeatable: bool = True

    async def send(self, lease: Lease) -> A:
        """Sends it and returns what the whole answer means."""
        with attempt_failures(self.per_try_timeout_s):
            async with asyncio.timeout(self.per_try_timeout_s):
                answer = await self._send(lease)
        understood = self.understand(answer)
        lease.close()
        return understood

    async def _send(self, lease: Lease) -> UnaryAnswer:
        endpoint = lease.endpoint
        named = self.headers if endpoint.authority is None else [*self.headers, ("host", endpoint.authority)]
        url, headers = await lease.authorize(self.method, endpoint.url(self.path), named, self.body)
        response = await lease.cluster.connections.http.send(
            self.method,
            url,
            headers=headers,
            body=self.body,
            connect_timeout_s=self.connect_timeout_s,
            server_name=endpoint.server_name,
        )
        try:
            return await self._read(response)
        finally:
            response.close()

    async def _read(self, response: HttpResponse) -> UnaryAnswer:
        status = response.status
        if not 200 <= status < 300 and status not in self.answer_statuses:
            error = await status_error(response, self.errors)
            raise (self.find_fault() if status in _UNCLEAR_STATUSES else None) or error
        if (response.header("content-encoding") or "identity").lower() != "identity":
            raise reset("the upstream compressed its answer although it was asked not to")
        body = await response.read_all(_MAX_ANSWER_BYTES)
        return UnaryAnswer(status=status, headers=response.headers, body=body)
