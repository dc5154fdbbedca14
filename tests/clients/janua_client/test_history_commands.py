"""`janua history`, `rollback`, `diff --revision` and `apply --rollback-on-nack` against a real server and node."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.clients.janua_client.cli_runner import Finished, janua
from tests.support.processes import ConfigServer, NodeFactory

Write = Callable[..., str]

POOL: dict[str, Any] = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
OTHER: dict[str, Any] = {"name": "other", "endpoints": [{"address": "127.0.0.1:9002"}]}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file with these resources, and returns its path."""

    def to_file(**resources: Any) -> str:
        path = tmp_path / "janua.yaml"
        path.write_text(yaml.safe_dump(resources))
        return str(path)

    return to_file


@pytest.fixture
async def filled(config_server: ConfigServer, write: Write) -> ConfigServer:
    """Three revisions: a pool, another, and the first with a description."""
    for message, upstream in (("first", POOL), ("second", OTHER), ("third", {**POOL, "description": "large"})):
        applied = await run(config_server, "apply", "-f", write(upstreams=[upstream]), "-m", message)
        assert applied.code == 0, applied.err
    return config_server


async def run(server: ConfigServer, *arguments: str) -> Finished:
    return await janua(*arguments, "--server", server.address)


async def upstreams(server: ConfigServer, *arguments: str) -> dict[str, str]:
    got = await run(server, "get", "upstreams", "-o", "json", *arguments)
    assert got.code == 0, got.err
    return {each["name"]: each.get("description", "") for each in json.loads(got.out).get("upstreams", [])}


async def test_history_tells_who_and_why(filled: ConfigServer) -> None:
    listed = await run(filled, "history", "-n", "2")
    header, *rows = listed.out.splitlines()
    assert header.split() == ["REVISION", "MADE", "BY", "WHY"]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [("3", "third"), ("2", "second")]
    assert all("@" in row for row in rows)
    data = json.loads((await run(filled, "history", "-o", "json")).out)
    assert [each["message"] for each in data["revisions"]] == ["third", "second", "first"]


async def test_history_of_one_revision_tells_what_it_changed(filled: ConfigServer) -> None:
    told = await run(filled, "history", "3")
    assert told.out.splitlines()[1:] == [
        "    third",
        "",
        "updated   upstream/pool",
        '            description: + "large"',
    ]
    data = json.loads((await run(filled, "history", "2", "-o", "json")).out)
    assert data["changes"] == [{"kind": "upstream", "name": "other", "outcome": "created", "diff": []}]


async def test_history_of_nothing(config_server: ConfigServer) -> None:
    listed = await run(config_server, "history")
    assert (listed.code, listed.out, listed.err) == (0, "", "nothing has been applied yet\n")
    missing = await run(config_server, "history", "7")
    assert (missing.code, missing.err) == (1, "janua history: revision 7 was never made; the current one is 0\n")


async def test_diff_of_two_revisions(filled: ConfigServer) -> None:
    compared = await run(filled, "diff", "--revision", "1..2")
    assert compared.out.splitlines() == ["created   upstream/other"]
    back = await run(filled, "diff", "--revision", "3..1", "--exit-code")
    assert (back.code, back.out.splitlines()[0]) == (1, "deleted   upstream/other")
    same = await run(filled, "diff", "--revision", "3", "--exit-code")
    assert (same.code, same.out) == (0, "revisions 3 and 3 are equal\n")


@pytest.mark.parametrize("revision", ["x", "1..x", "..2", "-1", "1...2"])
async def test_diff_of_what_is_no_range(config_server: ConfigServer, revision: str) -> None:
    refused = await run(config_server, "diff", f"--revision={revision}")
    assert (refused.code, refused.out) == (2, "")
    assert "is not A..B or A" in refused.err


@pytest.mark.parametrize(
    "words",
    [
        ("history",),
        ("rollout", "status"),
        ("rollback", "--yes"),
        ("rollback", "--yes", "--undo"),
        ("canary", "promote"),
        ("get", "routes", "--revision"),
        ("diff", "--revision"),
    ],
    ids=" ".join,
)
async def test_a_number_that_no_revision_can_have(words: tuple[str, ...]) -> None:
    done = await janua(*words, "9" * 20, "--server", "127.0.0.1:1")
    assert (done.code, done.out, len(done.errors)) == (2, "", 1), done.err


