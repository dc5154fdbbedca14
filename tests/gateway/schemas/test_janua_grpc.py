"""The typed API: every field of a request reaches the backend's JSON, every field of an answer is filled, and what a
stream says piece by piece is what the whole answer says."""

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message as ProtoMessage
from google.protobuf.struct_pb2 import Struct
from hypothesis import given
from hypothesis import strategies as st
from janua.inference.v1 import chat_pb2, embeddings_pb2

from gateway.errors import InvalidRequestError
from gateway.framing.sse import SseParser
from gateway.schemas.janua_grpc import (
    ChatStreamWriter,
    decode_chat,
    decode_embeddings,
    encode_chat,
    encode_embeddings,
)
from gateway.schemas.openai import chat_answer as openai_chat_answer
from gateway.schemas.openai import chat_request_encoder
from gateway.schemas.openai import embeddings as openai_embeddings
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    EmbeddingsAnswer,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningRedacted,
    ReasoningSigned,
    RefusalDelta,
    Role,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    ToolMode,
    Usage,
    UsageReported,
)
from tests.support import recordings
from tests.support.pieces import single_bytes

HI = {"role": "ROLE_USER", "content": [{"text": "hi"}]}
JSON_HI = {"role": "user", "content": "hi"}


def leaves(descriptor: Descriptor, path: str = "") -> Iterator[str]:
    """The paths of all fields that hold a value themselves. A Struct is one; a message within itself is not entered."""
    for field in descriptor.fields:
        place = f"{path}{field.name}"
        inner = field.message_type
        if inner is None or inner.full_name == Struct.DESCRIPTOR.full_name:
            yield place
        elif inner.full_name != descriptor.full_name:
            yield from leaves(inner, f"{place}.")


# Requests: what is added to the smallest request, and what that adds to, or changes in, its JSON.

