"""The explanation of routing: the cases shared with the gateway's router, and what the explanation says."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf.json_format import ParseDict
from janua.config.v1.route_pb2 import Route
from janua_client.route_explanation import Outcome, RequestFacts, RouteVerdict, explain

from gateway.compile.route import compile_route
from gateway.router import Router

CASES = Path(__file__).parents[2] / "golden" / "routing_cases.yaml"


def facts(request: Mapping[str, Any]) -> RequestFacts:
    return RequestFacts(
        host=request.get("host", ""),
        method=request.get("method", "POST"),
        path=request.get("path", "/v1/chat/completions"),
        headers=request.get("headers", {}),
        query=request.get("query", {}),
        model=request.get("model", ""),
    )


def routes(*written: Mapping[str, Any]) -> list[Route]:
    return [ParseDict(dict(route), Route()) for route in written]


def golden() -> Iterator[Any]:
    for case in yaml.safe_load(CASES.read_text()):
        for number, request in enumerate(case["requests"]):
            yield pytest.param(case["routes"], request, id=f"{case['case']} [{number}]")


@pytest.mark.parametrize(("written", "request_"), list(golden()))
@pytest.mark.parametrize("order", [1, -1], ids=["", "reversed"])
def test_golden_case(written: list[Mapping[str, Any]], request_: Mapping[str, Any], order: int) -> None:
    verdicts = explain(routes(*written[::order]), facts(request_))
    winners = [verdict.route for verdict in verdicts if verdict.outcome is Outcome.WINS]
    assert winners == ([] if request_["expect"] is None else [request_["expect"]])
    assert sorted(verdict.route for verdict in verdicts) == sorted(route["name"] for route in written)


@dataclass(frozen=True, slots=True)
class RoutedCall:
    """A gRPC call as the gateway's router sees it."""

    path: str
    method: str = "POST"
    host: str = ""
    model: str = ""
    headers: Mapping[bytes, bytes] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    is_inference: bool = False


def why(route: Mapping[str, Any], **request: object) -> str:
    (verdict,) = explain(routes(route), facts(request))
    return verdict.why


@pytest.mark.parametrize(
    ("match", "request_", "expected"),
    [
        ({"hosts": ["a.example", "*.b.example"]}, {"host": "c"}, "host 'c' is not 'a.example' or '*.b.example'"),
        ({"hosts": ["a.example"]}, {}, "host '(none)' is not 'a.example'"),
        ({"path": {"exact": "/x"}}, {"path": "/y"}, "path '/y' is not '/x'"),
        ({"path": {"prefix": "/v1"}}, {"path": "/v1b"}, "path '/v1b' is not '/v1' and does not begin with '/v1/'"),
        ({"path": {"regex": "/x+"}}, {"path": "/y"}, "path '/y' does not match the regex '/x+'"),
        ({"path": {}}, {"path": "/y"}, "path '/y' cannot be compared: `path` is empty"),
        (
            {},
            {"method": "GET"},
            "GET /v1/chat/completions is no inference request, and the route has neither `path` nor `grpc`",
        ),
        (
            {"grpc": {"service": "my.pkg.Service"}},
            {"path": "/my.pkg.Services/Call"},
            "path '/my.pkg.Services/Call' is no method of the gRPC service 'my.pkg.Service'",
        ),
        (
            {"grpc": {"service": "my.pkg.Service", "method": "Call"}},
            {"path": "/my.pkg.Service/Other"},
            "path '/my.pkg.Service/Other' is not the gRPC method '/my.pkg.Service/Call'",
        ),
        (
            {"methods": ["PUT", "POST"], "path": {"prefix": "/"}},
            {"method": "GET"},
            "method 'GET' is not 'PUT' or 'POST'",
        ),
        ({"headers": [{"name": "a", "exact": "1"}]}, {}, "header 'a' is not there, wanted exact '1'"),
        ({"headers": [{"name": "a", "prefix": "x"}]}, {"headers": {"a": "y"}}, "header 'a' is 'y', wanted prefix 'x'"),
        (
            {"headers": [{"name": "a", "present": True, "invert": True}]},
            {"headers": {"a": "y"}},
            "header 'a' is 'y', wanted it there (inverted)",
        ),
        (
            {"query_params": [{"name": "q", "present": False}]},
            {"query": {"q": ""}},
            "query parameter 'q' is '', wanted it absent",
        ),
        ({"headers": [{"name": "a"}]}, {}, "header 'a' is not there, wanted nothing"),
        ({"models": ["a", "b*"]}, {"model": "c"}, "model 'c' is not 'a' or 'b*'"),
        ({"models": ["a"]}, {}, "no model is named"),
    ],
)
def test_names_the_first_condition_that_fails(
    match: Mapping[str, object], request_: Mapping[str, object], expected: str
) -> None:
    assert why({"name": "r", "match": match}, **request_) == expected


