"""Answers of Gemini's generateContent, recorded and made up, whole and streamed, read without loss."""

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import BadGatewayError
from gateway.framing.sse import SseParser
from gateway.schemas.gemini.answer import AnswerDecoder, decode_answer
from gateway.schemas.gemini.generate_content import GeminiGenerateContent
from gateway.schemas.gemini.request import NAME
from gateway.types import (
    AnswerStarted,
    ChatEvent,
    ChoiceFinished,
    Citation,
    CitationAdded,
    FinishReason,
    LogprobsDelta,
    OpaqueAdded,
    OpaquePart,
    ReasoningDelta,
    ReasoningPart,
    ReasoningSigned,
    TextDelta,
    TokenLogprob,
    ToolCallDelta,
    Usage,
    UsageReported,
)
from tests.gateway.schemas import recorded_exchanges as recorded
from tests.gateway.schemas.dialect_streams import decoded
from tests.gateway.schemas.folded_answers import Alternative, fold
from tests.support.pieces import cut, single_bytes

GEMINI = GeminiGenerateContent()

ANSWERS = recorded.names("gemini/*enerateContent/*", "vertex/*enerateContent/*")
WHOLE = [name for name in ANSWERS if "/stream-" not in name] or ["absent"]
STREAMS = [name for name in ANSWERS if "/stream-" in name] or ["absent"]


