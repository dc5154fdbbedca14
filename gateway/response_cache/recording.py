"""An answer that can be sent and kept: its head, and the pieces of its body as they were sent."""

from types import TracebackType
from typing import NamedTuple, Protocol, Self

import msgspec

from gateway.edits import HeaderEdits
from gateway.response_cache.http_terms import AnswerTerms

# Of an answer's headers, those that are as true of it later.
_KEPT = frozenset({b"content-type", b"content-language", b"cache-control", b"x-accel-buffering"})


class AnswerHead(msgspec.Struct, frozen=True, array_like=True):
    """How an answer begins. `is_whole`: it has one piece, which is sent with its length. `status` and `headers` are for
    HTTP alone. `edits` are what policies have to be done to the headers, None: nothing. `terms` are there if it passes
    through, and then all its headers are as true of it later."""

    is_whole: bool
    status: int = 200
    headers: tuple[tuple[bytes, bytes], ...] = ()
    edits: HeaderEdits | None = None
    terms: AnswerTerms | None = None

    def kept(self) -> "AnswerHead":
        """Without what is about one call, or about the account that it was made with."""
        if self.terms is not None:
            headers = tuple(header for header in self.headers if header[0] != b"age")
            return AnswerHead(self.is_whole, self.status, headers, self.edits, self.terms)
        headers = tuple([header for header in self.headers if header[0] in _KEPT])
        return AnswerHead(self.is_whole, self.status, headers, self.edits)


class Recording(msgspec.Struct, frozen=True, array_like=True):
    """A whole answer. `kept_at` is a time of the clock of where it is kept, in seconds."""

    head: AnswerHead
    pieces: tuple[bytes, ...]
    kept_at: float


class KeptAnswer(NamedTuple):
    """An answer that was found, and for how long it has been kept, in seconds."""

    recording: Recording
    age_s: float


class NearAnswer(NamedTuple):
    """An answer to what means the same, and how near that is: the cosine of the angle between the vectors."""

    kept: KeptAnswer
    similarity: float


class AnswerReader(Protocol):
    """One reader of an answer, from its beginning; a block, in which it is read."""

    async def __aenter__(self) -> Self:
        """Begins."""

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends, read or not."""

    async def read_head(self) -> AnswerHead:
        """The head, once it is there. Raises `GatewayError` if there is no answer."""

    async def read(self) -> bytes | None:
        """The next piece, or None after the last. Raises `GatewayError` if the answer breaks off."""


class ReplayedAnswer:
    """Reads a recording."""

    __slots__ = ("_head", "_pieces")

    def __init__(self, recording: Recording) -> None:
        self._head = recording.head
        self._pieces = iter(recording.pieces)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    async def read_head(self) -> AnswerHead:
        """The head."""
        return self._head

    async def read(self) -> bytes | None:
        """The next piece, or None after the last."""
        return next(self._pieces, None)
