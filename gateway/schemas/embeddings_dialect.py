"""What a dialect of embeddings can do: be relayed as it is, and be translated to and from the canonical form."""

from typing import Protocol

from gateway.schemas.dialect import Dialect
from gateway.types import EmbeddingsAnswer, EmbeddingsRequest


class EmbeddingsDialect(Dialect, Protocol):
    """A dialect that requests for vectors can be translated to and from."""

    @property
    def name(self) -> str:
        """What names the dialect in `EmbeddingsRequest.dialect`."""

    def decode_request(self, body: bytes, model: str) -> EmbeddingsRequest:
        """The canonical request; `model` is the one that was asked for. Raises `InvalidRequestError`."""

    def encode_request(self, request: EmbeddingsRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """The body that asks `model`. Raises `InvalidRequestError` for what the dialect has no place for."""

    def decode_answer(self, body: bytes) -> EmbeddingsAnswer:
        """The vectors. Raises `BadGatewayError` for what is no answer."""

    def encode_answer(self, answer: EmbeddingsAnswer, request: EmbeddingsRequest, model: str) -> bytes:
        """The answer to that request, under the name that the caller knows the model by."""
