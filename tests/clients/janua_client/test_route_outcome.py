"""What becomes of a request that a route takes: tiers and shares, copies, rewrites, and answers of the route itself."""

from collections.abc import Mapping
from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1.route_pb2 import Route
from janua_client.route_explanation import RequestFacts
from janua_client.route_outcome import Answered, BackendShare, Called, Copies, Redirected, RouteOutcome, outcome

from gateway.compile.route import compile_route
from gateway.config.snapshot import DEFAULT_FALLBACK_ON
from gateway.operations.request_path import backend_path

DEFAULT = ["UNAVAILABLE", "RATE_LIMITED", "OVERLOADED", "TIMEOUT"]


def became(
    path: str = "/v1/chat/completions", model: str = "", target: str = "", authority: str = "", **route: object
) -> RouteOutcome:
    request = RequestFacts(host="", method="POST", path=path, headers={}, query={}, model=model)
    message = ParseDict({"name": "r", **route}, Route())
    return outcome(message, request, authority=authority, target=target or path)


def called(**fields: Any) -> Called:
    made = became(**fields)
    assert isinstance(made, Called)
    return made


def test_backends_come_tier_by_tier_with_their_shares() -> None:
    backends = [
        {"service": "spare", "priority": 1, "model_override": "claude-haiku"},
        {"service": "big", "weight": 3},
        {"service": "small"},
        {"service": "off", "weight": 0},
    ]
    assert called(model="gemma", backends=backends) == Called(
        backends=[
            BackendShare(service="big", priority=0, weight=3, percent=75, model="gemma"),
            BackendShare(service="small", priority=0, weight=1, percent=25, model="gemma"),
            BackendShare(service="off", priority=0, weight=0, percent=0, model="gemma"),
            BackendShare(service="spare", priority=1, weight=1, percent=100, model="claude-haiku"),
        ],
        fallback_on=DEFAULT,
        mirror=None,
        path=None,
        host=None,
    )


def test_a_tier_without_weight_gets_nothing() -> None:
    [off, spare] = called(backends=[{"service": "off", "weight": 0}, {"service": "spare", "priority": 2}]).backends
    assert (off.percent, spare.percent) == (0, 100)


def test_the_failures_to_fall_back_on_are_named_as_in_files() -> None:
    backends = [{"service": "s"}]
    chosen = ["FALLBACK_ON_CONTEXT_LENGTH", "FALLBACK_ON_TIMEOUT"]
    assert called(backends=backends, fallback_on=chosen).fallback_on == ["CONTEXT_LENGTH", "TIMEOUT"]


def test_the_default_failures_to_fall_back_on_are_those_of_nodes() -> None:
    assert called(backends=[{"service": "s"}]).fallback_on == DEFAULT
    written = ParseDict({"fallback_on": [f"FALLBACK_ON_{name}" for name in DEFAULT]}, Route())
    assert compile_route(written).fallback_on == DEFAULT_FALLBACK_ON


@pytest.mark.parametrize(("mirror", "percent"), [({}, 100), ({"percent": 2.5}, 2.5)])
def test_copies_are_told(mirror: Mapping[str, object], percent: float) -> None:
    made = called(backends=[{"service": "s"}], mirror={"service": "shadow", **mirror})
    assert made.mirror == Copies(service="shadow", percent=percent)


@pytest.mark.parametrize(
    ("match", "path_prefix", "path", "expected"),
    [
        ({"path": {"prefix": "/api"}}, "/v2", "/api/users", "/v2/users"),
        ({"path": {"prefix": "/api/"}}, "/v2/", "/api/users", "/v2/users"),
        ({"path": {"prefix": "/api"}}, "/", "/api/users", "/users"),
        ({"path": {"prefix": "/api"}}, "/", "/api", "/"),
        ({"path": {"prefix": "/"}}, "/base", "/users", "/base/users"),
        ({"path": {"exact": "/a"}}, "/b/", "/a", "/b/"),
        ({"grpc": {"service": "my.Service"}}, "/their.Service", "/my.Service/Call", "/their.Service/Call"),
        ({"grpc": {"service": "my.Service", "method": "Call"}}, "/their.S/C", "/my.Service/Call", "/their.S/C"),
    ],
)
def test_a_rewritten_path_is_the_one_that_nodes_send(
    match: Mapping[str, object], path_prefix: str, path: str, expected: str
) -> None:
    route = {"match": match, "backends": [{"service": "s"}], "rewrite": {"path_prefix": path_prefix}}
    assert called(path=path, **route).path == expected
    compiled = compile_route(ParseDict({"name": "r", **route}, Route()))
    assert backend_path(path, compiled.match.path, compiled.rewrite) == expected


def test_what_is_passed_through_has_another_host_and_no_model() -> None:
    backends = [{"service": "s", "model_override": "m"}]
    made = called(path="/api", model="m", backends=backends, rewrite={"host": "inner.example"})
    assert (made.path, made.host, made.backends[0].model) == (None, "inner.example", "")


def test_what_is_relayed_for_a_model_is_rewritten_and_has_one() -> None:
    made = called(
        path="/v1/audio/speech",
        model="m",
        match={"path": {"prefix": "/v1"}},
        backends=[{"service": "s", "model_override": "n"}],
        rewrite={"path_prefix": "/v2"},
    )
    assert (made.path, made.backends[0].model) == ("/v2/audio/speech", "n")


def test_requests_for_inference_are_not_rewritten() -> None:
    made = called(
        match={"path": {"prefix": "/v1"}},
        backends=[{"service": "s"}],
        rewrite={"path_prefix": "/v2", "host": "inner.example"},
    )
    assert (made.path, made.host) == (None, None)


@pytest.mark.parametrize(
    ("redirect", "expected"),
    [
        ({"host": "new.example"}, Redirected(status=302, location="//new.example/old?x=1")),
        ({"path": "/new", "status": 308}, Redirected(status=308, location="/new")),
        ({"scheme": "https"}, Redirected(status=302, location="https://here:8080/old?x=1")),
        (
            {"scheme": "https", "host": "new.example", "path": "/new"},
            Redirected(status=302, location="https://new.example/new"),
        ),
    ],
)
def test_a_redirect_keeps_what_it_does_not_name(redirect: Mapping[str, object], expected: Redirected) -> None:
    assert became(path="/old", target="/old?x=1", authority="here:8080", redirect=redirect) == expected


def test_an_answer_of_the_route_itself() -> None:
    assert became(direct_response={"status": 410, "body": "gone"}) == Answered(status=410, body="gone")
