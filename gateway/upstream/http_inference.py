"""An inference request over HTTP: sent to one endpoint, up to the commit point, where its answer starts to go to the
client."""

import asyncio
from collections.abc import Sequence
from typing import Generic, TypeVar

import msgspec

from gateway.coarse_timers import TimeLimit
from gateway.config.snapshot import Failure
from gateway.errors import TimeoutExceededError
from gateway.framing.aws_event_stream import BadFrameError
from gateway.framing.framing import EventParser
from gateway.framing.sse import EventTooLargeError
from gateway.schemas.dialect import Dialect, EventKind
from gateway.transport.http import HttpResponse, TransportError
from gateway.transport.messages import Headers
from gateway.upstream.answer import Answer, AnswerStream, Exchange, StreamAnswer, UnaryAnswer
from gateway.upstream.lease import Lease
from gateway.upstream.retry import AttemptFailedError
from gateway.upstream.status_errors import answer_error, event_error, reset, status_error
from gateway.upstream.transport_failures import transport_failure

D = TypeVar("D", bound=Dialect)

_MAX_ANSWER_BYTES = 64 * 1024 * 1024


class HttpInference(msgspec.Struct, Generic[D], frozen=True, kw_only=True):
    """What is sent to a backend, and how long each part may take. `deadline` is a time of the event loop's clock."""

    dialect: D
    path: str
    headers: Sequence[tuple[str, str]]
    body: bytes
    is_streaming: bool
    connect_timeout_s: float
    first_content_timeout_s: float | None
    stream_idle_timeout_s: float
    deadline: float
    rename_model_to: str | None
    hides_usage: bool = False
    is_repeatable: bool = True

    def __repr__(self) -> str:
        return f"<HttpInference {self.path}>"  # headers hold a credential, the body what is nobody else's business

    async def send(self, lease: Lease) -> Exchange[D]:
        """Sends the request to the endpoint and returns once its answer can be committed to.

        A unary answer is read whole, a streamed one up to its first content. Raises `AttemptFailedError` for what may
        be tried again and `UpstreamRejectedError` for what the backend refused for good.
        """
        limit = self.first_content_timeout_s
        try:
            if limit is None:
                answer = await self._send(lease)
            else:
                with TimeLimit(asyncio.get_running_loop().time() + limit):
                    answer = await self._send(lease)
            return Exchange(answer, self.dialect, self.rename_model_to, self.hides_usage)
        except TimeoutError:
            error = TimeoutExceededError(
                f"no content from the upstream within {limit:g} s", reason="FIRST_TOKEN_TIMEOUT"
            )
            raise AttemptFailedError(error, Failure.TIMEOUT) from None
        except TransportError as error:
            raise transport_failure(error) from error

    async def _send(self, lease: Lease) -> Answer:
        endpoint = lease.endpoint
        url = endpoint.url(self.path)
        headers: Headers = self.headers
        if endpoint.authority is not None:
            headers = [*self.headers, ("host", endpoint.authority)]
        if lease.credential is not None:
            url, headers = await lease.authorize("POST", url, headers, self.body)
        response = await lease.cluster.connections.http.send(
            "POST",
            url,
            headers=headers,
            body=self.body,
            connect_timeout_s=self.connect_timeout_s,
            server_name=endpoint.server_name,
        )
        is_kept = False
        try:
            if not 200 <= response.status < 300:
                raise await status_error(response, self.dialect)
            if (response.header("content-encoding") or "identity").lower() != "identity":
                raise reset("the upstream compressed its answer although it was asked not to")
            content_type = (response.header("content-type") or "").lower()
            if self.is_streaming and content_type.startswith(self.dialect.framing.content_type):
                first = await read_first_content(response, self.dialect)
                is_kept = True
                return self._stream(response, lease, first)
            body = await response.read_all(_MAX_ANSWER_BYTES)
            if not body.lstrip().startswith(b"{"):
                raise reset("the upstream's answer is not a JSON object")
            if (failed := answer_error(body, self.dialect)) is not None:
                raise failed
            lease.close()
            return UnaryAnswer(status=response.status, headers=response.headers, body=body)
        finally:
            if not is_kept:
                response.close()

    def _stream(self, response: HttpResponse, lease: Lease, first: bytes) -> StreamAnswer:
        rest = AnswerStream(
            response,
            lease,
            self.dialect,
            seen=first,
            idle_timeout_s=self.stream_idle_timeout_s,
            deadline=self.deadline,
        )
        return StreamAnswer(headers=response.headers, first=first, rest=rest)


async def read_first_content(response: HttpResponse, dialect: Dialect) -> bytes:
    """The stream's bytes up to the read that brought the first content. What comes before it is held, so that an
    error there can still be retried unseen."""
    parser = dialect.framing.parser()
    held = []
    while data := await response.read():
        held.append(data)
        if _has_content(parser, data, dialect):
            return b"".join(held)
    raise reset("the upstream's stream ended before any content")


def _has_content(parser: EventParser, data: bytes, dialect: Dialect) -> bool:
    """Whether the data brings the first content. Events after it are not looked at."""
    try:
        for event in parser.feed(data):
            match dialect.classify_event(event.data, event.event):
                case EventKind.CONTENT:
                    return True
                case EventKind.ERROR:
                    raise event_error(event.data, dialect)
    except (EventTooLargeError, BadFrameError) as fault:
        raise reset(str(fault)) from None
    except ValueError as fault:
        raise reset(f"the upstream's stream cannot be understood: {fault}") from None
    return False
