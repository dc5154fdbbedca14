"""Requests for OpenAI's responses: JSON to canonical and back. What is said stands in items, which are another file."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, assert_never

import msgspec
from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.field_names import refuse_other_spellings
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.chat_request import NAME as CHAT
from gateway.schemas.openai.responses_items import decode_items, encode_items
from gateway.schemas.openai.responses_reasoning import own_fields
from gateway.schemas.openai.responses_wire import NAME
from gateway.schemas.unsupported import Unsupported, nothing_said
from gateway.types import (
    AudioPart,
    ChatRequest,
    JsonSchemaFormat,
    Message,
    NamedTool,
    OpaqueTool,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolMode,
)

_DELIVERY = ("stream", "stream_options", "model")

# What only OpenAI has stored: without it the request asks something else.
_STATE = ("previous_response_id", "conversation", "prompt")

# Fields that may be left out, because with these values (None: any) they change nothing in the answer.
_WITHOUT_EFFECT: Mapping[str, Sequence[object] | None] = MappingProxyType(
    {
        "store": (False,),
        "background": (False,),
        "truncation": ("disabled",),
        "service_tier": ("auto", "default"),
        "prompt_cache_key": None,
        "prompt_cache_retention": None,
        "prompt_cache_options": None,
    }
)

# What chat completions have under the same name.
_OF_CHAT = frozenset({"prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier"})

_ENCRYPTED = "reasoning.encrypted_content"
_LOGPROBS = "message.output_text.logprobs"

_EFFORTS = {effort.value: effort for effort in ReasoningEffort} | {"max": ReasoningEffort.XHIGH}


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        raise InvalidRequestError(error.message, param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    for name in _DELIVERY:
        fields.value(name)
    _refuse_state(fields)
    extra = _take_with_effect(fields)
    messages = decode_items(fields)
    if (instructions := fields.optional_text("instructions")) is not None:
        messages.insert(0, Message(role=Role.SYSTEM, content=(TextPart(text=instructions),)))
    tools = tuple(_decode_tools(fields))
    include = list(fields.strings("include"))
    # The rest asks for more of what tools of OpenAI's own have found.
    if any(isinstance(tool, OpaqueTool) for tool in tools) and (
        rest := [each for each in include if each not in (_ENCRYPTED, _LOGPROBS)]
    ):
        extra["include"] = rest
    top_logprobs = fields.integer("top_logprobs")
    user = fields.optional_text("user")
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        max_output_tokens=fields.integer("max_output_tokens"),
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        tools=tools,
        tool_choice=_decode_tool_choice(fields, extra),
        parallel_tool_calls=fields.truth("parallel_tool_calls"),
        response_format=_decode_text(fields, extra),
        top_logprobs=(top_logprobs or 0) if top_logprobs or _LOGPROBS in include else None,
        reasoning=_decode_reasoning(fields, extra),
        user=fields.optional_text("safety_identifier") if user is None else user,
        metadata=_decode_metadata(fields),
        dialect=NAME,
        extra={**fields.extra, **extra} or None,
    )


def _refuse_state(fields: Fields) -> None:
    state = [name for name in _STATE if fields.has(name)]
    if fields.has("background") and fields.truth("background"):
        state.append("background")
    for name in state:
        raise InvalidRequestError(
            f"{name} is about what OpenAI stores: the service of this route is another and cannot know it",
            reason="UNSUPPORTED_FIELD",
            param=name,
        )


def _take_with_effect(fields: Fields) -> dict[str, Any]:
    """Of the fields in the table those that change the answer."""
    taken = {name: fields.value(name) for name in _WITHOUT_EFFECT if fields.has(name)}
    return {
        name: value
        for name, value in taken.items()
        if (harmless := _WITHOUT_EFFECT[name]) is not None and value not in harmless
    }


def _decode_tools(fields: Fields) -> Iterator[Tool | OpaqueTool]:
    for tool in fields.objects("tools", required=False):
        if (kind := tool.text("type", "function")) == "function":
            yield Tool(
                name=tool.text("name"),
                description=tool.optional_text("description"),
                parameters=tool.mapping("parameters"),
                strict=tool.truth("strict"),
            )
        else:
            yield OpaqueTool(dialect=NAME, value={"type": kind, **tool.extra})


def _decode_tool_choice(fields: Fields, extra: dict[str, Any]) -> ToolMode | NamedTool | None:
    choice = fields.value("tool_choice")
    if choice is None:
        return None
    if isinstance(choice, str):
        try:
            return ToolMode(choice)
        except ValueError:
            raise fields.wrong("tool_choice", f"'{choice}' is not a choice; known: {', '.join(ToolMode)}") from None
    inner = Fields(choice, fields.place_of("tool_choice"))
    if inner.text("type") == "function":
        return NamedTool(name=inner.text("name"))
    extra["tool_choice"] = choice
    return None


def _decode_text(fields: Fields, extra: dict[str, Any]) -> PlainFormat | JsonSchemaFormat | None:
    if not fields.has("text"):
        return None
    text = fields.object("text")
    wanted = text.object("format") if text.has("format") else None
    if text.extra:
        extra["text"] = text.extra
    if wanted is None:
        return None
    if (kind := wanted.text("type")) == "json_schema":
        return JsonSchemaFormat(
            name=wanted.text("name"),
            schema=wanted.mapping("schema") or {},
            description=wanted.optional_text("description"),
            strict=wanted.truth("strict"),
        )
    try:
        return PlainFormat(kind)
    except ValueError:
        known = ", ".join((*PlainFormat, "json_schema"))
        raise wanted.wrong("type", f"'{kind}' is not a format; known: {known}") from None


def _decode_reasoning(fields: Fields, extra: dict[str, Any]) -> Reasoning | None:
    if not fields.has("reasoning"):
        return None
    reasoning = fields.object("reasoning")
    effort = reasoning.optional_text("effort")
    if effort is not None and effort not in _EFFORTS:
        raise reasoning.wrong("effort", f"'{effort}' is not an effort; known: {', '.join(_EFFORTS)}")
    # How long a summary is to be is left to the backend: others have no word for it.
    older = reasoning.optional_text("generate_summary")
    is_shown = reasoning.optional_text("summary") is not None or older is not None
    if reasoning.extra:
        extra["reasoning"] = reasoning.extra
    if effort is None and not is_shown:
        return None
    return Reasoning(effort=None if effort is None else _EFFORTS[effort], is_shown=is_shown or None)


def _decode_metadata(fields: Fields) -> dict[str, str] | None:
    if not fields.has("metadata"):
        return None
    metadata = fields.object("metadata")
    return {name: metadata.text(name) for name in metadata.extra}


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`. Nothing is to be stored; thoughts are asked for in a form that can come back.

    Raises `InvalidRequestError` as `ChatDialect` says.
    """
    unsupported = Unsupported("OpenAI's responses", drop=drop_unsupported)
    _refuse_fields(request, unsupported)
    own = _own(request, unsupported)
    instructions, messages = _instructions(_messages(request, unsupported))
    items = encode_items(messages, unsupported)
    if not items:
        raise nothing_said()
    fields: dict[str, Any] = {
        "model": model,
        "instructions": instructions,
        "input": items,
        "max_output_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "tools": list(_tools(request, unsupported)) or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls,
        "text": _text(request.response_format, own.pop("text", None)),
        "top_logprobs": request.top_logprobs,
        "reasoning": _reasoning(request.reasoning, own.pop("reasoning", None)),
        "include": [*_include(request), *_listed(own.pop("include", None))] or None,
        "user": request.user,
        "metadata": request.metadata,
        "store": False,
        "stream": stream or None,
    }
    if not request.dialect and (known := [name for name in request.extra or () if name in fields]):
        raise InvalidRequestError(
            f"'{known[0]}' has a field of its own and cannot be in 'extra'", param=f"extra.{known[0]}"
        )
    if own:
        refuse_other_spellings(own, fields)
    given = {name: value for name, value in fields.items() if value is not None}
    return msgspec.json.encode({**given, **own})


