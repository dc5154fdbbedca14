"""`countTokens` as Vertex AI has it: the fields of a request stand by themselves. Only backends speak this."""

from dataclasses import dataclass

import msgspec

from gateway.schemas.counted import counted
from gateway.schemas.gemini.count_tokens import GeminiCountTokens
from gateway.schemas.gemini.request import NAME
from gateway.schemas.gemini.request_encoder import request_fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest

_COUNTED = frozenset({"contents", "systemInstruction", "tools", "generationConfig"})
# What says how to answer, and is not counted.
_OF_ANSWERS = frozenset({"toolConfig", "safetySettings", "labels"})


@dataclass(frozen=True, slots=True)
class VertexCountTokens(GeminiCountTokens):
    """See `WholeTarget`."""

    def encode_request(self, request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
        """Canonical to JSON."""
        unsupported = Unsupported("Vertex AI's countTokens", drop=drop_unsupported)
        fields = request_fields(counted(request, NAME), model, unsupported)
        for name in fields:
            if name not in _COUNTED | _OF_ANSWERS:
                unsupported.field(name)
        return msgspec.json.encode({name: value for name, value in fields.items() if name in _COUNTED})
