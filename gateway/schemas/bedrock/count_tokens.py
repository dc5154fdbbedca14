"""Bedrock's `CountTokens` of a conversation. Only backends speak this."""

from dataclasses import dataclass
from urllib.parse import quote

import msgspec

from gateway.schemas.bedrock.request import request_fields
from gateway.schemas.bedrock.wire import NAME, BedrockDialect
from gateway.schemas.counted import counted
from gateway.schemas.malformed import malformed
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, TokenCount, Usage

# `ConverseTokensRequest` in the service's model: the rest says how to answer.
_COUNTED = ("messages", "system", "toolConfig", "additionalModelRequestFields")


class _Answer(msgspec.Struct, rename="camel"):
    input_tokens: int


_decoder = msgspec.json.Decoder(_Answer)


@dataclass(frozen=True, slots=True)
class BedrockCountTokens(BedrockDialect):
    """See `WholeTarget`."""

    name: str = NAME

    def path(self, model: str, *, stream: bool) -> str:
        """The model, which may be an ARN, stands in the path."""
        return f"/model/{quote(model, safe='')}/count-tokens"

    def read_usage(self, body: bytes) -> Usage | None:
        """None: tokens that are counted are not used."""
        return None

    def encode_request(self, request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Bedrock's CountTokens", drop=drop_unsupported)
        fields = request_fields(counted(request, NAME), model, unsupported)
        converse = {name: fields[name] for name in _COUNTED if name in fields}
        return msgspec.json.encode({"input": {"converse": converse}})

    def decode_answer(self, body: bytes) -> TokenCount:
        """JSON to canonical. Raises `BadGatewayError`."""
        try:
            return TokenCount(input_tokens=_decoder.decode(body).input_tokens)
        except UNREADABLE as error:
            raise malformed(error) from None
