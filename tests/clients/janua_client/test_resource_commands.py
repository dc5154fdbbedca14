"""`janua get`, `delete` and `export` against a real config server."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from janua.config.v1.config_service_pb2 import ListResourcesRequest, ListResourcesResponse
from janua.config.v1.resource_pb2 import Resource, StoredResource
from janua.config.v1.route_pb2 import Route
from janua_client.cli.summaries import summarize
from janua_resources.kinds import KINDS

from tests.clients.janua_client.cli_runner import Finished, janua
from tests.clients.janua_client.scripted_server import serving
from tests.support.processes import ConfigServer

EVERYTHING: Mapping[str, list[dict[str, Any]]] = {
    "upstreams": [
        {
            "name": "pool",
            "labels": {"team": "search", "quoted": "yes"},
            "description": "two boxes: $HOME, ${NOT_A_VARIABLE}, é",
            "endpoints": [{"address": "127.0.0.1:9001", "weight": 3}, {"address": "https://box.example/base"}],
            "load_balancing": {"policy": "LEAST_REQUEST", "least_request": {"choice_count": 3}},
            "health_checks": [{"http": {"path": "/health"}, "interval": "250ms", "unhealthy_threshold": 2}],
        }
    ],
    "services": [
        {"name": "llm", "upstream_service": {"upstream": "pool", "schema": "OPENAI"}},
        {
            "name": "outside",
            "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]},
            "timeouts": {"request": "90s", "first_token": "1.5s"},
        },
    ],
    "routes": [
        {
            "name": "chat",
            "priority": -1,
            "match": {
                "hosts": ["*.example.com"],
                "path": {"prefix": "/v1"},
                "headers": [{"name": "x-tier", "exact": "gold"}],
                "models": ["gemma-*"],
            },
            "backends": [{"service": "llm", "weight": 9}, {"service": "outside", "weight": 0}],
            "policies": ["keys"],
        }
    ],
    "policies": [{"name": "keys", "api_key_auth": {"optional": True}}],
    "consumers": [{"name": "alice", "api_keys": [{"key_sha256": "0" * 64, "expires": "2099-01-01T00:00:00Z"}]}],
    "secrets": [{"name": "key", "env": "OPENAI_API_KEY"}],
}


@pytest.fixture
async def server(config_server: ConfigServer) -> str:
    """The address of a config server that holds everything."""
    text = yaml.safe_dump(dict(EVERYTHING)).replace("${", "$${")
    done = await janua("apply", "-f", "-", "--set", "mine", "--server", config_server.address, stdin=text)
    assert done.code == 0, done.err
    return config_server.address


def rows(done: Finished) -> list[list[str]]:
    return [line.split() for line in done.out.splitlines()]


async def test_get_lists_a_kind(server: str) -> None:
    done = await janua("get", "services", "--server", server)
    assert (done.code, done.err) == (0, "")
    header, *lines = rows(done)
    assert header == ["NAME", "WHAT", "REVISION", "CHANGED", "SET"]
    assert [line[0] for line in lines] == ["llm", "outside"]
    assert lines[0][1:4] == ["upstream", "pool", "1"]
    assert lines[0][-1] == "mine"


async def test_get_all_names_the_kinds(server: str) -> None:
    _, *lines = rows(await janua("get", "all", "--server", server))
    names = {line[0] for line in lines}
    assert names == {
        "upstream/pool", "service/llm", "service/outside", "route/chat", "policy/keys", "consumer/alice", "secret/key",
    }  # fmt: skip


@pytest.mark.parametrize("word", ["upstream", "upstreams", "Upstream"])
async def test_get_one_as_a_file(server: str, word: str) -> None:
    done = await janua("get", word, "pool", "--server", server, "-o", "json")
    assert json.loads(done.out.replace("$${", "${")) == {"upstreams": EVERYTHING["upstreams"]}
    table = await janua("get", word, "pool", "--server", server)
    assert rows(table)[1][0] == "pool"


@pytest.mark.parametrize("form", ["yaml", "json"])
async def test_an_export_is_taken_back_unchanged(server: str, form: str) -> None:
    exported = await janua("export", "-o", form, "--server", server)
    assert (exported.code, exported.err) == (0, "")
    back = await janua("diff", "-f", "-", "--server", server, "--exit-code", stdin=exported.out)
    assert (back.code, back.out) == (0, "nothing to change at revision 1\n")
    got = await janua("get", "all", "-o", form, "--server", server)
    assert got.out == exported.out
    loaded = json.loads(exported.out) if form == "json" else yaml.safe_load(exported.out)
    assert list(loaded) == ["upstreams", "services", "routes", "policies", "consumers", "secrets"]


async def test_what_a_newer_config_server_has_is_listed_and_lost_in_no_file() -> None:
    new_field = b"\xc2\x3e\x03new"  # field 1000
    route = Route.FromString(Route(name="chat").SerializeToString() + new_field)
    listed = ListResourcesResponse(
        resources=[
            StoredResource(resource=Resource(route=route), revision=1),
            StoredResource(resource=Resource.FromString(new_field), revision=2),
        ]
    )

    async def list_resources(request: ListResourcesRequest, context: object) -> ListResourcesResponse:
        return listed

    async with serving(ListResources=list_resources) as address:
        table = await janua("get", "all", "--server", address)
        assert [line.split("  ")[0] for line in table.out.splitlines()] == ["NAME", "route/chat", "(of a newer kind)"]
        for words in (("export",), ("get", "all", "-o", "json")):
            done = await janua(*words, "--server", address)
            assert (done.code, done.out) == (1, "")
            assert done.errors[:2] == ["route/chat", "(of a newer kind)"]
            assert done.errors[2].endswith("use the version of the config server")


async def test_an_export_of_one_set(server: str) -> None:
    other = yaml.safe_dump({"policies": [{"name": "other", "api_key_auth": {}}]})
    await janua("apply", "-f", "-", "--set", "another", "--server", server, stdin=other)
    exported = await janua("export", "--set", "another", "--server", server)
    assert yaml.safe_load(exported.out) == {"policies": [{"name": "other", "api_key_auth": {}}]}


async def test_an_export_is_no_table(server: str) -> None:
    done = await janua("export", "-o", "table", "--server", server)
    assert done.code == 2
    assert done.err == "janua export: an export is a file: -o yaml or -o json; `janua get all` prints a table\n"


async def test_of_an_empty_server(config_server: ConfigServer) -> None:
    table = await janua("get", "routes", "--server", config_server.address)
    assert (table.code, table.out, table.err) == (0, "", "nothing there\n")
    exported = await janua("export", "-o", "json", "--server", config_server.address)
    assert json.loads(exported.out) == {}


async def test_delete(server: str) -> None:
    done = await janua("delete", "route", "chat", "--server", server)
    assert (done.code, done.out, done.err) == (0, "deleted   route/chat\nrevision 2\n", "")
    data = await janua("delete", "services", "llm", "--server", server, "-o", "json")
    assert json.loads(data.out) == {"revision": 3, "kind": "service", "name": "llm"}


async def test_what_others_name_is_not_deleted(server: str) -> None:
    done = await janua("delete", "service", "llm", "--server", server)
    assert (done.code, done.out) == (1, "")
    assert done.errors == [
        "route chat: backends[0].service: service 'llm' does not exist",
        "janua delete: service 'llm' is in use: change or delete what names it first",
    ]


@pytest.mark.parametrize("command", ["get", "delete"])
async def test_what_is_not_there(server: str, command: str) -> None:
    done = await janua(command, "route", "nope", "--server", server)
    assert done.code == 1
    assert done.err == f"janua {command}: there is no route 'nope': `janua get routes` lists those there are\n"


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("get", "rout"), "'rout' is no kind of resource, such as secret, upstream, "),
        (("get", "xyz"), "'xyz' is no kind of resource, such as secret, upstream, "),
        (("delete", "all", "x"), "'all' is no kind of resource"),
        (("get", "all", "x"), "a name needs its kind"),
        (("delete", "route"), "Missing argument 'NAME'."),
    ],
)
async def test_wrong_usage(server: str, arguments: tuple[str, ...], expected: str) -> None:
    done = await janua(*arguments, "--server", server)
    assert done.code == 2
    assert done.err.startswith(f"janua {arguments[0]}: {expected}")
    assert len(done.errors) == 1


@pytest.mark.parametrize("command", [("get", "routes"), ("delete", "route", "x"), ("export",)])
async def test_a_server_that_is_not_there(command: tuple[str, ...]) -> None:
    done = await janua(*command, "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"janua {command[0]}: cannot reach the config server at 127.0.0.1:1 (")
    assert len(done.errors) == 1


@pytest.mark.parametrize(
    ("kind", "resource", "expected"),
    [
        ("routes", {}, "every inference request → ; open"),
        (
            "routes",
            {
                "match": {"path": {"exact": "/x"}, "methods": ["GET"], "query_params": [{"name": "a"}, {"name": "b"}]},
                "backends": [{"service": name} for name in "abcd"],
            },
            "path exact /x; methods GET; 2 query parameters → a, b, c and 1 more; open",
        ),
        ("services", {"proxy_service": {"provider": "openai"}}, "provider openai"),
        ("services", {"proxy_service": {"provider": "custom", "base_url": "http://x"}}, "provider custom http://x"),
        ("upstreams", {"endpoints": [{"address": "a:1"}]}, "a:1; ROUND_ROBIN; no health checks"),
        ("policies", {"api_key_auth": {}}, "api key auth"),
        ("policies", {}, "unknown"),
        ("consumers", {"api_keys": [{}]}, "1 key"),
        ("secrets", {"file": "/run/key"}, "file /run/key"),
        ("secrets", {"env": "KEY"}, "env KEY"),
    ],
)
def test_what_a_resource_is_in_one_line(kind: str, resource: dict[str, Any], expected: str) -> None:
    message = next(info for info in KINDS if info.plural == kind).message()
    assert summarize(json_format.ParseDict({"name": "x", **resource}, message)) == expected
