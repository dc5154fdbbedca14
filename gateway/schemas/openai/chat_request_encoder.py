"""Requests for OpenAI's chat completions: canonical to JSON, with the conventions that `chat_request` reads."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias, assert_never

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.anthropic.cache import encode_cache
from gateway.schemas.field_names import folded
from gateway.schemas.openai.chat_request import ADDRESS, BREAKPOINT, BREAKPOINTS, NAME, OF_MESSAGES, OF_TOOLS
from gateway.schemas.openai.reasoning import reasoning_details
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    CacheTtl,
    ChatRequest,
    ContentPart,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    Message,
    NamedTool,
    OpaquePart,
    OpaqueTool,
    PlainFormat,
    Reasoning,
    ReasoningEffort,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)

_LIMITS = ("max_tokens", "max_completion_tokens")
_WITHOUT_MAX_TOKENS = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)")

_Marker: TypeAlias = Callable[[dict[str, Any], CacheTtl | None], dict[str, Any]]


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`. A streamed answer is asked to end with its usage.

    Raises `InvalidRequestError` when `extra` names a field that has a place of its own, and as `ChatDialect` says.
    """
    unsupported = Unsupported("OpenAI's chat completions", drop=drop_unsupported)
    mark = _marker(request)
    fields: dict[str, Any] = {
        "model": model,
        "messages": [each for message in request.messages for each in _messages(message, unsupported, mark=mark)],
        _limit_field(model): request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": list(request.stop) or None,
        "n": request.n,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "tools": list(_tools(request.tools, unsupported, mark=mark)) or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _response_format(request.response_format),
        "logprobs": True if request.top_logprobs is not None else None,
        "top_logprobs": request.top_logprobs,
        "reasoning_effort": _reasoning_effort(request.reasoning),
        "user": request.user,
        "metadata": request.metadata,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    _add_extra(fields, request, unsupported)
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _marker(request: ChatRequest) -> _Marker:
    """How what is worth caching is marked. Backends of this dialect find it by themselves, and many refuse the mark: it
    goes to those alone whose clients set it, in their words."""
    if request.dialect != NAME:
        return _unmarked
    return _with_breakpoint if BREAKPOINTS in (request.extra or ()) else encode_cache


def _unmarked(fields: dict[str, Any], cache: CacheTtl | None) -> dict[str, Any]:
    return fields


def _with_breakpoint(fields: dict[str, Any], cache: CacheTtl | None) -> dict[str, Any]:
    return fields if cache is None else {**fields, BREAKPOINT: {"mode": "explicit"}}


def _limit_field(model: str) -> str:
    """OpenAI's reasoning models refuse the older name, other servers do not know the newer one."""
    return "max_completion_tokens" if _WITHOUT_MAX_TOKENS.match(model.rpartition("/")[2]) else "max_tokens"


def _add_extra(fields: dict[str, Any], request: ChatRequest, unsupported: Unsupported) -> None:
    if not request.extra:
        return
    known = {*map(folded, fields), *map(folded, _LIMITS)}
    for name, value in request.extra.items():
        has_place = folded(name) in known
        is_decoded = request.dialect == NAME and name in fields and fields[name] is None
        if request.dialect not in ("", NAME):
            unsupported.own_field(name, value)
        elif request.dialect == NAME and name.startswith(OF_TOOLS):
            _add_tool_extra(fields["tools"] or (), name.removeprefix(OF_TOOLS), value)
        elif request.dialect == NAME and name.startswith(OF_MESSAGES):
            continue  # the message may be another by now
        elif has_place and not is_decoded:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value


def _add_tool_extra(tools: Iterable[dict[str, Any]], place: str, value: Any) -> None:
    name, _, field = place.rpartition(".")
    for tool in tools:
        if tool["type"] == "function" and tool["function"]["name"] == name:
            tool["function"].setdefault(field, value)


def _reasoning_effort(reasoning: Reasoning | None) -> str | None:
    """The effort in words; of a budget the word that comes nearest."""
    if reasoning is None:
        return None
    if reasoning.effort is not None:
        return reasoning.effort.value
    match reasoning.budget_tokens:
        case None | -1:
            return None
        case 0:
            return ReasoningEffort.NONE.value
        case budget if budget <= 2048:
            return ReasoningEffort.LOW.value
        case budget if budget <= 8192:
            return ReasoningEffort.MEDIUM.value
        case _:
            return ReasoningEffort.HIGH.value


def _messages(message: Message, unsupported: Unsupported, *, mark: _Marker) -> Iterator[dict[str, Any]]:
    """The messages that say the same: results are messages of their own here, and come first."""
    rest: list[ContentPart] = []
    for part in message.content:
        if isinstance(part, ToolResult):
            content = _result(part, unsupported, mark=mark)
            result = {"role": "tool", "tool_call_id": part.call_id, "content": content}
            yield _with_extra(result, message) if message.role is Role.TOOL else result
        else:
            rest.append(part)
    if rest or not message.content:
        yield _with_extra(_message(message.role, message.name, rest, unsupported, mark=mark), message)


def _with_extra(fields: dict[str, Any], message: Message) -> dict[str, Any]:
    return fields if message.extra is None else {**message.extra, **fields}


def _result(result: ToolResult, unsupported: Unsupported, *, mark: _Marker) -> str | list[dict[str, Any]]:
    """Texts alone: pictures in results have no place here."""
    for part in result.content:
        if not isinstance(part, TextPart):
            unsupported.field("messages", "pictures and files in the result of a tool")
    texts = [part for part in result.content if isinstance(part, TextPart)]
    return _content(texts, unsupported, mark=mark) or ""


def _message(
    role: Role, name: str | None, parts: Sequence[ContentPart], unsupported: Unsupported, *, mark: _Marker
) -> dict[str, Any]:
    content: list[ContentPart] = []
    calls: list[dict[str, Any]] = []
    thoughts: list[ReasoningPart] = []
    fields: dict[str, Any] = {"role": role.value, "content": None}
    for part in parts:
        match part:
            case ToolCall():
                calls.append(_call(part))
            case ReasoningPart():
                thoughts.append(part)
            case RefusalPart(text=text):
                fields["refusal"] = fields.get("refusal", "") + text
            case OpaquePart():
                if part.dialect == NAME:
                    calls.append(dict(part.value))
                else:
                    unsupported.content(part)
            case _:
                content.append(part)
    fields["content"] = _content(content, unsupported, mark=mark)
    if name is not None:
        fields["name"] = name
    if calls:
        fields["tool_calls"] = calls
    if thoughts:
        fields |= _thoughts(thoughts)
    return fields


def _thoughts(thoughts: Sequence[ReasoningPart]) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    if text := "".join(thought.text for thought in thoughts):
        fields["reasoning_content"] = text
    if any(thought.signature or thought.redacted for thought in thoughts):
        fields["reasoning_details"] = reasoning_details(thoughts)
    return fields


def _call(call: ToolCall) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }
    if call.signature is not None:
        fields["extra_content"] = {"google": {"thought_signature": call.signature}}
    return fields


