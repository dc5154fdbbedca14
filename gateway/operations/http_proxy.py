"""Passing an HTTP request through: any method and path, bodies streamed both ways, answers as backends give them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote_plus

from gateway.config.snapshot import Failure, RouteConfig
from gateway.context import RequestContext
from gateway.edits import edited_pairs
from gateway.errors import BadGatewayError, ErrorCode, GatewayError, InvalidRequestError, TimeoutExceededError
from gateway.operations.replay import OutgoingBody, ReplayableParts
from gateway.operations.request_path import backend_path
from gateway.operations.unread import UnreadRequest
from gateway.plan import BackendPlan
from gateway.providers.pass_through import ClientSide, pass_through_headers, with_host
from gateway.transport.http import HttpResponse, TransportError
from gateway.types import Demand
from gateway.upstream.answer import RawHeaders
from gateway.upstream.answer_body import AnswerBody
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.status_errors import parse_retry_after, reset
from gateway.upstream.transport_failures import transport_failure

MAX_HELD_BYTES = 1024 * 1024
"""An answer that may be replaced by that of another attempt is held up to this size; a larger one is committed to."""

_IDEMPOTENT = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

# A backend that does not let somebody in does nothing for them.
_REFUSED = frozenset({Failure.UNAUTHENTICATED, Failure.PERMISSION_DENIED, Failure.RATE_LIMITED, Failure.NO_CREDENTIAL})

_CODES = {429: ErrorCode.RATE_LIMITED, 503: ErrorCode.UNAVAILABLE, 504: ErrorCode.TIMEOUT}


class UpstreamAnswerError(GatewayError):
    """The backend answered that it failed. It is the backend's own answer: where nothing else is tried, the client gets
    it as it is."""

    default_reason = "UPSTREAM_ANSWER"

    def __init__(self, *, status: int, headers: RawHeaders, body: bytes, retry_after_s: float | None) -> None:
        super().__init__(f"the upstream answered with status {status}", retry_after_s=retry_after_s)
        self.code = _CODES.get(status, ErrorCode.BAD_GATEWAY)
        self.status = status
        self.headers = tuple(headers)
        self.body = body


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxyAnswer:
    """A backend's answer: its status and headers, and the body, of which `first` has been read already."""

    status: int
    headers: RawHeaders
    first: bytes
    rest: AnswerBody


class HttpProxyInbound(UnreadRequest):
    """A request for whatever backend its route names. `path` is percent-encoded as it came and has been checked;
    `body` None means that there is none."""

    def __init__(
        self,
        route: RouteConfig,
        *,
        path: str,
        headers: Sequence[tuple[bytes, bytes]],
        client: ClientSide,
        body: ReplayableParts | None,
    ) -> None:
        self._route = route
        self._path = path
        self._headers = headers
        self._client = client
        self._body = body
        self.last_failure: AttemptFailedError | None = None
        self.is_spent = False

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> "HttpProxyRequest":
        """The request with the path and the headers that the backend is to see."""
        return self._request(context, backend, cluster, deadline, headers=self._headers, body=self._body)

    def _request(
        self,
        context: RequestContext,
        backend: BackendPlan,
        cluster: Cluster,
        deadline: float,
        *,
        headers: Sequence[tuple[bytes, bytes]],
        body: OutgoingBody | None,
        path: str | None = None,
        headers_timeout_s: float | None = None,
        is_safe_to_repeat: bool = False,
        hold: Callable[[HttpResponse, Lease], Awaitable[bytes]] | None = None,
    ) -> "HttpProxyRequest":
        if cluster.connections.speaks_grpc:
            raise InvalidRequestError(
                f"service {backend.service.name} speaks gRPC, which plain HTTP cannot be passed through to",
                reason="UNSUPPORTED_BY_SERVICE",
            )
        rewrite = self._route.rewrite
        return HttpProxyRequest(
            self,
            method=context.method,
            target=proxied_target(context, backend, rewritten_path(self._route, self._path) if path is None else path),
            headers=pass_through_headers(
                edited_pairs(context.header_edits, headers),
                self._client,
                configured=backend.headers.configured,
                dropped=backend.headers.dropped,
                host=rewrite.host if rewrite else None,
                is_outside=backend.is_outside,
            ),
            body=body,
            connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
            headers_timeout_s=headers_timeout_s or backend.retry.per_try_timeout_s,
            idle_timeout_s=backend.stream_idle_timeout_s,
            deadline=deadline,
            is_safe_to_repeat=is_safe_to_repeat or context.method in _IDEMPOTENT or backend.is_retry_configured,
            hold=hold or _hold_failure,
        )

    def demand(self) -> Demand:
        """No tokens that are counted here."""
        return Demand(output_tokens=0)

    def effective(self) -> bytes | None:
        """See `KeptInbound`: the host, the path and the query as they came; None if there is a body."""
        authority = self._client.authority.encode("latin-1")
        return None if self._body is not None else b"%b %b" % (authority, self._path.encode("latin-1"))

    def prompt_prefix(self, size: int) -> bytes:
        """Nothing: what is passed through is not looked into."""
        return b""

    async def discard(self, answer: ProxyAnswer) -> None:
        """Reads an answer to its end."""
        try:
            while await answer.rest.read():
                pass
        finally:
            answer.rest.close()


