"""Recorded exchanges with something in them changed for what it is not: a request is read, or refused by the field; an
answer is read, or said to be broken. Nothing else ever happens, in any dialect."""

import json
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import pytest

from gateway.errors import BadGatewayError, InvalidRequestError
from gateway.framing.sse import ServerSentEvent
from gateway.schemas.table import BEDROCK_CONVERSE
from gateway.types import ChatEvent, ChatRequest
from tests.gateway.schemas.dialect_streams import SETTINGS, decoded, streamed
from tests.gateway.schemas.recording_ledger import chat_dialect, stream_events
from tests.gateway.schemas.test_recording_ledger import ANSWERS, DIALECTS, REQUESTS, chat_of, load

pytestmark = pytest.mark.component("recordings")

VALUES: Sequence[Any] = (None, 5, -1, "x", True, [], {}, ["x"], [None], {"a": 1}, "data:image/png;base64,@", 1e308)
GONE = object()
CHANGES = 12
"""To each exchange; which ones is the same in every run."""

Place = tuple[Any, ...]


def places(value: Any, place: Place = ()) -> Iterator[Place]:
    """Where values are in a JSON value, of arrays only in the first items."""
    yield place
    items: list[tuple[Any, Any]] = []
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list):
        items = list(enumerate(value[:3]))
    for name, item in items:
        yield from places(item, (*place, name))


def changed(value: Any, place: Place, new: Any) -> Any:
    """The value with another at that place."""
    if not place:
        return new
    name, *rest = place
    copy = value.copy()
    if new is GONE and not rest:
        del copy[name]
    else:
        copy[name] = changed(value[name], tuple(rest), new)
    return copy


def damaged(name: str, value: Any) -> Iterator[bytes]:
    """The value with changes, as JSON."""
    random = Random(name)
    found = [place for place in places(value) if place]
    for _ in range(CHANGES if found else 0):
        yield json.dumps(changed(value, random.choice(found), random.choice([*VALUES, GONE]))).encode()


@pytest.mark.parametrize("name", REQUESTS)
def test_damaged_request_is_read_or_refused_by_the_field(name: str) -> None:
    recording = load(name)
    for body in damaged(name, recording.request):
        try:
            request = chat_of(recording).decode_request(body, "m")
        except InvalidRequestError as error:
            check_named(error)
        else:
            check_encoded(request)


def check_named(error: InvalidRequestError) -> None:
    assert error.param
    assert error.message


def check_encoded(request: ChatRequest) -> None:
    for target in DIALECTS:
        model = "anthropic.claude-3" if target is BEDROCK_CONVERSE else "m"
        try:
            json.loads(target.encode_request(request, model, stream=True, drop_unsupported=False))
        except InvalidRequestError as error:
            check_named(error)


@pytest.mark.parametrize("name", ANSWERS)
def test_damaged_answer_is_read_or_said_to_be_broken(name: str) -> None:
    recording = load(name)
    dialect = chat_of(recording)
    events = stream_events(recording, dialect) if recording.is_streaming else []
    for number, event in enumerate(events[:40]):
        if event.data.startswith(b"{"):
            for data in list(damaged(f"{name}-{number}", json.loads(event.data)))[:3]:
                check_stream(name, [*events[:number], ServerSentEvent(data, event.event, b""), *events[number + 1 :]])
    if not events:
        for body in damaged(name, json.loads(recording.answer)):
            try:
                told = list(dialect.decode_answer(body))
            except BadGatewayError:
                continue
            check_told(told)


def check_stream(name: str, events: Sequence[ServerSentEvent]) -> None:
    dialect = chat_dialect(load(name))
    assert dialect is not None
    decoder = dialect.event_decoder()
    told: list[ChatEvent] = []
    try:
        for event in events:
            told += decoder.decode(event)
    except BadGatewayError:
        pass
    check_told(told)


def check_told(events: Sequence[ChatEvent]) -> None:
    for target in DIALECTS:
        json.loads(target.encode_answer(events, SETTINGS))
        decoded(target, [streamed(target, [events])])
