"""A gateway node that also tells for how long its event loop was held up.

Usage: `python -m tests.benchmarks.node_stalls --config-server HOST:PORT --state-dir DIR --server NAME` with ports as of
`python -m gateway`. At each SIGUSR1 it prints a line of JSON, `{"event": "stalls", "cpu_ms": …, "wall_ms": …}`, with
the longest since the last: in CPU time of the loop's own thread, which other processes do not lengthen, and by the
clock.
"""

import argparse
import asyncio
import json
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import uvloop

from gateway.bootstrap import HttpServer, ListenAddress, NodeSettings
from gateway.node import run_node

_TICK_S = 0.001


@dataclass(slots=True)
class Stalls:
    """The longest in milliseconds."""

    cpu_ms: float = 0.0
    wall_ms: float = 0.0

    async def watch(self) -> None:
        """Looks at each tick of the event loop for how long it has worked since the last."""
        while True:
            cpu, due = time.thread_time(), time.perf_counter() + _TICK_S
            await asyncio.sleep(_TICK_S)
            self.cpu_ms = max(self.cpu_ms, (time.thread_time() - cpu) * 1e3)
            self.wall_ms = max(self.wall_ms, (time.perf_counter() - due) * 1e3)

    def tell(self) -> None:
        """Prints them and begins anew."""
        sys.stdout.write(json.dumps({"event": "stalls", **asdict(self)}) + "\n")
        sys.stdout.flush()
        self.cpu_ms = self.wall_ms = 0.0


async def run(settings: NodeSettings) -> None:
    """Runs a node, watched."""
    stalls = Stalls()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, stalls.tell)
    watching = asyncio.create_task(stalls.watch())
    await run_node(settings)
    watching.cancel()


def main() -> None:
    parser = argparse.ArgumentParser(description="A node that tells how long its event loop was held up.")
    parser.add_argument("--config-server", required=True)
    parser.add_argument("--state-dir", type=Path, required=True)
    parser.add_argument("--server", type=HttpServer, default=HttpServer.HYPERCORN)
    for port in ("--http", "--grpc", "--admin"):
        parser.add_argument(port, type=ListenAddress.parse, required=True)
    args = parser.parse_args()
    settings = NodeSettings(
        config_servers=(args.config_server,),
        config_file=None,
        http=args.http,
        grpc=args.grpc,
        admin=args.admin,
        node_id="watched",
        node_cluster="default",
        state_dir=args.state_dir,
        drain_timeout_s=1.0,
        max_body_bytes=32 << 20,
        access_log="-",
        cache_bytes=64 << 20,
        server=args.server,
    )
    uvloop.run(run(settings))


if __name__ == "__main__":
    main()
