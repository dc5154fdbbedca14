"""A limit over four nodes and one real store, under 400 requests a second for 90 seconds: never over in any minute, and
99 % of it let through. `tests/integration/test_cluster_limits.py` has the short form."""

import sys
from pathlib import Path

import pytest

from tests.integration.limit_load import flood_at, most_in_a_window
from tests.integration.test_cluster_limits import configured, limit
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.processes import NodeFactory
from tests.support.redis_server import RedisServer

pytestmark = [pytest.mark.soak, pytest.mark.component("redis"), pytest.mark.timeout(300)]

WINDOW_S, MOST, SECONDS, RATE = 60, 1000, 90, 400


async def test_no_minute_has_more_than_the_limit_and_99_per_cent_is_admitted(
    node: NodeFactory,
    faulty_upstream: FaultyUpstream,
    redis_server: RedisServer,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = configured(tmp_path / "c.json", faulty_upstream, limit(MOST, window=f"{WINDOW_S}s"))
    options = ("--shared-store", redis_server.url, "--access-log", "off")
    nodes = [await node(None, *options, config_file=file) for _ in range(4)]
    sent = await flood_at(nodes, rate=RATE, seconds=SECONDS)
    most = most_in_a_window(sent.admitted, WINDOW_S)
    first = sum(each.end < sent.begin + WINDOW_S for each in sent.admitted)
    last = sum(each.begin >= sent.begin + SECONDS - WINDOW_S for each in sent.admitted)
    with capsys.disabled():
        rate = sent.requests / SECONDS
        sys.stdout.write(
            f"\n{rate:.0f} requests/s, most in a minute {most}, in the first minute {first}, in the last {last}\n"
        )
    assert most <= MOST
    # Excess enough, also on a machine that cannot keep up.
    assert sent.requests >= 10 * MOST
    assert first >= 0.99 * MOST
    assert last >= 0.99 * MOST
