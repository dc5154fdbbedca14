"""What an attempt gives once it is certain that its answer goes to the client."""

from collections.abc import Iterable
from typing import Generic, TypeAlias, TypeVar

import msgspec

from gateway.errors import BadGatewayError, GatewayError
from gateway.schemas.dialect import Dialect, EventKind
from gateway.transport.http import HttpResponse
from gateway.types import Usage
from gateway.upstream.answer_body import AnswerBody
from gateway.upstream.lease import Lease

D = TypeVar("D", bound=Dialect)

RawHeaders: TypeAlias = Iterable[tuple[bytes, bytes]]


class UpstreamStreamError(BadGatewayError):
    """The backend ended a stream with an error event of its own, which a caller of its dialect has been given."""


class UnaryAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A whole answer."""

    status: int
    headers: RawHeaders
    body: bytes


class AnswerStream(AnswerBody):
    """The rest of a streamed answer, after the commit point, and the usage it tells. It must end with its end mark."""

    def __init__(
        self,
        response: HttpResponse,
        lease: Lease,
        dialect: Dialect,
        *,
        seen: bytes,
        idle_timeout_s: float,
        deadline: float,
    ) -> None:
        super().__init__(response, lease, idle_timeout_s=idle_timeout_s, deadline=deadline)
        self._dialect = dialect
        self._tail_bytes = dialect.tail_bytes
        self._head = seen[: self._tail_bytes]
        self._tail = seen[-self._tail_bytes :]

    async def read(self) -> bytes:
        """What has arrived, at least one byte; empty once the answer is complete.

        Raises `BadGatewayError` also when the stream ends before its end mark, `UpstreamStreamError` if its last event
        says why.
        """
        data = await super().read()
        if data:
            size = self._tail_bytes
            self._tail = data[-size:] if len(data) >= size else (self._tail + data)[-size:]
        elif not self._dialect.is_complete(self._tail):
            raise self.cut("no end mark")
        return data

    def cut(self, reason: str) -> BadGatewayError:
        """The same, or what the backend says of it."""
        cut = super().cut(reason)
        text = self._last_error()
        return cut if text is None else UpstreamStreamError(f"the upstream's stream ended with an error: {text}")

    def _last_error(self) -> str | None:
        """What the last event says if it is an error, as far as it stands in the tail."""
        dialect = self._dialect
        try:
            *_, last = dialect.framing.parser().feed(self._tail)
            if dialect.classify_event(last.data, last.event) is not EventKind.ERROR:
                return None
        except (ValueError, GatewayError):  # the tail may begin amid an event, and have no other
            return None
        return dialect.read_error(last.data) or "it does not say which"

    @property
    def usage(self) -> Usage | None:
        """The usage that the stream has told so far."""
        # Some dialects tell what was read at the beginning, and what was written at the end.
        return self._dialect.read_stream_usage(self._head + b"\n\n" + self._tail)


class StreamAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A streamed answer: the bytes up to and with the first content, and the rest."""

    headers: RawHeaders
    first: bytes
    rest: AnswerStream


Answer: TypeAlias = UnaryAnswer | StreamAnswer


class Exchange(msgspec.Struct, Generic[D], frozen=True):
    """An answer, the dialect it is in, and the model name it must carry (None: it carries the right one).

    `hides_usage`: a stream was asked for its usage, which the caller did not ask for.
    """

    answer: Answer
    dialect: D
    rename_model_to: str | None
    hides_usage: bool = False
