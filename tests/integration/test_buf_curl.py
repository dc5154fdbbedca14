"""`buf curl` with nothing but server reflection: any gRPC tool can call both planes."""

import asyncio
import json
from typing import Any

import pytest

from tests.integration.configuration import KEY, apply, pool
from tests.support.components import find_program
from tests.support.processes import ConfigServer, EchoFactory, Node, NodeFactory

pytestmark = pytest.mark.component("buf")


async def _curl(address: str, method: str, body: dict[str, Any], *options: str) -> list[Any]:
    program = find_program("buf")
    assert program is not None
    process = await asyncio.create_subprocess_exec(
        *(program, "curl", "--http2-prior-knowledge", "--protocol", "grpc", *options),
        *("--data", json.dumps(body), f"http://{address}/{method}"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, error = await process.communicate()
    assert process.returncode == 0, error.decode()
    decoder, text, answers = json.JSONDecoder(), out.decode().strip(), []
    while text:
        answer, end = decoder.raw_decode(text)
        answers.append(answer)
        text = text[end:].strip()
    return answers


async def test_reflection_serves_both_planes(
    config_server: ConfigServer, node: NodeFactory, echo_models: EchoFactory
) -> None:
    (model,) = await echo_models(1)
    gateway = await node(config_server)
    await apply(config_server, pool([model.address]))

    key = {"key": {"kind": "KIND_ROUTE", "name": "chat"}}
    (stored,) = await _curl(config_server.address, "janua.config.v1.ConfigService/GetResource", key)
    assert stored["resource"]["resource"]["route"]["match"] == {"models": ["echo"]}

    message = {"role": "ROLE_USER", "content": [{"text": "curl"}]}
    request = {"request": {"model": "echo", "messages": [message]}}
    service = "janua.inference.v1.InferenceService"
    header = ("--header", f"authorization: Bearer {KEY}")
    (whole,) = await _curl(gateway.grpc, f"{service}/CreateChatCompletion", request, *header)
    assert whole["choices"][0]["message"]["content"] == [{"text": "echo-1 heard: curl"}]

    pieces = await _curl(gateway.grpc, f"{service}/StreamChatCompletion", request, *header)
    text = "".join(choice.get("content", "") for piece in pieces for choice in piece.get("choices", ()))
    assert text == "echo-1 heard: curl"
    assert pieces[-1]["usage"]["totalTokens"]


_ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_TYPES = "type.googleapis.com/"


async def test_discovery_is_asked_in_both_variants(config_server: ConfigServer, nodes: list[Node]) -> None:
    asker = {"id": "curl"}
    clusters = {"node": asker, "type_url": f"{_TYPES}envoy.config.cluster.v3.Cluster"}
    (delta,) = await _curl(config_server.address, f"{_ADS}/DeltaAggregatedResources", clusters)
    (resource,) = delta["resources"]
    assert (resource["name"], resource["resource"]["name"], resource["resource"]["type"]) == ("janua", "janua", "EDS")

    endpoints = {
        "node": asker,
        "type_url": f"{_TYPES}envoy.config.endpoint.v3.ClusterLoadAssignment",
        "resource_names": ["janua"],
    }
    (state,) = await _curl(config_server.address, f"{_ADS}/StreamAggregatedResources", endpoints)
    sockets = [
        endpoint["endpoint"]["address"]["socketAddress"]
        for locality in state["resources"][0]["endpoints"]
        for endpoint in locality["lbEndpoints"]
    ]
    assert sorted(f"{each['address']}:{each['portValue']}" for each in sockets) == sorted(node.grpc for node in nodes)

    routes = {"node": asker, "type_url": f"{_TYPES}janua.config.v1.Route"}
    (ours,) = await _curl(config_server.address, f"{_ADS}/StreamAggregatedResources", routes)
    assert ours["resources"][0]["match"] == {"models": ["echo"]}


async def test_client_status_is_asked(config_server: ConfigServer, nodes: list[Node]) -> None:
    matcher = {"node_matchers": [{"node_id": {"exact": "node-1"}}]}
    for method in ("FetchClientStatus", "StreamClientStatus"):
        path = f"envoy.service.status.v3.ClientStatusDiscoveryService/{method}"
        (answer,) = await _curl(config_server.address, path, matcher)
        (client,) = answer["config"]
        assert client["node"]["id"] == "node-1"
        resources = client["genericXdsConfigs"]
        assert {"chat", "llm", "pool"} <= {resource["name"] for resource in resources}
        assert {(each["configStatus"], each["clientStatus"]) for each in resources} == {("SYNCED", "ACKED")}
