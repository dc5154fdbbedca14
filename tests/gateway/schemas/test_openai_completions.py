"""OpenAI's completions: a prompt is one message of the user, and answers, recorded and made up, are text."""

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.sse import SseParser, encode_event
from gateway.listeners.surfaces import find_surface
from gateway.schemas.chat_dialect import AnswerSettings, ChatDialect
from gateway.schemas.dialect import EventKind
from gateway.schemas.openai.completions_request import NAME
from gateway.schemas.table import OPENAI_CHAT, OPENAI_COMPLETIONS, SCHEMAS
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChatRequest,
    ChoiceFinished,
    FinishReason,
    ImagePart,
    LogprobsDelta,
    Message,
    PlainFormat,
    Reasoning,
    ReasoningDelta,
    RefusalDelta,
    Role,
    Schema,
    TextDelta,
    TextPart,
    TokenLogprob,
    Tool,
    ToolMode,
    Usage,
    UsageReported,
)
from tests.gateway.schemas.chat_event_strategies import answers, batches
from tests.gateway.schemas.folded_answers import Alternative, Folded, fold
from tests.support import recordings

DIALECT = OPENAI_COMPLETIONS
SETTINGS = AnswerSettings(model="m")
HI = Message(role=Role.USER, content=(TextPart(text="hi"),))

NAMES = recordings.names(["completions"])
ANSWERED = [name for name in NAMES if "error-" not in name]
REFUSED = [name for name in NAMES if "error-" in name or name == "absent"]
# Several prompts, of tokens.
OF_TOKENS = "openai/completions/n-choices-finish-length-stop"


def decoded(**body: object) -> ChatRequest:
    return DIALECT.decode_request(json.dumps({"model": "m", **body}).encode(), "m")


def encoded(request: ChatRequest, *, stream: bool = False, drop: bool = False) -> Any:
    return json.loads(DIALECT.encode_request(request, "m", stream=stream, drop_unsupported=drop))


def asked(*messages: Message, dialect: str = NAME, **fields: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=messages or (HI,), dialect=dialect, **fields)


def decode_stream(dialect: ChatDialect, stream: bytes, size: int = 0) -> list[ChatEvent]:
    parser, decoder = dialect.framing.parser(), dialect.event_decoder()
    pieces = [stream[at : at + size] for at in range(0, len(stream), size)] if size else [stream]
    return [each for piece in pieces for event in parser.feed(piece) for each in decoder.decode(event)]


def stream_of(
    batches: Iterable[Iterable[ChatEvent]], settings: AnswerSettings = SETTINGS, dialect: ChatDialect = DIALECT
) -> bytes:
    encoder = dialect.event_encoder(settings)
    return b"".join(encoder.encode(batch) for batch in batches) + encoder.finish()


def one_by_one(events: Iterable[ChatEvent]) -> Iterable[list[ChatEvent]]:
    return ([event] for event in events)


def test_completions_are_a_dialect_of_openais_with_a_surface() -> None:
    assert OPENAI_COMPLETIONS in SCHEMAS[Schema.OPENAI].chat
    assert DIALECT.path("any", stream=True) == "/v1/completions"
    surface = find_surface("/v1/completions")
    assert surface is not None
    assert surface.dialect is OPENAI_COMPLETIONS
    assert not surface.read_head("/v1/completions", {}, b'{"model":"m","prompt":""}').includes_usage