SCHEMA_FIELDS: Mapping[str, dict[str, Any]] = {
    "name": {},
    "schema": {},
    "description": {"description": "d"},
    "strict": {"strict": False},
}
CHAT_FIELDS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model": ({"model": "other"}, {}),  # the backend's name for it is sent
    "messages.role": (
        {"messages": [{"role": "ROLE_SYSTEM", "content": [{"text": "hi"}]}]},
        {"messages": [{"role": "system", "content": "hi"}]},
    ),
    "messages.content.text": (
        {"messages": [{"role": "ROLE_USER", "content": [{"text": "zwölf 🙂"}]}]},
        {"messages": [{"role": "user", "content": "zwölf 🙂"}]},
    ),
    "messages.content.image.url": (
        {"messages": [{"role": "ROLE_USER", "content": [{"image": {"url": "https://x/y"}}]}]},
        {
            "messages": [
                {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x/y"}}]},
            ]
        },
    ),
    "messages.content.image.data": (
        {"messages": [{"role": "ROLE_USER", "content": [{"image": {"data": "AAH/", "media_type": "image/png"}}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAH/"}}],
                },
            ]
        },
    ),
    "messages.content.image.media_type": (
        {"messages": [{"role": "ROLE_USER", "content": [{"image": {"data": "AAH/", "media_type": "image/gif"}}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "data:image/gif;base64,AAH/"}}],
                },
            ]
        },
    ),
    "messages.content.image.detail": (
        {"messages": [{"role": "ROLE_USER", "content": [{"image": {"url": "https://x/y", "detail": "low"}}]}]},
        {
            "messages": [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "https://x/y", "detail": "low"}}],
                },
            ]
        },
    ),
    "messages.name": ({"messages": [{**HI, "name": "ann"}]}, {"messages": [{**JSON_HI, "name": "ann"}]}),
    **{
        f"messages.tool_calls.{name}": (
            {"messages": [{"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "c", "name": "f", "arguments": "{}"}]}]},
            {
                "messages": [
                    {
                        "role": "assistant",
                        "content": None,
                        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
                    }
                ]
            },
        )
        for name in ("id", "name", "arguments")
    },
    "messages.tool_calls.signature": (
        {"messages": [{"role": "ROLE_ASSISTANT", "tool_calls": [{"id": "c", "name": "f", "signature": "s"}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "c",
                            "type": "function",
                            "function": {"name": "f", "arguments": ""},
                            "extra_content": {"google": {"thought_signature": "s"}},
                        }
                    ],
                }
            ]
        },
    ),
    **{
        f"messages.content.audio.{name}": (
            {"messages": [{"role": "ROLE_USER", "content": [{"audio": {"data": "AAH/", "format": "wav"}}]}]},
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "input_audio", "input_audio": {"data": "AAH/", "format": "wav"}}],
                    }
                ]
            },
        )
        for name in ("data", "format")
    },
    **{
        f"messages.content.file.{name}": (
            {"messages": [{"role": "ROLE_USER", "content": [{"file": given}]}]},
            {"messages": [{"role": "user", "content": [{"type": "file", "file": sent}]}]},
        )
        for name, given, sent in (
            ("url", {"url": "data:a/b;base64,AAH/"}, {"file_data": "data:a/b;base64,AAH/"}),
            ("file_id", {"file_id": "f-1"}, {"file_id": "f-1"}),
            (
                "data",
                {"data": "AAH/", "media_type": "application/pdf"},
                {"file_data": "data:application/pdf;base64,AAH/"},
            ),
            (
                "media_type",
                {"data": "AAH/", "media_type": "text/plain"},
                {"file_data": "data:text/plain;base64,AAH/"},
            ),
            (
                "name",
                {"data": "AAH/", "media_type": "text/plain", "name": "y"},
                {"file_data": "data:text/plain;base64,AAH/", "filename": "y"},
            ),
        )
    },
    **{
        f"messages.reasoning_blocks.{name}": (
            {"messages": [{"role": "ROLE_ASSISTANT", "reasoning_blocks": [given]}]},
            {"messages": [{"role": "assistant", "content": None, **sent}]},
        )
        for name, given, sent in (
            ("text", {"text": "hm"}, {"reasoning_content": "hm"}),
            (
                "signature",
                {"text": "hm", "signature": "s"},
                {
                    "reasoning_content": "hm",
                    "reasoning_details": [{"type": "reasoning.text", "text": "hm", "signature": "s"}],
                },
            ),
            ("redacted", {"redacted": "x"}, {"reasoning_details": [{"type": "reasoning.encrypted", "data": "x"}]}),
        )
    },
    "messages.tool_call_id": (
        {"messages": [{**HI, "role": "ROLE_TOOL", "tool_call_id": "c"}]},
        {"messages": [{**JSON_HI, "role": "tool", "tool_call_id": "c"}]},
    ),
    "messages.refusal": (
        {"messages": [{"role": "ROLE_ASSISTANT", "refusal": "no"}]},
        {"messages": [{"role": "assistant", "content": None, "refusal": "no"}]},
    ),
    "messages.reasoning": (
        {"messages": [{"role": "ROLE_ASSISTANT", "reasoning": "hm"}]},
        {"messages": [{"role": "assistant", "content": None, "reasoning_content": "hm"}]},
    ),
    "max_output_tokens": ({"max_output_tokens": 0}, {"max_tokens": 0}),
    "temperature": ({"temperature": 0}, {"temperature": 0.0}),
    "top_p": ({"top_p": 0.25}, {"top_p": 0.25}),
    "stop": ({"stop": ["a", ""]}, {"stop": ["a", ""]}),
    "n": ({"n": 2}, {"n": 2}),
    "seed": ({"seed": "-9223372036854775808"}, {"seed": -(2**63)}),
    "presence_penalty": ({"presence_penalty": 0}, {"presence_penalty": 0.0}),
    "frequency_penalty": ({"frequency_penalty": -1.5}, {"frequency_penalty": -1.5}),
    "tools.name": ({"tools": [{"name": "f"}]}, {"tools": [{"type": "function", "function": {"name": "f"}}]}),
    "tools.description": (
        {"tools": [{"name": "f", "description": "d"}]},
        {"tools": [{"type": "function", "function": {"name": "f", "description": "d"}}]},
    ),
    "tools.parameters": (
        {"tools": [{"name": "f", "parameters": {"type": "object", "maximum": 1}}]},
        {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "maximum": 1}}}]},
    ),
    "tools.strict": (
        {"tools": [{"name": "f", "strict": False}]},
        {"tools": [{"type": "function", "function": {"name": "f", "strict": False}}]},
    ),
    "tool_choice.mode": ({"tool_choice": {"mode": "MODE_REQUIRED"}}, {"tool_choice": "required"}),
    "tool_choice.function_name": (
        {"tool_choice": {"function_name": "f"}},
        {"tool_choice": {"type": "function", "function": {"name": "f"}}},
    ),
    "parallel_tool_calls": ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
    "response_format.text": ({"response_format": {"text": True}}, {"response_format": {"type": "text"}}),
    "response_format.json_object": (
        {"response_format": {"json_object": True}},
        {"response_format": {"type": "json_object"}},
    ),
    **{
        f"response_format.json_schema.{name}": (
            {"response_format": {"json_schema": {"name": "s", "schema": {"a": [1]}, **more}}},
            {"response_format": {"type": "json_schema", "json_schema": {"name": "s", "schema": {"a": [1]}, **more}}},
        )
        for name, more in SCHEMA_FIELDS.items()
    },
    "top_logprobs": ({"top_logprobs": 0}, {"logprobs": True, "top_logprobs": 0}),
    "user": ({"user": "u"}, {"user": "u"}),
    "top_k": ({"top_k": 0}, {"top_k": 0}),
    "reasoning.effort": ({"reasoning": {"effort": "EFFORT_HIGH"}}, {"reasoning_effort": "high"}),
    "reasoning.budget_tokens": ({"reasoning": {"budget_tokens": 4000}}, {"reasoning_effort": "medium"}),
    **{f"metadata.{name}": ({"metadata": {"a": "b"}}, {"metadata": {"a": "b"}}) for name in ("key", "value")},
    "extra": (
        {"extra": {"best_of": 40, "min_p": 0.5, "big": 1e30, "deep": [{"a": None, "b": [True, 2]}]}},
        {"best_of": 40, "min_p": 0.5, "big": 1e30, "deep": [{"a": None, "b": [True, 2]}]},
    ),
}