def _refuse_fields(request: ChatRequest, unsupported: Unsupported) -> None:
    given = {
        "top_k": request.top_k,
        "stop": request.stop or None,
        "n": None if request.n == 1 else request.n,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty or None,
        "frequency_penalty": request.frequency_penalty or None,
    }
    for name, value in given.items():
        if value is not None:
            unsupported.field(name)


def _own(request: ChatRequest, unsupported: Unsupported) -> dict[str, Any]:
    """The fields beside the canonical ones: those of this dialect, which the typed API may name, and those of chat
    completions that are here too."""
    if request.dialect in ("", NAME):
        return dict(request.extra or {})
    own: dict[str, Any] = {}
    for name, value in (request.extra or {}).items():
        if request.dialect == CHAT and name in _OF_CHAT:
            own[name] = value
        elif request.dialect == CHAT and name == "verbosity":
            own["text"] = {name: value}
        else:
            unsupported.own_field(name, value)
    return own


def _messages(request: ChatRequest, unsupported: Unsupported) -> Sequence[Message]:
    """What is said, without sound, which OpenAI's responses do not take; what their own clients sent is theirs."""
    parts = (part for message in request.messages for part in message.content)
    if request.dialect == NAME or not any(isinstance(part, AudioPart) for part in parts):
        return request.messages
    unsupported.field("messages", "sound")
    silent = (
        replace(message, content=tuple(part for part in message.content if not isinstance(part, AudioPart)))
        for message in request.messages
    )
    return [message for message in silent if message.content]


