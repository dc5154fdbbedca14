"""Requests of Bedrock's Converse: JSON to canonical and back."""

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.bedrock.blocks import BlockWriter
from gateway.schemas.bedrock.parts import decode_parts
from gateway.schemas.bedrock.reasoning import add_thinking, decode_thinking, is_claude, is_nova
from gateway.schemas.bedrock.tools import decode_tool_choice, decode_tools, encode_tool_choice, encode_tools
from gateway.schemas.bedrock.wire import NAME
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported, nothing_said
from gateway.types import (
    ChatRequest,
    JsonSchemaFormat,
    Message,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    Role,
    Tool,
    ToolCall,
    ToolMode,
)

# The fields that models have of their own, and which of them an answer is to have: Claude tells only if it is asked
# which sequence ended one.
_OWN = "additionalModelRequestFields"
_WANTED_OF_ANSWERS = "additionalModelResponseFieldPaths"
_WHAT_ENDED_IT = "/stop_sequence"

_ROLES = {role.value: role for role in (Role.USER, Role.ASSISTANT, Role.SYSTEM)}
_EFFORTS = {effort.value: effort for effort in ReasoningEffort}


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        # Bedrock's errors have no field for the place: it stands in the text.
        raise InvalidRequestError(str(error), param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    config = fields.object("inferenceConfig")
    max_tokens, stop = config.integer("maxTokens"), config.strings("stopSequences")
    temperature, top_p = config.number("temperature"), config.number("topP")
    own = fields.object(_OWN).extra
    output = fields.object("outputConfig")
    reasoning = _decode_reasoning(own, output)
    top_k = own.pop("top_k") if isinstance(own.get("top_k"), int) else None
    tool_config = fields.object("toolConfig")
    tools, choice = decode_tools(tool_config), decode_tool_choice(tool_config)
    response_format = _decode_format(output)
    shared = {_OWN: own, "inferenceConfig": config.extra, "outputConfig": output.extra}
    return ChatRequest(
        model=model,
        messages=_decode_messages(fields),
        max_output_tokens=max_tokens,
        temperature=temperature,
        top_p=top_p,
        stop=stop,
        top_k=top_k,
        tools=tools,
        tool_choice=choice,
        response_format=response_format,
        reasoning=reasoning,
        metadata=_decode_metadata(fields),
        dialect=NAME,
        extra={**fields.extra, **{name: rest for name, rest in shared.items() if rest}} or None,
    )


def _decode_reasoning(own: dict[str, Any], output: Fields) -> Reasoning | None:
    effort = output.optional_text("effort")
    reasoning = decode_thinking(own)
    if effort is None:
        return reasoning
    if effort not in _EFFORTS:
        raise output.wrong("effort", f"'{effort}' is not an effort; known: {', '.join(_EFFORTS)}")
    if reasoning is None or reasoning.effort is not None:
        return Reasoning(effort=_EFFORTS[effort])
    return Reasoning(effort=_EFFORTS[effort], budget_tokens=reasoning.budget_tokens)


def _decode_format(output: Fields) -> JsonSchemaFormat | None:
    """`outputConfig.textFormat`, in which the schema is a text."""
    if not output.has("textFormat"):
        return None
    wanted = output.object("textFormat")
    if (kind := wanted.text("type")) != "json_schema":
        raise wanted.wrong("type", f"'{kind}' is not a format; known: json_schema")
    definition = wanted.object("structure").object("jsonSchema")
    try:
        schema = msgspec.json.decode(definition.text("schema"), type=dict[str, Any])
    except UNREADABLE:
        raise definition.wrong("schema", "the text of a JSON object is needed") from None
    name, description = definition.text("name", "answer"), definition.optional_text("description")
    return JsonSchemaFormat(name=name, schema=schema, description=description)


def _decode_metadata(fields: Fields) -> dict[str, str] | None:
    if not fields.has("requestMetadata"):
        return None
    metadata = fields.object("requestMetadata")
    return {name: metadata.text(name) for name in metadata.extra}


def _decode_messages(fields: Fields) -> tuple[Message, ...]:
    system = decode_parts(fields, "system")
    messages = [_decode_message(message) for message in fields.objects("messages", required=True)]
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    return (Message(role=Role.SYSTEM, content=system), *messages) if system else tuple(messages)


def _decode_message(fields: Fields) -> Message:
    role = fields.text("role")
    if role not in _ROLES:
        raise fields.wrong("role", f"'{role}' is not a role; known: {', '.join(_ROLES)}")
    return Message(role=_ROLES[role], content=decode_parts(fields, "content"))


def encode_request(request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
    """The JSON body for `model`, which, as whether to stream, stands in the path."""
    return msgspec.json.encode(request_fields(request, model, Unsupported("Bedrock's Converse", drop=drop_unsupported)))


def request_fields(request: ChatRequest, model: str, unsupported: Unsupported) -> dict[str, Any]:
    """The fields of the body."""
    _refuse_what_has_no_place(request, unsupported)
    is_own = request.dialect == NAME
    has_cache = is_own or _has_cache(model)
    system, messages = _conversation(request, BlockWriter(unsupported, is_own=is_own, has_cache=has_cache), unsupported)
    own = _extra_object(request, _OWN)
    effort = add_thinking(own, request, model, unsupported)
    is_thinking = not is_own and own.get("thinking", {}).get("type") in ("enabled", "adaptive")
    _add_top_k(own, request, model, unsupported, is_thinking=is_thinking)
    fields: dict[str, Any] = {
        "messages": messages,
        "system": system or None,
        "inferenceConfig": _inference_config(request, unsupported, is_thinking=is_thinking) or None,
        "toolConfig": _tool_config(request, unsupported, has_cache=has_cache),
        "outputConfig": _output_config(request, effort, unsupported) or None,
        _OWN: own or None,
        "requestMetadata": request.metadata,
    }
    for name, value in (request.extra or {}).items():
        if request.dialect not in ("", NAME):
            unsupported.own_field(name, value)
        elif name not in fields:
            fields[name] = value
        elif name not in (_OWN, "inferenceConfig", "outputConfig"):
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
    if request.stop and request.dialect != NAME and is_claude(model):
        fields.setdefault(_WANTED_OF_ANSWERS, [_WHAT_ENDED_IT])
    return {name: value for name, value in fields.items() if value is not None}


def _extra_object(request: ChatRequest, name: str) -> dict[str, Any]:
    """What an object has that canonical fields take a part of."""
    value = (request.extra or {}).get(name) if request.dialect in ("", NAME) else None
    return dict(value) if isinstance(value, dict) else {}


def _refuse_what_has_no_place(request: ChatRequest, unsupported: Unsupported) -> None:
    if request.n is not None and request.n > 1:
        unsupported.field("n")
    if request.parallel_tool_calls is False:
        unsupported.field("parallel_tool_calls")
    if request.top_logprobs is not None:
        unsupported.field("top_logprobs", "probabilities of tokens")
    for name in ("presence_penalty", "frequency_penalty"):
        if getattr(request, name):
            unsupported.field(name)
    for name in ("seed", "user"):
        if getattr(request, name) is not None:
            unsupported.field(name)


def _has_cache(model: str) -> bool:
    """Whether a model keeps prompts. What an ARN of one's own stands for is not known; who marks, wants it."""
    return is_claude(model) or is_nova(model) or "application-inference-profile" in model


def _conversation(
    request: ChatRequest, writer: BlockWriter, unsupported: Unsupported
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The instructions, and the turns.

    Messages of one side that follow each other become one, results of calls first in it; what came in this dialect
    stays as it was.
    """
    is_own = request.dialect == NAME
    system: list[dict[str, Any]] = []
    turns: list[dict[str, Any]] = []
    for message in request.messages:
        unsupported.message_details(message)
        side = _side(message.role)
        blocks = writer.blocks(message.content)
        if side == "system" and (not is_own or not turns):
            system += blocks
        elif turns and turns[-1]["role"] == side and not is_own:
            turns[-1]["content"] += blocks
        elif blocks or is_own:
            turns.append({"role": side, "content": blocks})
    if not turns:
        raise nothing_said()
    if not is_own:
        for turn in turns:
            turn["content"].sort(key=lambda block: "toolResult" not in block)
    return system, turns


def _side(role: Role) -> str:
    match role:
        case Role.SYSTEM | Role.DEVELOPER:
            return "system"
        case Role.USER | Role.TOOL:
            return "user"
        case Role.ASSISTANT:
            return "assistant"
        case _:
            assert_never(role)


def _inference_config(request: ChatRequest, unsupported: Unsupported, *, is_thinking: bool) -> dict[str, Any]:
    config = {
        "maxTokens": request.max_output_tokens,
        "temperature": _temperature(request, unsupported, is_thinking=is_thinking),
        "topP": request.top_p,
        "stopSequences": list(request.stop) or None,
        **_extra_object(request, "inferenceConfig"),
    }
    return {name: value for name, value in config.items() if value is not None}


def _temperature(request: ChatRequest, unsupported: Unsupported, *, is_thinking: bool) -> float | None:
    temperature = request.temperature
    if temperature is None or request.dialect == NAME:
        return temperature
    if is_thinking and temperature != 1:
        unsupported.field("temperature", "a temperature beside thinking")
        return None
    if temperature > 1:
        unsupported.field("temperature", "a temperature above 1")
        return 1
    return temperature


def _add_top_k(
    own: dict[str, Any], request: ChatRequest, model: str, unsupported: Unsupported, *, is_thinking: bool
) -> None:
    """Puts it into the fields of the model, of which Nova's has it elsewhere than those of others."""
    if request.top_k is None:
        return
    if is_thinking:
        unsupported.field("top_k", "top_k beside thinking")
    elif is_nova(model) and request.dialect != NAME:
        own.setdefault("inferenceConfig", {"topK": request.top_k})
    else:
        own.setdefault("top_k", request.top_k)


def _tool_config(request: ChatRequest, unsupported: Unsupported, *, has_cache: bool) -> dict[str, Any] | None:
    tools = encode_tools(request.tools, unsupported, has_cache=has_cache)
    called = _called(request.messages)
    if tools and request.tool_choice is ToolMode.NONE:
        # Without them nothing can be called, but calls of before would be refused.
        if not called:
            return None
        unsupported.field("tool_choice", "that no function may be called, after some were")
    if not tools and request.dialect != NAME:
        # A conversation with calls is refused without any tools; others' clients need not name them again.
        tools = encode_tools([Tool(name=name) for name in called], unsupported, has_cache=has_cache)
    if not tools:
        return None
    choice = encode_tool_choice(request.tool_choice) if request.tools else None
    return {"tools": tools} if choice is None else {"tools": tools, "toolChoice": choice}


def _called(messages: Sequence[Message]) -> list[str]:
    """The functions that were called, each once."""
    parts = (part for message in messages for part in message.content)
    return list(dict.fromkeys(part.name for part in parts if isinstance(part, ToolCall)))


def _output_config(request: ChatRequest, effort: str | None, unsupported: Unsupported) -> dict[str, Any]:
    config = _extra_object(request, "outputConfig")
    if effort is not None:
        config["effort"] = effort
    match request.response_format:
        case PlainFormat.JSON_OBJECT:
            unsupported.field("response_format", "JSON without a schema")
        case JsonSchemaFormat() as wanted:
            definition = {
                "schema": msgspec.json.encode(wanted.schema).decode(),
                "name": wanted.name,
                "description": wanted.description,
            }
            given = {name: value for name, value in definition.items() if value is not None}
            config["textFormat"] = {"type": "json_schema", "structure": {"jsonSchema": given}}
    return config
