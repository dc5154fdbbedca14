"""Asking over HTTP, against upstreams that answer well and badly. gRPC is asked of a real node in `test_run.py`."""

import pytest
from janua_client.cli.failures import CommandError
from janua_client.demo.questions import ask_http

from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, json_response, sse

EVENTS = sse(*scripts.chat_events("to go through", model="m"))


async def ask(upstream: FaultyUpstream) -> tuple[str, str, list[str]]:
    pieces: list[str] = []
    answer = await ask_http(upstream.address, "secret", "m", "What is a door for?", pieces.append)
    return answer.text, answer.endpoint, pieces


async def test_answer_comes_in_pieces_with_its_endpoint(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(chunked_response(EVENTS, headers=[("x-janua-endpoint", "10.0.0.1:9001")]))
    text, endpoint, pieces = await ask(faulty_upstream)
    assert (text, endpoint, pieces) == ("to go through", "10.0.0.1:9001", ["to", " go", " through"])
    request = faulty_upstream.requests[0]
    assert request.header("authorization") == "Bearer secret"
    assert request.json()["stream"] is True


async def test_comments_and_other_fields_are_passed_over(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(chunked_response([b": ping\n\n", b"event: x\n", *EVENTS]))
    assert (await ask(faulty_upstream))[0] == "to go through"


ERROR = {"error": {"message": "the model broke"}}
CASES = [
    (json_response(401, {"error": {"message": "no such key"}}), "HTTP answered 401: .*no such key"),
    (chunked_response([*EVENTS[:2], *sse(ERROR, done=False)]), "the answer broke off: the model broke"),
    (chunked_response(EVENTS[:-1]), "the answer broke off before its end"),
    (chunked_response(sse()), "the model's answer is empty"),
]


@pytest.mark.parametrize(("data", "message"), CASES)
async def test_bad_answers_are_errors(faulty_upstream: FaultyUpstream, data: bytes, message: str) -> None:
    faulty_upstream.script = scripts.answer(data)
    with pytest.raises(CommandError, match=message):
        await ask(faulty_upstream)


async def test_broken_connection_is_an_error(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.reset(chunked_response(EVENTS), 200)
    with pytest.raises(CommandError, match=f"no answer over HTTP from {faulty_upstream.address}"):
        await ask(faulty_upstream)