def answer(*parts: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """An answer, or a piece of one, with one candidate."""
    candidate = {"content": {"role": "model", "parts": list(parts)}, **fields}
    return {"candidates": [candidate], "responseId": "r-1", "modelVersion": "gemini-x"}


def brought(*pieces: dict[str, Any]) -> list[ChatEvent]:
    """What pieces bring beside the start."""
    decoder = AnswerDecoder()
    started, *events = (event for piece in pieces for event in decoder.decode_piece(json.dumps(piece).encode()))
    assert isinstance(started, AnswerStarted)
    return events


def opaque(**value: Any) -> OpaqueAdded:
    return OpaqueAdded(choice=0, part=OpaquePart(dialect=NAME, value=value))


# Recordings.


def pieces_of(exchange: recorded.Exchange) -> list[dict[str, Any]]:
    """The pieces of a recorded answer; a whole answer is one."""
    if exchange.is_streaming:
        return [json.loads(event.data) for event in SseParser().feed(exchange.answer)]
    found = json.loads(exchange.answer)
    return found if isinstance(found, list) else [found]


def said(pieces: Iterable[dict[str, Any]]) -> Alternative:
    """What pieces say, read in the plainest way."""
    told = Alternative()
    candidates = [candidate for piece in pieces for candidate in piece.get("candidates", [])]
    for candidate in candidates:
        for part in candidate["content"].get("parts", []):
            signature = part.get("thoughtSignature", "")
            if "functionCall" in part:
                index, call = len(told.calls), part["functionCall"]
                told.call(
                    ToolCallDelta(
                        choice=0,
                        index=index,
                        id=call.get("id", ""),
                        name=call["name"],
                        arguments=json.dumps(call["args"]),
                        signature=signature,
                    )
                )
            elif "text" in part:
                told.text += "" if part.get("thought") else part["text"]
                if part.get("thought") or signature:
                    thought = part["text"] if part.get("thought") else ""
                    told.thoughts.append(ReasoningPart(text=thought, signature=signature or None))
            else:
                told.opaque.append(OpaquePart(dialect=NAME, value=part))
        if grounding := candidate.get("groundingMetadata"):
            told.opaque.append(OpaquePart(dialect=NAME, value={"groundingMetadata": grounding}))
            told.citations += (
                Citation(url=web["uri"], title=web.get("title", ""), extra={"groundingMetadata": True})
                for web in (chunk["web"] for chunk in grounding["groundingChunks"])
            )
    return told


def usage_in(metadata: dict[str, Any]) -> Usage:
    sound = [each["tokenCount"] for each in metadata.get("promptTokensDetails", []) if each["modality"] == "AUDIO"]
    thoughts = metadata.get("thoughtsTokenCount", 0)
    tools = metadata.get("toolUsePromptTokenCount", 0)
    prompt = metadata.get("promptTokenCount", 0)
    # The total has all of it.
    assert metadata.get("totalTokenCount", 0) == prompt + tools + thoughts + metadata.get("candidatesTokenCount", 0)
    return Usage(
        input_tokens=prompt + tools,
        output_tokens=thoughts + metadata.get("candidatesTokenCount", 0),
        cached_input_tokens=metadata.get("cachedContentTokenCount", 0),
        reasoning_tokens=thoughts,
        audio_input_tokens=sum(sound),
    )


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", ANSWERS)
def test_recorded_answer_is_read_without_loss(name: str) -> None:
    exchange = recorded.load(name)
    pieces = pieces_of(exchange)
    events = decoded(GEMINI, [exchange.answer]) if exchange.is_streaming else decode_answer(exchange.answer)
    folded = fold(events)
    found, told = folded.only, said(pieces)
    assert (found.text, found.thoughts, found.opaque) == (told.text, told.thoughts, told.opaque)
    assert [(call.name, json.loads(call.arguments), call.signature) for call in found.calls.values()] == [
        (call.name, json.loads(call.arguments), call.signature) for call in told.calls.values()
    ]
    assert all(call.id in ("", found.calls[index].id) for index, call in told.calls.items())
    assert len({call.id for call in found.calls.values()}) == len(found.calls)
    assert found.citations == list({each.url: each for each in told.citations}.values())
    assert folded.usages == [usage_in(pieces[-1]["usageMetadata"])]
    (started,) = folded.starts
    assert (started.id, started.model) == (pieces[0]["responseId"], pieces[0]["modelVersion"])
    assert len(found.finishes) == 1


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", STREAMS)
def test_recorded_stream_cut_anywhere_says_the_same(name: str) -> None:
    answer = recorded.load(name).answer
    whole = decoded(GEMINI, [answer])
    for pieces in (
        single_bytes(answer),
        cut(answer, range(7, len(answer), 7)),
        cut(answer, range(64, len(answer), 64)),
    ):
        assert [each for each in decoded(GEMINI, pieces) if not isinstance(each, AnswerStarted)] == [
            each for each in whole if not isinstance(each, AnswerStarted)
        ]


@pytest.mark.component("recordings")
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("gemini/generateContent/basic", FinishReason.STOP),
        ("gemini/generateContent/finish-content-filter-system", FinishReason.CONTENT_FILTER),
        ("gemini/generateContent/finish-length-reasoning-system", FinishReason.LENGTH),
        ("gemini/generateContent/tool-result-tool-call-reasoning", FinishReason.TOOL_CALLS),
        ("vertex/generateContent/parallel-tools-reasoning", FinishReason.TOOL_CALLS),  # in numbers
        ("vertex/generateContent/prompt-blocked", FinishReason.CONTENT_FILTER),
        ("gemini/streamGenerateContent/reasoning", FinishReason.STOP),  # an array of pieces
    ],
)
def test_recorded_reason_to_finish(name: str, reason: FinishReason) -> None:
    assert fold(decode_answer(recorded.load(name).answer)).only.finishes == [(reason, None)]


@pytest.mark.component("recordings")
def test_recorded_probabilities() -> None:
    exchange = recorded.load("vertex/generateContent/logprobs-reasoning")
    (candidate,) = json.loads(exchange.answer)["candidates"]
    chosen = candidate["logprobsResult"]["chosenCandidates"]
    found = fold(decode_answer(exchange.answer)).only.logprobs
    assert [(token.token, token.logprob, token.bytes) for token in found] == [
        (token["token"], token["logProbability"], token["token"].encode()) for token in chosen
    ]


# Made up.


