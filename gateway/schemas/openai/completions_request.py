"""Requests for OpenAI's completions: a prompt to one message of the user and back."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.field_names import refuse_other_spellings
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, Message, Role, TextPart

NAME = "openai_completions"

_DELIVERY = ("stream", "stream_options", "model")

# Fields that ask for nothing with these values.
_WITHOUT_EFFECT: Mapping[str, Sequence[object]] = MappingProxyType({"echo": (False,), "suffix": ("",), "best_of": (1,)})


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        raise InvalidRequestError(error.message, param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    for name in _DELIVERY:
        fields.value(name)
    asked = {name: fields.value(name) for name in _WITHOUT_EFFECT if fields.has(name)}
    extra = {name: value for name, value in asked.items() if value not in _WITHOUT_EFFECT[name]}
    return ChatRequest(
        model=model,
        messages=(Message(role=Role.USER, content=(TextPart(text=_decode_prompt(fields)),)),),
        max_output_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=_decode_stop(fields),
        n=fields.integer("n"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        top_logprobs=fields.integer("logprobs"),
        user=fields.optional_text("user"),
        dialect=NAME,
        extra={**fields.extra, **extra} or None,
    )


def _decode_prompt(fields: Fields) -> str:
    match fields.value("prompt"):
        case str(text) | [str(text)]:
            return text
        case [str(), *_]:
            what = "several prompts in one request"
        case [int() | list(), *_]:
            what = "a prompt of tokens, which mean something to one model only"
        case _:
            raise fields.wrong("prompt", "a string is needed")
    raise InvalidRequestError(
        f"{what}: the service of this route speaks another dialect, which has nothing like it",
        reason="UNSUPPORTED_FIELD",
        param="prompt",
    )


def _decode_stop(fields: Fields) -> tuple[str, ...]:
    stop = fields.value("stop")
    match stop:
        case None:
            return ()
        case str():
            return (stop,)
        case [*words] if all(isinstance(word, str) for word in words):
            return tuple(words)
        case _:
            raise fields.wrong("stop", "a string or an array of strings is needed")


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`. A streamed answer is asked to end with its usage.

    Raises `InvalidRequestError` as `ChatDialect` says, and for a conversation of more than one message of text.
    """
    unsupported = Unsupported("OpenAI's completions", drop=drop_unsupported)
    _refuse_fields(request, unsupported)
    own = dict(request.extra or {}) if request.dialect == NAME else {}
    if request.dialect != NAME:
        for name, value in (request.extra or {}).items():
            unsupported.own_field(name, value)
    fields: dict[str, Any] = {
        "model": model,
        "prompt": _prompt(request.messages),
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": list(request.stop) or None,
        "n": request.n,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "logprobs": request.top_logprobs,
        "user": request.user,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    refuse_other_spellings(own, fields)
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode({**given, **own})


def _refuse_fields(request: ChatRequest, unsupported: Unsupported) -> None:
    given = {
        "tools": request.tools or None,
        "tool_choice": request.tool_choice,
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": request.response_format,
        "reasoning": request.reasoning,
        "metadata": request.metadata,
    }
    for name, value in given.items():
        if value is not None:
            unsupported.field(name)


def _prompt(messages: Sequence[Message]) -> str:
    match messages:
        case [Message(role=Role.USER, content=content)]:
            texts = [part.text for part in content if isinstance(part, TextPart)]
            if len(texts) == len(content):
                return "".join(texts)
    raise InvalidRequestError(
        "the service of this route completes one text; a conversation, pictures or sound cannot be carried",
        reason="UNSUPPORTED_FIELD",
        param="messages",
    )
