"""Anthropic's `/v1/messages/count_tokens` as a dialect: relayed as it is, and translated."""

from dataclasses import dataclass

import msgspec

from gateway.schemas.anthropic.request import decode_request, request_fields
from gateway.schemas.anthropic.wire import NAME, AnthropicDialect
from gateway.schemas.counted import counted
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, TokenCount, Usage


class _Answer(msgspec.Struct):
    input_tokens: int


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class AnthropicCountTokens(AnthropicDialect):
    """See `CountTokensDialect`."""

    posted_to: str = "/v1/messages/count_tokens"
    name: str = NAME

    def read_usage(self, body: bytes) -> Usage | None:
        """None: tokens that are counted are not used."""
        return None

    def decode_request(self, body: bytes, model: str) -> ChatRequest:
        """JSON to canonical."""
        return decode_request(body, model, needs_max_tokens=False)

    def encode_request(self, request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Anthropic's counting of tokens", drop=drop_unsupported)
        fields = request_fields(counted(request, NAME), model, unsupported)
        del fields["max_tokens"]
        return msgspec.json.encode(fields)

    def decode_answer(self, body: bytes) -> TokenCount:
        """JSON to canonical. Raises `BadGatewayError`."""
        try:
            return TokenCount(input_tokens=_decoder.decode(body).input_tokens)
        except UNREADABLE as error:
            raise malformed(error) from None

    def encode_answer(self, answer: TokenCount, request: ChatRequest, model: str) -> bytes:
        """Canonical to JSON."""
        return msgspec.json.encode({"input_tokens": answer.input_tokens})
