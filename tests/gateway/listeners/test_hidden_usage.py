"""Hiding the usage: only events that have nothing else are left out, whatever the reads cut a stream into."""

import json
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.framing.framing import SSE
from gateway.listeners.hidden_usage import HiddenUsage
from gateway.listeners.sse import EventRelay, RenamedEvents, WholeEvents
from gateway.schemas.table import OPENAI_CHAT
from tests.support import recordings
from tests.support.pieces import cut

ALONE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":1}}',
    b'data: {"choices": [], "usage": {"completion_tokens": 2}}',
    b'data: {"usage":{"prompt_tokens":1}}',
)
OTHERS = (
    b'data: {"choices":[{"delta":{"content":"hi"}}],"usage":null}',
    b'data: {"choices":[{"delta":{"content":"the \\"usage\\":{} of it"}}]}',
    b'data: {"choices":[{"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":1}}',
    b'data: {"choices":[],"prompt_filter_results":[]}',
    b'data: {"error":{"message":"\\"usage\\""}}',
    b'data: not json "usage"',
    b'event: x\ndata: {"usage": null}',
    b": ping",
    b"data: [DONE]",
)

blocks = st.lists(st.sampled_from(ALONE + OTHERS))
line_ends = st.sampled_from([b"\n", b"\r\n", b"\r"])
cut_places = st.lists(st.integers(0, 600), max_size=20)


def joined(blocks: Sequence[bytes], line_end: bytes = b"\n") -> bytes:
    return b"".join((block + b"\n\n").replace(b"\n", line_end) for block in blocks)


def hidden(relay: EventRelay | None = None) -> HiddenUsage:
    return HiddenUsage(OPENAI_CHAT, SSE, relay or WholeEvents())


@given(blocks, line_ends, cut_places)
def test_all_but_the_usage_goes_on_as_it_came(blocks: Sequence[bytes], line_end: bytes, cuts: Sequence[int]) -> None:
    relay = hidden()
    sent = b"".join(relay.feed(piece) for piece in cut(joined(blocks, line_end), cuts)) + relay.finish()
    assert sent == joined([block for block in blocks if block not in ALONE], line_end)


@given(blocks, cut_places)
def test_nothing_is_held_back_at_the_end_of_an_event(blocks: Sequence[bytes], cuts: Sequence[int]) -> None:
    relay = hidden()
    sent = b"".join(relay.feed(piece) for piece in cut(joined(blocks), cuts))
    assert sent == joined([block for block in blocks if block not in ALONE])


def test_last_event_without_its_end() -> None:
    for last, left in ((ALONE[0], b""), (OTHERS[0], OTHERS[0])):
        relay = hidden()
        assert relay.feed(joined(OTHERS[:1]) + last) == joined(OTHERS[:1])
        assert relay.finish() == left


def test_other_events_can_be_renamed_after_it() -> None:
    relay = hidden(RenamedEvents(OPENAI_CHAT, "asked"))
    sent = relay.feed(b'data: {"model":"theirs","choices":[{}]}\n\n' + joined(ALONE)) + relay.finish()
    assert sent == b'data: {"model":"asked","choices":[{}]}\n\n'


@pytest.mark.component("recordings")
@pytest.mark.parametrize("name", recordings.names(["chat-completions"]))
def test_recorded_streams_lose_their_usage_chunk_and_nothing_else(name: str) -> None:
    recording = recordings.load(name)
    if not recording.is_streaming:
        pytest.skip("a whole answer")
    relay = hidden()
    sent = relay.feed(recording.answer) + relay.finish()
    kept = [event for event in SSE.parser().feed(sent) if event.data]
    expected = []
    for event in SSE.parser().feed(recording.answer):
        chunk = json.loads(event.data) if event.data.startswith(b"{") else {}
        if event.data and not (chunk.get("usage") and not chunk.get("choices")):
            expected.append(event)
    assert [event.data for event in kept] == [event.data for event in expected]
    if b'"include_usage":true' in json.dumps(recording.request).replace(" ", "").encode():
        assert OPENAI_CHAT.read_stream_usage(recording.answer[-OPENAI_CHAT.tail_bytes :]) is not None