def rewritten_path(route: RouteConfig, path: str) -> str:
    """The path that the route makes of one that it takes."""
    return backend_path(path, route.match.path, route.rewrite)


def proxied_target(context: RequestContext, backend: BackendPlan, path: str) -> str:
    """A rewritten path and the query as the backend is to see them: without the key of the caller, where it may stand
    there."""
    target = backend.path_prefix + path
    query = context.query_string.decode("latin-1")
    if context.takes_key_in_query:
        query = "&".join(part for part in query.split("&") if unquote_plus(part.partition("=")[0]) != "key")
    return f"{target}?{query}" if query else target


def uncompressed(headers: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """A request's headers such that the answer can be read."""
    return [*(header for header in headers if header[0] != b"accept-encoding"), (b"accept-encoding", b"identity")]


class HttpProxyRequest:
    """The request as one backend is to get it.

    It can be sent again as long as what has been read of its body is kept, and, unless it is safe to do so twice or
    somebody has configured when, as long as no backend can have acted on it (RFC 9110 section 9.2.2). `hold` reads what
    must be there before an answer is committed to; it raises for one that is not.
    """

    def __init__(
        self,
        inbound: HttpProxyInbound,
        *,
        method: str,
        target: str,
        headers: list[tuple[str, str]],
        body: OutgoingBody | None,
        connect_timeout_s: float,
        headers_timeout_s: float | None,
        idle_timeout_s: float,
        deadline: float,
        is_safe_to_repeat: bool,
        hold: Callable[[HttpResponse, Lease], Awaitable[bytes]],
    ) -> None:
        self.deadline = deadline
        self._hold = hold
        self._is_safe_to_repeat = is_safe_to_repeat
        self._inbound = inbound
        self._method = method
        self._target = target
        self._headers = headers
        self._body = body
        self._connect_timeout_s = connect_timeout_s
        self._headers_timeout_s = headers_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._was_sent = False

    def __repr__(self) -> str:
        return f"<HttpProxyRequest {self._method}>"  # headers and query may hold credentials

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent once more. Two at a time must not read a body that is still coming."""
        if self._inbound.is_spent:
            return False
        body = self._body
        return body is None or (body.is_replayable and (body.is_complete or self._was_sent))

    async def send(self, lease: Lease) -> ProxyAnswer:
        """Sends it and returns once the answer's headers are there, unless they tell of a failure that might be tried
        again."""
        if self._inbound.is_spent or (self._body is not None and not self._body.is_replayable):
            # Another backend's turn, but what it would need is gone, or must not be sent again.
            raise self._inbound.last_failure or AttemptFailedError(BadGatewayError("the request's body is gone"))
        self._was_sent = True
        try:
            with attempt_failures(self._headers_timeout_s):
                async with asyncio.timeout(self._headers_timeout_s):
                    return await self._send(lease)
        except AttemptFailedError as failure:
            self._inbound.last_failure = failure
            self._inbound.is_spent = not self._is_safe_to_repeat and not _was_not_acted_on(failure, lease)
            raise

    async def _send(self, lease: Lease) -> ProxyAnswer:
        endpoint = lease.endpoint
        data = self._outgoing_body()
        named = with_host(self._headers, endpoint.authority)
        url, headers = await lease.authorize(self._method, endpoint.make_url(self._target), named, data)
        response = await lease.cluster.connections.http.send(
            self._method,
            url,
            headers=headers,
            body=data,
            connect_timeout_s=self._connect_timeout_s,
            server_name=endpoint.server_name,
        )
        is_kept = False
        try:
            if response.status < 200:
                raise reset(f"the upstream answered with status {response.status}, which nobody asked for")
            if (response.header("transfer-encoding") or "chunked").lower() != "chunked":
                raise reset("the upstream's answer has a transfer coding that nobody asked for")
            first = await self._hold(response, lease)
            is_kept = True
            body = AnswerBody(response, lease, idle_timeout_s=self._idle_timeout_s, deadline=self.deadline)
            return ProxyAnswer(status=response.status, headers=response.headers, first=first, rest=body)
        finally:
            if not is_kept:
                response.close()

    def _outgoing_body(self) -> bytes | AsyncIterator[bytes] | None:
        if self._body is None:
            return None
        whole = self._body.whole
        return self._body.parts() if whole is None else whole


async def _hold_failure(response: HttpResponse, lease: Lease) -> bytes:
    """Raises for a status that another attempt may be made after. What has been read of one that is too large to be
    held is returned: it is committed to."""
    failures = answer_failures(response.status, lease)
    if not failures:
        return b""
    held = await read_held(response)
    if len(held) > MAX_HELD_BYTES:
        return held
    error = UpstreamAnswerError(
        status=response.status,
        headers=response.headers,
        body=held,
        retry_after_s=parse_retry_after(response.header("retry-after")),
    )
    raise AttemptFailedError(error, *failures)


async def read_held(response: HttpResponse) -> bytes:
    """The whole body, or a beginning of more than `MAX_HELD_BYTES`."""
    held: list[bytes] = []
    size = 0
    while size <= MAX_HELD_BYTES and (part := await response.read()):
        held.append(part)
        size += len(part)
    return b"".join(held)


@contextmanager
def attempt_failures(limit_s: float | None) -> Iterator[None]:
    """Turns what goes wrong below the protocol into failures of an attempt, for which `limit_s` was the time."""
    try:
        yield
    except TimeoutError:
        error = TimeoutExceededError(f"no answer from the upstream within {limit_s or 0:g} s", reason="PER_TRY_TIMEOUT")
        raise AttemptFailedError(error, Failure.TIMEOUT) from None
    except TransportError as fault:
        raise transport_failure(fault) from fault


def status_failures(status: int) -> list[Failure]:
    """The classes of a status that a retry policy or a fallback may name, the most telling first."""
    if status == 429:
        return [Failure.RATE_LIMITED]
    if status < 500:
        return []
    failures = [Failure.SERVER_ERROR]
    if status in (503, 529):
        failures.insert(0, Failure.OVERLOADED)
    if status in (502, 503, 504):
        failures.insert(0, Failure.GATEWAY_ERROR)
    return failures


def answer_failures(status: int, lease: Lease) -> list[Failure]:
    """The classes of a status that another attempt may be made after: those, and that it speaks against a credential
    which may not be the only one."""
    if lease.credential is not None and status in (401, 403):
        return [Failure.UNAUTHENTICATED if status == 401 else Failure.PERMISSION_DENIED]
    return status_failures(status)


def _was_not_acted_on(failure: AttemptFailedError, lease: Lease) -> bool:
    """Whether no backend can have done what the request asks for."""
    if lease.credential is not None and not _REFUSED.isdisjoint(failure.failures):
        return True
    return Failure.CONNECT_FAILURE in failure.failures