# Requests.


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        ({"prompt": "hi"}, {}),
        ({"prompt": ["hi"]}, {}),
        ({"max_tokens": 5}, {"max_output_tokens": 5}),
        ({"temperature": 0.5, "top_p": 1, "top_k": 3}, {"temperature": 0.5, "top_p": 1, "top_k": 3}),
        ({"stop": "a"}, {"stop": ("a",)}),
        ({"stop": ["a", "b"]}, {"stop": ("a", "b")}),
        ({"n": 2, "seed": 7}, {"n": 2, "seed": 7}),
        ({"presence_penalty": 1, "frequency_penalty": 0.5}, {"presence_penalty": 1, "frequency_penalty": 0.5}),
        ({"logprobs": 3}, {"top_logprobs": 3}),
        ({"logprobs": 0}, {"top_logprobs": 0}),
        ({"user": "ann"}, {"user": "ann"}),
        ({"suffix": "\n", "echo": True, "best_of": 3}, {"extra": {"suffix": "\n", "echo": True, "best_of": 3}}),
        ({"logit_bias": {"5": 1}}, {"extra": {"logit_bias": {"5": 1}}}),
        ({"suffix": "", "echo": False, "best_of": 1}, {}),
        ({"suffix": None, "echo": None, "stream": True, "stream_options": {"include_usage": True}}, {}),
    ],
)
def test_field_is_read_and_comes_back(body: dict[str, Any], fields: dict[str, Any]) -> None:
    request = decoded(**{"prompt": "hi", **body})
    assert request == asked(**fields)
    assert decoded(**encoded(request)) == request


@pytest.mark.parametrize("field", [{"suffix": "x"}, {"echo": True}, {"best_of": 2}])
def test_what_chat_has_nothing_like_is_refused_there_by_name(field: dict[str, Any]) -> None:
    request = decoded(prompt="hi", **field)
    with pytest.raises(InvalidRequestError) as caught:
        OPENAI_CHAT.encode_request(request, "m", stream=False, drop_unsupported=False)
    assert [caught.value.param] == list(field)


@pytest.mark.parametrize("prompt", [["a", "b"], [1, 2], [[1, 2], [3]]])
def test_several_prompts_and_tokens_are_refused(prompt: object) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(prompt=prompt)
    assert (caught.value.param, caught.value.reason) == ("prompt", "UNSUPPORTED_FIELD")


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({}, "prompt"),
        ({"prompt": 5}, "prompt"),
        ({"prompt": []}, "prompt"),
        ({"prompt": "a", "stop": 5}, "stop"),
        ({"prompt": "a", "stop": [5]}, "stop"),
        ({"prompt": "a", "logprobs": True}, "logprobs"),
        ({"prompt": "a", "max_tokens": "b"}, "max_tokens"),
    ],
)
def test_wrong_field_is_named(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(**body)
    assert caught.value.param == param


def test_streamed_answer_is_asked_to_tell_its_usage() -> None:
    body = encoded(asked(), stream=True)
    assert body == {"model": "m", "prompt": "hi", "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    "messages",
    [
        (Message(role=Role.SYSTEM, content=(TextPart(text="a"),)), HI),
        (HI, Message(role=Role.ASSISTANT, content=(TextPart(text="a"),)), HI),
        (Message(role=Role.ASSISTANT, content=(TextPart(text="a"),)),),
        (Message(role=Role.USER, content=(ImagePart(url="data:"),)),),
    ],
)
@pytest.mark.parametrize("drop", [False, True])
def test_a_conversation_is_never_made_a_prompt(messages: tuple[Message, ...], drop: bool) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        encoded(asked(*messages), drop=drop)
    assert caught.value.param == "messages"


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"tools": (Tool(name="f"),)}, "tools"),
        ({"tool_choice": ToolMode.AUTO}, "tool_choice"),
        ({"parallel_tool_calls": False}, "parallel_tool_calls"),
        ({"response_format": PlainFormat.JSON_OBJECT}, "response_format"),
        ({"reasoning": Reasoning(budget_tokens=5)}, "reasoning"),
        ({"metadata": {"a": "b"}}, "metadata"),
        ({"extra": {"x": 1}}, "x"),
    ],
)
def test_what_has_no_place_is_refused_by_name_or_dropped(fields: dict[str, Any], param: str) -> None:
    request = asked(dialect="other", **fields)
    with pytest.raises(InvalidRequestError) as caught:
        encoded(request)
    assert caught.value.param == param
    assert encoded(request, drop=True) == encoded(asked())


