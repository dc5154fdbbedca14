"""`janua explain`: the request from the options, the routes from files or from the server, the answer in both forms."""

import json
from pathlib import Path

import pytest
from janua_client.cli import main

from tests.clients.janua_client.cli_runner import janua
from tests.support.processes import ConfigServer

ROUTES = """\
routes:
- {name: gemma, match: {models: ["gemma-*"]}, backends: [{service: local}, {service: spare}]}
- name: gold
  match:
    hosts: ["*.example.com"]
    path: {prefix: /v1}
    methods: [GET]
    headers: [{name: x-tier, exact: "gold, plated"}]
    query_params: [{name: beta, exact: "1"}]
  backends: [{service: gold}]
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    path = tmp_path / "janua.yaml"
    path.write_text(ROUTES)
    return str(path)


def test_the_winner_and_why_not_the_others(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-f", file, "--model", "gemma-3"]) == 0
    header, winner, other, empty, *_ = capsys.readouterr().out.splitlines()
    assert empty == ""
    assert header.split() == ["ROUTE", "OUTCOME", "WHY"]
    assert winner.split(maxsplit=2) == ["gemma", "wins", "the only route that matches"]
    assert other.split(maxsplit=4)[:4] == ["gold", "does", "not", "match"]
    assert "host '(none)' is not '*.example.com'" in other


RICH = """\
routes:
- name: chat
  match: {models: ["gemma-*"]}
  backends: [{service: a, weight: 9}, {service: b}, {service: c, priority: 1, model_override: haiku}]
  mirror: {service: shadow, percent: 2.5}
- {name: one, match: {models: [one]}, backends: [{service: a}]}
- name: calls
  match: {grpc: {service: my.pkg.Service}}
  backends: [{service: a}]
  rewrite: {path_prefix: /their.pkg.Service, host: inner.example}
