"""The client of the typed API beside those of HTTP's dialects: the same questions, the same replies."""

import base64
import json
from dataclasses import replace

import grpc
from google.protobuf.json_format import ParseDict
from google.protobuf.struct_pb2 import Struct
from janua.inference.v1 import chat_pb2, usage_pb2
from janua.inference.v1.inference_service_pb2_grpc import InferenceServiceStub

from tests.conformance.dialect_openai import HAS
from tests.conformance.dialects import PDF_NAME, TEXT_NAME, TOOL_PARAMETERS, Ask, Call, Node, Reply, Token, Told
from tests.conformance.grpc_caller import failure_of

_SETTINGS = {
    "temperature": "temperature",
    "top_p": "top_p",
    "top_k": "top_k",
    "seed": "seed",
    "presence penalty": "presence_penalty",
    "frequency penalty": "frequency_penalty",
    "stop sequences": "stop",
    "limit of tokens": "max_output_tokens",
    "several choices": "n",
    "user": "user",
    "labels": "metadata",
}
_FINISH = {
    chat_pb2.FINISH_REASON_STOP: "stop",
    chat_pb2.FINISH_REASON_LENGTH: "length",
    chat_pb2.FINISH_REASON_TOOL_CALLS: "tool_calls",
    chat_pb2.FINISH_REASON_CONTENT_FILTER: "content_filter",
}
_MODES = {"required": chat_pb2.ToolChoice.MODE_REQUIRED, "none": chat_pb2.ToolChoice.MODE_NONE}


class GrpcClient:
    """`janua.inference.v1`. Its statuses are the names of its errors."""

    name = "grpc"
    kinds = {  # noqa: RUF012
        400: "INVALID_ARGUMENT",
        404: "NOT_FOUND",
        413: "RESOURCE_EXHAUSTED",
        429: "RESOURCE_EXHAUSTED",
        502: "UNAVAILABLE",
        503: "UNAVAILABLE",
        504: "DEADLINE_EXCEEDED",
    }
    event_status = ""  # the status comes last
    names_model = True
    has = HAS | {"PDF by address"}
    own_field = None

    async def ask(self, node: Node, ask: Ask, *, streamed: bool, key: str = "") -> Reply:
        """Calls the node and reads all that comes."""
        stub = InferenceServiceStub(node.channel)
        metadata = [("authorization", f"Bearer {key}")] if key else []
        messages: list[chat_pb2.StreamChatCompletionResponse] = []
        try:
            if not streamed:
                request = chat_pb2.CreateChatCompletionRequest(request=_request(ask))
                return _whole(await stub.CreateChatCompletion(request, metadata=metadata))
            asked = chat_pb2.StreamChatCompletionRequest(request=_request(ask))
            async for message in stub.StreamChatCompletion(asked, metadata=metadata):
                messages.append(message)  # noqa: PERF401  # what came before an error counts
        except grpc.aio.AioRpcError as error:
            failure = failure_of(error)
            headers = {} if failure.retry_after_s is None else {"retry-after": f"{failure.retry_after_s:g}"}
            reply = _joined(messages)
            return replace(reply, status=failure.status, kind=failure.status, error=failure.message, headers=headers)
        return _joined(messages)

    async def first_words(self, node: Node, ask: Ask, until: str) -> None:
        """Calls the node and reads until the text has come."""
        request = chat_pb2.StreamChatCompletionRequest(request=_request(ask))
        call = InferenceServiceStub(node.channel).StreamChatCompletion(request)
        text = ""
        async for message in call:
            text += "".join(delta.content for delta in message.choices)
            if until in text:
                break
        assert until in text
        call.cancel()


def _request(ask: Ask) -> chat_pb2.ChatCompletionRequest:
    message, part = chat_pb2.Message, chat_pb2.ContentPart
    messages = [message(role=message.ROLE_SYSTEM, content=[part(text=ask.system)])] if ask.system else []
    question = message(role=message.ROLE_USER, content=[part(text=ask.text), *_media(ask)])
    messages.append(question)
    if ask.before is not None:
        messages.append(_turn(ask.before))
        for call in ask.before.calls:
            result = [part(text=ask.result)]
            messages.append(message(role=message.ROLE_TOOL, tool_call_id=call.id, content=result))
        if not ask.before.calls:
            messages.append(message(role=message.ROLE_USER, content=[part(text="and now?")]))
    parameters = ParseDict(TOOL_PARAMETERS, Struct())
    settings = {_SETTINGS[name]: value for name, value in ask.settings.items()}
    return chat_pb2.ChatCompletionRequest(
        model=ask.model,
        messages=messages,
        tools=[chat_pb2.Tool(name=name, parameters=parameters) for name in ask.tools],
        tool_choice=_choice(ask),
        parallel_tool_calls=False if ask.one_call else None,
        reasoning=chat_pb2.Reasoning(effort=chat_pb2.Reasoning.EFFORT_LOW) if ask.thinks else None,
        response_format=_format(ask),
        top_logprobs=ask.logprobs,
        **settings,
    )


