"""Requests and answers that policies change: over HTTP and gRPC alike, whole and streamed."""

import json
from typing import Any

import aiohttp
import pytest

from tests.conformance.calls import Caller, Kind, Question, ask, assert_answered, assert_refused
from tests.conformance.configuration import one_pool
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response
from tests.support.scripts import answer, chat, fail

SYSTEM = {"role": "system", "content": "Be brief."}


def transformed(address: str, user: str = "route", *, route: Any = None, **rule: Any) -> Any:
    """One pool whose route or service names the transform."""
    names: dict[str, Any] = {"route": dict(route or {}), "service": {}}
    names[user]["policies"] = ["change"]
    return one_pool(address, policies=[{"name": "change", "transform": rule}], **names)


def asked(upstream: FaultyUpstream) -> Any:
    return upstream.requests[-1].json()


@pytest.mark.parametrize("user", ["route", "service"])
async def test_parameters_and_messages_are_changed(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, user: str
) -> None:
    request = {
        "set_defaults": {"max_tokens": 1024, "temperature": 3},
        "clamp": {"max_tokens": {"max": 256}, "temperature": {"max": 1.5}, "n": {"max": 1}},
        "prepend_messages": [SYSTEM],
        "append_messages": [{"role": "user", "content": "Thanks."}],
    }
    await gateway.apply(transformed(upstream.address, user, request=request))

    assert_answered(await ask(caller, Question(text="hi"), streamed=streamed))

    body = asked(upstream)
    assert (body["max_tokens"], body["temperature"], body.get("n")) == (256, 1.5, None)
    assert body["messages"] == [SYSTEM, {"role": "user", "content": "hi"}, {"role": "user", "content": "Thanks."}]


