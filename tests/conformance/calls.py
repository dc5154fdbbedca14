"""One way to ask, whatever the protocol: questions, answers that can be compared, and how calls fail."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol


class Wire(Enum):
    """The protocol of a call."""

    HTTP = "http"
    GRPC = "grpc"


class Kind(Enum):
    """How a call fails, as the status of HTTP and of gRPC."""

    INVALID_REQUEST = ("400", "INVALID_ARGUMENT")
    UNAUTHENTICATED = ("401", "UNAUTHENTICATED")
    PERMISSION_DENIED = ("403", "PERMISSION_DENIED")
    NOT_FOUND = ("404", "NOT_FOUND")
    TOO_LARGE = ("413", "RESOURCE_EXHAUSTED")
    RATE_LIMITED = ("429", "RESOURCE_EXHAUSTED")
    BAD_GATEWAY = ("502", "UNAVAILABLE")
    UNAVAILABLE = ("503", "UNAVAILABLE")
    TIMEOUT = ("504", "DEADLINE_EXCEEDED")

    def on(self, wire: Wire) -> str:
        """The status on that protocol."""
        http, grpc = self.value
        return http if wire is Wire.HTTP else grpc


EVENT = "error event"
"""The status of what fails over HTTP after the answer has begun."""
GARBLED = "garbled"
"""The status of an answer that the client does not understand."""
CUT = "cut"
"""The status of an answer that ends without its end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked. `tools` are names of functions; `deadline_s` is only told over gRPC."""

    model: str = "m"
    text: str = "hello"
    tools: Sequence[str] = ()
    top_logprobs: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    deadline_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """One message of a stream, or a whole answer. Tool calls are (name, arguments), usage is (input, output)."""

    model: str
    text: str = ""
    finish_reason: str = ""
    tool_calls: tuple[tuple[str, str], ...] = ()
    logprobs: tuple[tuple[str, float], ...] = ()
    usage: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """How a call failed. `reason` is the machine-readable one, in capitals."""

    status: str
    reason: str = ""
    message: str = ""
    param: str | None = None
    retry_after_s: float | None = None


class CallFailedError(Exception):
    """A call failed."""

    def __init__(self, failure: Failure, headers: Mapping[str, str]) -> None:
        super().__init__(str(failure))
        self.failure = failure
        self.headers = headers


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What came of a question: the pieces until it ended or failed. Header names are in lower case."""

    wire: Wire
    headers: Mapping[str, str]
    pieces: Sequence[Piece]
    failure: Failure | None = None

    @property
    def text(self) -> str:
        return "".join(piece.text for piece in self.pieces)

    @property
    def models(self) -> set[str]:
        """The model names in all pieces."""
        return {piece.model for piece in self.pieces}

    @property
    def finish_reason(self) -> str:
        return "".join(piece.finish_reason for piece in self.pieces)

    @property
    def usage(self) -> tuple[int, int] | None:
        return next((piece.usage for piece in self.pieces if piece.usage), None)

    @property
    def tool_calls(self) -> tuple[tuple[str, str], ...]:
        """Names and arguments; over a stream the pieces of the first call joined."""
        calls = [call for piece in self.pieces for call in piece.tool_calls]
        return (("".join(name for name, _ in calls), "".join(part for _, part in calls)),) if calls else ()

    @property
    def logprobs(self) -> tuple[tuple[str, float], ...]:
        return tuple(token for piece in self.pieces for token in piece.logprobs)


@dataclass(frozen=True, slots=True, kw_only=True)
class Vectors:
    """Embeddings, in the order of the texts."""

    model: str
    vectors: Sequence[Sequence[float]]
    usage: tuple[int, int]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Models:
    """Ids of the models that are served."""

    ids: Sequence[str]
    headers: Mapping[str, str]


class AnswerStream(Protocol):
    """An answer that is being written. Leaving its context before the end abandons it, as a client does that goes."""

    @property
    def headers(self) -> Mapping[str, str]: ...

    def __aiter__(self) -> AsyncIterator[Piece]:
        """The pieces as they come. Raises `CallFailedError` if the answer does not end as it should."""


class Caller(Protocol):
    """A client of one protocol."""

    @property
    def wire(self) -> Wire: ...

    async def ask_whole(self, question: Question) -> Answer:
        """A unary call. Raises `CallFailedError`."""

    def stream(self, question: Question) -> AbstractAsyncContextManager[AnswerStream]:
        """A streamed call; entering waits for the headers. Raises `CallFailedError`."""

    async def embed(self, model: str, texts: Sequence[str]) -> Vectors:
        """Embeddings. Raises `CallFailedError`."""

    async def models(self, headers: Mapping[str, str] | None = None) -> Models:
        """The models that are served. Raises `CallFailedError`."""


async def ask(
    caller: Caller,
    question: Question | None = None,
    *,
    streamed: bool = False,
    on_piece: Callable[[], None] = lambda: None,
) -> Answer:
    """Asks, and tells what came of it, failure included. `on_piece` is called after each piece of a stream."""
    question = question or Question()
    pieces: list[Piece] = []
    headers: Mapping[str, str] = {}
    try:
        if not streamed:
            return await caller.ask_whole(question)
        async with caller.stream(question) as stream:
            headers = stream.headers
            async for piece in stream:
                pieces.append(piece)
                on_piece()
    except CallFailedError as error:
        return Answer(wire=caller.wire, headers=headers or error.headers, pieces=pieces, failure=error.failure)
    return Answer(wire=caller.wire, headers=headers, pieces=pieces)


def assert_answered(answer: Answer, text: str = "hello there") -> None:
    """The call succeeded, with that text, and came to its end."""
    assert answer.failure is None, answer.failure
    assert (answer.text, answer.finish_reason) == (text, "stop")


def assert_refused(answer: Answer, kind: Kind, reason: str) -> Failure:
    """The call failed as an answer of that kind, before any content."""
    assert answer.failure is not None, f"it was answered: {answer.text!r}"
    assert (answer.failure.status, answer.failure.reason) == (kind.on(answer.wire), reason), answer.failure
    assert answer.text == ""
    return answer.failure


def assert_broken(answer: Answer, kind: Kind, reason: str) -> Failure:
    """The answer began and then failed, and said so."""
    assert answer.failure is not None, f"it seems complete: {answer.text!r}"
    status = EVENT if answer.wire is Wire.HTTP else kind.on(answer.wire)
    assert (answer.failure.status, answer.failure.reason) == (status, reason), answer.failure
    return answer.failure
