"""A control plane that others can reach: TLS, tokens and certificates, with the real commands and real nodes."""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import yaml
from janua_client.processes import Child, ChildError
from janua_resources.sealing import make_key

from tests.clients.janua_client.cli_runner import Finished, janua, run_janua
from tests.config_server.access.certificates import Authority
from tests.config_server.access.principals import TOKENS, entry, write
from tests.config_server.server_process import environment
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.interop.discovery_clients import python_client
from tests.support.polling import eventually
from tests.support.processes import START_S, NodeFactory

VALUE = "sk-value-that-crosses-the-network"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plane:
    """A config server that listens on all addresses, and what its clients need."""

    child: Child
    port: int
    authority: Authority
    access: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def tls(self) -> Sequence[str]:
        return ("--ca", str(self.authority.pem))

    async def run(self, *words: str, token: str = TOKENS["admin"], stdin: str = "") -> Finished:
        return await janua(*words, "--server", self.address, *self.tls, "--token", token, stdin=stdin)

    def node_options(self, *more: str) -> Sequence[str]:
        return ("--config-server-ca", str(self.authority.pem), *more)


async def started(running: AsyncExitStack, tmp_path: Path, *, asks_certificates: bool = False) -> Plane:
    authority = Authority(tmp_path)
    files = authority.server()
    access = write(tmp_path / "access.yaml")
    keys = tmp_path / "keys"
    keys.write_text(make_key())
    client_ca = ("--tls-client-ca", str(authority.pem)) if asks_certificates else ()
    command = (
        *("config_server", "--listen", "0.0.0.0:0", "--store", f"sqlite:///{tmp_path / 'config.db'}"),
        *("--tls-cert", str(files.certificate), "--tls-key", str(files.key), *client_ca),
        *("--access-file", str(access), "--encryption-key-file", str(keys)),
    )
    child = await Child.start("config server", [sys.executable, "-m", *command], env={})
    running.push_async_callback(child.stop)
    port = int(str((await child.ready(START_S))["grpc"]).rpartition(":")[2])
    return Plane(child=child, port=port, authority=authority, access=access)


@pytest.fixture
async def plane(running: AsyncExitStack, tmp_path: Path) -> Plane:
    return await started(running, tmp_path)


def configuration(backend: str) -> str:
    service = {
        "name": "s",
        "proxy_service": {
            "provider": "custom",
            "schema": "OPENAI",
            "base_url": f"http://{backend}",
            "credentials": [{"secret": "key"}],
        },
    }
    route = {"name": "r", "match": {"models": ["m"]}, "backends": [{"service": "s"}]}
    return yaml.safe_dump({"services": [service], "routes": [route]})


async def ask(http: str) -> int:
    body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"http://{http}/v1/chat/completions", json=body) as response,
    ):
        return response.status


async def test_values_of_secrets_reach_a_node_over_tls(
    plane: Plane, node: NodeFactory, faulty_upstream: FaultyUpstream, tmp_path: Path
) -> None:
    done = await plane.run("secrets", "set", "key", "--allowed-host", "127.0.0.1", stdin=VALUE)
    assert done.code == 0, done.err
    done = await plane.run(
        "apply", "-f", "-", "-m", "as ci", token=TOKENS["editor"], stdin=configuration(faulty_upstream.address)
    )
    assert done.code == 0, done.err
    token = tmp_path / "node.token"
    token.write_text(f"{TOKENS['node']}\n")
    options = plane.node_options("--config-server-token-file", str(token), "--node-id", "the-node")
    serving = await node(plane.address, *options)
    assert await ask(serving.http) == 200
    assert faulty_upstream.requests[0].header("authorization") == f"Bearer {VALUE}"
    listed = await plane.run("nodes", token=TOKENS["viewer"])
    assert listed.out.splitlines()[1].startswith("the-node ")
    history = await plane.run("history", token=TOKENS["viewer"])
    assert "the-editor (" in history.out.splitlines()[1]
    for told in (*plane.child.log_tail(500), serving.log, history.out):
        assert VALUE not in told
        assert all(secret not in told for secret in TOKENS.values())


async def test_a_token_that_is_taken_away_and_one_that_takes_its_place(
    plane: Plane, node: NodeFactory, tmp_path: Path
) -> None:
    """The node goes on serving what it has, and is back as soon as its file has the new token."""
    token = tmp_path / "node.token"
    token.write_text(TOKENS["node"])
    options = plane.node_options("--config-server-token-file", str(token), "--node-id", "the-node")
    serving = await node(plane.address, *options)

    async def is_connected() -> bool:
        (found,) = json.loads((await plane.run("nodes", "-o", "json")).out)["nodes"]
        return bool(found["connected_since"])

    write(plane.access, [entry("admin")])

    async def is_gone() -> bool:
        return not await is_connected()

    await eventually(is_gone)

    async def is_told() -> bool:
        return "refuses this node" in serving.log

    await eventually(is_told)
    renewed = dict(entry("node"), token_sha256=[entry("viewer")["token_sha256"][0]])
    write(plane.access, [entry("admin"), renewed])
    token.write_text(TOKENS["viewer"])

    await eventually(is_connected, timeout_s=40)


