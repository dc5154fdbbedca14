"""What the benchmark of translation measures is a translation: nothing of the samples is left out on the way."""

import pytest

from gateway.schemas.chat_dialect import ChatDialect
from gateway.types import Role
from tests.benchmarks.bench_translation import BACKENDS, CLIENTS, measure_pair, translate_request, translate_stream
from tests.benchmarks.translation_samples import CONVERSATION, EVENTS, MODEL, request_body, stream_events
from tests.gateway.schemas.folded_answers import fold

PAIRS = [(client, backend) for client in CLIENTS for backend in BACKENDS if client.name != backend.name]


def _name(dialect: ChatDialect) -> str:
    return dialect.name


@pytest.mark.parametrize(("client", "backend"), PAIRS, ids=_name)
def test_samples_are_translated_whole(client: ChatDialect, backend: ChatDialect) -> None:
    sent = translate_request(client, backend, request_body(client))
    read = backend.decode_request(sent, MODEL)
    assert len(read.messages) == len(CONVERSATION.messages)
    assert [tool.parameters for tool in read.tools] == [tool.parameters for tool in CONVERSATION.tools]  # type: ignore[union-attr]
    assert read.messages[0].role is Role.SYSTEM
    told = translate_stream(client, backend, stream_events(backend))
    decoder = client.event_decoder()
    after = fold(each for event in client.framing.parser().feed(told) for each in decoder.decode(event)).only
    before = fold(EVENTS).only
    assert (after.text, after.calls[0].name, after.finishes) == (before.text, before.calls[0].name, before.finishes)


def test_a_pair_is_measured() -> None:
    pair = measure_pair(CLIENTS[0], BACKENDS[1], rounds=1)
    assert min(pair.request_us, pair.ratio, pair.event_us) > 0