@pytest.mark.parametrize(
    ("part", "events"),
    [
        ({"text": "a"}, [TextDelta(choice=0, text="a")]),
        ({"text": ""}, []),
        ({"text": None}, []),
        ({}, []),
        ({"text": "hm", "thought": True}, [ReasoningDelta(choice=0, text="hm")]),
        ({"text": "a", "thought": None}, [TextDelta(choice=0, text="a")]),
        (
            {"text": "hm", "thought": True, "thoughtSignature": "s"},
            [ReasoningDelta(choice=0, text="hm"), ReasoningSigned(choice=0, signature="s")],
        ),
        ({"text": "", "thoughtSignature": "s"}, [ReasoningSigned(choice=0, signature="s")]),
        ({"thoughtSignature": "s"}, [ReasoningSigned(choice=0, signature="s")]),
        (
            {"functionCall": {"name": "f", "args": {"a": 1}, "id": "c"}, "thoughtSignature": "s"},
            [ToolCallDelta(choice=0, index=0, id="c", name="f", arguments='{"a": 1}', signature="s")],
        ),
        (
            {"functionCall": {"name": "f", "args": None}},
            [ToolCallDelta(choice=0, index=0, id="call_r-1_0_0", name="f", arguments="{}")],
        ),
        (
            {"executableCode": {"code": "1"}, "thoughtSignature": "s"},
            [opaque(executableCode={"code": "1"}, thoughtSignature="s")],
        ),
    ],
)
def test_part(part: dict[str, Any], events: list[ChatEvent]) -> None:
    assert brought(answer(part)) == events


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", FinishReason.STOP),
        ("MAX_TOKENS", FinishReason.LENGTH),
        ("SAFETY", FinishReason.CONTENT_FILTER),
        ("RECITATION", FinishReason.CONTENT_FILTER),
        ("MALFORMED_FUNCTION_CALL", None),
        ("WHAT_IS_NEW", None),
        (1, FinishReason.STOP),
        (2, FinishReason.LENGTH),
        (3, FinishReason.CONTENT_FILTER),
        (99, None),
    ],
)
def test_reason_to_finish(reason: object, expected: FinishReason | None) -> None:
    assert brought(answer(finishReason=reason)) == [ChoiceFinished(choice=0, reason=expected)]


@pytest.mark.parametrize("reason", [None, 0, "", "FINISH_REASON_UNSPECIFIED"])
def test_no_reason_is_no_end(reason: object) -> None:
    assert brought(answer(finishReason=reason)) == []


def test_ids_are_made_for_calls_and_differ_between_answers() -> None:
    call = {"functionCall": {"name": "f", "args": {}}}
    first, second = (
        fold(brought({"candidates": [{"content": {"parts": [call, call]}}], **more})).only.calls
        for more in ({}, {"usageMetadata": {"promptTokenCount": 1}})
    )
    ids = [made.id for made in (*first.values(), *second.values())]
    assert len(set(ids)) == 4
    assert all(made.startswith("call_") for made in ids)


def test_usage_in_every_piece_is_counted_once() -> None:
    def piece(tokens: int, **fields: Any) -> dict[str, Any]:
        return {**answer({"text": "a"}, **fields), "usageMetadata": {"candidatesTokenCount": tokens}}

    events = brought(piece(1), piece(2), piece(3, finishReason="STOP"))
    assert fold(events).usages == [Usage(output_tokens=3)]


def test_usage_of_several_alternatives_is_counted_when_all_have_ended() -> None:
    def piece(index: int, tokens: int) -> dict[str, Any]:
        candidate = {"index": index, "finishReason": "STOP", "content": {}}
        return {"candidates": [candidate], "usageMetadata": {"candidatesTokenCount": tokens}}

    begun = {"candidates": [{"index": index, "content": {"parts": [{"text": "a"}]}} for index in range(2)]}
    assert fold(brought(begun, piece(1, 3), piece(0, 4))).usages == [Usage(output_tokens=4)]


def test_usage_after_the_end_is_told() -> None:
    after = {"usageMetadata": {"promptTokenCount": 3}}
    assert fold(brought(answer(finishReason="STOP"), after, after)).usages == [Usage(input_tokens=3)]


