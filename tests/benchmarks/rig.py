"""The machines of the benchmark: what is measured alone on one core, everything else on the other. The node has its
configuration from a config server, as in a fleet: reading files itself would add their validation to its memory."""

import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from janua_client.changes import upsert
from janua_client.config_client import ConfigClient
from janua_client.processes import Child, ChildError
from janua_resources import documents

from tests.benchmarks.procfs import cpu_seconds

API_KEY = "benchmark"
_START_S = 30.0

CONFIG = """
upstreams:
  - name: mock
    endpoints: [{address: "ADDRESS"}]
    health_checks: [{http: {path: /health}}]
services:
  - {name: mock, upstream_service: {upstream: mock, schema: OPENAI}}
routes:
  - {name: mock, match: {models: [mock]}, backends: [{service: mock}], policies: [keys]}
policies:
  - {name: keys, api_key_auth: {}}
consumers:
  - {name: load, api_keys: [{key_sha256: HASH}]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server under load."""

    name: str
    address: str
    pid: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one measurement found."""

    requests_per_s: float
    events_per_s: float
    cpu_us: float
    """CPU time of the target per request."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request, and how many of them make a measurement."""

    name: str
    body: Mapping[str, object]
    requests: int
    connections: int = 64

    @property
    def unit(self) -> str:
        """What is counted: the pieces of streamed answers, or whole ones."""
        return "chunks/s" if self.body.get("stream") else "requests/s"

    def rate(self, sample: Sample) -> float:
        """How many of the unit there were."""
        return sample.events_per_s if self.body.get("stream") else sample.requests_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The running processes."""

    floor: Target
    node: Target
    directory: Path

    async def measure(self, target: Target, load: Load) -> Sample:
        """Puts the load on the target. Raises `ChildError` if a single request fails."""
        body = self.directory / f"{load.name}.json"
        body.write_text(json.dumps(load.body, separators=(",", ":")))
        options = ("--connections", str(load.connections), "--requests", str(load.requests), "--key", API_KEY)
        before = cpu_seconds(target.pid)
        result = await _run("tests.benchmarks.load_generator", target.address, str(body), *options)
        used = cpu_seconds(target.pid) - before
        seconds, requests = float(result["seconds"]), int(result["requests"])
        return Sample(
            requests_per_s=requests / seconds,
            events_per_s=int(result["events"]) / seconds,
            cpu_us=used / requests * 1e6,
        )


@asynccontextmanager
async def running_rig(directory: Path) -> AsyncIterator[Rig]:
    """Starts everything, and stops it in the end."""
    async with AsyncExitStack() as stack:
        mock = await _start(stack, "mock", _other_core(), "tests.benchmarks.mock_upstream")
        address = str((await mock.ready(_START_S))["address"])
        relay = await _start(stack, "relay", _measured_core(), "tests.benchmarks.relay_floor", address)
        store = ("--listen", "127.0.0.1:0", "--store", f"sqlite:///{directory / 'config.db'}")
        server = await _start(stack, "config server", _other_core(), "config_server", *store)
        config_address = str((await server.ready(_START_S))["grpc"])
        await _apply(config_address, address)
        node = await _start(
            stack,
            "node",
            _measured_core(),
            *("gateway", "--config-server", config_address, "--state-dir", str(directory / "state")),
            *("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0"),
        )
        try:
            yield Rig(floor=await _target(relay), node=await _target(node), directory=directory)
        except ChildError as error:
            error.add_note("\n".join(["the end of the node's log:", *node.log_tail(10)]))
            raise


async def _apply(config_server: str, upstream: str) -> None:
    text = CONFIG.replace("ADDRESS", upstream).replace("HASH", sha256(API_KEY.encode()).hexdigest())
    found = documents.parse(text, source="benchmark").resources
    async with ConfigClient(config_server) as client:
        await client.apply([upsert(located.message) for located in found])


async def _target(child: Child) -> Target:
    return Target(name=child.name, address=str((await child.ready(_START_S))["http"]), pid=child.pid)


async def _start(stack: AsyncExitStack, name: str, core: int, *module: str) -> Child:
    child = await Child.start(name, [sys.executable, "-m", *module])
    os.sched_setaffinity(child.pid, {core})
    stack.push_async_callback(child.stop)
    return child


async def _run(*module: str) -> Mapping[str, str]:
    """Runs a program to its end and returns the JSON it printed last."""
    async with AsyncExitStack() as stack:
        child = await _start(stack, "load", _other_core(), *module)
        if await child.wait() != 0:
            raise await child.died()
        result: Mapping[str, str] = json.loads(child.log_tail(1)[0])
        return result


def _measured_core() -> int:
    return min(os.sched_getaffinity(0))


def _other_core() -> int:
    return max(os.sched_getaffinity(0))
