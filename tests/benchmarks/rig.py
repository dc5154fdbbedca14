"""The machines of the benchmark: what is measured alone on one core, everything else on the other. The node has its
configuration from a config server, as in a fleet: reading files itself would add their validation to its memory."""

import json
import sys
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from janua_client.changes import upsert
from janua_client.config_client import ConfigClient
from janua_client.processes import Child, ChildError
from janua_resources import documents
from janua_resources.kinds import ConfigMessage

from tests.benchmarks.cores import leave_a_core, starting_on
from tests.benchmarks.load_generator import OPENAI_END, OPENAI_PATH
from tests.benchmarks.pool import Pool
from tests.benchmarks.procfs import cpu_seconds
from tests.benchmarks.systems import running_envoy

API_KEY = "benchmark"
LIMITED, KEPT = "limited", "kept"
"""Models of routes with a rate limit, and with a cache too. The mock answers for any model."""

_START_S = 30.0
_MOST_PER_APPLY = 10_000
# As installed, whatever the environment says: modules are not compiled at each start.
_ENV = {"PYTHONDONTWRITEBYTECODE": ""}

CONFIG = """
upstreams:
  - name: mock
    endpoints: [{address: "ADDRESS"}]
    health_checks: [{http: {path: /health}}]
services:
  - {name: mock, upstream_service: {upstream: mock, schema: OPENAI}}
routes:
  - {name: mock, match: {models: [mock]}, backends: [{service: mock}], policies: [keys]}
  - {name: limited, match: {models: [limited]}, backends: [{service: mock}], policies: [keys, limit]}
  - {name: kept, match: {models: [kept]}, backends: [{service: mock}], policies: [keys, limit, cache]}
policies:
  - {name: keys, api_key_auth: {}}
  - {name: limit, rate_limit: {limits: [{limit: 1000000000, window: 60s}]}}
  - {name: cache, cache: {ttl: 3600s}}
consumers:
  - {name: load, api_keys: [{key_sha256: HASH}]}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A server under load. `grpc` and `admin` are a node's."""

    name: str
    address: str
    pid: int
    grpc: str = ""
    admin: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What one measurement found."""

    requests_per_s: float
    events_per_s: float
    cpu_us: float
    """CPU time of the target per request."""
    first_p50_ms: float = 0.0
    first_p99_ms: float = 0.0

    @property
    def cpu_us_per_event(self) -> float:
        """CPU time of the target per piece of a streamed answer."""
        return self.cpu_us * self.requests_per_s / self.events_per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """One kind of request, and how many of them make a measurement. `models` other than none are asked for in turn
    instead of that of the body. `spread_s`: over how many seconds connections are opened."""

    name: str
    body: Mapping[str, object]
    requests: int
    connections: int = 64
    path: str = OPENAI_PATH
    end: str = OPENAI_END.decode()
    spread_s: float = 0.0
    models: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """What is counted: the pieces of streamed answers, or whole ones."""
        return "chunks/s" if self.body.get("stream") else "requests/s"

    def rate(self, sample: Sample) -> float:
        """How many of the unit there were."""
        return sample.events_per_s if self.body.get("stream") else sample.requests_per_s

    def write_to(self, file: Path) -> None:
        """The bodies, one a line."""
        bodies = [{**self.body, "model": model} for model in self.models] or [dict(self.body)]
        file.write_text("\n".join(json.dumps(body, separators=(",", ":")) for body in bodies))


@dataclass(frozen=True, slots=True, kw_only=True)
class Rig:
    """The running processes. `mock` is the upstream itself; `envoy` None: it is not installed, or not wanted."""

    mock: Target
    floor: Target
    node: Target
    envoy: Target | None
    config_server: str
    core: int | None
    directory: Path
    server: str
    """What the floor and the nodes speak HTTP with."""

    async def measure(self, target: Target, load: Load) -> Sample:
        """Puts the load on the target. Raises `ChildError` if a single request fails."""
        body = self.directory / "body.json"
        load.write_to(body)
        options = ("--connections", str(load.connections), "--requests", str(load.requests), "--key", API_KEY)
        more = ("--path", load.path, "--end", load.end, "--spread", str(load.spread_s))
        before = cpu_seconds(target.pid)
        result = await run_program("tests.benchmarks.load_generator", target.address, str(body), *options, *more)
        used = cpu_seconds(target.pid) - before
        seconds, requests = float(result["seconds"]), int(result["requests"])
        return Sample(
            requests_per_s=requests / seconds,
            events_per_s=int(result["events"]) / seconds,
            cpu_us=used / requests * 1e6,
            first_p50_ms=float(result["first_p50_ms"]),
            first_p99_ms=float(result["first_p99_ms"]),
        )

    @asynccontextmanager
    async def another_node(self, name: str, module: str = "gateway") -> AsyncIterator[tuple[Child, Target]]:
        """A second node of the same config server, beside the first."""
        async with AsyncExitStack() as stack:
            child = await self.start_node(stack, name, module)
            yield child, await _target(child)

    async def start_node(self, stack: AsyncExitStack, name: str, module: str = "gateway") -> Child:
        """The same, which may not be ready yet."""
        directory = self.directory / name
        return await start_node(stack, self.config_server, directory, self.core, self.server, module=module)


@asynccontextmanager
async def running_rig(directory: Path, server: str, *, wants_envoy: bool = False) -> AsyncIterator[Rig]:
    """Starts everything, and stops it in the end. `server` is that of the floor and the node. Moves this process off
    the core of what is measured."""
    core = leave_a_core()
    async with AsyncExitStack() as stack:
        mock = await start(stack, "mock", None, "tests.benchmarks.mock_upstream")
        address = str((await mock.ready(_START_S))["address"])
        relay = await start(stack, "relay", core, "tests.benchmarks.relay_floor", address, server)
        envoy: Target | None = None
        if wants_envoy:
            pool = Pool(addresses=(address,), per_try_s=None)
            running = await stack.enter_async_context(running_envoy(pool, directory, core))
            envoy = Target(name=running.name, address=running.address, pid=running.pid)
        config_server = await start_config_server(stack, directory / "config.db")
        await apply(config_server, small_configuration(address))
        node = await start_node(stack, config_server, directory / "state", core, server)
        try:
            yield Rig(
                mock=Target(name="direct", address=address, pid=mock.pid),
                floor=await _target(relay),
                node=await _target(node),
                envoy=envoy,
                config_server=config_server,
                core=core,
                directory=directory,
                server=server,
            )
        except ChildError as error:
            error.add_note("\n".join(["the end of the node's log:", *node.log_tail(10)]))
            raise


async def start_config_server(stack: AsyncExitStack, store: Path) -> str:
    """A config server with an empty store; its address."""
    options = ("--listen", "127.0.0.1:0", "--store", f"sqlite:///{store}")
    server = await start(stack, "config server", None, "config_server", *options)
    return str((await server.ready(_START_S))["grpc"])


async def start_node(
    stack: AsyncExitStack, config_server: str, state: Path, core: int | None, server: str, *, module: str = "gateway"
) -> Child:
    """A node on the core of what is measured. It may not be ready yet."""
    options = ("--config-server", config_server, "--state-dir", str(state), "--server", server)
    ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    return await start(stack, "node", core, module, *options, *ports)


def small_configuration(upstream: str) -> list[ConfigMessage]:
    """The resources that all loads need."""
    text = CONFIG.replace("ADDRESS", upstream).replace("HASH", sha256(API_KEY.encode()).hexdigest())
    return [located.message for located in documents.parse(text, source="benchmark").resources]


async def apply(config_server: str, resources: Iterable[ConfigMessage]) -> None:
    """Writes them, and returns once all nodes that are there have them."""
    async with ConfigClient(config_server, timeout=60) as client:
        changes = [upsert(resource) for resource in resources]
        for first in range(0, len(changes), _MOST_PER_APPLY):
            written = await client.apply(changes[first : first + _MOST_PER_APPLY])
            if nodes := written.connected_nodes:
                await client.wait_for_rollout(written.revision, connected_at_commit=nodes, timeout=120)


async def run_program(*module: str) -> Mapping[str, Any]:
    """Runs a program to its end and returns the JSON it printed last."""
    async with AsyncExitStack() as stack:
        child = await start(stack, "load", None, *module)
        if await child.wait() != 0:
            raise await child.died()
        result: Mapping[str, Any] = json.loads(child.log_tail(1)[0])
        return result


async def start(stack: AsyncExitStack, name: str, core: int | None, *module: str) -> Child:
    """A module as a process, on that core, or where this process is."""
    with starting_on(core):
        child = await Child.start(name, [sys.executable, "-m", *module], env=_ENV)
    stack.push_async_callback(child.stop)
    return child


async def _target(child: Child) -> Target:
    ready = await child.ready(_START_S)
    return Target(
        name=child.name,
        address=str(ready["http"]),
        pid=child.pid,
        grpc=str(ready.get("grpc", "")),
        admin=str(ready.get("admin", "")),
    )
