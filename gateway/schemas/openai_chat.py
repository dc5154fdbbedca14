"""OpenAI's chat completions: canonical requests to JSON, JSON answers and stream chunks to canonical events."""

import time
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, TypeAlias, assert_never

import msgspec

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.schemas.openai_fields import UNREADABLE, UsageFields
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    ContentPart,
    FinishReason,
    ImagePart,
    JsonSchemaFormat,
    LogprobsDelta,
    Message,
    NamedTool,
    PlainFormat,
    ReasoningDelta,
    RefusalDelta,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCallDelta,
    ToolMode,
    UsageReported,
)

_FINISH_REASONS = {reason.value: reason for reason in FinishReason} | {"function_call": FinishReason.TOOL_CALLS}


def encode_request(request: ChatRequest, model: str, *, stream: bool) -> bytes:
    """The JSON body that asks `model`. A streamed answer is asked to end with its usage.

    Raises `InvalidRequestError` when `extra` names a field that has a place of its own.
    """
    fields: dict[str, Any] = {
        "model": model,
        "messages": [_message(message) for message in request.messages],
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
        "stop": list(request.stop) or None,
        "n": request.n,
        "seed": request.seed,
        "presence_penalty": request.presence_penalty,
        "frequency_penalty": request.frequency_penalty,
        "tools": [_tool(tool) for tool in request.tools] or None,
        "tool_choice": _tool_choice(request.tool_choice),
        "parallel_tool_calls": request.parallel_tool_calls,
        "response_format": _response_format(request.response_format),
        "logprobs": True if request.top_logprobs is not None else None,
        "top_logprobs": request.top_logprobs,
        "user": request.user,
        "stream": stream or None,
        "stream_options": {"include_usage": True} if stream else None,
    }
    for name, value in (request.extra or {}).items():
        if name in fields:
            raise InvalidRequestError(
                f"'{name}' has a field of its own and cannot be in 'extra'", param=f"extra.{name}"
            )
        fields[name] = value
    return msgspec.json.encode({name: value for name, value in fields.items() if value is not None})


def _message(message: Message) -> dict[str, Any]:
    fields: dict[str, Any] = {"role": message.role.value, "content": _content(message.content)}
    if message.name is not None:
        fields["name"] = message.name
    if message.tool_calls:
        fields["tool_calls"] = [
            {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.tool_calls
        ]
    if message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    if message.refusal is not None:
        fields["refusal"] = message.refusal
    if message.reasoning is not None:
        fields["reasoning_content"] = message.reasoning
    return fields


def _content(parts: Sequence[ContentPart]) -> str | list[dict[str, Any]] | None:
    """One text is sent as a string, which every server understands; only a mixture needs parts."""
    match parts:
        case []:
            return None
        case [TextPart(text=text)]:
            return text
        case _:
            return [_part(part) for part in parts]


def _part(part: ContentPart) -> dict[str, Any]:
    match part:
        case TextPart(text=text):
            return {"type": "text", "text": text}
        case ImagePart(url=url, detail=detail):
            image = {"url": url} if detail is None else {"url": url, "detail": detail}
            return {"type": "image_url", "image_url": image}
        case _:
            assert_never(part)


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


# No server has more alternatives or calls in one answer; a larger number would only cost memory.
_Index: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=4096)]
_Byte: TypeAlias = Annotated[int, msgspec.Meta(ge=0, le=255)]

_LAST_CREATED = 2**53


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: _Index | None = None
    id: str | None = None
    function: _Function | None = None


class _Part(msgspec.Struct):
    """A part of content, as Mistral's reasoning models write it: text, or thinking in parts of text."""

    text: str | None = None
    thinking: "list[_Part] | str | None" = None


class _Message(msgspec.Struct):
    """The message of a choice, or in a stream its delta. `function_call` is what came before `tool_calls`."""

    content: str | list[_Part] | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: list[_ToolCall] | None = None
    function_call: _Function | None = None


