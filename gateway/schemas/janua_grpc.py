"""`janua.inference.v1`: typed requests to canonical ones, canonical events to typed answers."""

import base64
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from janua.inference.v1 import chat_pb2, embeddings_pb2, usage_pb2

from gateway.errors import InvalidRequestError
from gateway.types import (
    AnswerStarted,
    AudioPart,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    CitationAdded,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    FilePart,
    FinishReason,
    ImagePart,
    JsonSchemaFormat,
    LogprobsDelta,
    Message,
    NamedTool,
    OpaqueAdded,
    PlainFormat,
    Reasoning,
    ReasoningDelta,
    ReasoningEffort,
    ReasoningPart,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    RefusalPart,
    Role,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
    ToolResult,
    Usage,
    UsageReported,
)

_ROLES = {
    chat_pb2.Message.ROLE_SYSTEM: Role.SYSTEM,
    chat_pb2.Message.ROLE_DEVELOPER: Role.DEVELOPER,
    chat_pb2.Message.ROLE_USER: Role.USER,
    chat_pb2.Message.ROLE_ASSISTANT: Role.ASSISTANT,
    chat_pb2.Message.ROLE_TOOL: Role.TOOL,
}
_TOOL_MODES = {
    chat_pb2.ToolChoice.MODE_AUTO: ToolMode.AUTO,
    chat_pb2.ToolChoice.MODE_NONE: ToolMode.NONE,
    chat_pb2.ToolChoice.MODE_REQUIRED: ToolMode.REQUIRED,
}
_EFFORTS = {
    chat_pb2.Reasoning.EFFORT_NONE: ReasoningEffort.NONE,
    chat_pb2.Reasoning.EFFORT_MINIMAL: ReasoningEffort.MINIMAL,
    chat_pb2.Reasoning.EFFORT_LOW: ReasoningEffort.LOW,
    chat_pb2.Reasoning.EFFORT_MEDIUM: ReasoningEffort.MEDIUM,
    chat_pb2.Reasoning.EFFORT_HIGH: ReasoningEffort.HIGH,
    chat_pb2.Reasoning.EFFORT_XHIGH: ReasoningEffort.XHIGH,
}
# Beyond it a double does not tell integers apart.
_MAX_EXACT_INTEGER = 2**53

_FINISH_REASONS = {
    None: chat_pb2.FINISH_REASON_UNSPECIFIED,
    FinishReason.STOP: chat_pb2.FINISH_REASON_STOP,
    FinishReason.LENGTH: chat_pb2.FINISH_REASON_LENGTH,
    FinishReason.TOOL_CALLS: chat_pb2.FINISH_REASON_TOOL_CALLS,
    FinishReason.CONTENT_FILTER: chat_pb2.FINISH_REASON_CONTENT_FILTER,
}


def decode_chat(request: chat_pb2.ChatCompletionRequest) -> ChatRequest:
    """The canonical request. Raises `InvalidRequestError` naming the field that is missing or not valid."""
    if not request.model:
        raise InvalidRequestError("a model is needed", param="request.model")
    if not request.messages:
        raise InvalidRequestError("at least one message is needed", param="request.messages")
    # Most requests have three of the twenty fields: to ask for each would take longer than to read them.
    return ChatRequest(**{field.name: _READERS[field.name](value) for field, value in request.ListFields()})


def _reasoning(reasoning: chat_pb2.Reasoning) -> Reasoning:
    return Reasoning(
        effort=_EFFORTS.get(reasoning.effort),
        budget_tokens=reasoning.budget_tokens if reasoning.HasField("budget_tokens") else None,
    )


def _number(name: str) -> Callable[[float], float]:
    def read(value: float) -> float:
        if not math.isfinite(value):
            raise InvalidRequestError(f"{value} is not a number that JSON knows", param=f"request.{name}")
        return value

    return read


def _json(struct: Struct, place: str) -> dict[str, Any]:
    """A Struct as JSON values, with whole numbers as integers: servers refuse `"top_k": 40.0`."""
    try:
        fields = json_format.MessageToDict(struct)
    except ValueError:
        raise InvalidRequestError("NaN and infinity are not numbers that JSON knows", param=place) from None
    return {name: _whole_numbers(value) for name, value in fields.items()}


def _whole_numbers(value: Any) -> Any:
    match value:
        case float() if value.is_integer() and abs(value) <= _MAX_EXACT_INTEGER:
            return int(value)
        case list():
            return [_whole_numbers(item) for item in value]
        case dict():
            return {name: _whole_numbers(item) for name, item in value.items()}
        case _:
            return value


