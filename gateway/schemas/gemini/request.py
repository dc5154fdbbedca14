"""Requests of Gemini's `generateContent`: JSON to canonical.

Fields that only Gemini knows are kept in `extra` under their place, such as `generationConfig.speechConfig` or, of a
function, `tools.NAME.behavior`.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.call_ids import CallIds
from gateway.schemas.gemini.fields import read_array, read_inner, read_items, read_object
from gateway.schemas.gemini.media import decode_media
from gateway.schemas.gemini.schema import json_schema
from gateway.schemas.gemini.thinking import decode_thinking
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.types import (
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
    ReasoningPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)

NAME = "gemini_generate_content"

JSON = "application/json"

_ROLES = {
    "user": Role.USER,
    "model": Role.ASSISTANT,
    "system": Role.SYSTEM,
    "function": Role.USER,
    "tool": Role.USER,
}

# What a function gives, which its results show: SDKs send it of every function.
_OF_RESULTS = ("response", "responseJsonSchema")

_NOTHING_INSIDE = Fields({}, "")

_MODES = {"AUTO": ToolMode.AUTO, "VALIDATED": ToolMode.AUTO, "ANY": ToolMode.REQUIRED, "NONE": ToolMode.NONE}


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        value = msgspec.json.decode(body)
    except UNREADABLE as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error}", reason="INVALID_JSON") from None
    return decode_value(value, model)


def decode_value(value: object, model: str) -> ChatRequest:
    """The same for JSON that has been read."""
    try:
        return _decode(read_object(value, ""), model)
    except FieldError as error:
        # Gemini's errors have no field for the place: it stands in the text.
        raise InvalidRequestError(str(error), param=error.param or None) from None
    except RecursionError:
        raise InvalidRequestError("the body is nested too deeply", reason="INVALID_JSON") from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    fields.value("model")
    calls = CallIds()
    extra: dict[str, Any] = {}
    messages = list(_decode_contents(fields, "contents", calls, extra))
    if not messages:
        raise fields.wrong("contents", "at least one content is needed")
    if system := _decode_system(fields, calls, extra):
        messages.insert(0, Message(role=Role.SYSTEM, content=system))
    config = read_inner(fields, "generationConfig")
    thinking = read_inner(config, "thinkingConfig")
    tool_config = read_inner(fields, "toolConfig")
    calling = read_inner(tool_config, "functionCallingConfig")
    # Only what is there is looked at: of all that a configuration can have, requests have little.
    settings = {known[0]: known[1](config, name) for name in config.extra if (known := SETTINGS.get(name))}
    wants_logprobs = config.truth("responseLogprobs")
    logprobs = config.integer("logprobs")
    tools = tuple(_decode_tools(fields, extra))
    tool_choice = _decode_tool_choice(calling, tools, extra)
    response_format = _decode_format(config, extra)
    # Text is what every backend answers.
    if (modalities := config.value("responseModalities")) not in (None, ["TEXT"], ["text"]):
        extra["generationConfig.responseModalities"] = modalities
    return ChatRequest(
        model=model,
        messages=tuple(messages),
        tools=tools,
        tool_choice=tool_choice,
        response_format=response_format,
        top_logprobs=(logprobs or 0) if wants_logprobs else None,
        reasoning=decode_thinking(thinking),
        metadata=_decode_labels(fields),
        dialect=NAME,
        extra=_with_left(extra, fields, config, thinking, tool_config, calling) or None,
        **settings,
    )


def _with_left(extra: dict[str, Any], *objects: Fields) -> dict[str, Any]:
    """The extra fields, with what nobody has taken of these objects, under its place."""
    for fields in objects:
        for name, value in fields.extra.items():
            if "." in name:  # it would be taken for the place of another
                raise fields.wrong(name, "no field has a dot in its name")
            extra[fields.place_of(name)] = value
    return extra


def _whole(fields: Fields, name: str) -> int | None:
    """A whole number, which Gemini takes as a fraction too."""
    number = fields.number(name)
    if number is not None and number != int(number):
        raise fields.wrong(name, "a whole number is needed")
    return None if number is None else int(number)


SETTINGS: Mapping[str, tuple[str, Callable[[Fields, str], Any]]] = MappingProxyType(
    {
        "maxOutputTokens": ("max_output_tokens", Fields.integer),
        "temperature": ("temperature", Fields.number),
        "topP": ("top_p", Fields.number),
        "topK": ("top_k", _whole),
        "stopSequences": ("stop", Fields.strings),
        "candidateCount": ("n", Fields.integer),
        "seed": ("seed", Fields.integer),
        "presencePenalty": ("presence_penalty", Fields.number),
        "frequencyPenalty": ("frequency_penalty", Fields.number),
    }
)


def _decode_system(fields: Fields, calls: CallIds, extra: dict[str, Any]) -> tuple[ContentPart, ...]:
    contents = _decode_contents(fields, "systemInstruction", calls, extra)
    return tuple(part for content in contents for part in content.content)


def _decode_contents(fields: Fields, name: str, calls: CallIds, extra: dict[str, Any]) -> Iterator[Message]:
    for index, content in enumerate(read_array(fields, name)):
        place = f"{fields.place_of(name)}[{index}]"
        # Nearly all have a role and parts and nothing else, and it saves looking at each field.
        if isinstance(content, dict) and len(content) == 2:
            role, parts = content.get("role"), content.get("parts")
            if isinstance(role, str) and isinstance(parts, list):
                yield _decode_content(role, parts, place, calls, extra)
                continue
        if isinstance(content, str):
            yield _decode_content("user", [content], place, calls, extra)
        else:
            inner = read_object(content, place)
            yield _decode_content(inner.text("role", "user"), read_array(inner, "parts"), place, calls, extra)
            _with_left(extra, inner)


def _decode_content(role_name: str, parts: list[Any], place: str, calls: CallIds, extra: dict[str, Any]) -> Message:
    role = _ROLES.get(role_name)
    if role is None:
        raise FieldError(f"'{role_name}' is not a role; known: user, model", f"{place}.role")
    content: list[ContentPart] = []
    for index, part in enumerate(parts):
        # Most are a text alone, written as one or not.
        text = part.get("text") if isinstance(part, dict) and len(part) == 1 else part
        if not isinstance(text, str):
            content += _decode_part(read_object(part, f"{place}.parts[{index}]"), calls, extra)
        elif text:
            content.append(TextPart(text=text))
    # The first tells it of most.
    if role is Role.USER and content and isinstance(content[0], ToolResult):
        role = Role.TOOL if all(isinstance(part, ToolResult) for part in content) else role
    return Message(role=role, content=tuple(content))


def _decode_part(fields: Fields, calls: CallIds, extra: dict[str, Any]) -> list[ContentPart]:
    """The parts that one is here. What else it says is put into `extra`, under its place."""
    signature = fields.optional_text("thoughtSignature")
    is_thought = fields.truth("thought")
    inner = _NOTHING_INSIDE
    decoded: list[ContentPart] = []
    if fields.has("functionCall"):
        inner = read_inner(fields, "functionCall")
        decoded.append(_decode_call(inner, signature, calls))
        signature = None
    elif fields.has("text"):
        text = fields.text("text")
        if is_thought:
            decoded.append(ReasoningPart(text=text, signature=signature))
            signature = None
        elif text:
            decoded.append(TextPart(text=text))
    elif fields.has("functionResponse"):
        inner = read_inner(fields, "functionResponse")
        decoded.append(_decode_result(inner, calls))
    elif (media := decode_media(fields)) is not None:
        decoded.append(media)
    elif left := fields.extra:
        return [OpaquePart(dialect=NAME, value=left if signature is None else {**left, "thoughtSignature": signature})]
    if not (fields.is_empty and inner.is_empty):
        _with_left(extra, fields, inner)
    if signature is not None:
        decoded.append(ReasoningPart(signature=signature))
    return decoded


def _decode_call(fields: Fields, signature: str | None, calls: CallIds) -> ToolCall:
    name = fields.text("name")
    return ToolCall(
        id=calls.begin(name, fields.optional_text("id")),
        name=name,
        arguments=msgspec.json.encode(fields.mapping("args") or {}).decode(),
        signature=signature,
    )


def _decode_result(fields: Fields, calls: CallIds) -> ToolResult:
    name = fields.text("name")
    response = fields.value("response")
    text = result_text(response)
    content: list[TextPart | ImagePart | FilePart] = [TextPart(text=text)] if text else []
    for part in read_items(fields, "parts"):
        media = decode_media(part)
        if not isinstance(media, (ImagePart, FilePart)):
            raise part.wrong("inlineData", "a picture or a file is needed")
        content.append(media)
    return ToolResult(
        call_id=calls.answer(name, fields.optional_text("id")),
        content=tuple(content),
        is_error=isinstance(response, dict) and response.keys() == {"error"},
        name=name,
    )


def result_text(response: object) -> str:
    """What a function gave: SDKs put what is no object under `result`, `output` or `error`."""
    match response:
        case {"result": str(text), **rest} | {"output": str(text), **rest} | {"error": str(text), **rest} if not rest:
            return text
        case {"error": fault, **rest} if not rest:
            return msgspec.json.encode(fault).decode()
        case None:
            return ""
        case _:
            return msgspec.json.encode(response).decode()


def _decode_tools(fields: Fields, extra: dict[str, Any]) -> Iterator[Tool | OpaqueTool]:
    for tool in read_items(fields, "tools"):
        for function in read_items(tool, "functionDeclarations"):
            decoded = _decode_function(function)
            for name, value in function.extra.items():
                extra[f"tools.{decoded.name}.{name}"] = value
            yield decoded
        if tool.extra:
            yield OpaqueTool(dialect=NAME, value=tool.extra)


def _decode_function(fields: Fields) -> Tool:
    for name in _OF_RESULTS:
        fields.value(name)
    return Tool(
        name=fields.text("name"),
        description=fields.optional_text("description"),
        parameters=_decode_schema(fields, "parametersJsonSchema", "parameters"),
    )


def _decode_schema(fields: Fields, name: str, older: str) -> dict[str, Any] | None:
    """A JSON Schema, in the field that holds one as it is, or in the older one for OpenAPI's dialect."""
    schema, older_schema = fields.mapping(name), fields.mapping(older)
    return schema if older_schema is None or schema is not None else json_schema(older_schema)


