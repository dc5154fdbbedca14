"""What an error in OpenAI's form means for trying elsewhere. Servers of this form agree on little: codes, types and,
where there is neither, words are looked at."""

from typing import Any

import msgspec

from gateway.config.snapshot import Failure
from gateway.schemas.openai.fields import UNREADABLE

# OpenAI, Azure, llama.cpp, vLLM, Groq, Mistral and others; in lower case.
_CLASSES: dict[str, Failure] = {
    "context_length_exceeded": Failure.CONTEXT_LENGTH,
    "exceed_context_size_error": Failure.CONTEXT_LENGTH,
    "string_above_max_length": Failure.CONTEXT_LENGTH,
    "content_filter": Failure.CONTENT_FILTER,
    "content_policy_violation": Failure.CONTENT_FILTER,
    "responsibleaipolicyviolation": Failure.CONTENT_FILTER,
    "overloaded_error": Failure.OVERLOADED,
    "engine_overloaded_error": Failure.OVERLOADED,
    "engine_overloaded": Failure.OVERLOADED,
    "server_overloaded": Failure.OVERLOADED,
    "rate_limit_exceeded": Failure.RATE_LIMITED,
    "rate_limit_error": Failure.RATE_LIMITED,
}
_WORDS: tuple[tuple[str, Failure], ...] = (
    ("maximum context length", Failure.CONTEXT_LENGTH),
    ("context size", Failure.CONTEXT_LENGTH),
    ("context window", Failure.CONTEXT_LENGTH),
    ("content management policy", Failure.CONTENT_FILTER),
    ("overloaded", Failure.OVERLOADED),
)


class _Fields(msgspec.Struct):
    code: Any = None
    type: Any = None
    message: Any = None


class _ErrorBody(msgspec.Struct):
    error: _Fields


_decoder = msgspec.json.Decoder(_ErrorBody)


def classify_error(body: bytes) -> Failure | None:
    """The class of an error body, or event, as far as it tells one."""
    try:
        error = _decoder.decode(body).error
    except UNREADABLE:
        return None
    for name in (error.code, error.type):
        if isinstance(name, str) and (failure := _CLASSES.get(name.lower())) is not None:
            return failure
    if isinstance(error.message, str):
        text = error.message.lower()
        return next((failure for words, failure in _WORDS if words in text), None)
    return None
