"""Requests of Ollama's `/api/chat`: JSON to canonical and back."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from gateway.errors import InvalidRequestError
from gateway.schemas.call_ids import CallIds
from gateway.schemas.data_urls import data_url, is_base64
from gateway.schemas.field_names import refuse_other_spellings
from gateway.schemas.json_fields import FieldError, Fields
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported, nothing_said
from gateway.types import (
    ChatRequest,
    ContentPart,
    ImagePart,
    JsonSchemaFormat,
    Message,
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

NAME = "ollama_chat"

_ROLES = {"system": Role.SYSTEM, "user": Role.USER, "assistant": Role.ASSISTANT}

# Where the options that only Ollama knows stand in a request's extra fields.
_OPTIONS = "options."

# What Ollama has no place for, and the value of it that goes without saying.
_UNSUPPORTED = {"n": 1, "parallel_tool_calls": True, "user": None, "metadata": None}

_LOW_BUDGET = 2048
_MEDIUM_BUDGET = 8192

# Models that are told how much to think; others know only whether.
_LEVELLED = "gpt-oss"

_EFFORTS = {"low": ReasoningEffort.LOW, "medium": ReasoningEffort.MEDIUM, "high": ReasoningEffort.HIGH}


def decode_request(body: bytes, model: str) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` that names the field."""
    try:
        return _decode(Fields.parse(body), model)
    except FieldError as error:
        # Ollama's errors have no field for the place: it stands in the text.
        raise InvalidRequestError(str(error), param=error.param or None) from None


def _decode(fields: Fields, model: str) -> ChatRequest:
    for name in ("model", "stream"):
        fields.value(name)
    calls = CallIds()
    messages = tuple(_decode_message(message, calls) for message in fields.objects("messages", required=True))
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    options = fields.object("options")
    wants_logprobs = fields.truth("logprobs")
    top_logprobs = fields.integer("top_logprobs")
    limit = options.integer("num_predict")
    return ChatRequest(
        model=model,
        messages=messages,
        max_output_tokens=limit if limit is None or limit >= 0 else None,  # negative: no limit
        temperature=options.number("temperature"),
        top_p=options.number("top_p"),
        top_k=options.integer("top_k"),
        stop=_decode_stop(options),
        seed=options.integer("seed"),
        presence_penalty=options.number("presence_penalty"),
        frequency_penalty=options.number("frequency_penalty"),
        tools=tuple(_decode_tool(tool) for tool in fields.objects("tools", required=False)),
        response_format=_decode_format(fields),
        top_logprobs=(top_logprobs or 0) if wants_logprobs else None,
        reasoning=_decode_think(fields),
        dialect=NAME,
        extra=_extra(fields, options),
    )


def _extra(fields: Fields, options: Fields) -> dict[str, Any] | None:
    for name in fields.extra:
        if name.startswith(_OPTIONS):
            raise fields.wrong(name, "options stand in the object 'options'")
    return {**fields.extra, **{f"{_OPTIONS}{name}": value for name, value in options.extra.items()}} or None


def _decode_message(fields: Fields, calls: CallIds) -> Message:
    role = fields.text("role")
    text = fields.text("content", "")
    images = [ImagePart(url=data_url(_type_of(image), image)) for image in _images(fields)]
    if role == "tool":
        name = fields.optional_text("tool_name") or fields.optional_text("name")
        identifier = calls.answer(name, fields.optional_text("tool_call_id"))
        texts = (TextPart(text=text),) if text else ()
        result = ToolResult(call_id=identifier, content=(*texts, *images), name=name)
        return Message(role=Role.TOOL, content=(result,))
    known = _ROLES.get(role)
    if known is None:
        raise fields.wrong("role", f"'{role}' is not a role; known: {', '.join((*_ROLES, 'tool'))}")
    content: list[ContentPart] = []
    if thinking := fields.optional_text("thinking"):
        content.append(ReasoningPart(text=thinking))
    if text:
        content.append(TextPart(text=text))
    content += images
    content += (_decode_call(call, calls) for call in fields.objects("tool_calls", required=False))
    return Message(role=known, content=tuple(content))