def chat_request(**fields: Any) -> chat_pb2.ChatCompletionRequest:
    return ParseDict({"model": "m", "messages": [HI], **fields}, chat_pb2.ChatCompletionRequest())


def sent(request: chat_pb2.ChatCompletionRequest) -> Any:
    return json.loads(chat_request_encoder.encode_request(decode_chat(request), "sent", stream=False))


def test_every_field_of_a_request_has_a_case() -> None:
    assert CHAT_FIELDS.keys() == set(leaves(chat_pb2.ChatCompletionRequest.DESCRIPTOR))


@pytest.mark.parametrize("field", CHAT_FIELDS)
def test_field_reaches_the_backend(field: str) -> None:
    given_fields, expected = CHAT_FIELDS[field]
    assert sent(chat_request(**given_fields)) == {"model": "sent", "messages": [JSON_HI], **expected}


def test_whole_numbers_of_a_struct_are_integers_as_far_as_a_double_is_exact() -> None:
    request = chat_request(extra={"a": 40, "b": 2**53, "c": -(2**53), "d": 1e300})
    body = chat_request_encoder.encode_request(decode_chat(request), "m", stream=False)
    written = (b'"a":40', b'"b":9007199254740992', b'"c":-9007199254740992', b'"d":1e300')
    assert all(re.search(member + rb"[,}]", body) for member in written)


@pytest.mark.parametrize("number", [number for number in chat_pb2.Message.Role.values() if number])
def test_every_role_is_known(number: chat_pb2.Message.Role.ValueType) -> None:
    request = chat_request()
    request.messages[0].role = number
    assert f"ROLE_{decode_chat(request).messages[0].role.name}" == chat_pb2.Message.Role.Name(number)


