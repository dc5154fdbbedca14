"""Items of an answer of OpenAI's responses that are still growing, and the fields that stand in them."""

from dataclasses import dataclass, field
from typing import Any

from gateway.schemas.growing_arguments import GrowingArguments
from gateway.types import TokenLogprob, Usage


@dataclass(slots=True)
class GrowingPart:
    """A part of a message, text or refusal, that is still growing."""

    kind: str
    index: int
    text: list[str] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    logprobs: list[dict[str, Any]] = field(default_factory=list)
    length: int = 0

    def fields(self) -> dict[str, Any]:
        """The part as far as it has come."""
        text = "".join(self.text)
        if self.kind == "refusal":
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": self.annotations, "logprobs": self.logprobs}


@dataclass(slots=True)
class GrowingMessage:
    """A message that is still growing."""

    output_index: int
    id: str
    content: list[dict[str, Any]] = field(default_factory=list)
    part: GrowingPart | None = None

    def item(self, status: str) -> dict[str, Any]:
        """The message with the parts that are complete."""
        return {
            "id": self.id,
            "type": "message",
            "status": status,
            "role": "assistant",
            # The list goes on growing after the item has been told.
            "content": list(self.content),
        }


@dataclass(slots=True)
class GrowingThought:
    """A thought that is still growing."""

    output_index: int
    id: str
    text: list[str] = field(default_factory=list)


@dataclass(slots=True)
class GrowingCall:
    """A call; without an `output_index` it waits for its name."""

    id: str = ""
    name: str = ""
    signature: str = ""
    output_index: int | None = None
    arguments: GrowingArguments = field(default_factory=GrowingArguments)
    is_closed: bool = False
    is_signature_sent: bool = False


def usage_fields(usage: Usage) -> dict[str, Any]:
    """Usage as it stands in a response."""
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {
            "cached_tokens": usage.cached_input_tokens,
            "cache_write_tokens": usage.cache_creation_tokens,
        },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning_tokens},
        "total_tokens": usage.input_tokens + usage.output_tokens,
    }


def logprob_fields(token: TokenLogprob) -> dict[str, Any]:
    """The probability of a token as it stands in a text."""
    return {
        "token": token.token,
        "logprob": token.logprob,
        "bytes": list(token.bytes),
        "top_logprobs": [
            {"token": other.token, "logprob": other.logprob, "bytes": list(other.bytes)} for other in token.top
        ],
    }
