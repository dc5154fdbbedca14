"""The discovery service alone: how streams end in a drain, and what is forgotten of old changes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
from grpc import aio

from config_server.discovery import DiscoveryService
from config_server.metrics import Metrics
from config_server.nodes import NodeRegistry
from config_server.snapshot_cache import SnapshotCache
from tests.config_server.ads_client import ads_client, names
from tests.config_server.stored import NOW, cache_of, change, empty_fleet
from tests.config_server.worlds import CONSUMER, ROUTE, consumer


class Jitter:
    """Gives each stream that ends another time to wait, and lets both wait until the test says so."""

    def __init__(self) -> None:
        self.drawn: list[tuple[float, float]] = []
        self.slept: list[float] = []
        self.all_asleep = asyncio.Event()
        self.go = asyncio.Event()

    def uniform(self, least: float, most: float) -> float:
        self.drawn.append((least, most))
        return most / len(self.drawn)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        if len(self.slept) == 2:
            self.all_asleep.set()
        await self.go.wait()


@asynccontextmanager
async def serving(cache: SnapshotCache, jitter: Jitter) -> AsyncIterator[tuple[DiscoveryService, aio.Channel]]:
    service = DiscoveryService(
        cache=cache,
        fleet=empty_fleet(),
        nodes=NodeRegistry([], clock=lambda: NOW),
        metrics=Metrics(),
        replica_id="r",
        push_delay_s=0.01,
        drain_jitter_s=2.0,
        sleep=jitter.sleep,
        uniform=jitter.uniform,
    )
    server = aio.server()
    server.add_generic_rpc_handlers((service.handler(),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield service, channel
    await server.stop(1)


async def test_each_stream_waits_a_time_of_its_own_before_it_ends() -> None:
    jitter = Jitter()
    async with (
        serving(cache_of(), jitter) as (service, channel),
        ads_client(channel, "one") as one,
        ads_client(channel, "two") as two,
    ):
        await one.ask(ROUTE)
        await two.ask(ROUTE)
        service.drain()
        await asyncio.wait_for(jitter.all_asleep.wait(), 10)
        assert jitter.drawn == [(0, 2.0), (0, 2.0)]
        assert jitter.slept == [2.0, 1.0]
        jitter.go.set()
        for client in (one, two):
            assert (await client.end()).code() is grpc.StatusCode.UNAVAILABLE


async def test_changes_that_all_streams_have_taken_in_are_forgotten() -> None:
    cache = cache_of(consumer("c"))
    view = cache.view(CONSUMER)
    assert view is not None
    async with serving(cache, Jitter()) as (service, channel), ads_client(channel) as client:
        await client.ask(CONSUMER)
        await client.ask("type.googleapis.com/test.Other")  # in which nothing ever changes
        for number in range(1030):
            change(cache, consumer("c", description=str(number)))
        service.push()
        assert names(await client.receive_and_ack()) == ["c"]
        assert view.log_length == 1030
        change(cache, consumer("c", description="last"))
        service.push()
        assert view.log_length == 1
        assert names(await client.receive_and_ack()) == ["c"]
        await client.expect_no_answer()
