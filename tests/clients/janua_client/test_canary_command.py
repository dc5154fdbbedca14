"""`janua apply --canary` and `janua canary` against a real server and nodes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from janua.config.v1.config_service_pb2 import (
    ApplyRequest,
    ApplyResponse,
    NodeRollout,
    NodeSelector,
    RollbackRequest,
    RollbackResponse,
)
from janua_client.node_selector import describe_nodes, parse_node_selector

from tests.clients.janua_client.cli_runner import Finished, janua
from tests.clients.janua_client.scripted_server import fail, rollouts, serving
from tests.support.polling import eventually
from tests.support.processes import ConfigServer, NodeFactory

Write = Callable[..., str]

POOL: dict[str, Any] = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
NEW = {**POOL, "description": "new"}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file with these resources, and returns its path."""

    def to_file(**resources: Any) -> str:
        path = tmp_path / "janua.yaml"
        path.write_text(yaml.safe_dump(resources))
        return str(path)

    return to_file


async def run(server: ConfigServer, *arguments: str) -> Finished:
    return await janua(*arguments, "--server", server.address)


async def description(server: ConfigServer) -> str:
    got = await run(server, "get", "upstream", "pool", "-o", "json")
    text: str = json.loads(got.out)["upstreams"][0].get("description", "")
    return text


@pytest.fixture
async def filled(config_server: ConfigServer, write: Write) -> ConfigServer:
    assert (await run(config_server, "apply", "-f", write(upstreams=[POOL]))).code == 0
    return config_server


async def test_a_canary_is_tried_and_promoted(filled: ConfigServer, node: NodeFactory, write: Write) -> None:
    await node(filled, "--node-cluster", "edge")
    await node(filled, "--node-cluster", "core")
    begun = await run(
        filled, "apply", "-f", write(upstreams=[NEW]), "--canary", "cluster=edge", "--wait", "all", "-m", "try"
    )
    assert begun.code == 0, begun.err
    assert begun.out.splitlines() == [
        "updated   upstream/pool",
        '            description: + "new"',
        "canary of revision 2 on cluster=edge: 1 connected node",
        "1 of 1 nodes have it",
    ]
    assert await description(filled) == ""
    shown = (await run(filled, "canary", "status")).out.splitlines()
    assert shown[0] == "canary of revision 2 on cluster=edge: running"
    assert shown[1].endswith(": try")
    assert shown[2] == "0 of 0 requests failed; more than 10% abort it"
    assert shown[4:6] == ["updated   upstream/pool", '            description: + "new"']
    assert shown[-1].split() == ["node-1", "synced", "yes"]
    blocked = await run(filled, "apply", "-f", write(upstreams=[POOL, {**POOL, "name": "other"}]))
    assert blocked.code == 1
    assert "a canary runs since revision 2, by " in blocked.err
    assert "promote or abort it first" in blocked.err
    promoted = await run(filled, "canary", "promote", "--wait", "all")
    assert promoted.out.splitlines()[-2:] == ["revision 3: 1 updated", "2 of 2 nodes have it"]
    assert await description(filled) == "new"
    ended = (await run(filled, "canary", "status")).out.splitlines()
    assert ended[0] == "canary of revision 2 on cluster=edge: promoted"
    assert ended[-1].endswith(" by revision 3")


async def test_a_canary_is_aborted(filled: ConfigServer, write: Write) -> None:
    begun = await run(filled, "apply", "-f", write(upstreams=[NEW]), "--canary", "10%,id=gateway-*", "-o", "json")
    data = json.loads(begun.out)
    assert (data["canary"], data["revision"]) == ("10%,id=gateway-*", 2)
    data = json.loads((await run(filled, "canary", "status", "-o", "json")).out)
    assert (data["state"], data["nodes"], data["max_failed_percent"]) == ("running", [], 10)
    other = await run(filled, "canary", "abort", "7")
    assert (other.code, other.err) == (1, "janua canary: the canary that runs is that of revision 2, not 7\n")
    aborted = await run(filled, "canary", "abort", "-m", "slow", "--author", "ann")
    assert (aborted.code, aborted.out) == (0, "aborted   revision 3\n")
    data = json.loads((await run(filled, "canary", "status", "-o", "json")).out)
    assert (data["state"], data["end_revision"], data["end_reason"]) == ("aborted", 3, "slow")
    history = json.loads((await run(filled, "history", "-n", "1", "-o", "json")).out)
    assert history["revisions"][0]["message"] == "canary of revision 2 aborted: slow"
    for command in ("promote", "abort"):
        refused = await run(filled, "canary", command)
        assert (refused.code, refused.err.startswith("janua canary: no canary runs")) == (1, True)