async def test_fields_of_bodies_are_changed(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    request = {
        "set_body": {"user": "request.headers['x-user']", "options.think": "false", "messages.0.name": "'ann'"},
        "remove_body_fields": ["top_logprobs", "logprobs", "options.none"],
    }
    await gateway.apply(transformed(upstream.address, request=request))

    question = Question(text="hi", top_logprobs=2, headers={"x-user": "ann"})
    assert_answered(await ask(caller, question, streamed=streamed))

    body = asked(upstream)
    assert body["user"] == "ann"
    assert body["options"] == {"think": False}
    assert body["messages"] == [{"role": "user", "content": "hi", "name": "ann"}]
    assert "top_logprobs" not in body


async def test_headers_of_requests_are_changed(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    request = {
        "set_headers": {"X-Model": "request.model", "x-user": "'from policy'", "x-none": "null", "x-size": "3"},
        "remove_headers": ["X-Internal"],
    }
    await gateway.apply(transformed(upstream.address, request=request))

    headers = {"x-internal": "1", "x-user": "from caller", "x-kept": "yes"}
    assert_answered(await ask(caller, Question(headers=headers), streamed=streamed))

    got = dict(upstream.requests[-1].headers)
    assert [got.get(name) for name in ("x-model", "x-user", "x-size", "x-kept")] == ["m", "from policy", "3", "yes"]
    assert "x-internal" not in got
    assert "x-none" not in got


async def test_headers_of_answers_are_changed(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool
) -> None:
    upstream.script = chat(headers=[("x-internal", "1"), ("x-kept", "yes")])
    response = {"set_headers": {"x-route": "route"}, "remove_headers": ["x-internal"]}
    await gateway.apply(transformed(upstream.address, response=response))

    got = (await ask(caller, streamed=streamed)).headers

    assert got["x-route"] == "chat"
    assert "x-internal" not in got


@pytest.mark.parametrize("value", [r"'a\r\nx-b: ' + request.headers['x-a']", "request.headers['x-none']", "'é'", "[1]"])
@pytest.mark.parametrize("side", ["request", "response"])
async def test_value_that_is_no_header_is_an_error(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, side: str, value: str
) -> None:
    rule: dict[str, Any] = {side: {"set_headers": {"x-a": value}}}
    await gateway.apply(transformed(upstream.address, **rule))
    failed = await ask(caller, Question(headers={"x-a": "1"}))
    failure = assert_refused(failed, Kind.INVALID_REQUEST, "TRANSFORM_FAILED")
    assert failure.message == "policy change has no value for header x-a of this request"
    assert upstream.requests == []


async def test_json_of_answers_is_changed(
    gateway: Gateway, upstream: FaultyUpstream, http: Caller, streamed: bool
) -> None:
    response = {
        "set_body": {"served_by": "'us'"},
        "remove_body_fields": ["created"],
        "rename_body_fields": {"id": "answer_id"},
    }
    await gateway.apply(transformed(upstream.address, response=response))
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": streamed}
    text = await post(gateway, "/v1/chat/completions", body)

    events = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")] or [text]
    if streamed:
        assert events.pop() == "[DONE]"
        assert len(events) > 2
    for event in map(json.loads, events):
        assert event["served_by"] == "us"
        assert "answer_id" in event
        assert "id" not in event
        assert "created" not in event
    assert_answered(await ask(http, streamed=streamed))


async def test_typed_answer_has_no_json_to_change(
    gateway: Gateway, upstream: FaultyUpstream, grpc_caller: Caller, streamed: bool
) -> None:
    await gateway.apply(transformed(upstream.address, response={"remove_body_fields": ["created"]}))
    assert_refused(await ask(grpc_caller, streamed=streamed), Kind.INVALID_REQUEST, "UNSUPPORTED_BY_POLICY")
    assert upstream.requests == []


async def test_changes_for_one_backend_are_not_made_for_the_next(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller
) -> None:
    upstream.next.append(fail(503))
    config = transformed(
        upstream.address, "service", request={"set_headers": {"x-first": "'1'"}, "prepend_messages": [SYSTEM]}
    )
    config["services"].append({**config["services"][0], "name": "second", "policies": []})
    config["routes"][0]["backends"].append({"service": "second", "priority": 1})
    config["routes"][0]["retry_policy"] = {"num_retries": 0}
    await gateway.apply(config)

    assert_answered(await ask(caller, Question(text="hi")))

    first, second = upstream.requests
    assert [dict(each.headers).get("x-first") for each in (first, second)] == ["1", None]
    assert first.json()["messages"][0] == SYSTEM
    assert second.json()["messages"] == [{"role": "user", "content": "hi"}]


async def test_both_names_of_a_limit_are_one_after_clamping(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(transformed(upstream.address, request={"clamp": {"max_tokens": {"max": 10}}}))
    messages = [{"role": "user", "content": "hi"}]
    await post(
        gateway,
        "/v1/chat/completions",
        {"model": "m", "messages": messages, "max_completion_tokens": 5, "max_tokens": 99999, "later": [1]},
    )
    assert asked(upstream) == {"model": "m", "messages": messages, "max_tokens": 5, "later": [1]}


async def test_headers_of_what_passes_through_are_changed(gateway: Gateway, upstream: FaultyUpstream) -> None:
    upstream.script = answer(json_response(200, {}, headers=[("x-internal", "1"), ("x-kept", "yes")]))
    request = {"set_headers": {"x-path": "request.path"}, "remove_headers": ["x-secret", "cookie"]}
    response = {"set_headers": {"x-frame-options": "'DENY'"}, "remove_headers": ["x-internal"]}
    match = {"match": {"path": {"prefix": "/"}}}
    await gateway.apply(transformed(upstream.address, route=match, request=request, response=response))
    async with (
        aiohttp.ClientSession() as session,
        session.get(
            f"http://{gateway.addresses.http}/files/1", headers={"x-secret": "1", "cookie": "a=b", "x-kept": "1"}
        ) as reply,
    ):
        headers = reply.headers
    got = dict(upstream.requests[-1].headers)
    assert (got["x-path"], got["x-kept"]) == ("/files/1", "1")
    assert not {"x-secret", "cookie"} & set(got)
    assert (headers["x-frame-options"], headers["x-kept"]) == ("DENY", "yes")
    assert "x-internal" not in headers


async def test_request_without_changes_keeps_its_bytes(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(transformed(upstream.address, request={"set_headers": {"x-a": "'1'"}}))
    body = '{"model" : "m",  "messages":[{"role":"user","content":"hi"}], "later": 1.50}'
    await post(gateway, "/v1/chat/completions", body)
    assert upstream.requests[-1].body == body.encode()


async def post(gateway: Gateway, path: str, body: Any) -> str:
    """What the data plane answers."""
    data = body if isinstance(body, str) else json.dumps(body)
    headers = {"content-type": "application/json"}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{gateway.addresses.http}{path}", data=data, headers=headers) as reply,
    ):
        assert reply.status == 200, await reply.text()
        return await reply.text()