@pytest.mark.parametrize("number", [number for number in chat_pb2.ToolChoice.Mode.values() if number])
def test_every_tool_mode_is_known(number: chat_pb2.ToolChoice.Mode.ValueType) -> None:
    choice = decode_chat(chat_request(tool_choice={"mode": number})).tool_choice
    assert isinstance(choice, ToolMode)
    assert f"MODE_{choice.name}" == chat_pb2.ToolChoice.Mode.Name(number)


def test_enums_of_the_protos_have_nothing_more() -> None:
    assert len(chat_pb2.Message.Role.values()) == len(Role) + 1
    assert len(chat_pb2.ToolChoice.Mode.values()) == len(ToolMode) + 1
    assert len(chat_pb2.FinishReason.values()) == len(FinishReason) + 1


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": ""}, "request.model"),
        ({"messages": []}, "request.messages"),
        ({"messages": [HI, {"content": [{"text": "a"}]}]}, "request.messages[1].role"),
        ({"messages": [{"role": 77}]}, "request.messages[0].role"),
        ({"messages": [{**HI, "content": [{"text": "a"}, {}]}]}, "request.messages[0].content[1]"),
        ({"messages": [{**HI, "content": [{"image": {}}]}]}, "request.messages[0].content[0].image"),
        (
            {"messages": [{**HI, "content": [{"image": {"data": "AAAA"}}]}]},
            "request.messages[0].content[0].image.media_type",
        ),
        ({"tools": [{"name": "f"}, {"description": "d"}]}, "request.tools[1].name"),
        ({"tool_choice": {}}, "request.tool_choice"),
        ({"tool_choice": {"mode": 0}}, "request.tool_choice"),
        ({"tool_choice": {"mode": 9}}, "request.tool_choice"),
        ({"tool_choice": {"function_name": ""}}, "request.tool_choice"),
        ({"response_format": {}}, "request.response_format"),
        ({"response_format": {"json_schema": {"schema": {}}}}, "request.response_format.json_schema.name"),
        ({"response_format": {"json_schema": {"name": "s"}}}, "request.response_format.json_schema.schema"),
    ],
)
def test_bad_request_is_refused_with_its_place(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_chat(chat_request(**fields))
    assert caught.value.param == param


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("field", ["temperature", "top_p", "presence_penalty", "frequency_penalty"])
def test_number_that_json_does_not_know_is_refused(field: str, number: float) -> None:
    request = chat_request()
    setattr(request, field, number)
    with pytest.raises(InvalidRequestError) as caught:
        decode_chat(request)
    assert caught.value.param == f"request.{field}"


@pytest.mark.parametrize("number", [math.nan, math.inf])
@pytest.mark.parametrize(
    "place", ["request.extra", "request.tools[0].parameters", "request.response_format.json_schema.schema"]
)
def test_struct_with_a_number_that_json_does_not_know_is_refused(place: str, number: float) -> None:
    request = chat_request(
        extra={"a": 1},
        tools=[{"name": "f", "parameters": {}}],
        response_format={"json_schema": {"name": "s", "schema": {}}},
    )
    struct = {
        "request.extra": request.extra,
        "request.tools[0].parameters": request.tools[0].parameters,
        "request.response_format.json_schema.schema": request.response_format.json_schema.schema,
    }[place]
    struct["a"] = [{"b": number}]
    with pytest.raises(InvalidRequestError) as caught:
        decode_chat(request)
    assert caught.value.param == place


# Answers.

USAGE = Usage(
    input_tokens=5,
    output_tokens=7,
    cached_input_tokens=3,
    cache_creation_tokens=1,
    reasoning_tokens=2,
    audio_input_tokens=4,
    audio_output_tokens=6,
)
TOKEN = TokenLogprob(token="t", logprob=-0.5, bytes=b"t", top=(TokenLogprob(token="u", logprob=-1.0, bytes=b"u"),))
FULL: tuple[ChatEvent, ...] = (
    AnswerStarted(id="a-1", model="upstream", created=5, system_fingerprint="fp"),
    TextDelta(choice=1, text="hel"),
    TextDelta(choice=1, text="lo"),
    ReasoningDelta(choice=1, text="hm"),
    ReasoningSigned(choice=1, signature="s"),
    ReasoningRedacted(choice=1, data="x"),
    CitationAdded(choice=1, citation=Citation(url="https://x", title="t", cited_text="c")),
    OpaqueAdded(choice=1, part=OpaquePart(dialect="d", value={"type": "search"})),
    RefusalDelta(choice=1, text="no"),
    ToolCallDelta(choice=1, index=1, id="c", name="f", arguments='{"a"', signature="g"),
    ToolCallDelta(choice=1, index=1, arguments=":1}"),
    LogprobsDelta(choice=1, tokens=(TOKEN,)),
    ChoiceFinished(choice=1, reason=FinishReason.TOOL_CALLS),
    UsageReported(usage=USAGE),
)

# A message of an answer is text that the model wrote, nothing more.
NEVER_IN_ANSWERS = {
    "choices.message.name",
    "choices.message.tool_call_id",
    *(f"choices.message.content.image.{name}" for name in ("url", "data", "media_type", "detail")),
    *(f"choices.message.content.audio.{name}" for name in ("data", "format")),
    *(f"choices.message.content.file.{name}" for name in ("url", "file_id", "data", "media_type", "name")),
}


def filled(message: ProtoMessage, path: str = "") -> set[str]:
    """The paths of all fields that are set, of the first to the last item of a list."""
    found: set[str] = set()
    for field, value in message.ListFields():
        for item in value if field.is_repeated else [value]:
            if isinstance(item, ProtoMessage):
                found |= filled(item, f"{path}{field.name}.")
            else:
                found.add(f"{path}{field.name}")
    return found


def test_every_field_of_a_whole_answer_is_filled() -> None:
    found = filled(encode_chat(FULL, "asked"))
    within = {path for path in found if ".top_logprobs." in path}
    assert within == {f"choices.logprobs.top_logprobs.{name}" for name in ("token", "logprob", "bytes")}
    assert found - within == set(leaves(chat_pb2.CreateChatCompletionResponse.DESCRIPTOR)) - NEVER_IN_ANSWERS


def test_every_field_of_a_streamed_answer_is_filled() -> None:
    found = filled(written(ChatStreamWriter("asked"), FULL))
    within = {path for path in found if ".top_logprobs." in path}
    assert within == {f"choices.logprobs.top_logprobs.{name}" for name in ("token", "logprob", "bytes")}
    assert found - within == set(leaves(chat_pb2.StreamChatCompletionResponse.DESCRIPTOR))


def test_whole_answer() -> None:
    answer = encode_chat(FULL, "asked")
    assert MessageToDict(answer, preserving_proto_field_name=True) == {
        "id": "a-1",
        "model": "asked",
        "created": "5",
        "system_fingerprint": "fp",
        "usage": {
            "input_tokens": "5",
            "output_tokens": "7",
            "cached_input_tokens": "3",
            "cache_creation_tokens": "1",
            "reasoning_tokens": "2",
            "audio_input_tokens": "4",
            "audio_output_tokens": "6",
            "total_tokens": "12",
        },
        "choices": [
            {
                "index": 1,
                "message": {
                    "role": "ROLE_ASSISTANT",
                    "content": [{"text": "hello"}],
                    "reasoning": "hm",
                    "reasoning_blocks": [{"text": "hm", "signature": "s"}, {"redacted": "x"}],
                    "refusal": "no",
                    "tool_calls": [{}, {"id": "c", "name": "f", "arguments": '{"a":1}', "signature": "g"}],
                },
                "citations": [{"url": "https://x", "title": "t", "cited_text": "c"}],
                "finish_reason": "FINISH_REASON_TOOL_CALLS",
                "logprobs": [
                    {
                        "token": "t",
                        "logprob": -0.5,
                        "bytes": "dA==",
                        "top_logprobs": [{"token": "u", "logprob": -1.0, "bytes": "dQ=="}],
                    }
                ],
            }
        ],
    }


@pytest.mark.parametrize("reason", FinishReason)
def test_every_finish_reason_is_told(reason: FinishReason) -> None:
    (choice,) = encode_chat([ChoiceFinished(choice=0, reason=reason)], "m").choices
    assert chat_pb2.FinishReason.Name(choice.finish_reason) == f"FINISH_REASON_{reason.name}"


def test_unknown_finish_reason_is_unspecified() -> None:
    (choice,) = encode_chat([ChoiceFinished(choice=0, reason=None)], "m").choices
    assert choice.finish_reason == chat_pb2.FINISH_REASON_UNSPECIFIED


def test_alternatives_stand_in_order() -> None:
    events = [TextDelta(choice=index, text=str(index)) for index in (2, 0, 1)]
    assert [choice.index for choice in encode_chat(events, "m").choices] == [0, 1, 2]


def written(writer: ChatStreamWriter, events: Iterable[ChatEvent]) -> chat_pb2.StreamChatCompletionResponse:
    """The message for events that carry something."""
    data = writer.write(events)
    assert data != b""
    return chat_pb2.StreamChatCompletionResponse.FromString(data)


def test_what_carries_nothing_makes_no_message() -> None:
    writer = ChatStreamWriter("asked")
    assert writer.write([]) == b""
    assert writer.write([AnswerStarted(id="a", model="u", created=1)]) == b""
    message = written(writer, [TextDelta(choice=0, text="x")])
    assert (message.id, message.model, message.created) == ("a", "asked", 1)


def test_usage_of_nothing_is_told() -> None:
    message = written(ChatStreamWriter("m"), [UsageReported(usage=Usage())])
    assert message.HasField("usage")
    assert encode_chat([UsageReported(usage=Usage())], "m").HasField("usage")


texts = st.text(max_size=4)
indexes = st.integers(0, 2)
choice_events = st.one_of(
    st.builds(TextDelta, choice=indexes, text=texts.filter(bool)),
    st.builds(ReasoningDelta, choice=indexes, text=texts.filter(bool)),
    st.builds(RefusalDelta, choice=indexes, text=texts.filter(bool)),
    st.builds(ToolCallDelta, choice=indexes, index=indexes, id=texts, name=texts, arguments=texts),
    st.builds(LogprobsDelta, choice=indexes, tokens=st.just((TOKEN,))),
    st.builds(ChoiceFinished, choice=indexes, reason=st.sampled_from(FinishReason)),
)
usages = st.builds(UsageReported, usage=st.builds(Usage, input_tokens=st.integers(0, 99)))
batches = st.lists(st.lists(choice_events | usages, max_size=4), max_size=6)


@given(batches)
def test_stream_says_what_the_whole_answer_says(pieces: list[list[ChatEvent]]) -> None:
    started = AnswerStarted(id="a-1", model="upstream", created=5, system_fingerprint="fp")
    writer = ChatStreamWriter("asked")
    messages = [written(writer, [started, *piece]) for piece in pieces if piece]
    events: list[ChatEvent] = [started, *(event for piece in pieces for event in piece)]
    assert join(messages) == encode_chat(events, "asked")


def join(messages: Iterable[chat_pb2.StreamChatCompletionResponse]) -> chat_pb2.CreateChatCompletionResponse:
    """What a client makes of a stream."""
    answer = chat_pb2.CreateChatCompletionResponse(id="a-1", model="asked", created=5, system_fingerprint="fp")
    choices: dict[int, chat_pb2.Choice] = {}
    for message in messages:
        assert (message.id, message.model, message.created, message.system_fingerprint) == ("a-1", "asked", 5, "fp")
        if message.HasField("usage"):
            answer.usage.CopyFrom(message.usage)
        for delta in message.choices:
            new = chat_pb2.Choice(index=delta.index, message=chat_pb2.Message(role=chat_pb2.Message.ROLE_ASSISTANT))
            add(choices.setdefault(delta.index, new), delta)
    answer.choices.extend(choices[index] for index in sorted(choices))
    return answer


def add(choice: chat_pb2.Choice, delta: chat_pb2.ChoiceDelta) -> None:
    message = choice.message
    if delta.content:
        if not message.content:
            message.content.add()
        message.content[0].text += delta.content
    message.refusal += delta.refusal
    message.reasoning += delta.reasoning
    for piece in delta.tool_calls:
        while len(message.tool_calls) <= piece.index:
            message.tool_calls.add()
        call = message.tool_calls[piece.index]
        call.id = call.id or piece.id
        call.name = call.name or piece.name
        call.arguments += piece.arguments
    choice.logprobs.extend(delta.logprobs)
    choice.finish_reason = delta.finish_reason or choice.finish_reason


STREAMS = [name for name in recordings.names(["chat-completions"]) if "stream-" in name and "error" not in name]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS or ["absent"])
def test_recorded_stream_cut_anywhere_says_what_its_events_say(name: str) -> None:
    answer = recordings.load(name).answer
    events: list[ChatEvent] = []
    messages: list[chat_pb2.StreamChatCompletionResponse] = []
    writer = ChatStreamWriter("asked")
    parser = SseParser()
    for piece in single_bytes(answer):
        for event in parser.feed(piece):
            if event.data:
                found = list(openai_chat_answer.decode_events(event.data, is_first=not events))
                if data := writer.write(found):
                    messages.append(chat_pb2.StreamChatCompletionResponse.FromString(data))
                events += found
    whole = encode_chat(events, "asked")
    assert "".join(
        choice.content for message in messages for choice in message.choices if choice.index == 0
    ) == "".join(part.text for part in whole.choices[0].message.content)
    assert messages[-1].usage == whole.usage
    assert {message.id for message in messages} == {whole.id} != {""}


