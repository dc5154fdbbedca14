"""What OpenAI's own library makes of answers that Janua has translated to its responses and completions."""

import json
from collections.abc import Iterable
from typing import Any

import httpx2
import pytest
from openai import APIError, OpenAI
from openai.types.responses.response_create_params import ResponseCreateParamsStreaming
from pydantic import BaseModel, TypeAdapter

from gateway.errors import BadGatewayError
from gateway.listeners.error_formats import OPENAI_ERRORS
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.table import OPENAI_COMPLETIONS, OPENAI_RESPONSES
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FilePart,
    FinishReason,
    ImagePart,
    JsonSchemaFormat,
    LogprobsDelta,
    Message,
    NamedTool,
    Reasoning,
    ReasoningDelta,
    ReasoningEffort,
    ReasoningPart,
    ReasoningSigned,
    RefusalDelta,
    Role,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolCall,
    ToolCallDelta,
    ToolResult,
    Usage,
    UsageReported,
)

SETTINGS = AnswerSettings(model="m")

STARTED = AnswerStarted(id="resp_1", model="x", created=1_700_000_000)
USAGE = UsageReported(
    usage=Usage(input_tokens=9, output_tokens=5, cached_input_tokens=2, cache_creation_tokens=1, reasoning_tokens=3)
)
TEXT: tuple[ChatEvent, ...] = (
    TextDelta(choice=0, text="Hel"),
    TextDelta(choice=0, text="lo"),
    CitationAdded(choice=0, citation=Citation(url="https://x", title="t")),
)
CALLS: tuple[ChatEvent, ...] = (
    ReasoningDelta(choice=0, text="I must "),
    ReasoningDelta(choice=0, text="ask."),
    ReasoningSigned(choice=0, signature="c2ln"),
    TextDelta(choice=0, text="Let me see."),
    ToolCallDelta(choice=0, index=0, id="call_a", name="f", arguments='{"x":'),
    ToolCallDelta(choice=0, index=1, id="call_b", name="g", arguments="{}"),
    ToolCallDelta(choice=0, index=0, arguments="1}"),
)
STOPPED = ChoiceFinished(choice=0, reason=FinishReason.STOP)
CALLED = ChoiceFinished(choice=0, reason=FinishReason.TOOL_CALLS)


def client(body: bytes, content_type: str, asked: list[Any]) -> OpenAI:
    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append((request.url.path, json.loads(request.content)))
        return httpx2.Response(200, content=body, headers={"content-type": content_type})

    http = httpx2.Client(transport=httpx2.MockTransport(answer))
    return OpenAI(api_key="k", base_url="http://janua/v1", http_client=http, max_retries=0)


def whole(dialect: ChatDialect, *events: ChatEvent) -> OpenAI:
    return client(dialect.encode_answer([STARTED, *events], SETTINGS), "application/json", [])


def streamed(dialect: ChatDialect, *events: ChatEvent) -> OpenAI:
    return client(stream_of(dialect, events), "text/event-stream", [])


def stream_of(dialect: ChatDialect, events: Iterable[ChatEvent]) -> bytes:
    encoder = dialect.event_encoder(SETTINGS)
    return b"".join(encoder.encode([event]) for event in (STARTED, *events)) + encoder.finish()


def test_whole_answer_with_text() -> None:
    response = whole(OPENAI_RESPONSES, *TEXT, USAGE, STOPPED).responses.create(model="m", input="hi")
    assert response.output_text == "Hello"
    assert (response.id, response.model, response.status) == ("resp_1", "m", "completed")
    (message,) = response.output
    assert message.type == "message"
    (part,) = message.content
    assert part.type == "output_text"
    (annotation,) = part.annotations
    assert annotation.type == "url_citation"
    assert annotation.url == "https://x"
    assert response.usage is not None
    assert (response.usage.input_tokens, response.usage.output_tokens, response.usage.total_tokens) == (9, 5, 14)
    assert response.usage.input_tokens_details.cached_tokens == 2
    assert response.usage.output_tokens_details.reasoning_tokens == 3


def test_whole_answer_obeys_the_librarys_types() -> None:
    response = whole(OPENAI_RESPONSES, *CALLS, RefusalDelta(choice=0, text="no"), USAGE, CALLED).responses.create(
        model="m", input="hi"
    )
    # The library reads answers without checking them.
    type(response).model_validate(response.model_dump())
    assert [item.type for item in response.output] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "message",
    ]


def test_stream_of_typed_events() -> None:
    events = list(
        streamed(OPENAI_RESPONSES, *CALLS, CALLED, USAGE).responses.create(model="m", input="hi", stream=True)
    )
    for event in events:
        type(event).model_validate(event.model_dump())
    assert [event.sequence_number for event in events] == list(range(len(events)))
    texts = [event.delta for event in events if event.type == "response.output_text.delta"]
    thoughts = [event.delta for event in events if event.type == "response.reasoning_summary_text.delta"]
    assert (texts, thoughts) == (["Let me see."], ["I must ", "ask."])
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens == 14


class Answer(BaseModel):
    """What the model is asked to write."""

    x: int


