"""The configurations that the tests of the whole use, and small ways to apply them and to ask."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import aiohttp
from google.protobuf import json_format
from janua.config.v1.config_service_pb2 import ApplyResponse, Change
from janua_client.config_client import ConfigClient
from janua_resources.kinds import KINDS, wrap

from tests.support.processes import ConfigServer, Node

KEY = "integration-key"


def pool(addresses: Iterable[str], **upstream: Any) -> dict[str, list[dict[str, Any]]]:
    """A pool of model servers behind a route for `echo`, guarded by `KEY`."""
    check = {"http": {"path": "/health"}, "interval": "0.2s", "timeout": "1s", "unhealthy_threshold": 1}
    endpoints = [{"address": address} for address in addresses]
    return {
        "upstreams": [{"name": "pool", "endpoints": endpoints, "health_checks": [check], **upstream}],
        "services": [{"name": "llm", "upstream_service": {"upstream": "pool"}}],
        "policies": [{"name": "keys", "api_key_auth": {}}],
        "consumers": [{"name": "alice", "api_keys": [{"key_sha256": hashlib.sha256(KEY.encode()).hexdigest()}]}],
        "routes": [
            {"name": "chat", "match": {"models": ["echo"]}, "backends": [{"service": "llm"}], "policies": ["keys"]}
        ],
    }


def changes(resources: Mapping[str, Iterable[Mapping[str, Any]]]) -> list[Change]:
    """Upserts of resources given as in files."""
    return [
        Change(upsert=wrap(json_format.ParseDict(dict(fields), info.message())))
        for info in KINDS
        for fields in resources.get(info.plural, ())
    ]


async def apply(server: ConfigServer, resources: Mapping[str, Iterable[Mapping[str, Any]]]) -> ApplyResponse:
    """Applies the resources and returns once every connected node has them."""
    async with ConfigClient(server.address) as client:
        answer = await client.apply(changes(resources))
        await client.wait_for_rollout(answer.revision, connected_at_commit=answer.connected_nodes)
        return answer


async def ask(session: aiohttp.ClientSession, node: Node, text: str, *, model: str = "echo") -> str:
    """Asks the model over HTTP, streamed, and gives the whole answer. Raises on any error, also within the stream."""
    body = {"model": model, "stream": True, "messages": [{"role": "user", "content": text}]}
    words = []
    async with session.post(
        f"http://{node.http}/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"}
    ) as response:
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {await response.text()}")
        is_done = False
        async for line in response.content:
            if line.startswith(b"event: error"):
                raise RuntimeError("the stream ended with an error")
            if line == b"data: [DONE]\n":
                is_done = True
            elif line.startswith(b"data: {"):
                choices = json.loads(line[6:])["choices"]
                words += [choice["delta"].get("content") or "" for choice in choices]
    if not is_done:
        raise RuntimeError("the stream was cut")
    return "".join(words)


async def admin(session: aiohttp.ClientSession, node: Node, path: str) -> Any:
    """What an admin endpoint answers, as JSON."""
    async with session.get(f"http://{node.admin}{path}") as response:
        return await response.json()