def _instructions(messages: Sequence[Message]) -> tuple[str | None, Sequence[Message]]:
    """What the system says first, and the rest, which must not be empty."""
    match messages:
        case [Message(role=Role.SYSTEM, name=None, content=(TextPart(text=text),)), _, *_]:
            return text, messages[1:]
        case _:
            return None, messages


def _tools(request: ChatRequest, unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    for tool in request.tools:
        if isinstance(tool, Tool):
            yield _tool(tool, is_own=request.dialect == NAME)
        elif tool.dialect == NAME:
            yield dict(tool.value)
        else:
            unsupported.field("tools", f"a tool that {tool.dialect} runs itself")


def _tool(tool: Tool, *, is_own: bool) -> dict[str, Any]:
    strict, parameters = tool.strict, tool.parameters
    if not is_own:
        # Elsewhere schemas are not strict unless asked for; here they are.
        strict = bool(strict)
        parameters = {"type": "object", "properties": {}} if parameters is None else parameters
    fields = {"name": tool.name, "description": tool.description, "parameters": parameters, "strict": strict}
    return {"type": "function", **{name: value for name, value in fields.items() if value is not None}}


def _tool_choice(choice: ToolMode | NamedTool | None) -> str | dict[str, Any] | None:
    match choice:
        case None:
            return None
        case NamedTool(name=name):
            return {"type": "function", "name": name}
        case ToolMode():
            return choice.value
        case _:
            assert_never(choice)


def _text(wanted: PlainFormat | JsonSchemaFormat | None, own: object) -> dict[str, Any] | None:
    text = dict(own) if isinstance(own, dict) else {}
    match wanted:
        case None:
            pass
        case PlainFormat():
            text["format"] = {"type": wanted.value}
        case JsonSchemaFormat():
            schema = {
                "name": wanted.name,
                "description": wanted.description,
                "schema": wanted.schema,
                "strict": wanted.strict,
            }
            given = {name: value for name, value in schema.items() if value is not None}
            text["format"] = {"type": "json_schema", **given}
        case _:
            assert_never(wanted)
    return text or None


def _reasoning(reasoning: Reasoning | None, own: object) -> dict[str, Any] | None:
    fields = dict(own) if isinstance(own, dict) else {}
    if reasoning is not None:
        if (effort := _effort(reasoning)) is not None:
            fields["effort"] = effort.value
        if reasoning.is_shown:
            fields["summary"] = "auto"
    return fields or None


def _effort(reasoning: Reasoning) -> ReasoningEffort | None:
    """The effort in words; of a budget the word that comes nearest."""
    if reasoning.effort is not None:
        return reasoning.effort
    match reasoning.budget_tokens:
        case None | -1:
            return None
        case 0:
            return ReasoningEffort.NONE
        case budget if budget <= 2048:
            return ReasoningEffort.LOW
        case budget if budget <= 8192:
            return ReasoningEffort.MEDIUM
        case _:
            return ReasoningEffort.HIGH


def _include(request: ChatRequest) -> Iterator[str]:
    """Thoughts to be sent back with the next turn are asked of models that think; others refuse to be asked."""
    if request.reasoning is not None or any(map(_has_own_thought, request.messages)):
        yield _ENCRYPTED
    if request.top_logprobs is not None:
        yield _LOGPROBS


def _has_own_thought(message: Message) -> bool:
    return any(
        isinstance(part, ReasoningPart) and part.signature is not None and own_fields(part.signature) is not None
        for part in message.content
    )


def _listed(value: object) -> Sequence[Any]:
    return value if isinstance(value, list) else ()