def _media(ask: Ask) -> list[chat_pb2.ContentPart]:
    """What a question brings along."""
    part, image, file = chat_pb2.ContentPart, chat_pb2.Image, chat_pb2.File
    parts: list[chat_pb2.ContentPart] = []
    if ask.image_url:
        parts.append(part(image=image(url=ask.image_url)))
    if ask.image:
        parts.append(part(image=image(data=base64.b64decode(ask.image), media_type="image/png")))
    if ask.audio:
        parts.append(part(audio=chat_pb2.Audio(data=base64.b64decode(ask.audio), format="wav")))
    if ask.pdf:
        paper = file(data=base64.b64decode(ask.pdf), media_type="application/pdf", name=PDF_NAME)
        parts.append(part(file=paper))
    if ask.pdf_url:
        parts.append(part(file=file(url=ask.pdf_url)))
    if ask.document:
        notes = file(data=ask.document.encode(), media_type="text/plain", name=TEXT_NAME)
        parts.append(part(file=notes))
    return parts


def _choice(ask: Ask) -> chat_pb2.ToolChoice | None:
    if not ask.choice:
        return None
    if ask.choice in ask.tools:
        return chat_pb2.ToolChoice(function_name=ask.choice)
    return chat_pb2.ToolChoice(mode=_MODES[ask.choice])


def _format(ask: Ask) -> chat_pb2.ResponseFormat | None:
    if ask.is_json:
        return chat_pb2.ResponseFormat(json_object=True)
    if ask.schema is None:
        return None
    wanted = chat_pb2.ResponseFormat.JsonSchema(name="answer", schema=ParseDict(ask.schema, Struct()))
    return chat_pb2.ResponseFormat(json_schema=wanted)


def _turn(told: Told) -> chat_pb2.Message:
    thoughts = [chat_pb2.ReasoningBlock(text=told.thinking, signature=told.signature)] if told.thinking else []
    return chat_pb2.Message(
        role=chat_pb2.Message.ROLE_ASSISTANT,
        content=[chat_pb2.ContentPart(text=told.text)] if told.text else [],
        reasoning_blocks=thoughts,
        tool_calls=[
            chat_pb2.ToolCall(id=call.id, name=call.name, arguments=json.dumps(dict(call.arguments)))
            for call in told.calls
        ],
    )


def _whole(answer: chat_pb2.CreateChatCompletionResponse) -> Reply:
    choice, *others = answer.choices
    message = choice.message
    told = Told(
        thinking="".join(block.text for block in message.reasoning_blocks) or message.reasoning,
        signature="".join(block.signature for block in message.reasoning_blocks)
        + "".join(call.signature for call in message.tool_calls),
        text=_text(choice),
        refusal=message.refusal,
        calls=tuple(
            Call(id=call.id, name=call.name, arguments=json.loads(call.arguments or "{}"))
            for call in message.tool_calls
        ),
        sources=tuple((source.url, source.title) for source in choice.citations),
        tokens=tuple(map(_token, choice.logprobs)),
        others=tuple(map(_text, others)),
        finish=_FINISH.get(choice.finish_reason, ""),
        usage=_usage(answer.usage),
        thought_tokens=answer.usage.reasoning_tokens,
    )
    return Reply(status="OK", models=frozenset({answer.model}), told=told)


def _text(choice: chat_pb2.Choice) -> str:
    return "".join(part.text for part in choice.message.content)


def _joined(messages: list[chat_pb2.StreamChatCompletionResponse]) -> Reply:
    all_deltas = [delta for message in messages for delta in message.choices]
    others = sorted({delta.index for delta in all_deltas} - {0})
    deltas = [delta for delta in all_deltas if delta.index == 0]
    pieces = [piece for delta in deltas for piece in delta.tool_calls]
    numbers = sorted({piece.index for piece in pieces})
    calls = [[piece for piece in pieces if piece.index == number] for number in numbers]
    usage = next((message.usage for message in messages if message.HasField("usage")), usage_pb2.Usage())
    told = Told(
        thinking="".join(delta.reasoning for delta in deltas),
        signature="".join(delta.reasoning_signature for delta in deltas) + "".join(piece.signature for piece in pieces),
        text="".join(delta.content for delta in deltas),
        refusal="".join(delta.refusal for delta in deltas),
        calls=tuple(
            Call(
                id="".join(piece.id for piece in call),
                name="".join(piece.name for piece in call),
                arguments=json.loads("".join(piece.arguments for piece in call) or "{}"),
            )
            for call in calls
        ),
        sources=tuple((source.url, source.title) for delta in deltas for source in delta.citations),
        tokens=tuple(_token(token) for delta in deltas for token in delta.logprobs),
        others=tuple("".join(delta.content for delta in all_deltas if delta.index == number) for number in others),
        finish="".join(_FINISH.get(delta.finish_reason, "") for delta in deltas),
        usage=_usage(usage),
        thought_tokens=usage.reasoning_tokens,
    )
    return Reply(status="OK", models=frozenset(message.model for message in messages), told=told)


def _token(token: chat_pb2.TokenLogprob) -> Token:
    return Token(token.token, token.logprob, tuple((other.token, other.logprob) for other in token.top_logprobs))


def _usage(usage: usage_pb2.Usage) -> tuple[int, int, int]:
    return usage.input_tokens, usage.cached_input_tokens, usage.output_tokens