def _messages(messages: Iterable[chat_pb2.Message]) -> tuple[Message, ...]:
    return tuple([_message(message, index) for index, message in enumerate(messages)])


def _message(message: chat_pb2.Message, index: int) -> Message:
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidRequestError(f"role {message.role} is not known", param=f"request.messages[{index}].role")
    content = [
        TextPart(text=part.text)
        if (kind := part.WhichOneof("kind")) == "text"
        else _part(part, kind, f"request.messages[{index}].content[{number}]")
        for number, part in enumerate(message.content)
    ]
    if role is Role.TOOL:
        given = tuple(part for part in content if not isinstance(part, AudioPart))
        if len(given) < len(content):
            text = "the answer of a function cannot be sound"
            raise InvalidRequestError(text, param=f"request.messages[{index}].content")
        return Message(
            role=role, content=(ToolResult(call_id=message.tool_call_id, content=given, name=message.name or None),)
        )
    return Message(
        role=role,
        content=(*_thoughts(message), *content, *_refusal(message), *(_call(call) for call in message.tool_calls)),
        name=message.name or None,
    )


def _thoughts(message: chat_pb2.Message) -> Iterator[ReasoningPart]:
    for block in message.reasoning_blocks:
        if block.redacted:
            yield ReasoningPart(redacted=block.redacted)
        else:
            yield ReasoningPart(text=block.text, signature=block.signature or None)
    if message.reasoning and not message.reasoning_blocks:
        yield ReasoningPart(text=message.reasoning)


def _refusal(message: chat_pb2.Message) -> Iterator[RefusalPart]:
    if message.refusal:
        yield RefusalPart(text=message.refusal)


def _call(call: chat_pb2.ToolCall) -> ToolCall:
    return ToolCall(id=call.id, name=call.name, arguments=call.arguments, signature=call.signature or None)


def _part(part: chat_pb2.ContentPart, kind: str | None, place: str) -> ImagePart | AudioPart | FilePart:
    """A part that is no text."""
    match kind:
        case "image":
            return _image(part.image, f"{place}.image")
        case "audio":
            return _audio(part.audio, f"{place}.audio")
        case "file":
            return _file(part.file, f"{place}.file")
        case _:
            raise InvalidRequestError("a content part must have text, image, audio or file", param=place)


def _image(image: chat_pb2.Image, place: str) -> ImagePart:
    match image.WhichOneof("source"):
        case "url":
            url = image.url
        case "data":
            url = _data_url(image.data, image.media_type, place)
        case _:
            raise InvalidRequestError("an image must have url or data", param=place)
    return ImagePart(url=url, detail=image.detail or None)


def _audio(audio: chat_pb2.Audio, place: str) -> AudioPart:
    if not audio.data or not audio.format:
        raise InvalidRequestError("audio must have data and format", param=place)
    return AudioPart(data=base64.b64encode(audio.data).decode(), format=audio.format)


def _file(file: chat_pb2.File, place: str) -> FilePart:
    name = file.name or None
    match file.WhichOneof("source"):
        case "url":
            return FilePart(url=file.url, name=name, media_type=file.media_type or None)
        case "file_id":
            return FilePart(file_id=file.file_id, name=name)
        case "data":
            return FilePart(url=_data_url(file.data, file.media_type, place), name=name, media_type=file.media_type)
        case _:
            raise InvalidRequestError("a file must have url, data or file_id", param=place)


def _data_url(data: bytes, media_type: str, place: str) -> str:
    if not media_type:
        raise InvalidRequestError("data needs a media_type such as image/png", param=f"{place}.media_type")
    return f"data:{media_type};base64,{base64.b64encode(data).decode()}"


def _tools(tools: Iterable[chat_pb2.Tool]) -> tuple[Tool, ...]:
    return tuple([_tool(tool, index) for index, tool in enumerate(tools)])


def _tool(tool: chat_pb2.Tool, index: int) -> Tool:
    place = f"request.tools[{index}]"
    if not tool.name:
        raise InvalidRequestError("a tool needs a name", param=f"{place}.name")
    return Tool(
        name=tool.name,
        description=tool.description or None,
        parameters=_json(tool.parameters, f"{place}.parameters") if tool.HasField("parameters") else None,
        strict=tool.strict if tool.HasField("strict") else None,
    )


