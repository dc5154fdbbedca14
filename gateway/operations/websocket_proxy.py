"""Passing a WebSocket through: a connection to a backend, opened before the client is told that it has one."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.config.snapshot import RouteConfig
from gateway.context import RequestContext
from gateway.edits import edited_pairs
from gateway.operations.http_proxy import (
    UpstreamAnswerError,
    answer_failures,
    attempt_failures,
    proxied_target,
    rewritten_path,
)
from gateway.operations.unread import UnreadRequest
from gateway.plan import BackendPlan
from gateway.providers.pass_through import ClientSide, pass_through_headers, with_host
from gateway.transport.websocket import WebSocketConnection, WebSocketRefusedError
from gateway.types import Demand
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.retry import AttemptFailedError

# The handshake with the backend is its own.
_HANDSHAKE = frozenset(
    {b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-extensions", b"sec-websocket-protocol"}
)


@dataclass(frozen=True, slots=True)
class BackendWebSocket:
    """An open WebSocket to a backend. Must be closed."""

    connection: WebSocketConnection
    lease: Lease

    async def close(self, code: int, reason: str = "") -> None:
        """Closes it if it is open. May be called twice."""
        try:
            await self.connection.close(code, reason)
        finally:
            self.lease.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketInbound(UnreadRequest):
    """A client that wants a WebSocket. `path` is percent-encoded as it came and has been checked."""

    route: RouteConfig
    path: str
    headers: Sequence[tuple[bytes, bytes]] = field(repr=False)
    client: ClientSide
    subprotocols: Sequence[str]
    max_message_bytes: int

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> "WebSocketRequest":
        """The handshake with the path and the headers that the backend is to see."""
        rewrite = self.route.rewrite
        return WebSocketRequest(
            target=proxied_target(context, backend, rewritten_path(self.route, self.path)),
            headers=pass_through_headers(
                edited_pairs(context.header_edits, self.headers),
                self.client,
                configured=backend.headers.configured,
                dropped=backend.headers.dropped | _HANDSHAKE,
                host=rewrite.host if rewrite else None,
                is_outside=backend.is_outside,
            ),
            subprotocols=self.subprotocols,
            connect_timeout_s=backend.connect_timeout_s or cluster.config.connect_timeout_s,
            max_message_bytes=self.max_message_bytes,
            deadline=deadline,
            per_try_timeout_s=backend.retry.per_try_timeout_s,
        )

    def demand(self) -> Demand:
        """No tokens that are counted here."""
        return Demand(output_tokens=0)

    def prompt_prefix(self, size: int) -> bytes:
        """Nothing: what is passed through is not looked into."""
        return b""

    async def discard(self, answer: BackendWebSocket) -> None:
        """Closes it: there is nobody to talk to it."""
        await answer.close(1000)


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSocketRequest:
    """The handshake as one backend is to get it. `deadline` bounds the handshake, not what follows."""

    target: str
    headers: list[tuple[str, str]] = field(repr=False)
    subprotocols: Sequence[str]
    connect_timeout_s: float
    max_message_bytes: int
    deadline: float
    per_try_timeout_s: float | None
    is_repeatable: bool = True

    async def send(self, lease: Lease) -> BackendWebSocket:
        """Opens the WebSocket. A backend that answers the handshake otherwise is shown to the client as it answered."""
        with attempt_failures(self.per_try_timeout_s):
            async with asyncio.timeout(self.per_try_timeout_s):
                try:
                    return BackendWebSocket(await self._open(lease), lease)
                except WebSocketRefusedError as refusal:
                    error = UpstreamAnswerError(status=refusal.status, headers=(), body=b"", retry_after_s=None)
                    raise AttemptFailedError(error, *answer_failures(refusal.status, lease)) from None

    async def _open(self, lease: Lease) -> WebSocketConnection:
        endpoint = lease.endpoint
        named = with_host(self.headers, endpoint.authority)
        url, headers = await lease.authorize("GET", endpoint.make_url(self.target), named, None)
        return await lease.cluster.connections.websockets.open_websocket(
            url,
            headers=headers,
            subprotocols=self.subprotocols,
            connect_timeout_s=self.connect_timeout_s,
            max_message_bytes=self.max_message_bytes,
            server_name=endpoint.server_name,
        )