- {name: old, match: {path: {prefix: /old}}, redirect: {host: new.example, status: 308}}
- {name: gone, match: {path: {exact: /gone}}, direct_response: {status: 410, body: gone}}
- {name: moved, match: {grpc: {service: moved.pkg.Service}}, redirect: {host: new.example}}
- {name: closed, match: {grpc: {service: closed.pkg.Service}}, direct_response: {status: 503}}
"""


@pytest.fixture
def rich(tmp_path: Path) -> str:
    path = tmp_path / "rich.yaml"
    path.write_text(RICH)
    return str(path)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--model", "gemma-3"],
            [
                "TIER  BACKEND  SHARE  MODEL",
                "0     a        90 %   gemma-3",
                "0     b        10 %   gemma-3",
                "1     c        100 %  haiku",
                "After UNAVAILABLE, RATE_LIMITED, OVERLOADED or TIMEOUT the next backend is tried, tier by tier.",
                "Copies of 2.5 % of the requests go to shadow.",
            ],
        ),
        (["--model", "one"], ["TIER  BACKEND  SHARE  MODEL", "0     a        100 %  one"]),
        (
            ["--path", "/v1/audio/speech", "--model", "one"],
            ["TIER  BACKEND  SHARE  MODEL", "0     a        100 %  one"],
        ),
        (
            ["--path", "/my.pkg.Service/Call"],
            [
                "TIER  BACKEND  SHARE  MODEL",
                "0     a        100 %  -",
                "Backends see the path /their.pkg.Service/Call.",
                "Backends see the host inner.example.",
            ],
        ),
        (["--path", "/old/a%20b?x=1"], ["old redirects with 308 to //new.example/old/a%20b?x=1."]),
        (["--path", "/gone"], ["gone answers itself, with 410."]),
        (
            ["--path", "/moved.pkg.Service/Call"],
            ["moved ends the call with UNAVAILABLE: there are no redirects in gRPC."],
        ),
        (
            ["--path", "/closed.pkg.Service/Call"],
            ["closed ends the call itself, with the gRPC status for 503."],
        ),
    ],
)
def test_what_becomes_of_the_request(
    rich: str, arguments: list[str], told: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "-f", rich, *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[lines.index("") + 1 :] == told


def test_what_becomes_of_the_request_as_data(rich: str, capsys: pytest.CaptureFixture[str]) -> None:
    def result(*arguments: str) -> object:
        assert main(["explain", "-f", rich, *arguments, "-o", "json"]) == 0
        return json.loads(capsys.readouterr().out)["result"]

    assert result("--model", "gemma-3") == {
        "backends": [
            {"service": "a", "priority": 0, "weight": 9, "share_percent": 90, "model": "gemma-3"},
            {"service": "b", "priority": 0, "weight": 1, "share_percent": 10, "model": "gemma-3"},
            {"service": "c", "priority": 1, "weight": 1, "share_percent": 100, "model": "haiku"},
        ],
        "fallback_on": ["UNAVAILABLE", "RATE_LIMITED", "OVERLOADED", "TIMEOUT"],
        "path": None,
        "host": None,
        "mirror": {"service": "shadow", "percent": 2.5},
    }
    assert result("--path", "/old") == {"redirect": {"status": 308, "location": "//new.example/old"}}
    assert result("--path", "/gone") == {"direct_response": {"status": 410, "body": "gone"}}
    assert result("--path", "/v1/models") is None


def test_a_path_of_the_open_inference_protocol_says_method_and_model(
    rich: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in ("/v2/models/gemma-3/infer", "/v2/models/gemma-3", "/v2/models/gemma%2D3/ready"):
        assert main(["explain", "-f", rich, "--path", path, "-o", "json"]) == 0
        assert json.loads(capsys.readouterr().out)["route"] == "chat"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--path", "/v1/models"], "The node itself answers /v1/models, whatever routes say."),
        (
            ["--path", "/v1/embeddings", "--method", "get"],
            "/v1/embeddings takes POST alone: GET is answered with 405, whatever routes say.",
        ),
        (
            ["--path", "/v1/moderations", "--method", "get"],
            "/v1/moderations takes POST alone: GET is answered with 405, whatever routes say.",
        ),
    ],
)
def test_what_no_route_is_asked_about(
    rich: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["explain", "-f", rich, *arguments]) == 0
    shown = capsys.readouterr()
    assert (shown.out, shown.err) == ("", f"{said}\n")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/nowhere", "No route takes this request: it is answered with 404."),
        ("/nobody.pkg.Service/Call", "No route takes this call: it ends with UNIMPLEMENTED."),
        ("/inference.GRPCInferenceService/ModelInfer", "No route takes this call: it ends with NOT_FOUND."),
    ],
)
def test_how_it_ends_without_a_route(rich: str, path: str, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-f", rich, "--path", path]) == 0
    assert capsys.readouterr().err == f"{said}\n"


def test_a_model_that_nobody_reads_is_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "janua.yaml"
    path.write_text("routes:\n- {name: a, match: {path: {prefix: /own}, models: [m]}, backends: [{service: s}]}\n")
    assert main(["explain", "-f", str(path), "--path", "/own/way", "--model", "m"]) == 0
    shown = capsys.readouterr()
    assert "no model is named" in shown.out
    assert shown.err.startswith("warning: --model is not looked at: nodes read no model from requests to /own/way\n")


def test_all_of_a_request(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--path", "/v1/files?beta=1&beta=2&empty", "--method", "get", "--host", "AI.Example.com:8080"]
    headers = ["--header", "X-Tier: gold", "--header", "x-tier:plated"]
    assert main(["explain", "-f", file, *arguments, *headers, "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["route"] == "gold"
    assert data["services"] == ["gold"]
    assert [(each["name"], each["outcome"]) for each in data["routes"]] == [
        ("gold", "wins"),
        ("gemma", "does not match"),
    ]


def test_no_route_at_all(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-f", file, "--model", "claude"]) == 0
    assert "No route takes this request: it is answered with 404." in capsys.readouterr().err
    assert main(["explain", "-f", file, "--model", "claude", "-o", "json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["route"], data["services"]) == (None, [])


async def test_the_routes_that_the_server_has(config_server: ConfigServer) -> None:
    server = ("--server", config_server.address)
    empty = await janua("explain", *server)
    assert (empty.code, empty.out) == (0, "")
    assert empty.err.startswith("there are no routes\n")
    services = "".join(
        f"- {{name: {name}, proxy_service: {{provider: custom, base_url: 'http://127.0.0.1:1'}}}}\n"
        for name in ("local", "spare", "gold")
    )
    applied = await janua("apply", "-f", "-", *server, stdin=f"{ROUTES}services:\n{services}")
    assert applied.code == 0, applied.err
    done = await janua("explain", *server, "--model", "gemma-3", "-o", "json")
    assert json.loads(done.out)["services"] == ["local", "spare"]


@pytest.mark.parametrize("header", ["x-tier", ":gold", " : "])
def test_a_header_without_a_value(file: str, header: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "-f", file, "--header", header]) == 2
    assert capsys.readouterr().err == f"janua explain: --header {header!r} is not NAME:VALUE\n"


def test_routes_that_are_not_right(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "janua.yaml"
    path.write_text("routes:\n- {name: a, match: {path: {regex: '('}}, backends: [{service: s}]}\n")
    assert main(["explain", "-f", str(path)]) == 1
    assert "match.path.regex" in capsys.readouterr().err