async def test_what_a_node_refuses_is_aborted(filled: ConfigServer, node: NodeFactory, write: Write) -> None:
    gateway = await node(filled, "--node-cluster", "edge")
    secret = {"name": "key", "env": "A_VARIABLE_THAT_IS_NOT_SET"}
    assert (await run(filled, "apply", "-f", write(secrets=[secret]))).code == 0
    bad = {
        "services": [{"name": "openai", "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]}}],
        "routes": [{"name": "chat", "match": {"models": ["m"]}, "backends": [{"service": "openai"}]}],
    }
    # A service whose secret is not there waits for it, and is refused after five seconds.
    refused = await run(
        filled, "apply", "-f", write(**bad), "--canary", f"id={gateway.name}", "--wait", "all", "--timeout", "20s"
    )
    assert refused.code == 3
    assert "the canary of revision 3 is refused by node-1, which aborts it" in refused.err
    assert "UNRESOLVED_REFERENCE" in refused.err or "SECRET_UNREADABLE" in refused.err

    async def is_aborted() -> bool:
        data = json.loads((await run(filled, "canary", "status", "-o", "json")).out)
        return bool(data["state"] == "aborted" and data["end_reason"].startswith("node-1 refuses "))

    await eventually(is_aborted)
    assert "services" not in yaml.safe_load((await run(filled, "export")).out)


async def test_without_a_node_nobody_tries_it(filled: ConfigServer, write: Write) -> None:
    begun = await run(filled, "apply", "-f", write(upstreams=[NEW]), "--canary", "cluster=none", "--wait", "all")
    assert begun.code == 0
    first, *others = begun.errors
    assert (
        first == "warning: no connected node is among those: nobody tries it yet; `janua nodes` lists those there are"
    )
    assert not any("no node is connected" in line for line in others)


async def test_nothing_to_try(filled: ConfigServer, write: Write) -> None:
    begun = await run(filled, "apply", "-f", write(upstreams=[POOL]), "--canary", "10%")
    assert begun.out.splitlines()[-1] == "nothing to try at revision 1"
    shown = await run(filled, "canary", "status")
    assert shown.code == 1
    assert "there has been no canary" in shown.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--canary", "x"), "'x' chooses no nodes: give 10%, cluster=NAME"),
        (("--canary", "0%"), "0% of the nodes are none"),
        (("--canary", "101%"), "'101%' is not a percentage"),
        (("--canary", "10%,20%"), "two percentages"),
        (("--canary", "cluster="), "chooses no nodes"),
        (("--canary", "10%", "--max-failed", "5"), "--max-failed: '5' is not a percentage"),
        (("--canary", "10%", "--wait", "all", "--rollback-on-nack"), "a refusal aborts the canary"),
    ],
)
async def test_wrong_usage(config_server: ConfigServer, write: Write, arguments: tuple[str, ...], words: str) -> None:
    refused = await run(config_server, "apply", "-f", write(upstreams=[POOL]), *arguments)
    assert (refused.code, refused.out) == (2, "")
    assert words in refused.err


def test_a_choice_of_nodes_is_read_and_told() -> None:
    text = "10%,cluster=edge,cluster=core,id=gateway-*"
    selector = NodeSelector(percent=10, clusters=["edge", "core"], ids=["gateway-*"])
    assert parse_node_selector(text.replace(",", " , ")) == selector
    assert describe_nodes(selector) == text


async def test_what_was_changed_since_is_not_undone(write: Write) -> None:
    async def apply_(request: ApplyRequest, context: Any) -> ApplyResponse:
        return ApplyResponse(revision=4, connected_nodes=1)

    async def rollback(request: RollbackRequest, context: Any) -> RollbackResponse:
        assert request.undo_revision == 4
        await fail(context, grpc.StatusCode.ABORTED, "changed again after revision 4: upstream pool")
        raise AssertionError("the call was aborted")

    node = NodeRollout(node_id="a", state=NodeRollout.STATE_ERROR, connected=True)
    async with serving(Apply=apply_, Rollback=rollback, **rollouts([node])) as address:
        arguments = ("-f", write(upstreams=[POOL]), "--wait", "all", "--rollback-on-nack", "--server", address)
        done = await janua("apply", *arguments)
    assert done.code == 3
    assert done.err == (
        "janua apply: revision 4 is refused by a and stays: changed again after revision 4: upstream pool\n"
    )