def _tool_choice(choice: chat_pb2.ToolChoice) -> ToolMode | NamedTool:
    if choice.function_name:
        return NamedTool(name=choice.function_name)
    mode = _TOOL_MODES.get(choice.mode)
    if mode is None:
        raise InvalidRequestError("tool_choice must have a mode or a function_name", param="request.tool_choice")
    return mode


def _response_format(wanted: chat_pb2.ResponseFormat) -> PlainFormat | JsonSchemaFormat:
    match wanted.WhichOneof("kind"):
        case "text":
            return PlainFormat.TEXT
        case "json_object":
            return PlainFormat.JSON_OBJECT
        case "json_schema":
            schema = wanted.json_schema
            if not schema.name:
                raise InvalidRequestError(
                    "a JSON schema needs a name", param="request.response_format.json_schema.name"
                )
            place = "request.response_format.json_schema.schema"
            if not schema.HasField("schema"):
                raise InvalidRequestError("a JSON schema needs the schema itself", param=place)
            return JsonSchemaFormat(
                name=schema.name,
                description=schema.description or None,
                schema=_json(schema.schema, place),
                strict=schema.strict if schema.HasField("strict") else None,
            )
        case _:
            raise InvalidRequestError("response_format must have a kind", param="request.response_format")


def _as_it_is(value: Any) -> Any:
    return value


# By field. The names are those of the canonical request.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "model": _as_it_is,
    "messages": _messages,
    "max_output_tokens": _as_it_is,
    "temperature": _number("temperature"),
    "top_p": _number("top_p"),
    "stop": tuple,
    "n": _as_it_is,
    "seed": _as_it_is,
    "presence_penalty": _number("presence_penalty"),
    "frequency_penalty": _number("frequency_penalty"),
    "tools": _tools,
    "tool_choice": _tool_choice,
    "parallel_tool_calls": _as_it_is,
    "response_format": _response_format,
    "top_logprobs": _as_it_is,
    "top_k": _as_it_is,
    "reasoning": _reasoning,
    "metadata": dict,
    "user": _as_it_is,
    "extra": lambda extra: _json(extra, "request.extra"),
}


def decode_embeddings(request: embeddings_pb2.CreateEmbeddingsRequest) -> EmbeddingsRequest:
    """The canonical request. Raises `InvalidRequestError` naming the field that is missing."""
    if not request.model:
        raise InvalidRequestError("a model is needed", param="model")
    if not request.input:
        raise InvalidRequestError("at least one text is needed", param="input")
    return EmbeddingsRequest(
        model=request.model,
        input=tuple(request.input),
        dimensions=request.dimensions if request.HasField("dimensions") else None,
        user=request.user or None,
    )


