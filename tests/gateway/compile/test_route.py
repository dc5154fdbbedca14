"""`Route` messages: every field, and what stands for a field that is not set."""

from typing import Any

import pytest
from google.protobuf.json_format import ParseDict
from janua.config.v1 import route_pb2
from janua_resources import rules

from gateway.compile.route import compile_route
from gateway.config.snapshot import (
    BackendConfig,
    Exact,
    HeaderMatch,
    Prefix,
    Present,
    QueryMatch,
    Regex,
    RetryConfig,
    RouteConfig,
    RouteMatch,
    Suffix,
    TimeoutsConfig,
)


def compiled(**fields: Any) -> RouteConfig:
    answered = {"backends", "redirect", "directResponse", "direct_response"} & fields.keys()
    backends = {} if answered else {"backends": [{"service": "s"}]}
    message = ParseDict({"name": "r", **backends, **fields}, route_pb2.Route())
    assert rules.check(message) == []
    return compile_route(message)


def match(**fields: Any) -> RouteMatch:
    return compiled(match=fields).match


def test_defaults() -> None:
    assert compiled(backends=[{"service": "s"}]) == RouteConfig(
        name="r",
        match=RouteMatch(),
        backends=(BackendConfig(service="s", weight=1, model_override=None),),
        priority=0,
        retry=None,
        timeouts=TimeoutsConfig(),
        advertised_models=(),
        policies=(),
    )


def test_every_field() -> None:
    assert compiled(
        labels={"a": "b"},
        description="d",
        priority=-3,
        match={"models": ["m"]},
        backends=[{"service": "s", "weight": 9, "model_override": "n"}, {"service": "t", "weight": 0}],
        retry_policy={"num_retries": 1},
        timeouts={"request": "2s"},
        advertised_models=["m-1"],
        policies=["p", "q"],
    ) == RouteConfig(
        name="r",
        match=RouteMatch(models=("m",)),
        backends=(BackendConfig(service="s", weight=9, model_override="n"), BackendConfig(service="t", weight=0)),
        priority=-3,
        retry=RetryConfig(num_retries=1),
        timeouts=TimeoutsConfig(request_s=2.0),
        advertised_models=("m-1",),
        policies=("p", "q"),
    )


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("ai.example.com", "ai.example.com"),
        ("AI.Example.COM", "ai.example.com"),
        ("ai.example.com.", "ai.example.com"),
        ("*.Example.com", "*.example.com"),
        ("127.0.0.1", "127.0.0.1"),
        ("[::1]", "::1"),
        ("2001:DB8:0::1", "2001:db8::1"),
    ],
)
def test_hosts_are_written_as_requests_are_read(written: str, host: str) -> None:
    assert match(hosts=[written]).hosts == (host,)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ({"exact": "/a"}, Exact("/a")),
        ({"prefix": "/a/"}, Prefix("/a/")),
        ({"regex": "/a|/b"}, Regex("/a|/b", None)),
    ],
)
def test_path(path: dict[str, str], expected: object) -> None:
    assert match(path=path).path == expected


def test_regexes_are_compiled_and_match_all_of_a_value() -> None:
    path = match(path={"regex": "/a|/b"}).path
    assert isinstance(path, Regex)
    assert [bool(path.compiled.fullmatch(text)) for text in ("/a", "/b", "/ab", "/a/b")] == [True, True, False, False]


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"exact": "v"}, Exact("v")),
        ({"exact": ""}, Exact("")),
        ({"prefix": "v"}, Prefix("v")),
        ({"suffix": "v"}, Suffix("v")),
        ({"regex": "v"}, Regex("v", None)),
        ({"present": True}, Present(True)),
        ({"present": False}, Present(False)),
    ],
)
@pytest.mark.parametrize("invert", [False, True])
def test_header(kind: dict[str, object], expected: Any, invert: bool) -> None:
    assert match(headers=[{"name": "X-Tier", "invert": invert, **kind}]).headers == (
        HeaderMatch(name=b"x-tier", value=expected, invert=invert),
    )


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ({"exact": "v"}, Exact("v")),
        ({"regex": "v"}, Regex("v", None)),
        ({"present": True}, Present(True)),
        ({"present": False}, Present(False)),
    ],
)
def test_query_parameter(kind: dict[str, object], expected: Any) -> None:
    assert match(query_params=[{"name": "Beta", **kind}]).query == (QueryMatch(name="Beta", value=expected),)


def test_every_kind_of_condition_has_a_test() -> None:
    kinds = {
        descriptor.name: [field.name for field in descriptor.oneofs_by_name["kind"].fields]
        for descriptor in (
            route_pb2.PathMatch.DESCRIPTOR,
            route_pb2.HeaderMatch.DESCRIPTOR,
            route_pb2.QueryParamMatch.DESCRIPTOR,
        )
    }
    assert kinds == {
        "PathMatch": ["exact", "prefix", "regex"],
        "HeaderMatch": ["exact", "prefix", "suffix", "regex", "present"],
        "QueryParamMatch": ["exact", "regex", "present"],
    }


def test_other_conditions() -> None:
    assert match(methods=["GET", "POST", "GET"], models=["m", "n*"]) == RouteMatch(
        methods=frozenset({"GET", "POST"}), models=("m", "n*")
    )