@given(
    st.builds(
        lambda text, **fields: asked(Message(role=Role.USER, content=(TextPart(text=text),)), **fields),
        text=st.text(max_size=9),
        max_output_tokens=st.none() | st.integers(1),
        temperature=st.none() | st.floats(0, 2),
        top_p=st.none() | st.floats(0, 1),
        top_k=st.none() | st.integers(1, 99),
        stop=st.lists(st.text(max_size=3), max_size=3).map(tuple),
        n=st.none() | st.integers(1, 9),
        seed=st.none() | st.integers(),
        presence_penalty=st.none() | st.floats(-2, 2),
        frequency_penalty=st.none() | st.floats(-2, 2),
        top_logprobs=st.none() | st.integers(0, 5),
        user=st.none() | st.text(),
        extra=st.none() | st.just({"suffix": "x", "best_of": 4}),
    )
)
def test_a_request_means_the_same_after_writing_and_reading(request: ChatRequest) -> None:
    assert decoded(**encoded(request)) == request


# Answers.


def text_of(events: Iterable[ChatEvent]) -> dict[int, tuple[object, ...]]:
    """What this dialect has of an answer."""
    folded = fold(refused_in_words(events))
    return {index: plain(choice) for index, choice in folded.choices.items() if has_place(choice)}


def refused_in_words(events: Iterable[ChatEvent]) -> Iterable[ChatEvent]:
    for event in events:
        yield TextDelta(choice=event.choice, text=event.text) if isinstance(event, RefusalDelta) else event


def has_place(choice: Alternative) -> bool:
    return bool(choice.text or choice.logprobs or choice.finishes)


def plain(choice: Alternative) -> tuple[object, ...]:
    reasons = [
        reason if reason in (FinishReason.LENGTH, FinishReason.CONTENT_FILTER) else FinishReason.STOP
        for reason, _ in choice.finishes
    ]
    return choice.text, [(token.token, token.logprob) for token in choice.logprobs], reasons


def told(folded: Folded) -> tuple[object, ...]:
    (started,) = folded.starts
    choices = {index: plain(choice) for index, choice in folded.choices.items()}
    return started.id, started.created, folded.usages, choices


@given(st.data())
def test_any_answer_means_the_same_after_writing_and_reading(data: st.DataObject) -> None:
    events = data.draw(answers(choices=3))
    usages = fold(events).usages
    streamed = fold(decode_stream(DIALECT, stream_of(data.draw(batches(events)))))
    whole = fold(DIALECT.decode_answer(DIALECT.encode_answer(events, SETTINGS)))
    for found in (streamed, whole):
        assert {index: plain(choice) for index, choice in found.choices.items()} == text_of(events)
        assert found.usages == usages


@given(st.data(), st.integers(1, 50))
def test_any_cut_of_a_stream_gives_the_same_events(data: st.DataObject, size: int) -> None:
    stream = stream_of([data.draw(answers(choices=2))])
    assert decode_stream(DIALECT, stream, size) == decode_stream(DIALECT, stream)


def test_usage_is_told_in_a_stream_only_to_who_asked_for_it() -> None:
    events = [[UsageReported(usage=Usage(input_tokens=5))]]
    assert b'"usage"' in stream_of(events)
    assert b'"usage"' not in stream_of(events, AnswerSettings(model="m", includes_usage=False))


