"""Passing a gRPC call through: any method and any kind of call, messages as bytes both ways."""

import asyncio
import re
from collections.abc import Iterable

from gateway.config.snapshot import RouteConfig
from gateway.context import RequestContext
from gateway.edits import edited_pairs
from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.operations.http_proxy import attempt_failures
from gateway.operations.replay import ReplayableParts
from gateway.operations.request_path import backend_path
from gateway.operations.unread import UnreadRequest
from gateway.plan import BackendPlan
from gateway.providers.pass_through import pass_through_metadata
from gateway.transport.grpc import Metadata
from gateway.types import Demand
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.relayed_call import RelayedCall
from gateway.upstream.retry import AttemptFailedError

_NAME = "[A-Za-z_][A-Za-z0-9_]*"
_METHOD = re.compile(rf"/{_NAME}(\.{_NAME})*/{_NAME}")

_TEXT = re.compile(rb"[ -~]*")


def checked_method(path: str) -> str:
    """The path of a call. Raises `InvalidRequestError` for one that is not `/package.Service/Method`."""
    if _METHOD.fullmatch(path) is None:
        raise InvalidRequestError("the path of a gRPC call must be /package.Service/Method")
    return path


class GrpcProxyInbound(UnreadRequest):
    """A call for whatever backend its route names. `path` has been checked."""

    def __init__(
        self,
        route: RouteConfig,
        *,
        path: str,
        metadata: Iterable[tuple[bytes, bytes]],
        messages: ReplayableParts,
    ) -> None:
        self._route = route
        self._path = path
        self._metadata = tuple(metadata)
        self._messages = messages
        self.last_failure: AttemptFailedError | None = None

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> "GrpcProxyRequest":
        """The call with the path and the metadata that the backend is to see."""
        if not cluster.connections.speaks_grpc:
            raise InvalidRequestError(
                f"service {backend.service.name} speaks HTTP, which a gRPC call cannot be passed through to",
                reason="UNSUPPORTED_BY_SERVICE",
            )
        for name, value in self._metadata:
            if not name.endswith(b"-bin") and _TEXT.fullmatch(value) is None:
                text = f"metadata {name.decode('ascii')} has other characters than printable ASCII"
                raise InvalidRequestError(text)
        rewrite = self._route.rewrite
        return GrpcProxyRequest(
            self,
            path=backend.path_prefix + backend_path(self._path, self._route.match.path, rewrite),
            authority=rewrite.host if rewrite else None,
            metadata=pass_through_metadata(edited_pairs(context.header_edits, self._metadata), context.request_id),
            messages=self._messages,
            commit_timeout_s=backend.retry.per_try_timeout_s,
            idle_timeout_s=backend.stream_idle_timeout_s,
            deadline=deadline,
        )

    def demand(self) -> Demand:
        """No tokens that are counted here."""
        return Demand(output_tokens=0)

    def prompt_prefix(self, size: int) -> bytes:
        """Nothing: what is passed through is not looked into."""
        return b""

    async def discard(self, answer: RelayedCall) -> None:
        """Reads an answer to its end."""
        try:
            while await answer.read() is not None:
                pass
        finally:
            await answer.close()


class GrpcProxyRequest:
    """The call as one backend is to get it.

    It can be made again as long as the messages that have been read from the caller are kept.
    """

    def __init__(
        self,
        inbound: GrpcProxyInbound,
        *,
        path: str,
        authority: str | None,
        metadata: Metadata,
        messages: ReplayableParts,
        commit_timeout_s: float | None,
        idle_timeout_s: float,
        deadline: float,
    ) -> None:
        self.deadline = deadline
        self._inbound = inbound
        self._path = path
        self._authority = authority
        self._metadata = metadata
        self._messages = messages
        self._commit_timeout_s = commit_timeout_s
        self._idle_timeout_s = idle_timeout_s
        self._was_sent = False

    def __repr__(self) -> str:
        return f"<GrpcProxyRequest {self._path}>"  # metadata may hold credentials

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be made once more. Two at a time must not read messages that are still coming."""
        messages = self._messages
        return messages.is_replayable and (messages.is_complete or self._was_sent)

    async def send(self, lease: Lease) -> RelayedCall:
        """Makes the call and returns once the backend has begun to answer, unless it begins with its failure."""
        if not self._messages.is_replayable:
            # Another backend's turn, but what it would need is gone.
            raise self._inbound.last_failure or AttemptFailedError(BadGatewayError("the call's messages are gone"))
        self._was_sent = True
        try:
            with attempt_failures(self._commit_timeout_s):
                async with asyncio.timeout(self._commit_timeout_s):
                    return await self._send(lease)
        except AttemptFailedError as failure:
            self._inbound.last_failure = failure
            raise

    async def _send(self, lease: Lease) -> RelayedCall:
        endpoint = lease.endpoint
        stream = lease.cluster.connections.grpc.stream(
            endpoint.connect_address,
            self._path,
            is_secure=endpoint.is_secure,
            server_name=self._authority or endpoint.server_name or endpoint.authority,
            metadata=self._metadata,
            timeout_s=max(0.0, self.deadline - asyncio.get_running_loop().time()),
        )
        call = RelayedCall(stream, lease, idle_timeout_s=self._idle_timeout_s, deadline=self.deadline)
        has_begun = False
        try:
            await call.begin(self._messages.parts())
            has_begun = True
            return call
        finally:
            if not has_begun:
                await call.close()