def _decode_call(fields: Fields, calls: CallIds) -> ToolCall:
    function = fields.object("function")
    name = function.text("name")
    arguments = function.value("arguments")
    if not isinstance(arguments, str):  # some clients write them as OpenAI does
        arguments = msgspec.json.encode(arguments or {}).decode()
    return ToolCall(id=calls.begin(name, fields.optional_text("id")), name=name, arguments=arguments)


def _images(fields: Fields) -> tuple[str, ...]:
    images = fields.strings("images")
    for index, image in enumerate(images):
        if not is_base64(image):
            raise fields.wrong(f"images[{index}]", "data in base64 is needed")
    return images


def _type_of(image: str) -> str:
    """The type of a picture in base64, by the bytes it begins with."""
    for beginning, kind in (("iVBOR", "png"), ("R0lGOD", "gif"), ("UklGR", "webp")):
        if image.startswith(beginning):
            return f"image/{kind}"
    return "image/jpeg"


def _decode_stop(options: Fields) -> tuple[str, ...]:
    if isinstance(stop := options.value("stop"), str):
        return (stop,)
    if stop is not None and not (isinstance(stop, list) and all(isinstance(each, str) for each in stop)):
        raise options.wrong("stop", "a string or an array of strings is needed")
    return tuple(stop or ())


def _decode_tool(fields: Fields) -> Tool | OpaqueTool:
    if (kind := fields.text("type", "function")) != "function":
        return OpaqueTool(dialect=NAME, value={"type": kind, **fields.extra})
    function = fields.object("function")
    return Tool(
        name=function.text("name"),
        description=function.optional_text("description"),
        parameters=function.mapping("parameters"),
    )


def _decode_format(fields: Fields) -> PlainFormat | JsonSchemaFormat | None:
    match fields.value("format"):
        case None | "":
            return None
        case "json":
            return PlainFormat.JSON_OBJECT
        case dict() as schema:
            return JsonSchemaFormat(name="answer", schema=schema)
        case _:
            raise fields.wrong("format", '"json" or a JSON Schema is needed')


def _decode_think(fields: Fields) -> Reasoning | None:
    match fields.value("think"):
        case None:
            return None
        case True:
            return Reasoning(effort=ReasoningEffort.MEDIUM, is_shown=True)
        case False:
            return Reasoning(effort=ReasoningEffort.NONE)
        case str(level) if level in _EFFORTS:
            return Reasoning(effort=_EFFORTS[level], is_shown=True)
        case _:
            raise fields.wrong("think", "true, false, or one of low, medium, high is needed")


def encode_request(request: ChatRequest, model: str, *, stream: bool, drop_unsupported: bool) -> bytes:
    """The JSON body that asks `model`."""
    unsupported = Unsupported("Ollama", drop=drop_unsupported)
    for name, default in _UNSUPPORTED.items():
        if getattr(request, name) not in (None, default):
            unsupported.field(name)
    if request.tool_choice not in (None, ToolMode.AUTO, ToolMode.NONE):
        unsupported.field("tool_choice")
    own: dict[str, Any] = {}
    own_options: dict[str, Any] = {}
    for name, value in (request.extra or {}).items():
        if request.dialect != NAME:
            unsupported.own_field(name, value)
        elif name.startswith(_OPTIONS):
            own_options[name.removeprefix(_OPTIONS)] = value
        else:
            own[name] = value
    messages = list(_messages(request.messages, unsupported))
    if not messages:
        raise nothing_said()
    fields: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "stream": stream,
        # That none may be called has no field of its own.
        "tools": (list(_tools(request.tools, unsupported)) or None) if request.tool_choice != ToolMode.NONE else None,
        "format": _format(request.response_format),
        "options": _options(request, own_options) or None,
        "think": _think(request.reasoning, model),
        "logprobs": True if request.top_logprobs is not None else None,
        "top_logprobs": request.top_logprobs or None,
    }
    refuse_other_spellings(own, fields)
    return msgspec.json.encode({name: value for name, value in {**fields, **own}.items() if value is not None})


def _options(request: ChatRequest, own: dict[str, Any]) -> dict[str, Any]:
    options = {
        "num_predict": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "top_k": request.top_k,
        "stop": list(request.stop) or None,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
    }
    refuse_other_spellings(own, options, _OPTIONS)
    return {name: value for name, value in {**options, **own}.items() if value is not None}


