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
    header, winner, other = capsys.readouterr().out.splitlines()
    assert header.split() == ["ROUTE", "OUTCOME", "WHY"]
    assert winner.split(maxsplit=2) == ["gemma", "wins", "the only route that matches"]
    assert other.split(maxsplit=4)[:4] == ["gold", "does", "not", "match"]
    assert "host '(none)' is not '*.example.com'" in other


def test_all_of_a_request(file: str, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--path", "/v1/models?beta=1&beta=2&empty", "--method", "get", "--host", "AI.Example.com:8080"]
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
