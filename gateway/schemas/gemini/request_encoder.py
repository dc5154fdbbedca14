"""Requests of Gemini's `generateContent`: canonical to JSON."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, assert_never

import msgspec

from gateway.schemas.field_names import refuse_other_spellings
from gateway.schemas.gemini.media import encode_audio, encode_file, encode_image
from gateway.schemas.gemini.request import JSON, NAME, SETTINGS, result_text
from gateway.schemas.gemini.thinking import encode_thinking
from gateway.schemas.openai.fields import UNREADABLE
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    ChatRequest,
    ContentPart,
    FilePart,
    ImagePart,
    JsonSchemaFormat,
    NamedTool,
    OpaquePart,
    OpaqueTool,
    PlainFormat,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    Tool,
    ToolCall,
    ToolMode,
    ToolResult,
)

_CONFIG = "generationConfig."

# Gemini takes nothing else for a signature and refuses the whole request; those of other backends tell it nothing.
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]+={0,2}")


def encode_request(request: ChatRequest, model: str, *, drop_unsupported: bool) -> bytes:
    """The JSON body. The model, and whether to stream, stand in the path.

    Raises `InvalidRequestError` as `ChatDialect` says.
    """
    return msgspec.json.encode(request_fields(request, model, Unsupported("Gemini", drop=drop_unsupported)))


def request_fields(request: ChatRequest, model: str, unsupported: Unsupported) -> dict[str, Any]:
    """The fields of the body."""
    if request.user is not None:
        unsupported.field("user")
    if request.parallel_tool_calls is False:
        unsupported.field("parallel_tool_calls")
    if request.metadata is not None and request.dialect != NAME:
        unsupported.field("metadata")
    system, contents = _contents(request, unsupported)
    fields: dict[str, Any] = {
        "contents": contents,
        "systemInstruction": {"parts": system} if system else None,
        "tools": _tools(request.tools, unsupported) or None,
        "toolConfig": _tool_config(request.tool_choice),
        "generationConfig": _config(request, model) or None,
        "labels": request.metadata if request.dialect == NAME else None,
    }
    if request.extra:
        refuse_other_spellings((name for name in request.extra if "." not in name), fields)
        own = (name.removeprefix(_CONFIG) for name in request.extra if name.startswith(_CONFIG))
        refuse_other_spellings(own, SETTINGS, _CONFIG)
    fields = {name: value for name, value in fields.items() if value is not None}
    if request.extra:
        tools = fields.get("tools", ())
        functions = {each["name"]: each for tool in tools for each in tool.get("functionDeclarations", ())}
        for place, value in request.extra.items():
            if request.dialect != NAME:
                unsupported.own_field(place, value)
            elif "[" not in place:  # of a part, which may be another by now
                _put(fields, functions, place, value)
    return fields


def _put(fields: dict[str, Any], functions: Mapping[str, dict[str, Any]], place: str, value: Any) -> None:
    """Puts what only Gemini knows back into its place."""
    if place.startswith("tools.") and place.count(".") > 1:
        function, _, name = place.removeprefix("tools.").rpartition(".")
        if function in functions:
            functions[function][name] = value
        return
    *outer, name = place.split(".")
    for each in outer:
        fields = fields.setdefault(each, {})
    fields[name] = value


def _config(request: ChatRequest, model: str) -> dict[str, Any]:
    config: dict[str, Any] = {
        "temperature": request.temperature,
        "topP": request.top_p,
        "topK": request.top_k,
        "candidateCount": request.n,
        "maxOutputTokens": request.max_output_tokens,
        "stopSequences": list(request.stop) or None,
        "presencePenalty": request.presence_penalty,
        "frequencyPenalty": request.frequency_penalty,
        "seed": request.seed,
        "responseLogprobs": True if request.top_logprobs is not None else None,
        "logprobs": request.top_logprobs or None,
        "thinkingConfig": encode_thinking(request.reasoning, model, is_own=request.dialect == NAME),
    }
    match request.response_format:
        case None:
            pass
        case PlainFormat.TEXT:
            config["responseMimeType"] = "text/plain"
        case PlainFormat.JSON_OBJECT:
            config["responseMimeType"] = JSON
        case JsonSchemaFormat() as wanted:
            config |= {"responseMimeType": JSON, "responseJsonSchema": wanted.described_schema()}
    return {name: value for name, value in config.items() if value is not None}


def _contents(request: ChatRequest, unsupported: Unsupported) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The instructions, and the turns.

    The results of calls made together must stand in one turn, and nothing else in it; they come first.
    """
    names: dict[str, str] = {}
    system: list[dict[str, Any]] = []
    contents: list[dict[str, Any]] = []
    is_own = request.dialect == NAME
    for message in request.messages:
        unsupported.message_details(message)
        results = [
            _result(part, names, unsupported, is_own=is_own) for part in message.content if isinstance(part, ToolResult)
        ]
        parts = list(_parts(message.content, unsupported, is_own=is_own))
        names |= {part.id: part.name for part in message.content if isinstance(part, ToolCall)}
        if message.role in (Role.SYSTEM, Role.DEVELOPER):
            system += parts
        elif message.role is Role.ASSISTANT:
            _add(contents, "model", parts)
        else:
            if results:
                _add(contents, "user", results)
            if parts or not results:
                _add(contents, "user", parts)
    return system, contents or [{"role": "user", "parts": [{"text": ""}]}]


