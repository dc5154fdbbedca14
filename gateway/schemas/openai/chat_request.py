"""Requests for OpenAI's chat completions: JSON to canonical.

Conventions of others that clients use are understood: `cache_control` on parts and tools and `reasoning_details` on
messages (OpenRouter), `reasoning_content` (DeepSeek), `extra_content.google.thought_signature` on calls (Google).
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from gateway.errors import InvalidRequestError
from gateway.schemas.anthropic.cache import decode_cache
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.reasoning import read_reasoning_details
from gateway.schemas.unsupported import says_something
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

ADDRESS = re.compile(r"(?!data:)[a-z][a-z0-9+.-]*:", re.IGNORECASE)

_ROLES = {role.value: role for role in Role}

# What only this dialect knows of a function is kept in the request's extra fields, under this and the function's name;
# what it knows of a part, under its place.
OF_TOOLS = "tools."
OF_MESSAGES = "messages["

# What OpenAI itself calls a mark, and the field beside which it is one.
BREAKPOINT = "prompt_cache_breakpoint"
BREAKPOINTS = "prompt_cache_options"

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
    extra: dict[str, Any] = {}
    messages = tuple(_decode_message(message, extra) for message in fields.objects("messages", required=True))
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    max_tokens = fields.integer("max_completion_tokens")
    older_max_tokens = fields.integer("max_tokens")
    wants_logprobs = fields.truth("logprobs")
    top_logprobs = fields.integer("top_logprobs")
    effort = fields.optional_text("reasoning_effort")
    tools = tuple(_decode_tools(fields, extra))
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
        tools=tools,
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


def _decode_message(fields: Fields, extra: dict[str, Any]) -> Message:
    role = fields.text("role")
    name = fields.optional_text("name")
    if role in ("tool", "function"):
        return Message(role=Role.TOOL, content=(_decode_result(fields, name, extra),), extra=fields.extra or None)
    known = _ROLES.get(role)
    if known is None:
        raise fields.wrong("role", f"'{role}' is not a role; known: {', '.join(Role)}")
    if known is Role.ASSISTANT:
        return Message(role=known, content=tuple(_decode_answer(fields, extra)), name=name, extra=fields.extra or None)
    return Message(role=known, content=tuple(_decode_content(fields, extra)), name=name, extra=fields.extra or None)


def _decode_answer(fields: Fields, extra: dict[str, Any]) -> Iterator[ContentPart]:
    """What the model has said: thoughts first, calls last."""
    yield from _decode_reasoning(fields)
    yield from _decode_content(fields, extra)
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


def _decode_result(fields: Fields, name: str | None, extra: dict[str, Any]) -> ToolResult:
    content = []
    for part in _decode_content(fields, extra):
        if not isinstance(part, (TextPart, ImagePart, FilePart)):
            raise fields.wrong("content", "a result is text")
        content.append(part)
    return ToolResult(call_id=fields.text("tool_call_id", name), content=tuple(content), name=name)


def _decode_content(fields: Fields, extra: dict[str, Any]) -> list[ContentPart]:
    content = fields.value("content")
    if isinstance(content, str):
        return [TextPart(text=content)] if content else []
    if content is None:
        return []
    if not isinstance(content, list):
        raise fields.wrong("content", "a string or an array is needed")
    place = fields.place_of("content")
    return [_decode_part(Fields(part, f"{place}[{index}]"), extra) for index, part in enumerate(content)]


def _decode_part(fields: Fields, extra: dict[str, Any]) -> ContentPart:
    """The part. What else it says is put into `extra`, under its place."""
    cache = _decode_mark(fields)
    inner = None
    part: ContentPart
    match kind := fields.text("type"):
        case "text":
            part = TextPart(text=fields.text("text"), cache=cache)
        case "refusal":
            part = RefusalPart(text=fields.text("refusal"))
        case "image_url":
            inner = read_image(fields)
            part = ImagePart(url=inner.address("url"), detail=inner.optional_text("detail"), cache=cache)
        case "input_audio":
            inner = fields.object("input_audio")
            part = AudioPart(data=inner.base64("data"), format=inner.text("format"))
        case "file":
            inner = fields.object("file")
            part = _decode_file(inner, cache)
        case "document_url":
            url = fields.address("document_url")
            name = fields.optional_text("document_name")
            part = FilePart(url=url, name=name, extra={"document_url": url}, cache=cache)
        case _:
            raise fields.wrong("type", f"'{kind}' is not a kind of content; known: text, image_url, input_audio, file")
    for read in (fields,) if inner is None else (fields, inner):
        for name, value in read.extra.items():
            if says_something(value):
                extra[read.place_of(name)] = value
    return part


def _decode_file(file: Fields, cache: CacheTtl | None) -> FilePart:
    url = file.address("file_data") if file.has("file_data") else None
    return FilePart(
        url=url,
        file_id=file.optional_text("file_id"),
        name=file.optional_text("filename"),
        extra={"file_data": url} if url is not None and ADDRESS.match(url) else None,
        cache=cache,
    )


def read_image(fields: Fields) -> Fields:
    """The object in `image_url`, where a string is as good as an address in one."""
    image = fields.value("image_url")
    return Fields({"url": image} if isinstance(image, str) else image, fields.place_of("image_url"))


def _decode_mark(fields: Fields) -> CacheTtl | None:
    return CacheTtl.DEFAULT if fields.value(BREAKPOINT) is not None else decode_cache(fields)


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


def _decode_tools(fields: Fields, extra: dict[str, Any]) -> Iterator[Tool | OpaqueTool]:
    """The tools. What has no canonical place is put into `extra`, as `tools.NAME.FIELD`."""
    for tool in fields.objects("tools", required=False):
        cache = _decode_mark(tool)
        if (kind := tool.text("type", "function")) == "function":
            yield _decode_function(tool.object("function"), cache, extra)
        else:
            yield OpaqueTool(dialect=NAME, value={"type": kind, **tool.extra})
    for function in fields.objects("functions", required=False):  # what came before `tools`
        yield _decode_function(function, None, extra)


def _decode_function(fields: Fields, cache: CacheTtl | None, extra: dict[str, Any]) -> Tool:
    tool = Tool(
        name=fields.text("name"),
        description=fields.optional_text("description"),
        parameters=fields.mapping("parameters"),
        strict=fields.truth("strict"),
        cache=cache,
    )
    extra |= {f"{OF_TOOLS}{tool.name}.{name}": value for name, value in fields.extra.items()}
    return tool


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
