"""Requests for Anthropic's messages: JSON to canonical and back."""

from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.anthropic.conversation import begins_with_a_call, decode_conversation, encode_conversation
from gateway.schemas.anthropic.models import DEFAULT_MAX_TOKENS, default_max_tokens
from gateway.schemas.anthropic.thinking import Thinking, decode_thinking, encode_thinking
from gateway.schemas.anthropic.tools import (
    add_tool_extra,
    decode_tool_choice,
    decode_tools,
    encode_tool_choice,
    encode_tools,
)
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.field_names import folded
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import ChatRequest, JsonSchemaFormat, NamedTool, PlainFormat, ToolMode

_MAX_TEMPERATURE = 1.0

# Objects of which canonical fields take a part: what is left of them is put back beside it.
_SHARED = ("metadata", "output_config", "thinking")


def decode_request(body: bytes, model: str, *, needs_max_tokens: bool = True) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model, needs_max_tokens=needs_max_tokens)
    except FieldError as error:
        # Anthropic's errors have no field for the place: it stands in the text.
        raise InvalidRequestError(str(error), param=error.param or None) from None


def _decode(fields: Fields, model: str, *, needs_max_tokens: bool) -> ChatRequest:
    fields.value("model")
    fields.value("stream")
    max_tokens = fields.integer("max_tokens")
    if max_tokens is None and needs_max_tokens:
        raise fields.wrong("max_tokens", "is missing")
    extra: dict[str, Any] = {}
    output_config = fields.object("output_config")
    reasoning = decode_thinking(fields, output_config, extra)
    response_format = _decode_format(output_config, "format") or _decode_format(fields, "output_format")
    if rest := output_config.extra:
        extra["output_config"] = {**rest, **extra.get("output_config", {})}
    metadata = fields.object("metadata")
    user = metadata.optional_text("user_id")
    if rest := metadata.extra:
        extra["metadata"] = rest
    messages = decode_conversation(fields)
    tools = decode_tools(fields, extra)
    tool_choice, is_parallel = decode_tool_choice(fields)
    return ChatRequest(
        model=model,
        messages=messages,
        max_output_tokens=max_tokens,
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=fields.strings("stop_sequences"),
        tools=tools,
        tool_choice=tool_choice,
        parallel_tool_calls=is_parallel,
        response_format=response_format,
        reasoning=reasoning,
        user=user,
        dialect=NAME,
        extra={**fields.extra, **extra} or None,
    )


