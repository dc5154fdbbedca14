"""A stream of inference requests and answers: relayed as it comes to backends that speak gRPC, one request after the
other to those that do not."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from gateway.config.snapshot import Failure
from gateway.context import RequestContext
from gateway.edits import edited_pairs
from gateway.errors import BadGatewayError, TimeoutExceededError
from gateway.operations.call_metadata import call_metadata
from gateway.operations.open_inference import OpenInferenceInbound, check_schema
from gateway.operations.open_inference_infer import StreamedInfer
from gateway.operations.relayed_stream import RelayedStream
from gateway.operations.replay import ReplayableParts
from gateway.operations.unary_grpc import UnaryGrpc, call_failure, remaining_s
from gateway.operations.unary_http import UnaryHttp
from gateway.operations.unread import UnreadRequest
from gateway.plan import BackendPlan
from gateway.schemas.open_inference.dialect import MalformedTensorError
from gateway.schemas.open_inference.grpc import relay_stream_answer, with_model
from gateway.schemas.open_inference.paths import GRPC_SERVICE
from gateway.transport.errors import TransportError
from gateway.transport.grpc import GrpcStatusError
from gateway.types import Demand
from gateway.upstream.cluster import Cluster
from gateway.upstream.lease import Lease
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.status_errors import reset
from gateway.upstream.transport_failures import transport_failure

_PATH = f"/{GRPC_SERVICE}/ModelStreamInfer"

StreamStart: TypeAlias = RelayedStream | bytes
"""An open stream; or the answer to the first request alone, where each request is a call of its own."""


class StreamInbound(UnreadRequest):
    """A stream of `ModelInferRequest`s for one model. `requests` begin with `first`.

    `is_one_by_one` tells, once a backend has been chosen, that each request is a call of its own there.
    """

    def __init__(self, first: StreamedInfer, requests: ReplayableParts, sent: Sequence[tuple[bytes, bytes]]) -> None:
        self.first = first
        self.requests = requests
        self.is_one_by_one = False
        self.last_failure: AttemptFailedError | None = None
        self._sent = sent

    def for_backend(
        self, context: RequestContext, backend: BackendPlan, cluster: Cluster, deadline: float
    ) -> "UnaryHttp[bytes] | UnaryGrpc[bytes] | StreamRequest":
        """The stream for a backend over gRPC; for one over REST the first request."""
        check_schema(backend)
        if not self.requests.is_replayable:
            # Another backend's turn, but what it would need is gone.
            raise self.last_failure or AttemptFailedError(BadGatewayError("the stream's requests are gone"))
        self.is_one_by_one = not cluster.connections.speaks_grpc
        single = OpenInferenceInbound(self.first, self._sent).for_backend(context, backend, cluster, deadline)
        if isinstance(single, UnaryHttp):
            return single
        return StreamRequest(
            inbound=self,
            single=single,
            upstream_model=backend.upstream_model(self.first.model),
            metadata=call_metadata(
                edited_pairs(context.header_edits, self._sent), context.request_id, is_from_grpc=True
            ),
            first_answer_timeout_s=backend.first_content_timeout_s(is_streaming=True),
            idle_timeout_s=backend.stream_idle_timeout_s,
            deadline=deadline,
        )

    def demand(self) -> Demand:
        """No tokens that are counted here."""
        return Demand(output_tokens=0)

    def prompt_prefix(self, size: int) -> bytes:
        """Nothing: tensors are no prompt."""
        return b""

    async def discard(self, answer: StreamStart) -> None:
        """Reads a stream to its end."""
        if isinstance(answer, RelayedStream):
            try:
                while await answer.read() is not None:
                    pass
            finally:
                answer.close()


@dataclass(slots=True, kw_only=True)
class StreamRequest:
    """The stream as one backend is to get it. It can be sent again as long as what has been read of it is kept."""

    inbound: StreamInbound
    single: UnaryGrpc[bytes]
    upstream_model: str
    metadata: Sequence[tuple[str, str | bytes]] = field(repr=False)
    first_answer_timeout_s: float | None
    idle_timeout_s: float
    deadline: float
    _was_sent: bool = False

    @property
    def is_repeatable(self) -> bool:
        """Whether it can be sent once more. Two at a time must not read requests that are still coming."""
        requests = self.inbound.requests
        return requests.is_replayable and (requests.is_complete or self._was_sent)

    async def send(self, lease: Lease) -> StreamStart:
        """Opens the stream and returns once its first answer is there. Servers without streams get each request as a
        call."""
        self._was_sent = True
        try:
            return await self._send(lease)
        except AttemptFailedError as failure:
            self.inbound.last_failure = failure
            raise

    async def _send(self, lease: Lease) -> StreamStart:
        stream = self._open(lease)
        is_kept = False
        try:
            async with asyncio.timeout(self.first_answer_timeout_s):
                await stream.begin()
            is_kept = True
            return stream
        except TimeoutError:
            text = f"no answer from the upstream within {self.first_answer_timeout_s or 0:g} s"
            raise AttemptFailedError(
                TimeoutExceededError(text, reason="FIRST_TOKEN_TIMEOUT"), Failure.TIMEOUT
            ) from None
        except MalformedTensorError as error:
            raise reset(f"the upstream's answer cannot be understood: {error}") from error
        except TransportError as error:
            raise transport_failure(error) from error
        except GrpcStatusError as status:
            if status.code != "UNIMPLEMENTED" or not self.inbound.requests.is_replayable:
                raise await call_failure(status, self.deadline, self.single.find_fault) from status
        finally:
            if not is_kept:
                stream.cancel()
        self.inbound.is_one_by_one = True
        return await self.single.send(lease)

    def _open(self, lease: Lease) -> RelayedStream:
        endpoint = lease.endpoint
        call = lease.cluster.connections.grpc.stream(
            endpoint.connect_address,
            _PATH,
            is_secure=endpoint.is_secure,
            server_name=endpoint.server_name or endpoint.authority,
            metadata=self.metadata,
            timeout_s=remaining_s(self.deadline),
        )
        model, upstream_model = self.inbound.first.model, self.upstream_model
        return RelayedStream(
            call,
            lease,
            self.inbound.requests,
            to_backend=(lambda data: data)
            if upstream_model == model
            else lambda data: with_model(data, upstream_model),
            to_caller=lambda data: relay_stream_answer(data, model),
            idle_timeout_s=self.idle_timeout_s,
            deadline=self.deadline,
        )
