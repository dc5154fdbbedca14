"""A node before backends of all dialects, configured once for many tests: the model's name says which backend, and
which service before it, a question is for."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import aiohttp
import grpc

from tests.conformance.configuration import Configuration
from tests.conformance.dialect_backends import SECRET, Backend, Seen, answering
from tests.conformance.dialect_table import PAIRS
from tests.conformance.dialects import UPSTREAM_MODEL, Ask, Client, Node, Reply, Told
from tests.conformance.gateway import Gateway
from tests.conformance.gateway_process import GatewayProcess
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import ReceivedRequest

_SERVICES: Final[Mapping[str, Mapping[str, Any]]] = {
    "": {"retry_policy": {"num_retries": 0}},
    "-retrying": {
        "retry_policy": {"num_retries": 1, "retry_on": ["OVERLOADED"], "retry_back_off": {"base_interval": "0.001s"}}
    },
    "-dropping": {"retry_policy": {"num_retries": 0}, "unsupported_fields": "DROP"},
    "-impatient": {"retry_policy": {"num_retries": 0}, "timeouts": {"first_token": "200ms"}},
    "-soon-tired": {"retry_policy": {"num_retries": 0}, "timeouts": {"stream_idle": "200ms"}},
}


_ANY_SIZE = ("grpc.max_receive_message_length", -1)


class World:
    """The node, and one upstream that is a backend of every dialect."""

    def __init__(self, node: Node, upstream: FaultyUpstream) -> None:
        self.node = node
        self.upstream = upstream

    def begin(self) -> None:
        """Forgets the test before."""
        self.upstream.requests.clear()
        self.upstream.next.clear()

    async def ask(
        self,
        client: Client,
        backend: Backend,
        ask: Ask | None = None,
        *,
        streamed: bool,
        told: Told | None = None,
        service: str = "",
        key: str = "",
    ) -> Reply:
        """Asks for what that backend tells, if it is said here, of the service with that ending."""
        if told is not None:
            self.upstream.script = answering(backend, told)
        asked = replace(ask or Ask(), model=model_of(backend, service))
        return await client.ask(self.node, asked, streamed=streamed, key=key)

    @property
    def request(self) -> ReceivedRequest:
        """What the backend was sent last."""
        return self.upstream.requests[-1]

    def seen(self, backend: Backend) -> Seen:
        """What it read in that."""
        return backend.read(self.request)


def model_of(backend: Backend, service: str = "") -> str:
    """What clients call the model of that backend."""
    return f"m-{backend.name}{service}"


@asynccontextmanager
async def before_all_dialects(process: GatewayProcess, directory: Path) -> AsyncIterator[World]:
    """The node with its configuration, until the tests are done; then it must be idle."""
    upstream = FaultyUpstream()
    await upstream.start()
    try:
        async with (
            aiohttp.ClientSession(auto_decompress=False) as session,
            grpc.aio.insecure_channel(process.addresses.grpc, options=[_ANY_SIZE]) as channel,
        ):
            gateway = Gateway(process, session)
            await gateway.apply(_configuration(upstream.address, directory / "key"))
            yield World(Node(http=process.addresses.http, session=session, channel=channel), upstream)
            await gateway.wait_until_idle()
    finally:
        await upstream.stop()
    assert upstream.errors == []


def _configuration(address: str, key: Path) -> Configuration:
    key.write_text(SECRET, "utf-8")
    backends = {backend.name: backend for _, backend in PAIRS}.values()
    models = {
        model_of(backend, service): (backend, fields) for backend in backends for service, fields in _SERVICES.items()
    }
    return {
        "secrets": [{"name": "key", "file": str(key), "allowed_hosts": ["127.0.0.1"]}],
        "upstreams": [{"name": "pool", "endpoints": [{"address": address}]}],
        "services": [
            {
                "name": model,
                "models": [{"name": model, "upstream_name": UPSTREAM_MODEL}],
                **backend.service(address),
                **fields,
            }
            for model, (backend, fields) in models.items()
        ],
        "routes": [{"name": model, "match": {"models": [model]}, "backends": [{"service": model}]} for model in models],
    }