def _decode_tool_choice(
    calling: Fields, tools: tuple[Tool | OpaqueTool, ...], extra: dict[str, Any]
) -> ToolMode | NamedTool | None:
    """The choice. That only some functions may be called has no canonical form, unless it is one."""
    mode = calling.optional_text("mode")
    names = calling.strings("allowedFunctionNames")
    if mode == "ANY" and len(names) == 1:
        return NamedTool(name=names[0])
    if names and {tool.name for tool in tools if isinstance(tool, Tool)} - set(names):
        extra["toolConfig.functionCallingConfig.allowedFunctionNames"] = list(names)
    if mode is None or mode == "MODE_UNSPECIFIED":
        return None
    if mode not in _MODES:
        raise calling.wrong("mode", f"'{mode}' is not a mode; known: {', '.join(_MODES)}")
    return _MODES[mode]


def _decode_format(config: Fields, extra: dict[str, Any]) -> PlainFormat | JsonSchemaFormat | None:
    media_type = config.optional_text("responseMimeType")
    if media_type not in (None, JSON, "text/plain"):
        extra["generationConfig.responseMimeType"] = media_type
    schema = _decode_schema(config, "responseJsonSchema", "responseSchema")
    if schema is not None:
        return JsonSchemaFormat(name="answer", schema=schema)
    if media_type == JSON:
        return PlainFormat.JSON_OBJECT
    return PlainFormat.TEXT if media_type == "text/plain" else None


def _decode_labels(fields: Fields) -> dict[str, str] | None:
    if not fields.has("labels"):
        return None
    labels = fields.object("labels")
    return {name: labels.text(name) for name in labels.extra}