class ChatStreamWriter:
    """Writes the messages of one streamed answer. Its id, model and time stand in every message."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._head = chat_pb2.StreamChatCompletionResponse(model=model).SerializeToString()

    def write(self, events: Iterable[ChatEvent]) -> bytes:
        """The message for events that came together; empty if they carry nothing for the caller."""
        message = chat_pb2.StreamChatCompletionResponse()
        deltas: dict[int, chat_pb2.ChoiceDelta] = {}
        has_usage = False
        for event in events:
            match event:
                case AnswerStarted():
                    self._head = chat_pb2.StreamChatCompletionResponse(
                        id=event.id,
                        created=event.created,
                        model=self._model,
                        system_fingerprint=event.system_fingerprint,
                    ).SerializeToString()
                case UsageReported():
                    message.usage.CopyFrom(_usage(event.usage))
                    has_usage = True
                case _:
                    delta = deltas.get(event.choice)
                    if delta is None:
                        delta = deltas[event.choice] = message.choices.add(index=event.choice)
                    _add_to_delta(delta, event)
        # Messages one after the other are read as one that has the fields of all (protobuf.dev, "Encoding").
        return self._head + message.SerializeToString() if deltas or has_usage else b""


_MoreEvent = (
    RefusalDelta
    | ReasoningDelta
    | ReasoningSigned
    | ReasoningRedacted
    | CitationAdded
    | OpaqueAdded
    | ToolCallDelta
    | LogprobsDelta
    | ChoiceFinished
)


def _add_to_delta(delta: chat_pb2.ChoiceDelta, event: TextDelta | _MoreEvent) -> None:
    match event:
        case TextDelta():
            delta.content += event.text
        case RefusalDelta():
            delta.refusal += event.text
        case ReasoningDelta():
            delta.reasoning += event.text
        case ReasoningSigned():
            delta.reasoning_signature += event.signature
        case ReasoningRedacted():
            delta.redacted_reasoning.append(event.data)
        case CitationAdded():
            delta.citations.add(
                url=event.citation.url, title=event.citation.title, cited_text=event.citation.cited_text
            )
        case OpaqueAdded():
            pass  # what a backend has done by itself is no part of this API
        case ToolCallDelta():
            delta.tool_calls.add(
                index=event.index,
                id=event.id,
                name=event.name,
                arguments=event.arguments,
                signature=event.signature,
            )
        case LogprobsDelta():
            delta.logprobs.extend(_logprob(token) for token in event.tokens)
        case ChoiceFinished():
            delta.finish_reason = _FINISH_REASONS[event.reason]


def encode_chat(events: Iterable[ChatEvent], model: str) -> chat_pb2.CreateChatCompletionResponse:
    """The whole answer: its events folded."""
    answer = chat_pb2.CreateChatCompletionResponse(model=model)
    choices: dict[int, list[TextDelta | _MoreEvent]] = {}
    for event in events:
        match event:
            case AnswerStarted():
                answer.id = event.id
                answer.created = event.created
                answer.system_fingerprint = event.system_fingerprint
            case UsageReported():
                answer.usage.CopyFrom(_usage(event.usage))
            case _:
                choices.setdefault(event.choice, []).append(event)
    for index in sorted(choices):
        _fill_choice(answer.choices.add(index=index), choices[index])
    return answer


def _fill_choice(choice: chat_pb2.Choice, events: Iterable[TextDelta | _MoreEvent]) -> None:
    message = choice.message
    message.role = chat_pb2.Message.ROLE_ASSISTANT
    texts: list[str] = []
    for event in events:
        if isinstance(event, TextDelta):
            texts.append(event.text)
        else:
            _add_to_choice(choice, event)
    if texts:
        message.content.add(text="".join(texts))
    blocks = message.reasoning_blocks
    if blocks and not any(block.signature or block.redacted for block in blocks):
        del blocks[:]  # `reasoning` says it all


def _add_to_choice(choice: chat_pb2.Choice, event: _MoreEvent) -> None:
    message = choice.message
    match event:
        case RefusalDelta():
            message.refusal += event.text
        case ReasoningDelta():
            message.reasoning += event.text
            _open_thought(message).text += event.text
        case ReasoningSigned():
            _open_thought(message).signature = event.signature
        case ReasoningRedacted():
            message.reasoning_blocks.add(redacted=event.data)
        case CitationAdded():
            citation = event.citation
            choice.citations.add(url=citation.url, title=citation.title, cited_text=citation.cited_text)
        case OpaqueAdded():
            pass
        case ToolCallDelta():
            while len(message.tool_calls) <= event.index:
                message.tool_calls.add()
            call = message.tool_calls[event.index]
            call.id = call.id or event.id
            call.name = call.name or event.name
            call.arguments += event.arguments
            call.signature = call.signature or event.signature
        case LogprobsDelta():
            choice.logprobs.extend(_logprob(token) for token in event.tokens)
        case ChoiceFinished():
            choice.finish_reason = _FINISH_REASONS[event.reason]


def _open_thought(message: chat_pb2.Message) -> chat_pb2.ReasoningBlock:
    """The thought that goes on: until its signature comes."""
    blocks = message.reasoning_blocks
    if blocks and not blocks[-1].signature and not blocks[-1].redacted:
        return blocks[-1]
    return blocks.add()


def _logprob(token: TokenLogprob) -> chat_pb2.TokenLogprob:
    return chat_pb2.TokenLogprob(
        token=token.token,
        logprob=token.logprob,
        bytes=token.bytes,
        top_logprobs=[_logprob(other) for other in token.top],
    )


def _usage(usage: Usage) -> usage_pb2.Usage:
    return usage_pb2.Usage(
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cached_input_tokens=usage.cached_input_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        cache_creation_tokens=usage.cache_creation_tokens,
        audio_input_tokens=usage.audio_input_tokens,
        audio_output_tokens=usage.audio_output_tokens,
        total_tokens=usage.input_tokens + usage.output_tokens,
    )


def encode_embeddings(answer: EmbeddingsAnswer, model: str) -> embeddings_pb2.CreateEmbeddingsResponse:
    """The vectors."""
    return embeddings_pb2.CreateEmbeddingsResponse(
        model=model,
        embeddings=[
            embeddings_pb2.Embedding(index=index, values=vector) for index, vector in enumerate(answer.vectors)
        ],
        usage=_usage(answer.usage),
    )