# Embeddings.

EMBEDDINGS_FIELDS: Mapping[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "model": ({"model": "other"}, {}),
    "input": ({"input": ["b", ""]}, {"input": ["b", ""]}),
    "dimensions": ({"dimensions": 3}, {"dimensions": 3}),
    "user": ({"user": "u"}, {"user": "u"}),
}


def embeddings_request(**fields: Any) -> embeddings_pb2.CreateEmbeddingsRequest:
    return ParseDict({"model": "m", "input": ["a"], **fields}, embeddings_pb2.CreateEmbeddingsRequest())


def test_every_field_of_an_embeddings_request_has_a_case() -> None:
    assert EMBEDDINGS_FIELDS.keys() == set(leaves(embeddings_pb2.CreateEmbeddingsRequest.DESCRIPTOR))


@pytest.mark.parametrize("field", EMBEDDINGS_FIELDS)
def test_embeddings_field_reaches_the_backend(field: str) -> None:
    given_fields, expected = EMBEDDINGS_FIELDS[field]
    body = openai_embeddings.encode_request(decode_embeddings(embeddings_request(**given_fields)), "sent")
    assert json.loads(body) == {"model": "sent", "input": ["a"], "encoding_format": "base64", **expected}


@pytest.mark.parametrize(("fields", "param"), [({"model": ""}, "model"), ({"input": []}, "input")])
def test_bad_embeddings_request_is_refused(fields: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode_embeddings(embeddings_request(**fields))
    assert caught.value.param == param


def test_embeddings_answer() -> None:
    answer = EmbeddingsAnswer(model="upstream", vectors=((0.5, -1.0), (), (3.4e38,)), usage=USAGE)
    message = encode_embeddings(answer, "asked")
    assert message.model == "asked"
    assert [(each.index, list(each.values)) for each in message.embeddings] == [
        (0, [0.5, -1.0]),
        (1, []),
        (2, [pytest.approx(3.4e38)]),
    ]
    assert filled(message) == set(leaves(embeddings_pb2.CreateEmbeddingsResponse.DESCRIPTOR))
