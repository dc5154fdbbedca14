"""Cohere's `/v2/rerank` as a dialect: relayed as it is, and translated."""

from dataclasses import dataclass

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas import rerank
from gateway.schemas.cohere.usage import UsageFields, usage_fields
from gateway.schemas.cohere.wire import CohereDialect
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import RerankAnswer, RerankRequest, Usage

NAME = "cohere_rerank"


class _Answer(msgspec.Struct):
    results: list[rerank.Result]
    meta: UsageFields | None = None


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class CohereRerank(CohereDialect):
    """See `RerankDialect`."""

    posted_to: str = "/v2/rerank"
    name: str = NAME

    def decode_request(self, body: bytes, model: str) -> RerankRequest:
        """JSON to canonical."""
        try:
            fields = Fields.parse(body)
            return rerank.decode_request(fields, model, fields.strings("documents"), NAME)
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None

    def encode_request(self, request: RerankRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return rerank.encode_request(request, model, NAME, Unsupported("Cohere's rerank", drop=drop_unsupported))

    def decode_answer(self, body: bytes) -> RerankAnswer:
        """JSON to canonical. Raises `BadGatewayError`."""
        answer: _Answer = rerank.decode(_decoder, body)
        usage = answer.meta.to_usage() if answer.meta is not None else Usage()
        return RerankAnswer(results=rerank.ranked(answer.results), usage=usage)

    def encode_answer(self, answer: RerankAnswer, request: RerankRequest, model: str) -> bytes:
        """Canonical to JSON."""
        meta = {"api_version": {"version": "2"}, **usage_fields(answer.usage)}
        return rerank.encode_answer(answer, request, model, {"meta": meta})
