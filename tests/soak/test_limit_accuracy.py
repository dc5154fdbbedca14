"""A limit over four nodes and one real store, under excess for 90 seconds: never over in any window, and 99 % of it let
through. `tests/integration/test_cluster_limits.py` has the short form."""

from pathlib import Path

import pytest

from tests.integration.limit_load import flood, most_in_a_window
from tests.integration.test_cluster_limits import configured, limit
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.processes import NodeFactory
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.soak, pytest.mark.component("redis")]

WINDOW_S, MOST, WINDOWS = 10, 500, 9


async def test_no_window_has_more_than_the_limit_and_99_per_cent_is_admitted_for_90_seconds(
    node: NodeFactory, faulty_upstream: FaultyUpstream, redis_server: RedisServer, tmp_path: Path
) -> None:
    policy = limit(MOST, window=f"{WINDOW_S}s")
    file = configured(tmp_path / "c.json", faulty_upstream, policy)
    options = ("--shared-store", redis_server.url, "--access-log", "off")
    nodes = [await node(None, *options, config_file=file) for _ in range(4)]
    admitted = await flood(nodes, seconds=WINDOW_S * WINDOWS, clients=24, pause_s=0.15)
    assert most_in_a_window(admitted, WINDOW_S) <= MOST
    assert len(admitted) >= 0.99 * MOST * WINDOWS