def _add(contents: list[dict[str, Any]], role: str, parts: list[dict[str, Any]]) -> None:
    """One more turn, which must not be empty, or more of the last one."""
    if contents and contents[-1]["role"] == role and _has_result(contents[-1]["parts"]) is _has_result(parts):
        contents[-1]["parts"] += parts
    else:
        contents.append({"role": role, "parts": parts or [{"text": ""}]})


def _has_result(parts: Sequence[dict[str, Any]]) -> bool:
    return bool(parts) and "functionResponse" in parts[0]


def _parts(content: Iterable[ContentPart], unsupported: Unsupported, *, is_own: bool) -> Iterator[dict[str, Any]]:
    for part in content:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                yield {"text": text}
            case ImagePart(detail=detail):
                unsupported.picture_detail(detail)
                yield encode_image(part)
            case AudioPart():
                yield encode_audio(part)
            case FilePart():
                if (file := encode_file(part, unsupported, is_own=is_own)) is not None:
                    yield file
            case ToolCall():
                yield _call(part)
            case ToolResult():
                pass  # these have turns of their own
            case ReasoningPart():
                yield from _thought(part, unsupported)
            case OpaquePart():
                if part.dialect == NAME:
                    yield dict(part.value)
                else:
                    unsupported.content(part)
            case _:
                assert_never(part)


def _call(call: ToolCall) -> dict[str, Any]:
    function: dict[str, Any] = {"name": call.name, "args": call_arguments(call.arguments)}
    if call.id:
        function["id"] = call.id
    return {"functionCall": function, **_signature(call.signature)}


def call_arguments(arguments: str) -> dict[str, Any]:
    """An object; what a model wrote that is none is kept under a name of its own."""
    try:
        value = msgspec.json.decode(arguments or "{}")
    except UNREADABLE:
        return {"arguments": arguments}
    return value if isinstance(value, dict) else {"arguments": value}


def _result(result: ToolResult, names: dict[str, str], unsupported: Unsupported, *, is_own: bool) -> dict[str, Any]:
    texts: list[str] = []
    media: list[dict[str, Any]] = []
    for part in result.content:
        match part:
            case TextPart(text=text):
                texts.append(text)
            case ImagePart():
                media.append(encode_image(part))
            case FilePart():
                if (file := encode_file(part, unsupported, is_own=is_own)) is not None:
                    media.append(file)
            case _:
                assert_never(part)
    response: dict[str, Any] = {
        "name": result.name or names.get(result.call_id) or result.call_id,
        "response": _response("".join(texts), is_error=result.is_error),
    }
    if result.call_id:
        response["id"] = result.call_id
    if media:
        response["parts"] = media
    return {"functionResponse": response}


def _response(text: str, *, is_error: bool) -> dict[str, Any]:
    """An object: the text itself if it is one, such that it is read back as the same."""
    if is_error:
        return {"error": text}
    try:
        value = msgspec.json.decode(text)
    except UNREADABLE:
        return {"result": text}
    is_itself = isinstance(value, dict) and value.keys() != {"error"} and result_text(value).startswith("{")
    return value if is_itself else {"result": text}


def _thought(part: ReasoningPart, unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    """Thoughts are shown, with their signature if it can be one of Gemini's own."""
    if part.redacted is not None:
        unsupported.field("messages", "a thought that only another backend can read")
    elif part.text:
        yield {"text": part.text, "thought": True, **_signature(part.signature)}
    elif signature := _signature(part.signature):
        yield {"text": "", **signature}


def _signature(signature: str | None) -> dict[str, str]:
    is_own = signature is not None and _BASE64.fullmatch(signature) is not None
    return {"thoughtSignature": signature} if is_own and signature is not None else {}


def _tools(tools: Sequence[Tool | OpaqueTool], unsupported: Unsupported) -> list[dict[str, Any]]:
    """The tools in their order; functions that follow each other stand together."""
    found: list[dict[str, Any]] = []
    for tool in tools:
        if isinstance(tool, Tool):
            if not (found and "functionDeclarations" in found[-1]):
                found.append({"functionDeclarations": []})
            function = {"name": tool.name, "description": tool.description, "parametersJsonSchema": tool.parameters}
            declared = {name: value for name, value in function.items() if value is not None}
            found[-1]["functionDeclarations"].append(declared)
        elif tool.dialect == NAME:
            found.append(dict(tool.value))
        else:
            unsupported.field("tools", f"a tool that {tool.dialect} runs itself")
    return found


def _tool_config(choice: ToolMode | NamedTool | None) -> dict[str, Any] | None:
    match choice:
        case None:
            return None
        case NamedTool(name=name):
            calling: dict[str, Any] = {"mode": "ANY", "allowedFunctionNames": [name]}
        case ToolMode.AUTO:
            calling = {"mode": "AUTO"}
        case ToolMode.REQUIRED:
            calling = {"mode": "ANY"}
        case ToolMode.NONE:
            calling = {"mode": "NONE"}
    return {"functionCallingConfig": calling}