def _content(
    parts: Sequence[ContentPart], unsupported: Unsupported, *, mark: _Marker
) -> str | list[dict[str, Any]] | None:
    """One text is sent as a string, which every server understands; only a mixture needs parts."""
    match parts:
        case []:
            return None
        case [TextPart(text=text, cache=cache)] if cache is None or mark is _unmarked:
            return text
        case _:
            return [each for part in parts if (each := _part(part, unsupported, mark=mark)) is not None] or ""


def _part(part: ContentPart, unsupported: Unsupported, *, mark: _Marker) -> dict[str, Any] | None:
    """The part; None if there is no place for it and that is to be passed over."""
    match part:
        case TextPart(text=text, cache=cache):
            return mark({"type": "text", "text": text}, cache)
        case ImagePart(url=url, detail=detail, cache=cache):
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return mark({"type": "image_url", "image_url": image}, cache)
        case AudioPart(data=data, format=form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case FilePart():
            file = _file(part, unsupported)
            return file if file is None else mark(file, part.cache)
        case ToolCall() | ToolResult() | ReasoningPart() | RefusalPart() | OpaquePart():
            raise AssertionError("these have fields of their own")
        case _:
            assert_never(part)


def _file(part: FilePart, unsupported: Unsupported) -> dict[str, Any] | None:
    """OpenAI takes files whole or by their id. Servers that fetch them are asked in the words of their own clients."""
    unsupported.file_details(part)
    own = part.extra or {}
    if "document_url" in own:
        name = {} if part.name is None else {"document_name": part.name}
        return {"type": "document_url", "document_url": part.url, **name}
    if part.url is not None and "file_data" not in own and ADDRESS.match(part.url):
        unsupported.field("messages", "a file by its address")
        return None
    file = {"file_data": part.url, "file_id": part.file_id, "filename": part.name}
    return {"type": "file", "file": {name: value for name, value in file.items() if value is not None}}


def _tools(tools: Sequence[Tool | OpaqueTool], unsupported: Unsupported, *, mark: _Marker) -> Iterator[dict[str, Any]]:
    for tool in tools:
        if isinstance(tool, Tool):
            yield mark(_tool(tool), tool.cache)
        elif tool.dialect == NAME:
            yield dict(tool.value)
        else:
            unsupported.field("tools", f"a tool that {tool.dialect} runs itself")


def _tool(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": tool.parameters,
        "strict": tool.strict,
    }
    return {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _tool_choice(choice: ToolMode | NamedTool | None) -> str | dict[str, Any] | None:
    match choice:
        case None:
            return None
        case NamedTool(name=name):
            return {"type": "function", "function": {"name": name}}
        case ToolMode():
            return choice.value
        case _:
            assert_never(choice)


def _response_format(wanted: PlainFormat | JsonSchemaFormat | None) -> dict[str, Any] | None:
    match wanted:
        case None:
            return None
        case PlainFormat():
            return {"type": wanted.value}
        case JsonSchemaFormat():
            schema = {
                "name": wanted.name,
                "description": wanted.description,
                "schema": wanted.schema,
                "strict": wanted.strict,
            }
            given = {name: value for name, value in schema.items() if value is not None}
            return {"type": "json_schema", "json_schema": given}
        case _:
            assert_never(wanted)