def test_chunks_have_what_came_together() -> None:
    token = TokenLogprob(
        token="ab", logprob=-0.5, bytes=b"ab", top=(TokenLogprob(token="c", logprob=-2.0, bytes=b"c"),)
    )
    started = AnswerStarted(id="cmpl-1", model="x", created=7)
    stream = stream_of(
        [
            [
                started,
                TextDelta(choice=0, text="a"),
                TextDelta(choice=0, text="b"),
                LogprobsDelta(choice=0, tokens=(token,)),
            ],
            [ReasoningDelta(choice=0, text="hm")],
            [LogprobsDelta(choice=0, tokens=(token,)), ChoiceFinished(choice=0, reason=FinishReason.LENGTH)],
        ]
    )
    head = {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m"}
    logprobs = {"tokens": ["ab"], "token_logprobs": [-0.5], "top_logprobs": [{"c": -2.0}]}
    *chunks, done = [event.data for event in SseParser().feed(stream)]
    assert done == b"[DONE]"
    assert [json.loads(chunk) for chunk in chunks] == [
        {
            **head,
            "choices": [
                {"text": "ab", "index": 0, "logprobs": {**logprobs, "text_offset": [0]}, "finish_reason": None}
            ],
        },
        {
            **head,
            "choices": [
                {"text": "", "index": 0, "logprobs": {**logprobs, "text_offset": [2]}, "finish_reason": "length"}
            ],
        },
    ]
    assert fold(decode_stream(DIALECT, stream)).only.logprobs == [token, token]


@pytest.mark.parametrize("body", [b"", b"[]", b"<html>", b'{"choices":{}}', b'{"choices":[{"text":5}]}', b"\xff"])
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(BadGatewayError) as caught:
        DIALECT.decode_answer(body)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@pytest.mark.parametrize("error", [{"message": "boom"}, "boom"])
def test_error_within_a_stream(error: object) -> None:
    with pytest.raises(BadGatewayError, match="boom") as caught:
        decode_stream(DIALECT, encode_event(json.dumps({"error": error}).encode(), "error"))
    assert caught.value.reason == "UPSTREAM_FAILED"


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["choices", "text", "logprobs", "tokens", "index", "usage", "created"]), inner
        )
    ),
    max_leaves=8,
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=20))
def test_garbage_raises_only_what_is_named(data: bytes) -> None:
    with contextlib.suppress(BadGatewayError):
        DIALECT.decode_answer(data)
    with contextlib.suppress(InvalidRequestError):
        DIALECT.decode_request(data, "m")
    with contextlib.suppress(ValueError):
        DIALECT.classify_event(data, "")


# As the data path relays them.


def chunk(text: str = "", **fields: object) -> bytes:
    return json.dumps({"choices": [{"index": 0, "text": text, "finish_reason": None, **fields}]}).encode()


@pytest.mark.parametrize(
    ("data", "event", "kind"),
    [
        (b"", "", EventKind.PREAMBLE),
        (chunk(), "", EventKind.PREAMBLE),
        (b'{"choices":[],"usage":{}}', "", EventKind.PREAMBLE),
        (chunk("a"), "", EventKind.CONTENT),
        (chunk(finish_reason="stop"), "", EventKind.CONTENT),
        (b"[DONE]", "", EventKind.CONTENT),
        (b'{"error":{"message":"no"}}', "", EventKind.ERROR),
        (b"anything", "error", EventKind.ERROR),
    ],
)
def test_commit_point(data: bytes, event: str, kind: EventKind) -> None:
    assert DIALECT.classify_event(data, event) is kind


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", [name for name in ANSWERED if "stream-" in name or name == "absent"])
def test_recorded_stream_is_relayed(name: str) -> None:
    stream = recordings.load(name).answer
    events = list(SseParser().feed(stream))
    assert {DIALECT.classify_event(event.data, event.event) for event in events} <= {
        EventKind.CONTENT,
        EventKind.PREAMBLE,
    }
    assert DIALECT.is_complete(stream[-DIALECT.tail_bytes :])
    assert (DIALECT.read_stream_usage(stream) is not None) == ("params" in name)
    for size in (1, 7, 64):
        assert decode_stream(DIALECT, stream, size) == decode_stream(DIALECT, stream)


# Recordings, read a second time in the plainest way.