def _messages(messages: Sequence[Message], unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    """The messages that say the same: results are messages of their own here, and come first."""
    names: dict[str, str] = {}
    for message in messages:
        unsupported.message_details(message)
        rest: list[ContentPart] = []
        for part in message.content:
            match part:
                case ToolResult():
                    yield _result(part, names, unsupported)
                case OpaquePart():
                    unsupported.content(part)
                case _:
                    rest.append(part)
                    if isinstance(part, ToolCall):
                        names[part.id] = part.name
        if rest or not message.content:
            yield _message(message.role, rest, unsupported)


def _result(result: ToolResult, names: Mapping[str, str], unsupported: Unsupported) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": "tool", "content": ""}
    _add_content(fields, result.content, unsupported)
    if name := result.name or names.get(result.call_id):
        fields["tool_name"] = name
    return {**fields, "tool_call_id": result.call_id} if result.call_id else fields


def _message(role: Role, parts: Sequence[ContentPart], unsupported: Unsupported) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": "system" if role is Role.DEVELOPER else role.value, "content": ""}
    _add_content(fields, parts, unsupported)
    return fields


def _add_content(fields: dict[str, Any], parts: Sequence[ContentPart], unsupported: Unsupported) -> None:
    for part in parts:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                fields["content"] += text
            case ImagePart(url=url, detail=detail):
                unsupported.picture_detail(detail)
                if (image := _image(url, unsupported)) is not None:
                    fields.setdefault("images", []).append(image)
            case ReasoningPart(text=text):
                if text:
                    fields["thinking"] = fields.get("thinking", "") + text
            case ToolCall():
                fields.setdefault("tool_calls", []).append(call_fields(part))
            case _:
                unsupported.field("messages", "sound and files")


def call_fields(call: ToolCall) -> dict[str, Any]:
    """A function call. Newer servers keep the id."""
    function = {"function": {"name": call.name, "arguments": arguments_of(call.arguments)}}
    return {"id": call.id, **function} if call.id else function


def _image(url: str, unsupported: Unsupported) -> str | None:
    head, _, data = url.partition(",")
    if head.startswith("data:") and head.endswith(";base64"):
        return data
    unsupported.field("messages", "a picture by its address, which Ollama does not fetch; send it inline")
    return None


def arguments_of(text: str) -> Mapping[str, Any]:
    """Arguments as the object that Ollama has; what a model wrote that is none is kept under a name of its own."""
    try:
        value = msgspec.json.decode(text or "{}")
    except UNREADABLE:
        return {"arguments": text}
    return value if isinstance(value, dict) else {"arguments": value}


def _tools(tools: Sequence[Tool | OpaqueTool], unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    for tool in tools:
        if isinstance(tool, OpaqueTool):
            if tool.dialect == NAME:
                yield dict(tool.value)
            else:
                unsupported.field("tools", f"a tool that {tool.dialect} runs itself")
            continue
        function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
        yield {"type": "function", "function": {name: value for name, value in function.items() if value is not None}}


def _format(wanted: PlainFormat | JsonSchemaFormat | None) -> Any:
    match wanted:
        case JsonSchemaFormat():
            return wanted.described_schema()
        case PlainFormat.JSON_OBJECT:
            return "json"
        case _:
            return None


def _think(reasoning: Reasoning | None, model: str) -> bool | str | None:
    if reasoning is None:
        return None
    effort = reasoning.effort
    if effort is None and reasoning.budget_tokens not in (None, -1):
        effort = _effort_of(reasoning.budget_tokens or 0)
    if effort is None:
        return None
    if _LEVELLED not in model:
        return effort is not ReasoningEffort.NONE
    match effort:
        case ReasoningEffort.NONE:
            return False
        case ReasoningEffort.MINIMAL | ReasoningEffort.LOW:
            return "low"
        case ReasoningEffort.MEDIUM:
            return "medium"
        case _:
            return "high"


def _effort_of(budget: int) -> ReasoningEffort:
    """The word that comes nearest to a budget."""
    if budget == 0:
        return ReasoningEffort.NONE
    if budget <= _LOW_BUDGET:
        return ReasoningEffort.LOW
    return ReasoningEffort.MEDIUM if budget <= _MEDIUM_BUDGET else ReasoningEffort.HIGH
