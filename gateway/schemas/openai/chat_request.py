"""Requests for OpenAI's chat completions: JSON to canonical and back.

Conventions of others that clients use are understood: `cache_control` on parts and tools and `reasoning_details` on
messages (OpenRouter), `reasoning_content` (DeepSeek), `extra_content.google.thought_signature` on calls (Google).
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, assert_never

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.reasoning import read_reasoning_details, reasoning_details
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

NAME = "openai_chat"

_ADDRESS = re.compile(r"(?!data:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)
_LIMITS = ("max_tokens", "max_completion_tokens")
_WITHOUT_MAX_TOKENS = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)")

_ROLES = {role.value: role for role in Role}

# Fields that say how the answer is to be delivered, not what it is to be.
_DELIVERY = ("stream", "stream_options", "model")


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        raise InvalidRequestError(error.message, param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    for name in _DELIVERY:
        fields.value(name)
    messages = tuple(_decode_message(message) for message in fields.objects("messages", required=True))
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    max_tokens = fields.integer("max_completion_tokens")
    older_max_tokens = fields.integer("max_tokens")
    wants_logprobs = fields.truth("logprobs")
    top_logprobs = fields.integer("top_logprobs")
    effort = fields.optional_text("reasoning_effort")
    extra: dict[str, Any] = {}
    tool_choice = _decode_tool_choice(fields, extra)
    return ChatRequest(
        model=model,
        messages=messages,
        max_output_tokens=older_max_tokens if max_tokens is None else max_tokens,
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k"),
        stop=_decode_stop(fields),
        n=fields.integer("n"),
        seed=fields.integer("seed"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        tools=tuple(_decode_tools(fields)),
        tool_choice=tool_choice,
        parallel_tool_calls=fields.truth("parallel_tool_calls"),
        response_format=_decode_response_format(fields),
        top_logprobs=(top_logprobs or 0) if wants_logprobs else None,
        reasoning=None if effort is None else Reasoning(effort=_effort(fields, effort)),
        user=fields.optional_text("user"),
        metadata=_decode_metadata(fields),
        dialect=NAME,
        extra={**fields.extra, **extra} or None,
    )


def _decode_message(fields: Fields) -> Message:
    role = fields.text("role")
    name = fields.optional_text("name")
    if role in ("tool", "function"):
        return Message(role=Role.TOOL, content=(_decode_result(fields, name),), extra=fields.extra or None)
    known = _ROLES.get(role)
    if known is None:
        raise fields.wrong("role", f"'{role}' is not a role; known: {', '.join(Role)}")
    if known is Role.ASSISTANT:
        return Message(role=known, content=tuple(_decode_answer(fields)), name=name, extra=fields.extra or None)
    return Message(role=known, content=tuple(_decode_content(fields)), name=name, extra=fields.extra or None)


def _decode_answer(fields: Fields) -> Iterator[ContentPart]:
    """What the model has said: thoughts first, calls last."""
    yield from _decode_reasoning(fields)
    yield from _decode_content(fields)
    if refusal := fields.optional_text("refusal"):
        yield RefusalPart(text=refusal)
    for call in fields.objects("tool_calls", required=False):
        yield _decode_call(call)
    if fields.has("function_call"):
        older = fields.object("function_call")
        yield ToolCall(id="", name=older.text("name"), arguments=older.text("arguments", ""))


def _decode_reasoning(fields: Fields) -> Iterable[ReasoningPart]:
    details = read_reasoning_details(fields.value("reasoning_details"))
    text = fields.value("reasoning_content") or fields.value("reasoning")
    if details or not isinstance(text, str):
        return details
    return (ReasoningPart(text=text),)


def _decode_result(fields: Fields, name: str | None) -> ToolResult:
    content = []
    for part in _decode_content(fields):
        if not isinstance(part, (TextPart, ImagePart, FilePart)):
            raise fields.wrong("content", "a result is text")
        content.append(part)
    return ToolResult(call_id=fields.text("tool_call_id", name), content=tuple(content), name=name)


def _decode_content(fields: Fields) -> list[ContentPart]:
    content = fields.value("content")
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise fields.wrong("content", "a string or an array is needed")
    place = fields.place_of("content")
    return [_decode_part(Fields(part, f"{place}[{index}]")) for index, part in enumerate(content)]


def _decode_part(fields: Fields) -> ContentPart:
    cache = _decode_cache(fields)
    match kind := fields.text("type"):
        case "text":
            return TextPart(text=fields.text("text"), cache=cache)
        case "refusal":
            return RefusalPart(text=fields.text("refusal"))
        case "image_url":
            inner = read_image(fields)
            return ImagePart(url=inner.address("url"), detail=inner.optional_text("detail"), cache=cache)
        case "input_audio":
            audio = fields.object("input_audio")
            return AudioPart(data=audio.base64("data"), format=audio.text("format"))
        case "file":
            file = fields.object("file")
            url = file.address("file_data") if file.has("file_data") else None
            return FilePart(
                url=url,
                file_id=file.optional_text("file_id"),
                name=file.optional_text("filename"),
                extra={"file_data": url} if url is not None and _ADDRESS.match(url) else None,
                cache=cache,
            )
        case "document_url":
            url = fields.address("document_url")
            name = fields.optional_text("document_name")
            return FilePart(url=url, name=name, extra={"document_url": url}, cache=cache)
        case _:
            raise fields.wrong("type", f"'{kind}' is not a kind of content; known: text, image_url, input_audio, file")


def read_image(fields: Fields) -> Fields:
    """The object in `image_url`, where a string is as good as an address in one."""
    image = fields.value("image_url")
    return Fields({"url": image} if isinstance(image, str) else image, fields.place_of("image_url"))


def _decode_cache(fields: Fields) -> CacheTtl | None:
    if not fields.has("cache_control"):
        return None
    mark = fields.object("cache_control")
    return CacheTtl.ONE_HOUR if mark.value("ttl") == "1h" else CacheTtl.DEFAULT


def _decode_call(fields: Fields) -> ToolCall | OpaquePart:
    if fields.has("custom"):
        return OpaquePart(dialect=NAME, value=fields.extra)
    function = fields.object("function")
    return ToolCall(
        id=fields.text("id", ""),
        name=function.text("name"),
        arguments=function.text("arguments", ""),
        signature=_decode_signature(fields) if fields.has("extra_content") else None,
    )


def _decode_signature(fields: Fields) -> str | None:
    return fields.object("extra_content").object("google").optional_text("thought_signature")


def _decode_stop(fields: Fields) -> tuple[str, ...]:
    if isinstance(stop := fields.value("stop"), str):
        return (stop,)
    if stop is not None and not (isinstance(stop, list) and all(isinstance(each, str) for each in stop)):
        raise fields.wrong("stop", "a string or an array of strings is needed")
    return tuple(stop or ())


def _decode_tools(fields: Fields) -> Iterator[Tool | OpaqueTool]:
    for tool in fields.objects("tools", required=False):
        cache = _decode_cache(tool)
        if (kind := tool.text("type", "function")) == "function":
            yield _decode_function(tool.object("function"), cache)
        else:
            yield OpaqueTool(dialect=NAME, value={"type": kind, **tool.extra})
    for function in fields.objects("functions", required=False):  # what came before `tools`
        yield _decode_function(function, None)


def _decode_function(fields: Fields, cache: CacheTtl | None) -> Tool:
    return Tool(
        name=fields.text("name"),
        description=fields.optional_text("description"),
        parameters=fields.mapping("parameters"),
        strict=fields.truth("strict"),
        cache=cache,
    )


def _decode_tool_choice(fields: Fields, extra: dict[str, Any]) -> ToolMode | NamedTool | None:
    name = "tool_choice" if fields.has("tool_choice") else "function_call"
    choice = fields.value(name)
    if choice is None:
        return None
    if isinstance(choice, str):
        try:
            return ToolMode("required" if choice == "any" else choice)  # Mistral's word
        except ValueError:
            raise fields.wrong(name, f"'{choice}' is not a choice; known: {', '.join(ToolMode)}") from None
    inner = Fields(choice, fields.place_of(name))
    if inner.has("allowed_tools"):
        extra["tool_choice"] = choice  # that only some may be called has no canonical form
        return None
    return NamedTool(name=inner.object("function").text("name") if inner.has("function") else inner.text("name"))


def _decode_response_format(fields: Fields) -> PlainFormat | JsonSchemaFormat | None:
    if not fields.has("response_format"):
        return None
    wanted = fields.object("response_format")
    if (kind := wanted.text("type")) != "json_schema":
        try:
            return PlainFormat(kind)
        except ValueError:
            known = ", ".join((*PlainFormat, "json_schema"))
            raise wanted.wrong("type", f"'{kind}' is not a format; known: {known}") from None
    schema = wanted.object("json_schema")
    return JsonSchemaFormat(
        name=schema.text("name", "answer"),
        schema=schema.mapping("schema") or {},
        description=schema.optional_text("description"),
        strict=schema.truth("strict"),
    )


def _decode_metadata(fields: Fields) -> dict[str, str] | None:
    if not fields.has("metadata"):
        return None
    metadata = fields.object("metadata")
    return {name: metadata.text(name) for name in metadata.extra}


def _effort(fields: Fields, effort: str) -> ReasoningEffort:
    try:
        return ReasoningEffort(effort)
    except ValueError:
        known = ", ".join(ReasoningEffort)
        raise fields.wrong("reasoning_effort", f"'{effort}' is not an effort; known: {known}") from None


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool = False) -> bytes:
    """The JSON body that asks `model`. A streamed answer is asked to end with its usage.

    Raises `InvalidRequestError` when `extra` names a field that has a place of its own, and as `ChatDialect` says.
    """
    unsupported = Unsupported("OpenAI's chat completions", drop=drop_unsupported)
    fields: dict[str, Any] = {
        "model": model,
        "messages": [each for message in request.messages for each in _messages(message, unsupported)],
        _limit_field(model): request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": list(request.stop) or None,
        "n": request.n,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "tools": list(_tools(request.tools, unsupported)) or None,
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


def _limit_field(model: str) -> str:
    """OpenAI's reasoning models refuse the older name, other servers do not know the newer one."""
    return "max_completion_tokens" if _WITHOUT_MAX_TOKENS.match(model.rpartition("/")[2]) else "max_tokens"