def chunks_of(name: str) -> list[Any]:
    recording = recordings.load(name)
    if not recording.is_streaming:
        return [recording.json()]
    return [json.loads(event.data) for event in SseParser().feed(recording.answer) if event.data != b"[DONE]"]


def events_of(name: str) -> list[ChatEvent]:
    recording = recordings.load(name)
    if recording.is_streaming:
        return decode_stream(DIALECT, recording.answer)
    return list(DIALECT.decode_answer(recording.answer))


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERED)
def test_recorded_answer_is_read_as_it_says(name: str) -> None:
    chunks = chunks_of(name)
    folded = fold(events_of(name))
    (started,) = folded.starts
    assert (started.id, started.model, started.created) == (chunks[0]["id"], chunks[0]["model"], chunks[0]["created"])
    choices = [choice for each in chunks for choice in each["choices"]]
    for index, choice in folded.choices.items():
        own = [each for each in choices if each["index"] == index]
        assert choice.text == "".join(each["text"] for each in own)
        assert [reason for reason, _ in choice.finishes] == [
            each["finish_reason"] for each in own if each["finish_reason"]
        ]
        tokens = [
            (token, logprob, top)
            for each in own
            if each["logprobs"]
            for token, logprob, top in zip(
                each["logprobs"]["tokens"],
                each["logprobs"]["token_logprobs"],
                each["logprobs"]["top_logprobs"],
                strict=True,
            )
        ]
        assert [
            (token.token, token.logprob, {other.token: other.logprob for other in token.top})
            for token in choice.logprobs
        ] == tokens
    assert set(folded.choices) == {choice["index"] for choice in choices}
    usages = [each["usage"] for each in chunks if each.get("usage")]
    assert [(usage.input_tokens, usage.output_tokens) for usage in folded.usages] == [
        (usage["prompt_tokens"], usage["completion_tokens"]) for usage in usages
    ]


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERED)
def test_recorded_answer_is_written_again_and_translated_without_loss(name: str) -> None:
    events = events_of(name)
    wanted = told(fold(events))
    assert told(fold(DIALECT.decode_answer(DIALECT.encode_answer(events, SETTINGS)))) == wanted
    assert told(fold(decode_stream(DIALECT, stream_of(one_by_one(events))))) == wanted
    chat = decode_stream(OPENAI_CHAT, stream_of(one_by_one(events), dialect=OPENAI_CHAT))
    assert told(fold(decode_stream(DIALECT, stream_of(one_by_one(chat))))) == wanted


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", REFUSED)
def test_recorded_error(name: str) -> None:
    recording = recordings.load(name)
    assert DIALECT.read_error(recording.answer) == recording.json()["error"]["message"]
    with pytest.raises(BadGatewayError):
        DIALECT.decode_answer(recording.answer)


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", [name for name in NAMES if name != OF_TOKENS])
def test_recorded_request_is_read_and_translated(name: str) -> None:
    body = recordings.load(name).request
    request = decoded(**body)
    prompt = body["prompt"] if isinstance(body["prompt"], str) else body["prompt"][0]
    assert request.messages == (Message(role=Role.USER, content=(TextPart(text=prompt),)),)
    assert decoded(**encoded(request)) == request
    back = OPENAI_CHAT.decode_request(
        OPENAI_CHAT.encode_request(request, "m", stream=False, drop_unsupported=True), "m"
    )
    if prompt:  # chat reads an empty text as none
        assert back.messages == request.messages
    assert (back.max_output_tokens, back.stop, back.n, back.top_logprobs, back.temperature) == (
        request.max_output_tokens,
        request.stop,
        request.n,
        request.top_logprobs,
        request.temperature,
    )


@pytest.mark.component("recordings")
def test_recorded_request_with_prompts_of_tokens_is_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decoded(**recordings.load(OF_TOKENS).request)
    assert caught.value.param == "prompt"
