"""Gemini's `countTokens` as a dialect: relayed as it is, and translated."""

from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.counted import counted
from gateway.schemas.gemini.fields import read_object
from gateway.schemas.gemini.generate_content import name_model
from gateway.schemas.gemini.request import NAME, decode_value
from gateway.schemas.gemini.request_encoder import request_fields
from gateway.schemas.gemini.whole import GeminiMethod
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, TokenCount, Usage

_WHOLE = "generateContentRequest"
_WHOLE_NAMES = (_WHOLE, "generate_content_request")


class _Answer(msgspec.Struct, rename="camel"):
    total_tokens: int
    cached_content_token_count: int = 0


_decoder = msgspec.json.Decoder(_Answer)
_raw_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


@dataclass(frozen=True, slots=True)
class GeminiCountTokens(GeminiMethod):
    """See `CountTokensDialect`. What is counted is `contents` alone, or a whole `generateContentRequest`."""

    method: str = "countTokens"
    name: str = NAME

    def with_request_model(self, body: bytes, asked: str, model: str) -> bytes:
        """The request with that model, which a whole request names too."""
        try:
            fields = _raw_decoder.decode(body)
        except UNREADABLE:
            return body
        for name in _WHOLE_NAMES:
            if name in fields:
                fields[name] = msgspec.Raw(name_model(bytes(fields[name]), model))
                body = msgspec.json.encode(fields)
        return name_model(body, model)

    def read_usage(self, body: bytes) -> Usage | None:
        """None: tokens that are counted are not used."""
        return None

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        try:
            value = read_object(Fields.parse(body).extra, "")
            if not value.has(_WHOLE):
                return decode_value(value.extra, model)
            inner = value.value(_WHOLE)
            if value.extra.keys() - {"model"}:
                raise value.wrong(_WHOLE, "nothing else can stand beside it")
        except FieldError as error:
            raise InvalidRequestError(str(error), param=error.param or None) from None
        return _decode_whole(inner, model)

    def encode_request(self, request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Gemini's countTokens", drop=drop_unsupported)
        fields: dict[str, Any] = {"model": f"models/{model.removeprefix('models/')}"}
        fields |= request_fields(counted(request, NAME), model, unsupported)
        return msgspec.json.encode({_WHOLE: fields})

    def decode_answer(self, body: bytes) -> TokenCount:
        """JSON to canonical. Raises `BadGatewayError`."""
        try:
            answer = _decoder.decode(body)
        except UNREADABLE as error:
            raise malformed(error) from None
        return TokenCount(input_tokens=answer.total_tokens, cached_input_tokens=answer.cached_content_token_count)

    def encode_answer(self, answer: TokenCount, request: ChatRequest, model: str) -> bytes:
        """Canonical to JSON."""
        fields = {"totalTokens": answer.input_tokens}
        if answer.cached_input_tokens:
            fields["cachedContentTokenCount"] = answer.cached_input_tokens
        return msgspec.json.encode(fields)


def _decode_whole(value: object, model: str) -> ChatRequest:
    """A whole request. What is wrong in it is told with its place."""
    try:
        return decode_value(value, model)
    except InvalidRequestError as error:
        place = _WHOLE if error.param is None else f"{_WHOLE}.{error.param}"
        raise InvalidRequestError(f"in {_WHOLE}: {error.message}", reason=error.reason, param=place) from None
