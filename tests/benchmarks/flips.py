"""A node's configuration changes again and again under load: no request fails, and what did not change is left as it
is."""

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from janua_client.changes import upsert
from janua_client.config_client import ConfigClient
from janua_resources import documents

from tests.benchmarks.client import Client, VoidRunError
from tests.benchmarks.comparison import Check
from tests.benchmarks.cores import starting_on
from tests.benchmarks.endpoint_process import EndpointProcess
from tests.benchmarks.fault_endpoint import Mode
from tests.benchmarks.janua_pool import janua_resources
from tests.benchmarks.open_loop import OpenLoop
from tests.benchmarks.pool import Checks, Outliers, Pool
from tests.support.polling import eventually
from tests.support.processes import Node, start_config_server, start_node

ENDPOINTS = 6
"""How many are needed."""
RATE = 200.0
"""Requests a second, in turn to what changes and to what does not."""

_BURST = 40
_HELD_S = 300
"""Longer than all flips take."""

Resources = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Flips:
    """What was seen of so many changes. Of what did not change: connections made to its endpoints meanwhile, whether
    the one that was ill stayed so without a break, and whether the request in flight still took up its place."""

    flips: int
    seconds: float
    requests: int
    failures: tuple[str, ...]
    new_connections: int
    is_health_kept: bool
    is_breaker_kept: bool

    def checks(self) -> list[Check]:
        """Against the targets."""
        what = f"{self.flips} config flips:"
        return [
            Check(
                what=f"{what} failed requests",
                found=f"{len(self.failures)} of {self.requests:,}",
                wanted="0",
                met=not self.failures,
            ),
            Check(
                what=f"{what} new connections to unchanged endpoints",
                found=str(self.new_connections),
                wanted="0",
                met=self.new_connections == 0,
            ),
            _kept(f"{what} health of unchanged endpoints", is_kept=self.is_health_kept),
            _kept(f"{what} circuit breaker of an unchanged upstream", is_kept=self.is_breaker_kept),
        ]


def _kept(what: str, *, is_kept: bool) -> Check:
    return Check(what=what, found="kept" if is_kept else "lost", wanted="kept", met=is_kept)


class _World:
    """The pools: one that nothing changes and whose last endpoint is ill, one that is full with a request that never
    ends, and one that every flip changes."""

    def __init__(self, endpoints: Sequence[EndpointProcess]) -> None:
        self.well, self.ill, self.stuck = endpoints[:2], endpoints[2], endpoints[3]
        self._changing = tuple(endpoint.address for endpoint in endpoints[4:6])

    @property
    def resources(self) -> Resources:
        """All of them."""
        addresses = tuple(endpoint.address for endpoint in (*self.well, self.ill))
        steady = Pool(addresses=addresses, checks=Checks(), outliers=Outliers(base_ejection_s=300.0))
        full = janua_resources(Pool(addresses=(self.stuck.address,), per_try_s=None), name="full", model="full")
        full["upstreams"][0]["circuit_breakers"] = {"max_requests": 1, "max_pending_requests": 0}
        full["services"][0]["timeouts"] = {"request": f"{_HELD_S}s"}
        return _joined(janua_resources(steady, name="steady", model="steady"), full, self.variants()[0])

    def variants(self) -> Sequence[Resources]:
        """What the pool that changes can be; each differs from the one before."""

        def variant(
            *addresses: str, weights: tuple[int, ...] = (), policy: str = "ROUND_ROBIN", **upstream: Any
        ) -> Any:
            pool = Pool(addresses=addresses, weights=weights, policy=policy, checks=Checks(timeout_s=1.0))
            resources = janua_resources(pool, name="changing", model="changing")
            resources["upstreams"][0].update(upstream)
            return resources

        one, other = self._changing
        renamed = variant(one, other)
        renamed["services"][0]["models"] = [{"name": "changing", "upstream_name": "m"}]
        return (
            variant(one, other),
            variant(one, other, weights=(1, 9), policy="LEAST_REQUEST"),
            variant(other, connection_pool={"idle_timeout": "5s"}),
            renamed,
            variant(other, one, policy="RANDOM", outlier_detection={}),
        )