def test_conditions_are_judged_in_the_order_of_preference() -> None:
    everything_wrong = {
        "hosts": ["a.example"],
        "path": {"exact": "/x"},
        "methods": ["PUT"],
        "headers": [{"name": "a", "present": True}],
        "query_params": [{"name": "q", "present": True}],
        "models": ["m"],
    }
    right = {"host": "a.example", "path": "/x", "method": "PUT", "headers": {"a": ""}, "query": {"q": ""}, "model": "m"}
    blamed = []
    given: dict[str, object] = {}
    for name, value in right.items():
        blamed.append(why({"name": "r", "match": everything_wrong}, **given).split()[0])
        given[name] = value
    assert blamed == ["host", "path", "method", "header", "query", "no"]
    assert why({"name": "r", "match": everything_wrong}, **given) == "the only route that matches"


def test_says_why_the_winner_is_preferred() -> None:
    written = routes(
        {"name": "exact", "match": {"models": ["gemma-3"]}},
        {"name": "pattern", "match": {"models": ["gemma-*"]}},
        {"name": "away", "match": {"models": ["claude"]}},
        {"name": "any", "priority": -5},
    )
    assert explain(written, facts({"model": "gemma-3"})) == (
        RouteVerdict(route="exact", outcome=Outcome.WINS, why="model 'gemma-3' goes before model pattern 'gemma-*'"),
        RouteVerdict(
            route="pattern",
            outcome=Outcome.LOSES,
            why="matches, but 'exact' is preferred: model 'gemma-3' goes before model pattern 'gemma-*'",
        ),
        RouteVerdict(
            route="any",
            outcome=Outcome.LOSES,
            why="matches, but 'exact' is preferred: model 'gemma-3' goes before any model",
        ),
        RouteVerdict(route="away", outcome=Outcome.DOES_NOT_MATCH, why="model 'gemma-3' is not 'claude'"),
    )


def test_calls_are_ranked_by_the_paths_that_they_are() -> None:
    written = routes(
        {"name": "root", "match": {"path": {"prefix": "/"}}},
        {"name": "service", "match": {"grpc": {"service": "my.pkg.Service"}}},
        {"name": "method", "match": {"grpc": {"service": "my.pkg.Service", "method": "Call"}}},
        {"name": "other", "match": {"grpc": {"service": "other.Service"}}},
    )
    request = facts({"path": "/my.pkg.Service/Call"})
    verdicts = explain(written, request)
    assert [verdict.route for verdict in verdicts] == ["method", "service", "root", "other"]
    assert verdicts[0].why == "gRPC method my.pkg.Service/Call goes before gRPC service 'my.pkg.Service'"
    assert verdicts[2].why.endswith("gRPC method my.pkg.Service/Call goes before path prefix '/'")
    # A node compiles them to paths, and prefers the same.
    router = Router().changed((), map(compile_route, written))
    for path in ("/my.pkg.Service/Call", "/my.pkg.Service/Other", "/other.Service/Call", "/none.Service/Call"):
        route = router.match(RoutedCall(path))
        assert route is not None
        assert route.name == explain(written, facts({"path": path}))[0].route


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v2/models/iris/infer"),
        ("POST", "/v2/models/iris/versions/1/infer"),
        ("GET", "/v2/models/iris"),
        ("GET", "/v2/models/iris/ready"),
        ("POST", "/inference.GRPCInferenceService/ModelInfer"),
        ("POST", "/inference.GRPCInferenceService/ModelStreamInfer"),
    ],
)
def test_the_open_inference_protocol_is_inference_too(method: str, path: str) -> None:
    assert why({"name": "r", "match": {"models": ["iris"]}}, method=method, path=path, model="iris") == (
        "the only route that matches"
    )
    other = "GET" if method == "POST" else "POST"
    assert "is no inference request" in why({"name": "r"}, method=other, path=path)


def test_says_that_priority_or_name_decided() -> None:
    by_priority = explain(routes({"name": "a", "priority": 2}, {"name": "b", "priority": 1}), facts({}))
    assert by_priority[0].why == "equally specific, and priority 1 goes before 2"
    by_name = explain(routes({"name": "b"}, {"name": "a"}), facts({}))
    assert by_name[0].why == "equally specific, and of equal priority: 'a' comes first by name"