async def test_diff_wants_files_or_revisions(config_server: ConfigServer, write: Write) -> None:
    for arguments in ((), ("-f", write(upstreams=[POOL]), "--revision", "1")):
        refused = await run(config_server, "diff", *arguments)
        assert refused.code == 2
        assert "either files with -f, or --revision" in refused.err


async def test_resources_as_they_were(filled: ConfigServer) -> None:
    assert await upstreams(filled, "--revision", "1") == {"pool": ""}
    assert await upstreams(filled) == {"pool": "large", "other": ""}
    missing = await run(filled, "get", "upstream", "other", "--revision", "1")
    assert (missing.code, missing.err) == (1, "janua get: upstream other did not exist at revision 1\n")


async def test_rollback_goes_back(filled: ConfigServer) -> None:
    tried = await run(filled, "rollback", "1", "--dry-run")
    assert tried.out.splitlines()[-1] == "dry run at revision 3: 1 updated, 1 deleted"
    assert await upstreams(filled) == {"pool": "large", "other": ""}
    done = await run(filled, "rollback", "1", "--yes", "-m", "as before")
    assert done.out.splitlines()[-1] == "revision 4: 1 updated, 1 deleted"
    assert await upstreams(filled) == {"pool": ""}
    data = json.loads((await run(filled, "history", "-o", "json", "-n", "1")).out)
    assert data["revisions"][0]["message"] == "as before"


async def test_rollback_undoes_one_revision(filled: ConfigServer) -> None:
    done = await run(filled, "rollback", "--undo", "2", "--yes", "-o", "json")
    assert [(each["outcome"], each["name"]) for each in json.loads(done.out)["results"]] == [("deleted", "other")]
    assert await upstreams(filled) == {"pool": "large"}
    refused = await run(filled, "rollback", "--undo", "1", "--yes")
    assert refused.code == 1
    assert "changed again after revision 1" in refused.err


async def test_what_was_never_made_cannot_be_undone(filled: ConfigServer) -> None:
    never = await run(filled, "rollback", "--undo", "99", "--yes")
    assert (never.code, never.errors) == (1, ["janua rollback: revision 99 was never made; the current one is 3"])
    first = await run(filled, "rollback", "--undo", "0", "--yes")
    assert (first.code, first.errors) == (2, ["janua rollback: there is nothing to undo before revision 1"])


async def test_rollback_asks_first(filled: ConfigServer) -> None:
    refused = await run(filled, "rollback", "1")
    assert refused.code == 2
    assert "add --yes" in refused.err


async def test_what_a_node_refuses_is_undone(config_server: ConfigServer, node: NodeFactory, write: Write) -> None:
    await node(config_server)
    good = {
        "upstreams": [POOL],
        "services": [{"name": "llm", "upstream_service": {"upstream": "pool"}}],
        "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "llm"}]}],
    }
    assert (await run(config_server, "apply", "-f", write(**good), "--wait", "all")).code == 0
    secret = {"name": "key", "env": "A_VARIABLE_THAT_IS_NOT_SET"}
    bad = {
        "secrets": [secret],
        "upstreams": [{**POOL, "description": "new"}],
        "services": [{"name": "openai", "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]}}],
        "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "openai"}]}],
    }
    refused = await run(config_server, "apply", "-f", write(**bad), "--wait", "all", "--rollback-on-nack")
    assert refused.code == 3
    assert "revision 2 is refused by node-1 and was undone by revision 3" in refused.err
    assert "SECRET_UNREADABLE" in refused.err
    now = yaml.safe_load((await run(config_server, "export")).out)
    assert [each.get("description", "") for each in now["upstreams"]] == [""]
    assert [each["name"] for each in now["services"]] == ["llm"]
    assert now["routes"][0]["backends"] == [{"service": "llm"}]
    synced = await run(config_server, "apply", "-f", write(**good), "--wait", "all")
    assert synced.code == 0


async def test_undoing_needs_waiting(config_server: ConfigServer, write: Write) -> None:
    refused = await run(config_server, "apply", "-f", write(upstreams=[POOL]), "--rollback-on-nack")
    assert refused.code == 2
    assert "--rollback-on-nack needs --wait" in refused.err
