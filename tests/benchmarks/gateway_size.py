"""What the size of a configuration costs: a node with thousands of routes beside one with a few."""

import json
import signal
import statistics
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import sha256

from janua.config.v1.consumer_pb2 import ApiKey, Consumer
from janua.config.v1.route_pb2 import Backend, Route, RouteMatch
from janua.config.v1.service_pb2 import Schema, Service, UpstreamService
from janua.config.v1.upstream_pb2 import Endpoint, Upstream
from janua_client.processes import Child
from janua_resources.kinds import ConfigMessage

from gateway.config.snapshot import RouteConfig
from gateway.config.snapshot import RouteMatch as Match
from gateway.router import Router
from tests.benchmarks.gateway_parts import LIMITED_UNARY, Bench
from tests.benchmarks.gateway_rows import Row
from tests.benchmarks.procfs import resident_bytes
from tests.benchmarks.rig import Load, Target, apply
from tests.support.polling import eventually

_POLICIES = ("keys", "limit")
_MODELS_ASKED_FOR = 1000
_MATCHES = 20_000


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """How large the large configuration is."""

    routes: int = 10_000
    consumers: int = 1_000
    upstreams: int = 100
    changes: int = 10


SMALL_WORLD = World(routes=200, consumers=20, upstreams=5, changes=2)


class SizeBench:
    """Measures on the rig of another benchmark, whose config server gets the large configuration: the rig's own node
    has it from then on too."""

    def __init__(self, bench: Bench, world: World) -> None:
        self._bench = bench
        self._rig = bench.rig
        self._world = world

    async def rows(self) -> list[Row]:
        """All figures."""
        slowness = await self._bench.slowness()
        async with self._watched_node() as (child, large):
            small_load = Load(name="small", body=LIMITED_UNARY, requests=self._bench.size.requests)
            before = [await self._cost(large, small_load) for _ in range(self._bench.size.rounds)]
            memory = resident_bytes(large.pid)
            cold = await self._stalls_while(child, self._resources())
            growth = (resident_bytes(large.pid) - memory) / self._world.routes
            every = [
                await self._stalls_while(child, [self._route(number, f"change {number}")])
                for number in range(self._world.changes)
            ]
            consumer = await self._stalls_while(child, [self._consumer(0, "changed")])
            service = await self._stalls_while(child, [self._service(0, "changed")])
            models = tuple(f"m{number}" for number in range(min(_MODELS_ASKED_FOR, self._world.routes)))
            large_load = Load(name="large", body=LIMITED_UNARY, requests=small_load.requests, models=models)
            after = [await self._cost(large, large_load) for _ in range(self._bench.size.rounds)]
        slowness = (slowness + await self._bench.slowness()) / 2
        change = 100 * (statistics.median(after) / statistics.median(before) - 1)
        size = f"{self._world.routes:,} routes"
        stall = "longest turn of the event loop"
        return [
            Row(what=f"CPU of a request, {size} instead of 3", unit="%", node=change, most=10),
            Row(what=f"memory of a route, of {size}", unit="KB", node=growth / 1000, most=4),
            Row(
                what=f"choice of a route, of {size}", unit="µs", node=match_us(self._world), most=10, slowness=slowness
            ),
            Row(what=f"{stall}, {size} come at once", unit="ms", node=cold, most=5, slowness=slowness),
            Row(what=f"{stall}, a route of {size} changes", unit="ms", node=max(every), most=5, slowness=slowness),
            Row(what=f"{stall}, a consumer changes", unit="ms", node=consumer, most=5, slowness=slowness),
            Row(what=f"{stall}, a service changes", unit="ms", node=service, most=5, slowness=slowness),
        ]

    @asynccontextmanager
    async def _watched_node(self) -> AsyncIterator[tuple[Child, Target]]:
        async with self._rig.another_node("watched", "tests.benchmarks.node_stalls") as found:
            yield found

    async def _cost(self, target: Target, load: Load) -> float:
        """CPU of a request in terms of the relay's."""
        floor = await self._rig.measure(self._rig.floor, Load(name="yardstick", body=load.body, requests=load.requests))
        return (await self._rig.measure(target, load)).cpu_us / floor.cpu_us

    async def _stalls_while(self, node: Child, changes: Sequence[ConfigMessage]) -> float:
        """The longest stall in milliseconds of CPU time while all nodes take the changes."""
        await _stalls(node)
        await apply(self._rig.config_server, changes)
        return (await _stalls(node))["cpu_ms"]

    def _resources(self) -> list[ConfigMessage]:
        world = self._world
        host = self._rig.mock.address
        return [
            *(Upstream(name=f"u{n}", endpoints=[Endpoint(address=host)]) for n in range(world.upstreams)),
            *(self._service(number, "") for number in range(world.upstreams)),
            *(self._consumer(number, "") for number in range(world.consumers)),
            *(self._route(number, "") for number in range(world.routes)),
        ]

    def _service(self, number: int, text: str) -> Service:
        target = UpstreamService(upstream=f"u{number}", schema=Schema.SCHEMA_OPENAI)
        return Service(name=f"s{number}", description=text, upstream_service=target)

    def _consumer(self, number: int, text: str) -> Consumer:
        digest = sha256(f"key-{number}".encode()).hexdigest()
        return Consumer(name=f"c{number}", description=text, api_keys=[ApiKey(key_sha256=digest)])

    def _route(self, number: int, text: str) -> Route:
        return Route(
            name=f"r{number}",
            description=text,
            match=RouteMatch(models=[f"m{number}"]),
            backends=[Backend(service=f"s{number % self._world.upstreams}")],
            policies=_POLICIES,
        )


async def _stalls(node: Child) -> dict[str, float]:
    """The longest stalls since the last time."""

    def told() -> list[dict[str, float]]:
        return [json.loads(line) for line in node.log_tail(200) if line.startswith('{"event": "stalls"')]

    before = len(told())
    node.signal(signal.SIGUSR1)

    async def is_told() -> bool:
        return len(told()) > before

    await eventually(is_told)
    return told()[-1]


class _Asked:
    """A request as routers look at it."""

    host = "gateway.example"
    path = "/v1/chat/completions"
    method = "POST"
    is_inference = True

    def __init__(self, model: str) -> None:
        self.model = model
        self.headers: dict[bytes, bytes] = {}
        self.query: dict[str, str] = {}


def match_us(world: World) -> float:
    """CPU time of a choice among so many routes in microseconds."""
    routes = [
        RouteConfig(name=f"r{number}", match=Match(models=(f"m{number}",)), backends=())
        for number in range(world.routes)
    ]
    router = Router().changed((), routes)
    asked = [_Asked(f"m{number * 7 % world.routes}") for number in range(_MATCHES)]
    began = time.process_time()
    for each in asked:
        router.match(each)
    return (time.process_time() - began) / _MATCHES * 1e6
