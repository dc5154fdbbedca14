"""What the benchmark of the config server finds, whatever the machine does: with few nodes, and without the times."""

from collections.abc import AsyncIterator

import pytest

from tests.benchmarks.config_rows import Bench, Figure
from tests.benchmarks.replica_rows import ReplicaBench


async def steady(figures: AsyncIterator[Figure]) -> dict[str, bool | None]:
    """Whether the steady ones among them meet their targets."""
    found = [figure async for figure in figures]
    return {figure.what: figure.is_met for figure in found if figure.is_steady}


async def test_a_restart_and_one_change() -> None:
    found = await steady(Bench(None).large_world(nodes=4, resources=200))
    assert len(found) == 3
    assert all(found.values()), found


@pytest.mark.component("postgres")
async def test_writers_at_three_servers_lose_nothing() -> None:
    found = await steady(ReplicaBench(Bench(None), None).small_applies(100, 1.0))
    assert len(found) == 2
    assert all(found.values()), found


@pytest.mark.component("postgres")
@pytest.mark.timeout(180)
async def test_nodes_whose_server_is_killed_are_sent_nothing_again() -> None:
    found = await steady(ReplicaBench(Bench(None), None).failover(nodes=6, resources=100, most_s=None))
    assert list(found.values()) == [True]
