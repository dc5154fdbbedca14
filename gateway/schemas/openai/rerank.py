"""`/v1/rerank` as servers of OpenAI's API serve it: Cohere's first version, with usage and errors in OpenAI's form."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas import rerank
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.fields import UNREADABLE, UsageFields
from gateway.schemas.openai.wire import OpenAIDialect
from gateway.schemas.unsupported import Unsupported
from gateway.types import RerankAnswer, RerankRequest, Usage

NAME = "openai_rerank"


class _Usage(UsageFields):
    """Some servers count all tokens at once."""

    total_tokens: int | None = None

    def to_usage(self) -> Usage:
        """The canonical usage: nothing is written, so that all tokens are read."""
        return UsageFields(prompt_tokens=self.prompt_tokens or self.total_tokens).to_usage()


class _Told(msgspec.Struct):
    usage: _Usage | None = None


class _Answer(msgspec.Struct):
    results: list[rerank.Result]
    usage: _Usage | None = None


_decoder = msgspec.json.Decoder(_Answer)
_told_decoder = msgspec.json.Decoder(_Told)


@dataclass(frozen=True, slots=True)
class OpenAIRerank(OpenAIDialect):
    """See `RerankDialect`."""

    posted_to: str = "/v1/rerank"
    name: str = NAME

    def read_usage(self, body: bytes) -> Usage | None:
        """The tokens read."""
        try:
            usage = _told_decoder.decode(body).usage
        except UNREADABLE:
            return None
        return usage.to_usage() if usage is not None else None

    def decode_request(self, body: bytes, model: str) -> RerankRequest:
        """JSON to canonical."""
        try:
            fields = Fields.parse(body)
            return rerank.decode_request(fields, model, tuple(_texts(fields)), NAME)
        except FieldError as error:
            raise InvalidRequestError(error.message, param=error.param or None) from None

    def encode_request(self, request: RerankRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        return rerank.encode_request(request, model, NAME, Unsupported("/v1/rerank", drop=drop_unsupported))

    def decode_answer(self, body: bytes) -> RerankAnswer:
        """JSON to canonical. Raises `BadGatewayError`."""
        answer: _Answer = rerank.decode(_decoder, body)
        usage = answer.usage.to_usage() if answer.usage is not None else Usage()
        return RerankAnswer(results=rerank.ranked(answer.results), usage=usage)

    def encode_answer(self, answer: RerankAnswer, request: RerankRequest, model: str) -> bytes:
        """Canonical to JSON."""
        tokens = answer.usage.input_tokens
        rest: dict[str, Any] = {"model": model, "usage": {"prompt_tokens": tokens, "total_tokens": tokens}}
        if answer.usage.search_units:
            rest["meta"] = {"billed_units": {"search_units": answer.usage.search_units}}
        return rerank.encode_answer(answer, request, model, rest)


def _texts(fields: Fields) -> Iterator[str]:
    """The documents: texts, or objects with one."""
    for index, document in enumerate(fields.array("documents")):
        if isinstance(document, str):
            yield document
        else:
            yield Fields(document, fields.place_of(f"documents[{index}]")).text("text")