async def test_certificates_instead_of_tokens(running: AsyncExitStack, node: NodeFactory, tmp_path: Path) -> None:
    plane = await started(running, tmp_path, asks_certificates=True)
    edge, person = plane.authority.issue("edge", "edge.example"), plane.authority.issue("person", "ann@example.com")
    write(
        plane.access,
        [
            entry("admin", "ann", certificates=["ann@example.com"]),
            entry("node", "edge", certificates=["edge.example"], node_ids=["edge-*"]),
        ],
    )
    as_person = (*plane.tls, "--client-cert", str(person.certificate), "--client-key", str(person.key))

    async def run(*words: str) -> Finished:
        return await janua(*words, "--server", plane.address, *as_person)

    async def is_taken() -> bool:
        return (await run("nodes")).code == 0

    await eventually(is_taken)
    shown = ("--config-server-cert", str(edge.certificate), "--config-server-key", str(edge.key))
    await node(plane.address, *plane.node_options(*shown, "--node-id", "edge-7"))
    assert (await run("nodes")).out.splitlines()[1].startswith("edge-7 ")
    without = await janua("nodes", "--server", plane.address, *plane.tls)
    assert without.code == 1
    assert "cannot reach" in without.err


@pytest.mark.component("grpc-xds")
async def test_grpc_clients_show_a_certificate_for_the_role_client(
    running: AsyncExitStack, node: NodeFactory, tmp_path: Path
) -> None:
    plane = await started(running, tmp_path, asks_certificates=True)
    edge, caller = plane.authority.issue("edge", "edge.example"), plane.authority.issue("caller", "app.example")
    write(
        plane.access,
        [
            entry("node", "edge", certificates=["edge.example"]),
            entry("client", "app", certificates=["app.example"], node_ids=["grpc-python"]),
        ],
    )
    shown = ("--config-server-cert", str(edge.certificate), "--config-server-key", str(edge.key))
    serving = await node(plane.address, *plane.node_options(*shown, "--node-id", "edge"))
    credentials = {
        "ca_certificate_file": str(plane.authority.pem),
        "certificate_file": str(caller.certificate),
        "private_key_file": str(caller.key),
    }
    client = python_client(f"localhost:{plane.port}", "no-key", {"type": "tls", "config": credentials})
    try:
        # There is no route: it is the node that says so.
        errors = (await client.ask(do="call", count=1))["errors"]
        assert [error.partition(":")[0] for error in errors] == ["NOT_FOUND"]
        assert (await client.ask(do="status"))["endpoints"] == [serving.grpc]
    finally:
        client.stop()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ((), "if it speaks TLS, give --tls or --ca"),
        (("--tls",), "--ca"),
        (("--ca", "absent.pem"), "absent.pem: No such file or directory"),
        (("--client-key", "c.pem"), "give --client-cert too"),
    ],
)
async def test_what_a_person_is_told(plane: Plane, options: tuple[str, ...], says: str) -> None:
    failed = await janua("nodes", "--server", plane.address, *options)
    assert failed.code in {1, 2}
    (line,) = failed.errors
    assert says in line


async def test_the_environment_says_it_too(plane: Plane) -> None:
    variables = {
        "JANUA_SERVER": plane.address,
        "JANUA_CA": str(plane.authority.pem),
        "JANUA_TOKEN": TOKENS["viewer"],
        "PATH": os.environ["PATH"],
    }
    assert (await run_janua("status", env=variables)).code == 0
    refused = await run_janua("delete", "route", "r", env=variables)
    assert refused.errors == ["janua delete: the-viewer is viewer, which may not call DeleteResource"]


async def test_a_token_never_goes_in_plain_text_to_another_machine() -> None:
    failed = await janua("nodes", "--server", "config.example:18000", "--token", "t")
    assert failed.code == 2
    assert "in plain text" in failed.err


@pytest.mark.parametrize(
    ("options", "variables", "says"),
    [
        (("--config-server", "config.example:1"), {"JANUA_TOKEN": "t"}, "in plain text"),
        (("--config-server", "127.0.0.1:1", "--config-server-cert", "c"), {}, "belong together"),
        (("--config-server", "127.0.0.1:1", "--config-server-ca", "absent"), {}, "absent: no such file"),
        (("--config-server", "127.0.0.1:1", "--config-server-token-file", "absent"), {}, "absent: no such file"),
    ],
)
async def test_a_node_that_could_never_connect(
    tmp_path: Path, options: tuple[str, ...], variables: dict[str, Any], says: str
) -> None:
    command = [sys.executable, "-m", "gateway", "--state-dir", str(tmp_path), *options]
    child = await Child.start("gateway", command, env=environment(**variables))
    with pytest.raises(ChildError, match=says):
        await child.ready(START_S)
    await child.stop()
