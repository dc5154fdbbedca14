"""`janua apply` and `janua diff` against a real config server, and against one whose answers are written down."""

import asyncio
import json
import os
import pty
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml
from janua.config.v1.config_service_pb2 import (
    ApplyRequest,
    ApplyResponse,
    GetRolloutRequest,
    GetRolloutResponse,
    ListResourcesRequest,
    ListResourcesResponse,
    NodeRollout,
    Rejection,
)

from tests.clients.janua_client.cli_runner import JANUA, Finished, janua
from tests.clients.janua_client.scripted_server import rollouts, serving
from tests.support.processes import ConfigServer, NodeFactory

Context = grpc.aio.ServicerContext[Any, Any]
Write = Callable[..., str]

POOL: dict[str, Any] = {"name": "pool", "endpoints": [{"address": "127.0.0.1:9001"}]}
LLM = {"name": "llm", "upstream_service": {"upstream": "pool"}}
CHAT = {"name": "chat", "match": {"models": ["gemma-*"]}, "backends": [{"service": "llm"}], "policies": ["keys"]}
KEYS = {"name": "keys", "api_key_auth": {}}
ALL = {"upstreams": [POOL], "services": [LLM], "policies": [KEYS], "routes": [CHAT]}


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file with these resources, and returns its path."""

    def to_file(name: str = "janua.yaml", text: str | None = None, **resources: Any) -> str:
        path = tmp_path / name
        path.write_text(yaml.safe_dump(resources) if text is None else text)
        return str(path)

    return to_file


async def apply(server: ConfigServer, *arguments: str, stdin: str = "") -> Finished:
    return await janua("apply", "--server", server.address, *arguments, stdin=stdin)


def outcomes(done: Finished) -> list[str]:
    return [f"{each['outcome']} {each['kind']}/{each['name']}" for each in json.loads(done.out)["results"]]


async def test_creates_updates_leaves_alone(config_server: ConfigServer, write: Write) -> None:
    created = await apply(config_server, "-f", write(**ALL))
    assert (created.code, created.err) == (0, "")
    assert created.out.splitlines() == [
        "created   policy/keys",
        "created   route/chat",
        "created   service/llm",
        "created   upstream/pool",
        "revision 1: 4 created",
    ]
    unchanged = await apply(config_server, "-f", write(**ALL))
    assert unchanged.out.splitlines()[-2:] == ["unchanged upstream/pool", "nothing to change at revision 1"]

    pool = {
        **POOL,
        "endpoints": [{"address": "127.0.0.1:9002", "weight": 3}],
        "connection_pool": {"idle_timeout": "5s"},
    }
    updated = await apply(config_server, "-f", write(upstreams=[pool], services=[LLM]))
    assert updated.out.splitlines() == [
        "unchanged service/llm",
        "updated   upstream/pool",
        '            endpoints[0].address: "127.0.0.1:9001" → "127.0.0.1:9002"',
        "            endpoints[0].weight: + 3",
        '            connection_pool: + {"idle_timeout":"5s"}',
        "revision 2: 1 updated, 1 unchanged",
    ]
    removed = await apply(config_server, "-f", write(upstreams=[POOL]))
    assert '            connection_pool: {"idle_timeout":"5s"} (removed)' in removed.out.splitlines()


async def test_the_answer_as_data(config_server: ConfigServer, write: Write) -> None:
    await apply(config_server, "-f", write(upstreams=[POOL]))
    open_route = {key: value for key, value in CHAT.items() if key != "policies"}
    pool = {**POOL, "endpoints": [{"address": "127.0.0.1:9002"}]}
    done = await apply(config_server, "-f", write(upstreams=[pool], services=[LLM], routes=[open_route]), "-o", "json")
    data = json.loads(done.out)
    assert data["revision"] == 2
    assert (data["dry_run"], data["connected_nodes"]) == (False, 0)
    difference = {"field": "endpoints[0].address", "old": "127.0.0.1:9001", "new": "127.0.0.1:9002"}
    assert data["results"][-1] == {"kind": "upstream", "name": "pool", "outcome": "updated", "diff": [difference]}
    assert [warning["name"] for warning in data["warnings"]] == ["chat"]
    assert done.err.startswith("warning: route/chat: policies: ")


async def test_a_dry_run_writes_nothing(config_server: ConfigServer, write: Write) -> None:
    dry = await apply(config_server, "-f", write(**ALL), "--dry-run")
    assert dry.out.splitlines()[-1] == "dry run at revision 0: 4 created"
    assert (await apply(config_server, "-f", write(**ALL), "--dry-run", "-o", "json")).out.count('"created"') == 4
    assert (await janua("get", "all", "--server", config_server.address)).out == ""


async def test_many_files_a_directory_and_standard_input(
    config_server: ConfigServer, write: Write, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    write("below/pool.json", json.dumps({"upstreams": [POOL]}))
    write("below/llm.yml", services=[LLM])
    done = await apply(
        config_server,
        *("-f", str(tmp_path / "below"), "-f", write("keys.yaml", policies=[KEYS]), "-f", "-", "-o", "json"),
        stdin=yaml.safe_dump({"routes": [CHAT]}),
    )
    assert outcomes(done) == [
        "created service/llm",
        "created upstream/pool",
        "created policy/keys",
        "created route/chat",
    ]


async def test_every_problem_of_every_file_with_its_place(config_server: ConfigServer, write: Write) -> None:
    first = write("first.yaml", "upstreams:\n- name: pool\n  endpoints: [{address: nonsense}]\n  colour: red\n")
    second = write("second.yaml", "routes:\n- name: UPPER\n  backends: [{service: llm}]\n- [\n")
    third = write(
        "third.yaml", "services:\n- name: llm\n  upstream_service: {upstream: pool}\n  timeouts: {request: -5s}\n"
    )
    done = await apply(config_server, "-f", first, "-f", second, "-f", third)
    assert (done.code, done.out) == (1, "")
    assert any(line.startswith(f"{first}:4:3: ") and "colour" in line for line in done.errors)
    assert any(line.startswith(f"{second}:") for line in done.errors)
    assert any(line.startswith(f"{third}:4:") and "timeouts.request" in line for line in done.errors)
    assert done.errors[-1] == f"janua apply: {len(done.errors) - 1} problems in the files; nothing was sent"


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("routes: [\n", "", "YAML"),
        ("routs: []\n", "1:1", "did you mean 'routes'"),
        ("routes:\n- {name: r, match: {model: [x]}, backends: [{service: s}]}\n", "2:", "did you mean 'models'"),
        ("upstreams:\n- {name: p, endpoints: []}\n", "2:", "endpoints"),
        ("upstreams:\n- {name: p, endpoints: [{address: '${NOT_SET_ANYWHERE}'}]}\n", "2:", "NOT_SET_ANYWHERE"),
        ("routes:\n- {name: r, match: {path: {regex: '('}}, backends: [{service: s}]}\n", "2:", "match.path.regex"),
        (
            "upstreams:\n- {name: p, endpoints: [{address: a:1}]}\n- {name: p, endpoints: [{address: a:1}]}\n",
            "3:",
            "already, at 2:",
        ),
        (
            "routes:\n- {name: a, backends: [{service: s}]}\n- {name: b, backends: [{service: s}]}\n",
            "2:",
            "same match and priority",
        ),
        ("just text\n", "1:1", ""),
    ],
)
async def test_a_problem_is_found_before_anything_is_sent(text: str, place: str, words: str, write: Write) -> None:
    path = write(text=text)
    done = await janua("apply", "-f", path, "--server", "127.0.0.1:1")
    assert (done.code, done.out) == (1, "")
    assert "nothing was sent" in done.errors[-1]
    assert done.errors[0].startswith(f"{path}:{place}")
    assert words in done.errors[0]


async def test_the_same_name_in_two_files(write: Write) -> None:
    first, second = write("a.yaml", upstreams=[POOL]), write("b.yaml", upstreams=[POOL])
    done = await janua("apply", "-f", first, "-f", second)
    assert done.code == 1
    assert done.errors[0].startswith(f"{second}:")
    assert f"is in {first}:" in done.errors[0]


async def test_a_file_that_is_not_there_or_holds_nothing(write: Write, tmp_path: Path) -> None:
    missing = await janua("apply", "-f", str(tmp_path / "no.yaml"))
    assert (missing.code, missing.err) == (1, f"janua apply: {tmp_path / 'no.yaml'}: no such file or directory\n")
    empty = await janua("apply", "-f", write(text="\n"))
    assert (empty.code, len(empty.errors)) == (1, 1)
    assert "the files name no resource" in empty.err
    pruned = await janua("apply", "-f", write(text="routes: []\n"), "--set", "s", "--prune", "--yes")
    assert (pruned.code, len(pruned.errors)) == (1, 1)
    assert "an empty batch never prunes" in pruned.err


async def test_a_dangling_reference_is_told_with_its_place(config_server: ConfigServer, write: Write) -> None:
    path = write(text="routes:\n- name: chat\n  backends:\n  - service: llm\n")
    done = await apply(config_server, "-f", path)
    assert (done.code, done.out) == (1, "")
    assert done.errors[0] == f"{path}:4:5: backends[0].service: service 'llm' does not exist"
    assert done.errors[-1].startswith("janua apply: the config server refuses the batch, nothing was written")


async def test_a_reference_to_what_only_the_server_has(config_server: ConfigServer, write: Write) -> None:
    await apply(config_server, "-f", write(upstreams=[POOL]))
    done = await apply(config_server, "-f", write(services=[LLM]))
    assert (done.code, done.err) == (0, "warning: service/llm: nothing names this service\n")


async def test_a_conflict_with_what_only_the_server_has(config_server: ConfigServer, write: Write) -> None:
    await apply(config_server, "-f", write(**ALL))
    path = write(routes=[{**CHAT, "name": "other"}])
    done = await apply(config_server, "-f", path)
    assert done.code == 1
    assert done.errors[0].startswith(f"{path}:")
    assert "route 'chat' has the same match" in done.errors[0]


@pytest.mark.parametrize("command", ["apply", "diff"])
async def test_a_server_that_is_not_there(command: str, write: Write) -> None:
    done = await janua(command, "-f", write(**ALL), "--server", "127.0.0.1:1", "-o", "json")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"janua {command}: cannot reach the config server at 127.0.0.1:1 (Connection refused)")
    assert len(done.errors) == 1


async def test_a_huge_batch(config_server: ConfigServer, write: Write) -> None:
    """More than a batch may hold, in number and in size: refused in one line, and nothing is written."""
    server = ("--server", config_server.address)
    pools = [{**POOL, "name": f"p{number}"} for number in range(10_001)]
    many = await janua("apply", "-f", write(text=json.dumps({"upstreams": pools})), *server)
    assert (many.code, many.out, len(many.errors)) == (1, "", 1)
    assert "10000 changes" in many.err

    labels = {f"label-{number}": "x" * 1000 for number in range(600)}
    files: list[str] = []
    for file in ("a.json", "b.json"):
        pools = [{**POOL, "name": f"{file[0]}{number}", "labels": labels} for number in range(15)]
        files += ("-f", write(file, json.dumps({"upstreams": pools})))
    much = await janua("apply", *files, *server)
    assert (much.code, much.out, len(much.errors)) == (1, "", 1)
    assert "16 MiB" in much.err
    assert (await janua("get", "all", *server)).out == ""


# Sets and pruning


async def test_prune_deletes_what_left_the_set_and_nothing_else(config_server: ConfigServer, write: Write) -> None:
    other = {**POOL, "name": "other"}
    await apply(config_server, "-f", write(**ALL), "--set", "mine")
    await apply(config_server, "-f", write(upstreams=[other]))
    left = write(upstreams=[POOL], services=[LLM])
    dry = await apply(config_server, "-f", left, "--set", "mine", "--prune", "--dry-run", "-o", "json")
    assert outcomes(dry)[2:] == ["deleted route/chat", "deleted policy/keys"]
    done = await apply(config_server, "-f", left, "--set", "mine", "--prune", "--yes")
    assert done.code == 0
    assert done.out.splitlines()[2:] == [
        "deleted   route/chat",
        "deleted   policy/keys",
        "revision 3: 2 unchanged, 2 deleted",
    ]
    names = (await janua("get", "all", "--server", config_server.address)).out
    assert "upstream/other" in names
    assert "route/chat" not in names


async def test_prune_spares_consumers_and_secrets_and_says_so(config_server: ConfigServer, write: Write) -> None:
    consumer = {"name": "alice", "api_keys": [{"key_sha256": "0" * 64}]}
    await apply(config_server, "-f", write(upstreams=[POOL], consumers=[consumer]), "--set", "mine")
    done = await apply(config_server, "-f", write(upstreams=[POOL]), "--set", "mine", "--prune", "--yes")
    assert done.code == 0
    line = "warning: consumer/alice left the files and stays: `janua delete consumer alice` deletes it"
    assert line in done.errors


async def test_what_others_name_is_not_pruned(config_server: ConfigServer, write: Write) -> None:
    await apply(config_server, "-f", write(upstreams=[POOL], services=[LLM]), "--set", "mine")
    await apply(config_server, "-f", write(policies=[KEYS], routes=[CHAT]))
    done = await apply(config_server, "-f", write(upstreams=[POOL]), "--set", "mine", "--prune", "--yes")
    assert (done.code, done.out) == (1, "")
    assert done.errors == [
        "route chat: backends[0].service: service 'llm' does not exist",
        "janua apply: the batch would break what is on the server, nothing was written: change or delete that first",
    ]


async def test_prune_without_a_terminal_wants_yes(write: Write) -> None:
    done = await janua("apply", "-f", write(**ALL), "--set", "mine", "--prune", "--server", "127.0.0.1:1")
    assert done.code == 2
    assert done.err == ("janua apply: --prune asks before it deletes, and there is no terminal to ask on: add --yes\n")


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
async def test_prune_asks_on_a_terminal(config_server: ConfigServer, write: Write, answer: str, code: int) -> None:
    await apply(config_server, "-f", write(**ALL), "--set", "mine")
    arguments = ("apply", "-f", write(upstreams=[POOL], services=[LLM]), "--set", "mine", "--prune")
    done = await on_terminal(*arguments, "--server", config_server.address, answer=answer)
    assert done[0] == code, done[1]
    assert "to be deleted:" in done[1]
    assert "route/chat" in done[1]
    left = (await janua("get", "all", "--server", config_server.address)).out
    assert ("route/chat" in left) == (code != 0)
    assert ("nothing was changed" in done[1]) == (code != 0)


async def on_terminal(*arguments: str, answer: str) -> tuple[int, str]:
    """Runs the command on a terminal of its own, answers its question, and returns its code and all it printed."""
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(JANUA, *arguments), stdin=theirs, stdout=theirs, stderr=theirs, env={"TERM": "dumb"}
    )
    os.close(theirs)
    shown = b""
    loop = asyncio.get_running_loop()
    while b"[y/N]" not in shown:
        shown += await loop.run_in_executor(None, os.read, ours, 1024)
    os.write(ours, answer.encode() + b"\n")
    while True:
        try:
            piece = await loop.run_in_executor(None, os.read, ours, 1024)
        except OSError:  # the terminal is gone when the last process that has it ends
            break
        shown += piece
    code = await process.wait()
    os.close(ours)
    return code, shown.decode()


async def test_what_changed_meanwhile_is_not_deleted(write: Write) -> None:
    """What was shown holds for a revision; at another one the server refuses, and so do we."""

    async def apply_(request: ApplyRequest, context: Context) -> ApplyResponse:
        if request.validate_only:
            return ApplyResponse(revision=5)
        assert request.base_revision == 5
        await context.abort(grpc.StatusCode.ABORTED, "the configuration is at revision 6")
        raise AssertionError("the call was aborted")

    async def list_(request: ListResourcesRequest, context: Context) -> ListResourcesResponse:
        return ListResourcesResponse()

    async with serving(Apply=apply_, ListResources=list_) as address:
        ours, theirs = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(JANUA, "apply", "-f", write(**ALL), "--set", "mine", "--prune", "--server", address),
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
        )
        os.close(theirs)
        assert await process.wait() == 1
        shown = os.read(ours, 10_000).decode()
        os.close(ours)
    assert "the configuration changed while you were asked: apply again" in shown


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (("--prune", "--yes"), "--prune deletes within a set: name it with --set"),
        (("--wait", "some"), "--wait: 'some' is not `all`, `majority` or a percentage"),
        (("--wait", "all", "--dry-run"), "--wait and --dry-run exclude each other"),
        (("--timeout", "soon"), "--timeout: "),
        (("--timeout", "30"), "--timeout: "),
        (("--timeout", "-5s"), "--timeout: '-5s' is negative"),
    ],
)
async def test_wrong_usage(arguments: tuple[str, ...], expected: str, write: Write) -> None:
    done = await janua("apply", "-f", write(**ALL), *arguments)
    assert done.code == 2
    assert done.err.startswith(f"janua apply: {expected}")
    assert len(done.errors) == 1


async def test_a_set_name_that_the_server_refuses(config_server: ConfigServer, write: Write) -> None:
    done = await apply(config_server, "-f", write(**ALL), "--set", "Not A Set")
    assert done.code == 1
    assert done.errors[0].startswith("set: ")


# Waiting for nodes


async def test_waits_for_a_real_node(config_server: ConfigServer, node: NodeFactory, write: Write) -> None:
    await node(config_server)
    done = await apply(config_server, "-f", write(**ALL), "--wait", "all")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[-1] == "1 of 1 nodes have it"
    data = json.loads((await apply(config_server, "-f", write(**ALL), "--wait", "50%", "-o", "json")).out)
    assert data["rollout"]["verdict"] == "synced"
    assert [(each["id"], each["state"]) for each in data["rollout"]["nodes"]] == [("node-1", "synced")]


async def test_a_real_node_that_refuses(config_server: ConfigServer, node: NodeFactory, write: Write) -> None:
    await node(config_server)
    secret = {"name": "key", "env": "NOT_SET_ANYWHERE"}
    proxy = {"name": "llm", "proxy_service": {"provider": "openai", "credentials": [{"secret": "key"}]}}
    done = await apply(config_server, "-f", write(secrets=[secret], services=[proxy]), "--wait", "all")
    assert done.code == 3
    assert any(
        line.startswith("node node-1 refuses secret/key: ") and "(SECRET_UNREADABLE)" in line for line in done.errors
    )
    assert done.errors[-1] == ("janua apply: revision 1 is refused by node-1: correct the files and apply again")


async def test_no_node_at_all_is_a_warning(config_server: ConfigServer, write: Write) -> None:
    done = await apply(config_server, "-f", write(**ALL), "--wait", "all")
    assert done.code == 0
    assert done.err == "warning: no node is connected: nobody serves this configuration yet\n"


async def test_a_node_that_was_away_is_listed(config_server: ConfigServer, node: NodeFactory, write: Write) -> None:
    away = await node(config_server)
    await node(config_server)
    await away.stop()
    done = await apply(config_server, "-f", write(**ALL), "--wait", "all")
    assert done.code == 0
    assert done.out.splitlines()[-1] == "1 of 1 nodes have it"
    assert done.err == "warning: not connected, and not waited for: node-1\n"


def rollout(*nodes: NodeRollout) -> dict[str, Any]:
    """A server that has written revision 4, and whose nodes stand so for ever."""

    async def apply_(request: ApplyRequest, context: Context) -> ApplyResponse:
        return ApplyResponse(revision=4, connected_nodes=sum(node.connected for node in nodes))

    return {"Apply": apply_, **rollouts(nodes)}


async def test_nodes_that_do_not_answer_in_time(write: Write) -> None:
    script = rollout(
        NodeRollout(node_id="a", state=NodeRollout.STATE_SYNCED, connected=True),
        NodeRollout(node_id="b", state=NodeRollout.STATE_STALE, connected=True),
        NodeRollout(node_id="c", state=NodeRollout.STATE_NOT_SENT, connected=True),
    )
    async with serving(**script) as address:
        arguments = ("-f", write(**ALL), "--server", address, "--timeout", "250ms")
        done = await janua("apply", *arguments, "--wait", "all")
        data = await janua("apply", *arguments, "--wait", "majority", "-o", "json")
        enough = await janua("apply", *arguments, "--wait", "33%")
    assert done.code == 3
    assert done.err == (
        "janua apply: 1 of 3 nodes have revision 4 after 250ms; missing: b (stale), c (not sent); see `janua nodes`\n"
    )
    assert data.code == 3
    assert json.loads(data.out)["rollout"]["verdict"] == "timed_out"
    assert json.loads(data.out)["rollout"]["needed"] == 2
    assert enough.code == 0


async def test_each_refusing_node_with_its_reasons(write: Write) -> None:
    reason = Rejection(
        type_url="type.googleapis.com/janua.config.v1.Route",
        name="chat",
        reason="INVALID_FIELD",
        field="match.path.regex",
        message="not RE2",
    )
    unknown = Rejection(type_url="type.googleapis.com/x.Y", name="z", reason="UNKNOWN_KIND", message="what\nis it")
    script = rollout(
        NodeRollout(node_id="a", state=NodeRollout.STATE_ERROR, connected=True, rejections=[reason]),
        NodeRollout(node_id="b", state=NodeRollout.STATE_ERROR, connected=True, rejections=[reason, unknown]),
    )
    async with serving(**script) as address:
        arguments = ("-f", write(**ALL), "--server", address, "--wait", "all")
        done = await janua("apply", *arguments)
        data = await janua("apply", *arguments, "-o", "json")
    assert done.code == 3
    assert done.errors == [
        "node a refuses route/chat: match.path.regex: not RE2 (INVALID_FIELD)",
        "node b refuses route/chat: match.path.regex: not RE2 (INVALID_FIELD)",
        "node b refuses type.googleapis.com/x.Y/z: what is it (UNKNOWN_KIND)",
        "janua apply: revision 4 is refused by a, b: correct the files and apply again",
    ]
    assert data.code == 3
    nodes = json.loads(data.out)["rollout"]["nodes"]
    assert nodes[0]["rejections"][0] == {
        "kind": "route",
        "name": "chat",
        "reason": "INVALID_FIELD",
        "field": "match.path.regex",
        "message": "not RE2",
    }


async def test_a_retry_after_a_lost_answer_is_safe(write: Write) -> None:
    ids: list[str] = []

    async def apply_(request: ApplyRequest, context: Context) -> ApplyResponse:
        ids.append(request.request_id)
        if len(ids) == 1:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "lost")
        return ApplyResponse(revision=1)

    async with serving(Apply=apply_) as address:
        done = await janua("apply", "-f", write(**ALL), "--server", address)
    assert done.code == 0
    assert len(ids) == 2
    assert ids[0] == ids[1] != ""


async def test_a_wait_that_loses_the_server(write: Write) -> None:
    async def get_rollout(request: GetRolloutRequest, context: Context) -> GetRolloutResponse:
        await context.abort(grpc.StatusCode.INTERNAL, "no\nmore")
        raise AssertionError("the call was aborted")

    async with serving(**(rollout() | {"GetRollout": get_rollout})) as address:
        done = await janua("apply", "-f", write(**ALL), "--server", address, "--wait", "all", "-o", "json")
    assert done.code == 3
    assert json.loads(done.out)["revision"] == 4
    assert done.err == "janua apply: revision 4 is written, but not known to be on the nodes: no more\n"


# diff


async def test_diff_shows_and_writes_nothing(config_server: ConfigServer, write: Write) -> None:
    await apply(config_server, "-f", write(**ALL), "--set", "mine")
    pool = {**POOL, "endpoints": [{"address": "127.0.0.1:9002"}]}
    path = write(upstreams=[pool], services=[LLM], policies=[KEYS])
    arguments = ("diff", "--server", config_server.address, "-f", path)
    done = await janua(*arguments)
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "updated   upstream/pool",
        '            endpoints[0].address: "127.0.0.1:9001" → "127.0.0.1:9002"',
        "dry run at revision 1: 1 updated, 2 unchanged",
    ]
    assert (await janua(*arguments, "--exit-code")).code == 1
    pruned = await janua(*arguments, "--set", "mine", "--prune", "-o", "json")
    assert "deleted route/chat" in outcomes(pruned)
    same = await janua("diff", "--server", config_server.address, "-f", write(**ALL), "--exit-code")
    assert (same.code, same.out) == (0, "nothing to change at revision 1\n")


async def test_diff_wants_a_set_to_prune_and_something_to_compare(write: Write) -> None:
    assert (await janua("diff", "-f", write(**ALL), "--prune")).code == 2
    done = await janua("diff", "-f", write(text=""))
    assert (done.code, done.err) == (1, "janua diff: the files name no resource: nothing to compare\n")
