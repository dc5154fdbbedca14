"""Requests of Cohere's `/v2/chat`: JSON to canonical and back."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.cohere.messages import decode_messages, encode_messages
from gateway.schemas.cohere.wire import NAME
from gateway.schemas.field_names import folded
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    ChatRequest,
    JsonSchemaFormat,
    NamedTool,
    OpaqueTool,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    Tool,
    ToolMode,
)

_AS_THE_MODEL_LIKES = -1
_BUDGETS: Mapping[ReasoningEffort, int] = MappingProxyType(
    {
        ReasoningEffort.MINIMAL: 1024,
        ReasoningEffort.LOW: 1024,
        ReasoningEffort.MEDIUM: 4096,
        ReasoningEffort.HIGH: 16384,
        ReasoningEffort.XHIGH: 32768,
    }
)
_CHOICES: Mapping[str, ToolMode] = MappingProxyType({"REQUIRED": ToolMode.REQUIRED, "NONE": ToolMode.NONE})


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        # Cohere's errors have no field for the place: it stands in the text.
        raise InvalidRequestError(str(error), param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    for name in ("model", "stream"):
        fields.value(name)
    is_strict = fields.truth("strict_tools")
    return ChatRequest(
        model=model,
        messages=decode_messages(fields),
        max_output_tokens=fields.integer("max_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("p"),
        top_k=fields.integer("k"),
        stop=fields.strings("stop_sequences"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        tools=tuple(_decode_tool(tool, is_strict) for tool in fields.objects("tools", required=False)),
        tool_choice=_decode_tool_choice(fields),
        response_format=_decode_format(fields),
        top_logprobs=0 if fields.truth("logprobs") else None,
        reasoning=_decode_thinking(fields),
        dialect=NAME,
        extra=fields.extra or None,
    )


def _decode_tool(fields: Fields, is_strict: bool | None) -> Tool | OpaqueTool:
    if (kind := fields.text("type", "function")) != "function":
        return OpaqueTool(dialect=NAME, value={"type": kind, **fields.extra})
    function = fields.object("function")
    return Tool(
        name=function.text("name"),
        description=function.optional_text("description"),
        parameters=function.mapping("parameters"),
        strict=is_strict,
    )


def _decode_tool_choice(fields: Fields) -> ToolMode | None:
    choice = fields.optional_text("tool_choice")
    if choice is None:
        return None
    if choice not in _CHOICES:
        raise fields.wrong("tool_choice", f"'{choice}' is not a choice; known: {', '.join(_CHOICES)}")
    return _CHOICES[choice]


def _decode_format(fields: Fields) -> PlainFormat | JsonSchemaFormat | None:
    if not fields.has("response_format"):
        return None
    wanted = fields.object("response_format")
    kind = wanted.text("type")
    try:
        plain = PlainFormat(kind)
    except ValueError:
        raise wanted.wrong("type", f"'{kind}' is not a format; known: {', '.join(PlainFormat)}") from None
    name = "json_schema" if wanted.has("json_schema") else "schema"
    if plain is PlainFormat.TEXT or not wanted.has(name):
        return plain
    return JsonSchemaFormat(name="answer", schema=wanted.mapping(name) or {})


def _decode_thinking(fields: Fields) -> Reasoning | None:
    if not fields.has("thinking"):
        return None
    thinking = fields.object("thinking")
    match kind := thinking.text("type"):
        case "disabled":
            return Reasoning(effort=ReasoningEffort.NONE)
        case "enabled":
            budget = thinking.integer("token_budget")
            return Reasoning(budget_tokens=_AS_THE_MODEL_LIKES if budget is None else budget)
        case _:
            raise thinking.wrong("type", f"'{kind}' is not a way to think; known: enabled, disabled")


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
    """The JSON body that asks `model`.

    A function that must be called is the only one that the model is told of, for there is no way to name it. Raises
    `InvalidRequestError` when `extra` names a field that has a place of its own, and as `ChatDialect` says.
    """
    unsupported = Unsupported("Cohere", drop=drop_unsupported)
    _refuse_what_has_no_place(request, unsupported)
    messages, documents = encode_messages(request.messages, unsupported)
    tools = _tools(request, unsupported)
    fields: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "documents": documents or None,
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "p": request.top_p,
        "k": request.top_k,
        "stop_sequences": list(request.stop) or None,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "tools": tools or None,
        "strict_tools": _is_strict(request.tools),
        "tool_choice": _tool_choice(request.tool_choice) if tools else None,
        "response_format": _format(request.response_format),
        "logprobs": True if request.top_logprobs is not None else None,
        "thinking": _thinking(request.reasoning),
        "stream": stream or None,
    }
    known = {*map(folded, fields)} if request.extra else set()
    for name, value in (request.extra or {}).items():
        if request.dialect not in ("", NAME):
            unsupported.own_field(name, value)
        elif folded(name) in known:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _refuse_what_has_no_place(request: ChatRequest, unsupported: Unsupported) -> None:
    if request.n is not None and request.n > 1:
        unsupported.field("n")
    if request.parallel_tool_calls is False:
        unsupported.field("parallel_tool_calls")
    if request.top_logprobs:
        unsupported.field("top_logprobs", "probabilities of other tokens than the chosen ones")
    for name in ("user", "metadata"):
        if getattr(request, name) is not None:
            unsupported.field(name)


def _tools(request: ChatRequest, unsupported: Unsupported) -> list[dict[str, Any]]:
    encoded = []
    for tool in request.tools:
        match tool, request.tool_choice:
            case OpaqueTool(dialect=dialect, value=value), _:
                if dialect == NAME:
                    encoded.append(dict(value))
                else:
                    unsupported.field("tools", f"a tool that {dialect} runs itself")
            case Tool(name=name), NamedTool(name=wanted) if name != wanted:
                pass
            case Tool(), _:
                encoded.append({"type": "function", "function": _function(tool)})
    return encoded


def _function(tool: Tool) -> dict[str, Any]:
    # Cohere wants a schema also of a function that takes nothing.
    schema = tool.parameters or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description, "parameters": schema}
    return {name: value for name, value in function.items() if value is not None}


def _is_strict(tools: Sequence[Tool | OpaqueTool]) -> bool | None:
    """Whether arguments must obey their schemas: of all functions, if of one."""
    told = [tool.strict for tool in tools if isinstance(tool, Tool) and tool.strict is not None]
    return any(told) if told else None


def _tool_choice(choice: ToolMode | NamedTool | None) -> str | None:
    match choice:
        case None | ToolMode.AUTO:
            return None
        case ToolMode.NONE:
            return "NONE"
        case ToolMode.REQUIRED | NamedTool():
            return "REQUIRED"
        case _:
            assert_never(choice)


def _format(wanted: PlainFormat | JsonSchemaFormat | None) -> dict[str, Any] | None:
    match wanted:
        case None:
            return None
        case PlainFormat():
            return {"type": wanted.value}
        case JsonSchemaFormat():
            return {"type": "json_object", "json_schema": wanted.described_schema()}
        case _:
            assert_never(wanted)


def _thinking(reasoning: Reasoning | None) -> dict[str, Any] | None:
    if reasoning is None:
        return None
    budget = reasoning.budget_tokens
    if reasoning.effort is ReasoningEffort.NONE or budget == 0:
        return {"type": "disabled"}
    if budget is None and reasoning.effort is not None:
        budget = _BUDGETS[reasoning.effort]
    match budget:
        case None:
            return None
        case -1:
            return {"type": "enabled"}
        case _:
            return {"type": "enabled", "token_budget": budget}
