"""What the size of a configuration costs: a node with thousands of routes beside one with a few."""

import json
import signal
import statistics
import time
from collections.abc import Sequence
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
        world = self._world
        same = Load(name="same", body=LIMITED_UNARY, requests=self._bench.size.requests)
        models = tuple(f"m{number}" for number in range(min(_MODELS_ASKED_FOR, world.routes)))
        spread = Load(name="spread", body=LIMITED_UNARY, requests=same.requests, models=models)
        slowness = await self._bench.slowness()
        async with self._rig.another_node("watched", "tests.benchmarks.node_stalls") as (child, node):
            before = await self._cost(node, same)
            others = await self._longest_turn(child, self._others())
            memory = resident_bytes(node.pid)
            routes = await self._longest_turn(child, [self._route(number, "") for number in range(world.routes)])
            memory_a_route = (resident_bytes(node.pid) - memory) / world.routes
            changes = [self._route(number, "changed") for number in range(world.changes)]
            route = max([await self._longest_turn(child, [change]) for change in changes])
            consumer = await self._longest_turn(child, [self._consumer(0, "changed")])
            service = await self._longest_turn(child, [self._service(0, "changed")])
            after, over_many = await self._cost(node, same), await self._cost(node, spread)
        slowness = (slowness + await self._bench.slowness()) / 2
        size, turn = f"{world.routes:,} routes", "longest turn of the event loop"
        most = f"{world.upstreams:,} upstreams and services, {world.consumers:,} consumers"

        def row(what: str, unit: str, found: float, most: float | None) -> Row:
            return Row(what=what, unit=unit, node=found, most=most, slowness=slowness if unit in {"µs", "ms"} else None)

        return [
            row(f"CPU of a request, {size}, {most} instead of few", "%", 100 * (after / before - 1), 10),
            row(f"the same, {len(models):,} of the routes in turn", "%", 100 * (over_many / before - 1), None),
            row(f"memory of a route, of {size}", "KB", memory_a_route / 1000, 4),
            row(f"choice of a route, of {size}", "µs", match_us(world), 10),
            row(f"{turn}: {most} come at once", "ms", others, 5),
            row(f"{turn}: {size} come at once", "ms", routes, 5),
            row(f"{turn}: a route of {size} changes", "ms", route, 5),
            row(f"{turn}: a consumer changes", "ms", consumer, 5),
            row(f"{turn}: a service changes", "ms", service, 5),
        ]

    async def _cost(self, node: Target, load: Load) -> float:
        """CPU of a request in terms of the relay's, once the node has had each: the median of all rounds."""
        relay = Load(name="yardstick", body=LIMITED_UNARY, requests=load.requests)
        await self._rig.measure(node, load)
        found = []
        for _ in range(self._bench.size.rounds):
            floor = (await self._rig.measure(self._rig.floor, relay)).cpu_us
            found.append((await self._rig.measure(node, load)).cpu_us / floor)
        return statistics.median(found)

    async def _longest_turn(self, node: Child, changes: Sequence[ConfigMessage]) -> float:
        """The longest turn of the event loop in milliseconds of CPU time while the node takes the changes."""
        await _stalls(node)
        await apply(self._rig.config_server, changes)
        return (await _stalls(node))["cpu_ms"]

    def _others(self) -> list[ConfigMessage]:
        upstreams, address = range(self._world.upstreams), self._rig.mock.address
        return [
            *(Upstream(name=f"u{number}", endpoints=[Endpoint(address=address)]) for number in upstreams),
            *(self._service(number, "") for number in upstreams),
            *(self._consumer(number, "") for number in range(self._world.consumers)),
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