async def measure_flips(
    endpoints: Sequence[EndpointProcess], client: Client, *, flips: int, directory: Path, core: int | None
) -> Flips:
    """Changes a node's configuration that often, each time when the last is in use. Raises `VoidRunError`."""
    world = _World(endpoints)
    async with AsyncExitStack() as stack:
        server = await start_config_server(stack, directory / "flips.db")
        with starting_on(core):
            options = ("--config-server", server.address, "--access-log", "off")
            node = await start_node(stack, directory / "flips", "flipped", *options)
        config = await stack.enter_async_context(ConfigClient(server.address))
        session = await stack.enter_async_context(aiohttp.ClientSession())
        await _apply(config, world.resources)
        stack.push_async_callback(world.ill.turn, Mode.WELL)
        stack.callback(world.stuck.thaw)
        return await _run(world, _View(node, session), config, client, flips)


class _View:
    """What is seen of the node."""

    def __init__(self, node: Node, session: aiohttp.ClientSession) -> None:
        self.http = node.http
        self._admin = node.admin
        self._session = session

    async def health(self, address: str) -> tuple[object, ...]:
        """Of the endpoint in the pool that does not change: whether it is well, since when, and how often ejected."""
        async with self._session.get(f"http://{self._admin}/endpoints") as response:
            endpoints = (await response.json())["endpoints"]
        endpoint = next(each for each in endpoints if (each["upstream"], each["address"]) == ("steady", address))
        return endpoint["healthy"], endpoint["since"], endpoint["ejections"]


async def _run(world: _World, view: _View, config: ConfigClient, client: Client, flips: int) -> Flips:
    clock = asyncio.get_running_loop().time

    def ask(number: int) -> Any:
        return client.ask(view.http, model="steady" if number % 2 else "changing")

    load = OpenLoop(ask, RATE)
    world.stuck.freeze()
    async with asyncio.TaskGroup() as tasks:
        held = tasks.create_task(client.ask(view.http, model="full", give_up_s=_HELD_S))
        await asyncio.gather(*(ask(number) for number in range(2 * _BURST)))
        sending = tasks.create_task(load.run())
        await world.ill.turn(Mode.UNAVAILABLE)
        await eventually(lambda: _is_ill(view, world.ill.address))
        # Unwell by its checks too.
        await asyncio.sleep(2.0)
        health, connections = await view.health(world.ill.address), await _connections(world.well)
        is_full = [await _is_full(client, view)]
        begun = clock()
        for number in range(flips):
            variants = world.variants()
            await _apply(config, variants[(number + 1) % len(variants)])
            is_full.append(await _is_full(client, view))
        seconds = clock() - begun
        new_connections = await _connections(world.well) - connections
        is_health_kept = await view.health(world.ill.address) == health
        load.stop()
        world.stuck.thaw()
    if fault := held.result():
        raise VoidRunError(f"the request that was in flight all the time failed: {fault}")
    return Flips(
        flips=flips,
        seconds=seconds,
        requests=len(sending.result()),
        failures=tuple(each.fault for each in sending.result() if each.fault is not None),
        new_connections=new_connections,
        is_health_kept=is_health_kept,
        is_breaker_kept=all(is_full),
    )


async def _is_ill(view: _View, address: str) -> bool:
    return not (await view.health(address))[0]


async def _is_full(client: Client, view: _View) -> bool:
    return "circuit_open" in (await client.ask(view.http, model="full") or "")


async def _connections(endpoints: Iterable[EndpointProcess]) -> int:
    return sum([(await endpoint.served()).connections for endpoint in endpoints])


async def _apply(config: ConfigClient, resources: Resources) -> None:
    found = documents.parse(json.dumps(resources), source="flips").resources
    answer = await config.apply([upsert(located.message) for located in found])
    await config.wait_for_rollout(answer.revision, connected_at_commit=answer.connected_nodes)


def _joined(*worlds: Resources) -> Resources:
    return {kind: [each for world in worlds for each in world[kind]] for kind in worlds[0]}