def _decode_format(fields: Fields, name: str) -> JsonSchemaFormat | None:
    """`output_config.format`, or what came before it."""
    if not fields.has(name):
        return None
    wanted = fields.object(name)
    if (kind := wanted.text("type")) != "json_schema":
        raise wanted.wrong("type", f"'{kind}' is not a format; known: json_schema")
    schema = wanted.value("schema")
    if not isinstance(schema, dict):
        raise wanted.wrong("schema", "an object is needed")
    return JsonSchemaFormat(name="answer", schema=schema)


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`.

    Raises `InvalidRequestError` when `extra` names a field that has a place of its own, and as `ChatDialect` says.
    """
    unsupported = Unsupported("Anthropic's messages", drop=drop_unsupported)
    fields = request_fields(request, model, unsupported)
    if stream:
        fields["stream"] = True
    return msgspec.json.encode(fields)


def request_fields(request: ChatRequest, model: str, unsupported: Unsupported) -> dict[str, Any]:
    """The fields of the body, without how it is to be delivered."""
    _refuse_what_has_no_place(request, unsupported)
    conversation = encode_conversation(request, unsupported)
    thinking = _thinking(request, model, conversation.messages, unsupported)
    tools = encode_tools(request.tools, unsupported)
    fields: dict[str, Any] = {
        "model": model,
        "max_tokens": _max_tokens(request, model, thinking),
        "system": conversation.system,
        "messages": conversation.messages,
        "temperature": _temperature(request, thinking, unsupported),
        "top_p": request.top_p,
        "top_k": _top_k(request, thinking, unsupported),
        "stop_sequences": _stop(request.stop, unsupported) or None,
        "tools": tools or None,
        "tool_choice": encode_tool_choice(request.tool_choice, is_parallel=request.parallel_tool_calls)
        if tools
        else None,
        "thinking": thinking.config,
        "output_config": _output_config(request, thinking, unsupported) or None,
        "metadata": None if request.user is None else {"user_id": request.user},
        "stream": None,
    }
    _add_extra(fields, request, tools, unsupported)
    return {name: value for name, value in fields.items() if value is not None}


def _refuse_what_has_no_place(request: ChatRequest, unsupported: Unsupported) -> None:
    if request.n is not None and request.n > 1:
        unsupported.field("n")
    if request.seed is not None:
        unsupported.field("seed")
    if request.presence_penalty:
        unsupported.field("presence_penalty")
    if request.frequency_penalty:
        unsupported.field("frequency_penalty")
    if request.top_logprobs is not None:
        unsupported.field("top_logprobs", "probabilities of tokens")
    if request.metadata is not None:
        unsupported.field("metadata")


def _thinking(request: ChatRequest, model: str, messages: list[dict[str, Any]], unsupported: Unsupported) -> Thinking:
    """How to think. Models do not think before a call that they are told to make."""
    is_own = request.dialect == NAME
    thinking = encode_thinking(request.reasoning, model, is_own=is_own, max_tokens=request.max_output_tokens)
    if is_own or not thinking.is_on:
        return thinking
    if request.tool_choice is ToolMode.REQUIRED or isinstance(request.tool_choice, NamedTool):
        unsupported.field("reasoning", "thinking before a call that must be made")
        return Thinking()
    if thinking.is_derived and begins_with_a_call(messages):
        return Thinking()
    return thinking


def _max_tokens(request: ChatRequest, model: str, thinking: Thinking) -> int:
    if request.max_output_tokens is not None:
        return request.max_output_tokens
    return max(default_max_tokens(model), thinking.budget + DEFAULT_MAX_TOKENS)


def _temperature(request: ChatRequest, thinking: Thinking, unsupported: Unsupported) -> float | None:
    temperature = request.temperature
    if temperature is None or request.dialect == NAME:
        return temperature
    if thinking.is_on and temperature != _MAX_TEMPERATURE:
        unsupported.field("temperature", "a temperature beside thinking")
        return None
    if temperature > _MAX_TEMPERATURE:
        unsupported.field("temperature", "a temperature above 1")
        return _MAX_TEMPERATURE
    return temperature


def _top_k(request: ChatRequest, thinking: Thinking, unsupported: Unsupported) -> int | None:
    if request.top_k is not None and thinking.is_on and request.dialect != NAME:
        unsupported.field("top_k", "top_k beside thinking")
        return None
    return request.top_k


def _stop(stop: tuple[str, ...], unsupported: Unsupported) -> list[str]:
    visible = [sequence for sequence in stop if sequence.strip()]
    if len(visible) < len(stop):
        unsupported.field("stop", "a stop sequence of white space")
    return visible


def _output_config(request: ChatRequest, thinking: Thinking, unsupported: Unsupported) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if thinking.effort is not None:
        fields["effort"] = thinking.effort
    match request.response_format:
        case PlainFormat.JSON_OBJECT:
            unsupported.field("response_format", "JSON without a schema")
        case JsonSchemaFormat() as wanted:
            fields["format"] = {"type": "json_schema", "schema": wanted.described_schema()}
    return fields


def _add_extra(
    fields: dict[str, Any], request: ChatRequest, tools: list[dict[str, Any]], unsupported: Unsupported
) -> None:
    if not request.extra:
        return
    known = {*map(folded, fields)}
    by_name: dict[str, dict[str, Any]] = {tool["name"]: tool for tool in tools if isinstance(tool.get("name"), str)}
    for name, value in request.extra.items():
        if request.dialect not in ("", NAME):
            unsupported.own_field(name, value)
        elif add_tool_extra(by_name, name, value):
            continue
        elif name in _SHARED and isinstance(value, dict):
            fields[name] = {**(fields[name] or {}), **value}
        elif folded(name) in known:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value