def test_helper_for_streams_gives_the_final_answer() -> None:
    sdk = streamed(OPENAI_RESPONSES, *CALLS, CALLED, USAGE)
    with sdk.responses.stream(model="m", input="hi") as stream:
        kinds = [event.type for event in stream]
        response = stream.get_final_response()
    assert kinds[0] == "response.created"
    assert kinds[-1] == "response.completed"
    calls = [item for item in response.output if item.type == "function_call"]
    assert [(call.call_id, call.name, call.arguments) for call in calls] == [
        ("call_a", "f", '{"x":1}'),
        ("call_b", "g", "{}"),
    ]
    assert response.output_text == "Let me see."


def test_helper_for_streams_parses_what_obeys_a_schema() -> None:
    sdk = streamed(OPENAI_RESPONSES, TextDelta(choice=0, text='{"x":'), TextDelta(choice=0, text="5}"), USAGE, STOPPED)
    with sdk.responses.stream(model="m", input="hi", text_format=Answer) as stream:
        snapshots = [event.snapshot for event in stream if event.type == "response.output_text.delta"]
        response = stream.get_final_response()
    assert snapshots == ['{"x":', '{"x":5}']
    assert response.output_parsed == Answer(x=5)


def test_helper_for_streams_takes_refusals_and_texts_by_turns() -> None:
    sdk = streamed(
        OPENAI_RESPONSES,
        TextDelta(choice=0, text="a"),
        RefusalDelta(choice=0, text="no"),
        TextDelta(choice=0, text="b"),
        LogprobsDelta(choice=0, tokens=(TokenLogprob(token="b", logprob=-0.5),)),
        STOPPED,
    )
    with sdk.responses.stream(model="m", input="hi") as stream:
        response = stream.get_final_response()
    assert response.output_text == "ab"


def test_answer_that_was_cut_is_told_as_incomplete() -> None:
    cut = ChoiceFinished(choice=0, reason=FinishReason.LENGTH)
    events = list(streamed(OPENAI_RESPONSES, *TEXT, cut).responses.create(model="m", input="hi", stream=True))
    last = events[-1]
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_error_within_a_stream_is_raised() -> None:
    encoder = OPENAI_RESPONSES.event_encoder(SETTINGS)
    body = encoder.encode([STARTED, *TEXT]) + (OPENAI_ERRORS.event(BadGatewayError("cut off")) or b"")
    with pytest.raises(APIError, match="cut off"):
        list(client(body, "text/event-stream", []).responses.create(model="m", input="hi", stream=True))


def test_output_that_the_library_sends_back_keeps_thoughts_and_their_signatures() -> None:
    response = whole(OPENAI_RESPONSES, *CALLS, CALLED).responses.create(model="m", input="hi")
    asked: list[Any] = []
    sdk = client(OPENAI_RESPONSES.encode_answer([STARTED, STOPPED], SETTINGS), "application/json", asked)
    given: Any = [
        {"role": "user", "content": "hi"},
        *response.output,
        {"type": "function_call_output", "call_id": "call_a", "output": "5"},
    ]
    sdk.responses.create(model="m", input=given)
    ((path, body),) = asked
    assert path == "/v1/responses"
    request = OPENAI_RESPONSES.decode_request(json.dumps(body).encode(), "m")
    assert request.messages[1].content == (
        ReasoningPart(text="I must ask.", signature="c2ln"),
        TextPart(text="Let me see."),
        ToolCall(id="call_a", name="f", arguments='{"x":1}'),
        ToolCall(id="call_b", name="g", arguments="{}"),
    )


def test_request_that_was_translated_obeys_the_librarys_types() -> None:
    request = ChatRequest(
        model="m",
        dialect="anthropic_messages",
        messages=(
            Message(role=Role.SYSTEM, content=(TextPart(text="s"),)),
            Message(
                role=Role.USER,
                content=(TextPart(text="a"), ImagePart(url="data:image/png;base64,YQ=="), FilePart(url="https://x")),
            ),
            Message(
                role=Role.ASSISTANT,
                content=(ReasoningPart(text="t"), TextPart(text="x"), ToolCall(id="c", name="f", arguments="{}")),
            ),
            Message(role=Role.TOOL, content=(ToolResult(call_id="c", content=(TextPart(text="5"),)),)),
        ),
        tools=(Tool(name="f"),),
        tool_choice=NamedTool(name="f"),
        reasoning=Reasoning(effort=ReasoningEffort.LOW, is_shown=True),
        response_format=JsonSchemaFormat(name="n", schema={}),
        metadata={"a": "b"},
        top_logprobs=2,
    )
    body = json.loads(OPENAI_RESPONSES.encode_request(request, "m", stream=True, drop_unsupported=False))
    for item in body["input"]:
        if item["type"] == "reasoning":  # it has no id, for OpenAI does not know it
            item["id"] = "rs"
    TypeAdapter(ResponseCreateParamsStreaming).validate_python(body)


def test_completions() -> None:
    events = (TextDelta(choice=0, text="Hel"), TextDelta(choice=0, text="lo"), STOPPED, USAGE)
    completion = whole(OPENAI_COMPLETIONS, *events).completions.create(model="m", prompt="hi")
    (choice,) = completion.choices
    assert (choice.text, choice.finish_reason) == ("Hello", "stop")
    assert completion.usage is not None
    assert completion.usage.total_tokens == 14
    chunks = list(
        streamed(OPENAI_COMPLETIONS, *events).completions.create(
            model="m", prompt="hi", stream=True, stream_options={"include_usage": True}
        )
    )
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "Hello"
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.completion_tokens == 5