@pytest.mark.parametrize(
    ("fields", "usage"),
    [
        ({}, Usage()),
        ({"promptTokenCount": 5, "candidatesTokenCount": None}, Usage(input_tokens=5)),
        (
            {"promptTokenCount": 5, "toolUsePromptTokenCount": 2, "candidatesTokenCount": 3, "thoughtsTokenCount": 4},
            Usage(input_tokens=7, output_tokens=7, reasoning_tokens=4),
        ),
        ({"promptTokenCount": 5, "cachedContentTokenCount": 4}, Usage(input_tokens=5, cached_input_tokens=4)),
        (
            {
                "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 1}, {"modality": "AUDIO", "tokenCount": 2}],
                "candidatesTokensDetails": [{"modality": 4, "tokenCount": 3}],
            },
            Usage(audio_input_tokens=2, audio_output_tokens=3),
        ),
        ({"promptTokenCount": -5}, Usage()),
        ({"promptTokenCount": 10**30}, Usage(input_tokens=2**63 - 1)),
        ({"promptTokensDetails": "?"}, Usage()),
    ],
)
def test_usage(fields: dict[str, Any], usage: Usage) -> None:
    piece = {**answer(finishReason="STOP"), "usageMetadata": fields}
    assert brought(piece)[-1] == UsageReported(usage=usage)
    assert GEMINI.read_usage(json.dumps(piece).encode()) == usage
    assert GEMINI.read_stream_usage(b"data: " + json.dumps(piece).encode() + b"\r\n\r\n") == usage


def test_sources() -> None:
    found = {
        "groundingChunks": [{"web": {"uri": "https://w"}}, {"retrievedContext": {"uri": "https://r", "text": "c"}}]
    }
    events = brought(
        answer(
            {"text": "a"},
            citationMetadata={"citations": [{"uri": "https://c", "title": "t", "endIndex": 3}, {"license": "x"}]},
            groundingMetadata=found,
        ),
        answer(groundingMetadata=found),
    )
    assert [event.citation for event in events if isinstance(event, CitationAdded)] == [
        Citation(url="https://c", title="t", extra={"endIndex": 3}),
        Citation(url="https://w", extra={"groundingMetadata": True}),
        Citation(url="https://r", cited_text="c", extra={"groundingMetadata": True}),
    ]
    assert opaque(groundingMetadata=found) in events


def test_probabilities() -> None:
    result = {
        "chosenCandidates": [{"token": "ä", "logProbability": -0.5}, {"token": "b"}],
        "topCandidates": [{"candidates": [{"token": "c", "logProbability": -1}]}],
    }
    top = TokenLogprob(token="c", logprob=-1.0, bytes=b"c")
    assert brought(answer(logprobsResult=result)) == [
        LogprobsDelta(
            choice=0,
            tokens=(
                TokenLogprob(token="ä", logprob=-0.5, bytes="ä".encode(), top=(top,)),
                TokenLogprob(token="b", logprob=0.0, bytes=b"b"),
            ),
        )
    ]


def test_prompt_that_is_blocked_ends_the_answer() -> None:
    assert brought({"promptFeedback": {"blockReason": "SAFETY"}}) == [
        ChoiceFinished(choice=0, reason=FinishReason.CONTENT_FILTER)
    ]


def test_error_within_a_stream() -> None:
    with pytest.raises(BadGatewayError, match="the upstream failed: too much") as caught:
        brought(answer({"text": "a"}), {"error": {"code": 503, "message": "too much", "status": "UNAVAILABLE"}})
    assert caught.value.reason == "UPSTREAM_FAILED"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"[]",
        b"[{}",
        b"5",
        b"null",
        b'{"candidates":[]}',
        b'{"candidates":[5]}',
        b'{"candidates":[{"content":{"parts":[{"text":5}]}}]}',
        b'{"candidates":[{"content":{"parts":[{"text":"a"}]}}]}',
        b'{"candidates":[{"index":-1,"finishReason":"STOP"}]}',
        b'{"candidates":[{"index":99999999999,"finishReason":"STOP"}]}',
        b'{"candidates":[{"content":{"parts":[{"x":' + b"[" * 100_000,
        b'{"candidates":[{"content":{"parts":[{"functionCall":{"name":"f","args":"\xff"}}]}}]}',
    ],
)
def test_what_is_no_answer_is_an_error_of_the_upstream(body: bytes) -> None:
    with pytest.raises(BadGatewayError, match="cannot be understood") as caught:
        decode_answer(body)
    assert caught.value.reason == "UPSTREAM_MALFORMED"


@given(st.binary(max_size=40) | st.text(max_size=40).map(str.encode))
def test_garbage_raises_only_errors_of_the_upstream(data: bytes) -> None:
    for body in (data, b'{"candidates":[{"content":{"parts":[%b]}}]}' % data):
        with contextlib.suppress(BadGatewayError):
            decode_answer(body)
