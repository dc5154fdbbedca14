"""The table of places: what asks for which feature in each dialect of conversations."""

from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.schemas.features.places import Asked, Place, asked_at
from gateway.schemas.gemini.fields import camel
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import Feature


def _of_type(*kinds: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, dict) and value.get("type") in kinds


def _above_one(value: object) -> bool:
    return isinstance(value, int) and value > 1


def _is_given(value: object) -> bool:
    return value is not False


def _media(value: object) -> str:
    """What a Gemini blob is: `image`, `audio` or another word; empty if it does not tell."""
    return str(value.get("mimeType", "")).partition("/")[0] if isinstance(value, dict) else ""


def _is_image(value: object) -> bool:
    return _media(value) == "image"


def _is_sound(value: object) -> bool:
    return _media(value) == "audio"


def _is_document(value: object) -> bool:
    return _media(value) not in ("image", "audio")


def _is_json_without_schema(value: object) -> bool:
    """Whether a Gemini configuration asks for JSON, and says no more of it."""
    if not isinstance(value, dict) or value.get("responseMimeType") != "application/json":
        return False
    return not (value.get("responseSchema") or value.get("responseJsonSchema"))


def _has_schema(value: object) -> bool:
    return isinstance(value, dict) and bool(value.get("json_schema") or value.get("schema"))


_OPENAI_CHAT = (
    Place("tools", Feature.TOOLS),
    Place("functions", Feature.TOOLS),
    Place("messages[].content[].image_url", Feature.IMAGES),
    Place("messages[].content[].input_audio", Feature.AUDIO),
    Place("messages[].content[].file", Feature.FILES),
    Place("messages[].content[].document_url", Feature.FILES),
    Place("response_format", Feature.JSON_OBJECT, _of_type("json_object")),
    Place("response_format", Feature.JSON_SCHEMA, _of_type("json_schema")),
    Place("reasoning_effort", Feature.REASONING),
    Place("logprobs", Feature.LOGPROBS),
    Place("n", Feature.MULTIPLE_CHOICES, _above_one),
)
_OPENAI_COMPLETIONS = (
    Place("logprobs", Feature.LOGPROBS, _is_given),
    Place("n", Feature.MULTIPLE_CHOICES, _above_one),
)
_OPENAI_RESPONSES = (
    Place("tools", Feature.TOOLS),
    Place("input[].content[]", Feature.IMAGES, _of_type("input_image")),
    Place("input[].output[]", Feature.IMAGES, _of_type("input_image")),
    Place("input[].content[]", Feature.AUDIO, _of_type("input_audio")),
    Place("input[].content[]", Feature.FILES, _of_type("input_file")),
    Place("input[].output[]", Feature.FILES, _of_type("input_file")),
    Place("text.format", Feature.JSON_OBJECT, _of_type("json_object")),
    Place("text.format", Feature.JSON_SCHEMA, _of_type("json_schema")),
    Place("reasoning", Feature.REASONING),
    Place("top_logprobs", Feature.LOGPROBS),
)
_ANTHROPIC = (
    Place("tools", Feature.TOOLS),
    Place("messages[].content[]", Feature.IMAGES, _of_type("image")),
    Place("messages[].content[].content[]", Feature.IMAGES, _of_type("image")),
    Place("messages[].content[]", Feature.FILES, _of_type("document")),
    Place("messages[].content[].content[]", Feature.FILES, _of_type("document")),
    Place("output_config.format", Feature.JSON_SCHEMA),
    Place("output_format", Feature.JSON_SCHEMA),
    Place("thinking", Feature.REASONING, _of_type("enabled", "adaptive")),
    Place("output_config.effort", Feature.REASONING),
)
_GEMINI = (
    Place("tools", Feature.TOOLS),
    Place("contents[].parts[].inlineData", Feature.IMAGES, _is_image),
    Place("contents[].parts[].fileData", Feature.IMAGES, _is_image),
    Place("contents[].parts[].inlineData", Feature.AUDIO, _is_sound),
    Place("contents[].parts[].fileData", Feature.AUDIO, _is_sound),
    Place("contents[].parts[].inlineData", Feature.FILES, _is_document),
    Place("contents[].parts[].fileData", Feature.FILES, _is_document),
    Place("generationConfig.responseSchema", Feature.JSON_SCHEMA),
    Place("generationConfig.responseJsonSchema", Feature.JSON_SCHEMA),
    Place("generationConfig", Feature.JSON_OBJECT, _is_json_without_schema),
    Place("generationConfig.thinkingConfig", Feature.REASONING),
    Place("generationConfig.responseLogprobs", Feature.LOGPROBS),
    Place("generationConfig.candidateCount", Feature.MULTIPLE_CHOICES, _above_one),
)
_COHERE = (
    Place("tools", Feature.TOOLS),
    Place("messages[].content[].image_url", Feature.IMAGES),
    Place("documents", Feature.FILES),
    Place("response_format", Feature.JSON_SCHEMA, _has_schema),
    Place(
        "response_format", Feature.JSON_OBJECT, lambda value: _of_type("json_object")(value) and not _has_schema(value)
    ),
    Place("thinking", Feature.REASONING, _of_type("enabled")),
    Place("logprobs", Feature.LOGPROBS),
)
_OLLAMA = (
    Place("tools", Feature.TOOLS),
    Place("messages[].images", Feature.IMAGES),
    Place("format", Feature.JSON_OBJECT, lambda value: value == "json"),
    Place("format", Feature.JSON_SCHEMA, lambda value: isinstance(value, dict)),
    Place("think", Feature.REASONING),
    Place("logprobs", Feature.LOGPROBS),
)

# By the dialects' names.
_PLACES: Mapping[str, Sequence[Place]] = MappingProxyType(
    {
        "openai_chat": _OPENAI_CHAT,
        "openai_completions": _OPENAI_COMPLETIONS,
        "openai_responses": _OPENAI_RESPONSES,
        "anthropic_messages": _ANTHROPIC,
        "gemini_generate_content": _GEMINI,
        "cohere_chat": _COHERE,
        "ollama_chat": _OLLAMA,
    }
)


def asked_of(dialect: str, body: bytes) -> Sequence[Asked]:
    """What a request in the dialect of that name asks for. Nothing is told of a body that is not JSON."""
    try:
        request = msgspec.json.decode(body)
    except UNREADABLE:
        return ()
    if dialect == "gemini_generate_content":
        request = _camel(request)
    return tuple(asked_at(_PLACES[dialect], request))


def stream_place(dialect: str) -> str | None:
    """The field that asks for a stream; None in a dialect whose path does."""
    return None if dialect == "gemini_generate_content" else "stream"


def _camel(value: object) -> object:
    """JSON whose names are all in camelCase: Gemini takes both."""
    match value:
        case dict():
            return {camel(name): _camel(item) for name, item in value.items()}
        case list():
            return [_camel(item) for item in value]
        case _:
            return value
