"""What travels beside a request: its id, where it went, and the headers of client and backend."""

import re

import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.conformance.http_caller import HttpCaller
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.scripts import chat


async def test_request_id_is_kept_from_end_to_end(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    answer = await ask(caller, Question(headers={"x-request-id": "req-42"}), streamed=streamed)
    assert answer.headers["x-request-id"] == "req-42"
    assert upstream.requests[0].header("x-request-id") == "req-42"


async def test_model_list_tells_its_request_id(gateway: Gateway, caller: Caller) -> None:
    await gateway.apply(one_pool("127.0.0.1:9"))
    assert (await caller.models({"x-request-id": "req-42"})).headers["x-request-id"] == "req-42"
    assert re.fullmatch(r"[0-9a-f]{32}", (await caller.models()).headers["x-request-id"])


@pytest.mark.parametrize("headers", [{}, {"x-request-id": "two words"}, {"x-request-id": "x" * 129}], ids=len)
async def test_request_id_is_made_where_there_is_no_usable_one(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, headers: dict[str, str]
) -> None:
    await gateway.apply(one_pool(upstream.address))
    answers = [await ask(caller, Question(headers=headers)) for _ in range(2)]
    identifiers = [answer.headers["x-request-id"] for answer in answers]
    assert all(re.fullmatch(r"[0-9a-f]{32}", identifier) for identifier in identifiers)
    assert identifiers[0] != identifiers[1]
    assert [request.header("x-request-id") for request in upstream.requests] == identifiers


async def test_answer_tells_who_gave_it(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    headers = (await ask(caller, streamed=streamed)).headers
    told = {name: value for name, value in headers.items() if name.startswith("x-janua-")}
    assert told == {
        "x-janua-route": "chat",
        "x-janua-service": "llm",
        "x-janua-endpoint": upstream.address,
        "x-janua-attempts": "1",
    }


async def test_refusal_tells_its_request_id(gateway: Gateway, caller: Caller, streamed: bool) -> None:
    await gateway.apply(one_pool("127.0.0.1:9", route={"match": {"models": ["other"]}}))
    answer = await ask(caller, Question(headers={"x-request-id": "req-42"}), streamed=streamed)
    assert_refused(answer, Kind.NOT_FOUND, "MODEL_NOT_FOUND")
    assert answer.headers["x-request-id"] == "req-42"


async def test_end_to_end_headers_reach_the_backend(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    assert_answered(await ask(caller, Question(headers={"x-session": "s-1", "openai-beta": "a"})))
    (request,) = upstream.requests
    assert (request.header("x-session"), request.header("openai-beta")) == ("s-1", "a")


async def test_callers_cannot_pose_as_janua(gateway: Gateway, upstream: FaultyUpstream, caller: Caller) -> None:
    await gateway.apply(one_pool(upstream.address))
    upstream.script = chat(headers=[("x-janua-service", "forged"), ("x-request-id", "forged")])
    answer = await ask(caller, Question(headers={"x-janua-route": "forged"}))
    assert answer.headers["x-janua-service"] == "llm"
    assert "forged" not in str(answer.headers)
    assert upstream.requests[0].header("x-janua-route") is None


async def test_hop_by_hop_headers_of_the_client_are_not_forwarded(
    gateway: Gateway, upstream: FaultyUpstream, http: HttpCaller
) -> None:
    await gateway.apply(one_pool(upstream.address))
    hop_by_hop = {
        "connection": "keep-alive, X-Mine",
        "x-mine": "1",
        "keep-alive": "timeout=5",
        "te": "trailers",
        "proxy-authorization": "Basic eA==",
        "proxy-connection": "keep-alive",
    }
    assert_answered(await ask(http, Question(headers=hop_by_hop)))
    sent = {name.lower() for name, _ in upstream.requests[0].headers}
    assert not sent & (hop_by_hop.keys() - {"connection"})


async def test_hop_by_hop_headers_of_the_backend_are_not_forwarded(
    gateway: Gateway, upstream: FaultyUpstream, http: HttpCaller, streamed: bool
) -> None:
    await gateway.apply(one_pool(upstream.address))
    hop_by_hop = {
        "connection": "keep-alive, X-Internal",
        "x-internal": "1",
        "keep-alive": "timeout=5",
        "proxy-authenticate": "Basic",
        "trailer": "x-checksum",
        "set-cookie": "session=of-all-callers",
        "alt-svc": 'h3=":443"',
    }
    upstream.script = chat(headers=[*hop_by_hop.items(), ("x-ratelimit-remaining-requests", "7")])
    headers = (await ask(http, streamed=streamed)).headers
    assert not headers.keys() & hop_by_hop.keys()
    assert headers["x-ratelimit-remaining-requests"] == "7"


async def test_streams_ask_proxies_not_to_buffer(gateway: Gateway, upstream: FaultyUpstream, http: HttpCaller) -> None:
    await gateway.apply(one_pool(upstream.address))
    headers = (await ask(http, streamed=True)).headers
    assert headers["content-type"].startswith("text/event-stream")
    assert (headers["x-accel-buffering"], headers["cache-control"]) == ("no", "no-cache")