class _Logprob(msgspec.Struct):
    token: str
    logprob: float
    bytes: list[_Byte] | None = None
    top_logprobs: "list[_Logprob] | None" = None

    def to_token(self) -> TokenLogprob:
        top = tuple(other.to_token() for other in self.top_logprobs or ())
        return TokenLogprob(token=self.token, logprob=self.logprob, bytes=bytes(self.bytes or ()), top=top)


class _Logprobs(msgspec.Struct):
    content: list[_Logprob] | None = None


class _Choice(msgspec.Struct):
    index: _Index = 0
    message: _Message | None = None
    delta: _Message | None = None
    finish_reason: str | None = None
    logprobs: _Logprobs | None = None


class _Answer(msgspec.Struct):
    """An answer, or a chunk of one: they differ in `message` and `delta` only."""

    id: str | None = None
    model: str | None = None
    created: float | None = None
    choices: list[_Choice] | None = None
    usage: UsageFields | None = None
    system_fingerprint: str | None = None
    error: Any = None


_decoder = msgspec.json.Decoder(_Answer)


def decode_events(data: bytes, *, is_first: bool) -> Iterator[ChatEvent]:
    """The events of a whole answer or of one stream chunk. `is_first` asks for the event that starts an answer.

    A chunk with neither id nor choices, such as Azure sends ahead of a stream, does not start it yet.

    Raises `BadGatewayError` for what is not an answer in this format, and for an error within a stream.
    """
    if data == b"[DONE]":
        return
    try:
        answer = _decoder.decode(data)
    except UNREADABLE as error:
        raise BadGatewayError(
            f"the upstream's answer cannot be understood: {error}", reason="UPSTREAM_MALFORMED"
        ) from None
    if answer.error is not None:
        raise BadGatewayError(_error_text(answer.error), reason="UPSTREAM_FAILED")
    if is_first and (answer.id or answer.choices):
        yield AnswerStarted(
            id=answer.id or "",
            model=answer.model or "",
            created=_created(answer.created),
            system_fingerprint=answer.system_fingerprint or "",
        )
    for choice in answer.choices or ():
        yield from _choice_events(choice)
    if answer.usage is not None:
        yield UsageReported(usage=answer.usage.to_usage())


def _created(told: float | None) -> int:
    return int(told) if told is not None and 0 < told < _LAST_CREATED else int(time.time())


def _error_text(error: object) -> str:
    message = error.get("message") if isinstance(error, dict) else error
    return f"the upstream failed: {message}" if isinstance(message, str) else "the upstream failed"


def _choice_events(choice: _Choice) -> Iterator[ChatEvent]:
    message = choice.message or choice.delta
    number = choice.index
    if message is not None:
        if reasoning := message.reasoning_content or message.reasoning:
            yield ReasoningDelta(choice=number, text=reasoning)
        yield from _content_events(number, message.content)
        if message.refusal:
            yield RefusalDelta(choice=number, text=message.refusal)
        for position, call in enumerate(_calls(message)):
            function = call.function or _Function()
            # The calls of a whole message are all there, in order, whatever they are numbered.
            index = None if choice.message else call.index
            yield ToolCallDelta(
                choice=number,
                index=position if index is None else index,
                id=call.id or "",
                name=function.name or "",
                arguments=function.arguments or "",
            )
    if choice.logprobs and choice.logprobs.content:
        yield LogprobsDelta(choice=number, tokens=tuple(token.to_token() for token in choice.logprobs.content))
    if choice.finish_reason:
        yield ChoiceFinished(choice=number, reason=_FINISH_REASONS.get(choice.finish_reason))


def _content_events(number: int, content: str | list[_Part] | None) -> Iterator[ChatEvent]:
    for part in [_Part(text=content)] if isinstance(content, str) else content or ():
        if thought := _thought(part.thinking):
            yield ReasoningDelta(choice=number, text=thought)
        if part.text:
            yield TextDelta(choice=number, text=part.text)


def _thought(thinking: list[_Part] | str | None) -> str:
    return thinking if isinstance(thinking, str) else "".join(part.text or "" for part in thinking or ())


def _calls(message: _Message) -> Sequence[_ToolCall]:
    if message.tool_calls or message.function_call is None:
        return message.tool_calls or ()
    return (_ToolCall(function=message.function_call),)