def _add_extra(fields: dict[str, Any], request: ChatRequest, unsupported: Unsupported) -> None:
    for name, value in (request.extra or {}).items():
        place = name.lower()  # servers written in Go take a name in any case
        has_place = place in fields or place in _LIMITS
        is_decoded = request.dialect == NAME and place == name and fields.get(name) is None
        if request.dialect not in ("", NAME):
            unsupported.field(name)
        elif has_place and not is_decoded:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        else:
            fields[name] = value


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


def _messages(message: Message, unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    """The messages that say the same: results are messages of their own here, and come first."""
    rest: list[ContentPart] = []
    for part in message.content:
        if isinstance(part, ToolResult):
            result = {"role": "tool", "tool_call_id": part.call_id, "content": _result(part, unsupported)}
            yield _with_extra(result, message) if message.role is Role.TOOL else result
        else:
            rest.append(part)
    if rest or not message.content:
        yield _with_extra(_message(message.role, message.name, rest, unsupported), message)


def _with_extra(fields: dict[str, Any], message: Message) -> dict[str, Any]:
    return fields if message.extra is None else {**message.extra, **fields}


def _result(result: ToolResult, unsupported: Unsupported) -> str | list[dict[str, Any]]:
    """Texts alone: pictures in results have no place here."""
    for part in result.content:
        if not isinstance(part, TextPart):
            unsupported.field("messages", "pictures and files in the result of a tool")
    texts = [part.text for part in result.content if isinstance(part, TextPart)]
    return texts[0] if len(texts) == 1 else [{"type": "text", "text": text} for text in texts] or ""


def _message(role: Role, name: str | None, parts: Sequence[ContentPart], unsupported: Unsupported) -> dict[str, Any]:
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
                fields["refusal"] = text
            case OpaquePart():
                if part.dialect == NAME:
                    calls.append(dict(part.value))
                else:
                    unsupported.field("messages", f"content of {part.dialect}")
            case _:
                content.append(part)
    fields["content"] = _content(content, unsupported)
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


def _content(parts: Sequence[ContentPart], unsupported: Unsupported) -> str | list[dict[str, Any]] | None:
    """One text is sent as a string, which every server understands; only a mixture needs parts."""
    match parts:
        case []:
            return None
        case [TextPart(text=text)]:
            return text
        case _:
            return [each for part in parts if (each := _part(part, unsupported)) is not None] or ""


def _part(part: ContentPart, unsupported: Unsupported) -> dict[str, Any] | None:
    """The part; None if there is no place for it and that is to be passed over."""
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(url=url, detail=detail):
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": image}
        case AudioPart(data=data, format=form):
            return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
        case FilePart():
            return _file(part, unsupported)
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
    if part.url is not None and "file_data" not in own and _ADDRESS.match(part.url):
        unsupported.field("messages", "a file by its address")
        return None
    file = {"file_data": part.url, "file_id": part.file_id, "filename": part.name}
    return {"type": "file", "file": {name: value for name, value in file.items() if value is not None}}


def _tools(tools: Sequence[Tool | OpaqueTool], unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    for tool in tools:
        if isinstance(tool, Tool):
            yield _tool(tool)
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
