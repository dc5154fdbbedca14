"""The most that a conversation asks a model to write, read of its body without decoding the rest."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.schemas.openai.fields import UNREADABLE


class _Fields(msgspec.Struct):
    """The fields of all dialects that say it, and of how many answers. Their values may be anything."""

    max_tokens: Any = None
    max_completion_tokens: Any = None
    max_output_tokens: Any = None
    max_tokens_to_sample: Any = None
    max_gen_len: Any = None
    n: Any = None
    options: Any = None
    generation_config: Any = None
    generation_config_in_camel_case: Any = msgspec.field(default=None, name="generationConfig")
    inference_config: Any = msgspec.field(default=None, name="inferenceConfig")
    text_generation_config: Any = msgspec.field(default=None, name="textGenerationConfig")


_decoder = msgspec.json.Decoder(_Fields)


def max_output_tokens(dialect: str, body: bytes) -> int | None:
    """The bound that a request in the dialect of that name sets to all its answers together, None if it sets none."""
    try:
        fields = _decoder.decode(body)
    except UNREADABLE:
        return None
    bound, answers = _BOUNDS[dialect](fields)
    return bound and bound * (answers or 1)


def _largest(*values: object) -> int | None:
    """The largest of the numbers among the values: backends differ on which of two fields counts."""
    numbers = (value for value in values if isinstance(value, int) and not isinstance(value, bool) and value > 0)
    return max(numbers, default=None)


def _of(value: object, *names: str) -> int | None:
    return _largest(*map(value.get, names)) if isinstance(value, dict) else None


def _in_gemini(fields: _Fields) -> tuple[int | None, int | None]:
    configs = fields.generation_config_in_camel_case, fields.generation_config
    bounds = (_of(config, "maxOutputTokens", "max_output_tokens") for config in configs)
    return _largest(*bounds), _largest(*(_of(config, "candidateCount", "candidate_count") for config in configs))


def _in_invocation(fields: _Fields) -> tuple[int | None, int | None]:
    """Each maker's models on Bedrock have their own name for it."""
    bound = _largest(
        fields.max_tokens,
        fields.max_completion_tokens,
        fields.max_tokens_to_sample,
        fields.max_gen_len,
        _of(fields.inference_config, "maxTokens", "max_new_tokens"),
        _of(fields.text_generation_config, "maxTokenCount"),
    )
    return bound, None


# By the dialects' names: the bound of one answer, and the number of answers.
_BOUNDS: Mapping[str, Callable[[_Fields], tuple[int | None, int | None]]] = MappingProxyType(
    {
        "openai_chat": lambda each: (_largest(each.max_completion_tokens, each.max_tokens), _largest(each.n)),
        "openai_completions": lambda each: (_largest(each.max_tokens), _largest(each.n)),
        "openai_responses": lambda each: (_largest(each.max_output_tokens), None),
        "anthropic_messages": lambda each: (_largest(each.max_tokens), None),
        "gemini_generate_content": _in_gemini,
        "cohere_chat": lambda each: (_largest(each.max_tokens), None),
        "bedrock_invocation": _in_invocation,
        "ollama_chat": lambda each: (_of(each.options, "num_predict"), None),
    }
)
