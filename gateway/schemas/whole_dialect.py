"""What a dialect of an operation whose answers come whole can do: be relayed as it is, and be translated to and from
the canonical form."""

from collections.abc import Iterable
from typing import Any, Protocol, TypeAlias, TypeVar, cast, runtime_checkable

from msgspec.structs import replace

from gateway.schemas.dialect import Dialect
from gateway.types import (
    ChatRequest,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    RerankAnswer,
    RerankRequest,
    TokenCount,
    Usage,
    WholeRequest,
)


class WholeAnswer(Protocol):
    """A canonical answer."""

    @property
    def usage(self) -> Usage | None:
        """What it cost; None for what is not charged for."""


Q = TypeVar("Q", bound=WholeRequest)
A = TypeVar("A", bound=WholeAnswer)
Q_contra = TypeVar("Q_contra", bound=WholeRequest, contravariant=True)
A_co = TypeVar("A_co", bound=WholeAnswer, covariant=True)


class WholeTarget(Dialect, Protocol[Q_contra, A_co]):
    """A dialect of one operation that backends speak, with its canonical requests and answers."""

    @property
    def name(self) -> str:
        """What names the dialect in the `dialect` of requests."""

    def encode_request(self, request: Q_contra, model: str, *, drop_unsupported: bool) -> bytes:
        """The body that asks `model`. Raises `InvalidRequestError` for what the dialect has no place for."""

    def decode_answer(self, body: bytes) -> A_co:
        """The canonical answer. Raises `BadGatewayError` for what is none."""


class WholeDialect(WholeTarget[Q, A], Protocol[Q, A]):
    """A dialect that clients speak too."""

    def decode_request(self, body: bytes, model: str) -> Q:
        """The canonical request; `model` is the one that was asked for. Raises `InvalidRequestError`."""

    def encode_answer(self, answer: A, request: Q, model: str) -> bytes:
        """The answer to that request, under the name that the caller knows the model by."""


@runtime_checkable
class UsageInHeaders(Protocol):
    """A dialect whose backends tell the usage beside the answer, for not every answer has it."""

    def read_header_usage(self, headers: Iterable[tuple[bytes, bytes]]) -> Usage | None:
        """The usage, if it is there."""


def read_answer(dialect: WholeTarget[Q, A], body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> A:
    """The canonical answer, with the usage of the headers where the body has none. Raises `BadGatewayError`."""
    answer = dialect.decode_answer(body)
    if answer.usage == Usage() and isinstance(dialect, UsageInHeaders):
        usage = dialect.read_header_usage(headers)
        return answer if usage is None else cast("A", replace(cast("Any", answer), usage=usage))
    return answer


EmbeddingsTarget: TypeAlias = WholeTarget[EmbeddingsRequest, EmbeddingsAnswer]
EmbeddingsDialect: TypeAlias = WholeDialect[EmbeddingsRequest, EmbeddingsAnswer]
RerankDialect: TypeAlias = WholeDialect[RerankRequest, RerankAnswer]
CountTokensTarget: TypeAlias = WholeTarget[ChatRequest, TokenCount]
CountTokensDialect: TypeAlias = WholeDialect[ChatRequest, TokenCount]
