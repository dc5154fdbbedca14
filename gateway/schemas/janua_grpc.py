"""`janua.inference.v1`: typed requests to canonical ones, canonical events to typed answers."""

import base64
import math
from collections.abc import Iterable, Iterator
from typing import Any, Literal, TypeAlias

from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from janua.inference.v1 import chat_pb2, embeddings_pb2, usage_pb2

from gateway.errors import InvalidRequestError
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    ContentPart,
    EmbeddingsAnswer,
    EmbeddingsRequest,
    FinishReason,
    ImagePart,
    JsonSchemaFormat,
    LogprobsDelta,
    Message,
    NamedTool,
    PlainFormat,
    ReasoningDelta,
    RefusalDelta,
    Role,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolMode,
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
    return ChatRequest(
        model=request.model,
        messages=tuple(_message(message, index) for index, message in enumerate(request.messages)),
        max_output_tokens=request.max_output_tokens if request.HasField("max_output_tokens") else None,
        temperature=_number(request, "temperature"),
        top_p=_number(request, "top_p"),
        stop=tuple(request.stop),
        n=request.n if request.HasField("n") else None,
        seed=request.seed if request.HasField("seed") else None,
        presence_penalty=_number(request, "presence_penalty"),
        frequency_penalty=_number(request, "frequency_penalty"),
        tools=tuple(_tool(tool, index) for index, tool in enumerate(request.tools)),
        tool_choice=_tool_choice(request.tool_choice) if request.HasField("tool_choice") else None,
        parallel_tool_calls=request.parallel_tool_calls if request.HasField("parallel_tool_calls") else None,
        response_format=_response_format(request.response_format) if request.HasField("response_format") else None,
        top_logprobs=request.top_logprobs if request.HasField("top_logprobs") else None,
        user=request.user or None,
        extra=_json(request.extra, "request.extra") if request.HasField("extra") else None,
    )


_Number: TypeAlias = Literal["temperature", "top_p", "presence_penalty", "frequency_penalty"]


def _number(request: chat_pb2.ChatCompletionRequest, field: _Number) -> float | None:
    if not request.HasField(field):
        return None
    value: float = getattr(request, field)
    if not math.isfinite(value):
        raise InvalidRequestError(f"{value} is not a number that JSON knows", param=f"request.{field}")
    return value


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


def _message(message: chat_pb2.Message, index: int) -> Message:
    place = f"request.messages[{index}]"
    role = _ROLES.get(message.role)
    if role is None:
        raise InvalidRequestError(f"role {message.role} is not known", param=f"{place}.role")
    return Message(
        role=role,
        content=tuple(_part(part, f"{place}.content[{number}]") for number, part in enumerate(message.content)),
        name=message.name or None,
        tool_calls=tuple(ToolCall(id=call.id, name=call.name, arguments=call.arguments) for call in message.tool_calls),
        tool_call_id=message.tool_call_id or None,
        refusal=message.refusal or None,
        reasoning=message.reasoning or None,
    )


def _part(part: chat_pb2.ContentPart, place: str) -> ContentPart:
    match part.WhichOneof("kind"):
        case "text":
            return TextPart(text=part.text)
        case "image":
            return _image(part.image, f"{place}.image")
        case _:
            raise InvalidRequestError("a content part must have text or image", param=place)


def _image(image: chat_pb2.Image, place: str) -> ImagePart:
    match image.WhichOneof("source"):
        case "url":
            url = image.url
        case "data":
            if not image.media_type:
                raise InvalidRequestError("data needs a media_type such as image/png", param=f"{place}.media_type")
            url = f"data:{image.media_type};base64,{base64.b64encode(image.data).decode()}"
        case _:
            raise InvalidRequestError("an image must have url or data", param=place)
    return ImagePart(url=url, detail=image.detail or None)


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
    """Makes the messages of one streamed answer. Its id, model and time stand in every message."""

    def __init__(self, model: str) -> None:
        self._template = chat_pb2.StreamChatCompletionResponse(model=model)

    def messages(self, events: Iterable[ChatEvent]) -> Iterator[chat_pb2.StreamChatCompletionResponse]:
        """One message for the events that came together; none if they carry nothing for the caller."""
        deltas: dict[int, chat_pb2.ChoiceDelta] = {}
        usage: Usage | None = None
        for event in events:
            match event:
                case AnswerStarted():
                    self._template.id = event.id
                    self._template.created = event.created
                    self._template.system_fingerprint = event.system_fingerprint
                case UsageReported():
                    usage = event.usage
                case _:
                    delta = deltas.setdefault(event.choice, chat_pb2.ChoiceDelta(index=event.choice))
                    _add_to_delta(delta, event)
        if deltas or usage is not None:
            message = chat_pb2.StreamChatCompletionResponse(
                choices=deltas.values(), usage=_usage(usage) if usage else None
            )
            message.MergeFrom(self._template)
            yield message


_ChoiceEvent = TextDelta | RefusalDelta | ReasoningDelta | ToolCallDelta | LogprobsDelta | ChoiceFinished


def _add_to_delta(delta: chat_pb2.ChoiceDelta, event: _ChoiceEvent) -> None:
    match event:
        case TextDelta():
            delta.content += event.text
        case RefusalDelta():
            delta.refusal += event.text
        case ReasoningDelta():
            delta.reasoning += event.text
        case ToolCallDelta():
            delta.tool_calls.add(index=event.index, id=event.id, name=event.name, arguments=event.arguments)
        case LogprobsDelta():
            delta.logprobs.extend(_logprob(token) for token in event.tokens)
        case ChoiceFinished():
            delta.finish_reason = _FINISH_REASONS[event.reason]


def encode_chat(events: Iterable[ChatEvent], model: str) -> chat_pb2.CreateChatCompletionResponse:
    """The whole answer: its events folded."""
    answer = chat_pb2.CreateChatCompletionResponse(model=model)
    choices: dict[int, chat_pb2.Choice] = {}
    texts: dict[int, list[str]] = {}
    for event in events:
        match event:
            case AnswerStarted():
                answer.id = event.id
                answer.created = event.created
                answer.system_fingerprint = event.system_fingerprint
            case UsageReported():
                answer.usage.CopyFrom(_usage(event.usage))
            case TextDelta():
                _choice(choices, event.choice)
                texts.setdefault(event.choice, []).append(event.text)
            case _:
                _add_to_choice(_choice(choices, event.choice), event)
    for index, parts in texts.items():
        choices[index].message.content.add(text="".join(parts))
    answer.choices.extend(choices[index] for index in sorted(choices))
    return answer


def _choice(choices: dict[int, chat_pb2.Choice], index: int) -> chat_pb2.Choice:
    choice = choices.get(index)
    if choice is None:
        choice = choices[index] = chat_pb2.Choice(index=index)
        choice.message.role = chat_pb2.Message.ROLE_ASSISTANT
    return choice


def _add_to_choice(
    choice: chat_pb2.Choice, event: RefusalDelta | ReasoningDelta | ToolCallDelta | LogprobsDelta | ChoiceFinished
) -> None:
    message = choice.message
    match event:
        case RefusalDelta():
            message.refusal += event.text
        case ReasoningDelta():
            message.reasoning += event.text
        case ToolCallDelta():
            while len(message.tool_calls) <= event.index:
                message.tool_calls.add()
            call = message.tool_calls[event.index]
            call.id = call.id or event.id
            call.name = call.name or event.name
            call.arguments += event.arguments
        case LogprobsDelta():
            choice.logprobs.extend(_logprob(token) for token in event.tokens)
        case ChoiceFinished():
            choice.finish_reason = _FINISH_REASONS[event.reason]


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
