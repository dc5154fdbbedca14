"""Fault endpoints as processes: started, told to suffer, killed, stopped, and started again where they were."""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from janua_client.processes import Child

from tests.benchmarks.fault_endpoint import Mode, Served

_START_S = 30.0


@dataclass(slots=True, kw_only=True)
class EndpointProcess:
    """One fault endpoint. `address` and `control` are `host:port`; the address outlives a restart."""

    delay_s: float
    child: Child
    address: str
    control: str

    @classmethod
    async def start(cls, *, delay_s: float) -> "EndpointProcess":
        """Starts one on a free port."""
        child, address, control = await _start(0, delay_s)
        return cls(delay_s=delay_s, child=child, address=address, control=control)

    async def turn(self, mode: Mode) -> None:
        """Changes what it does to requests, and returns once it does so."""
        await self._order(mode.value)

    async def served(self) -> Served:
        """What it has served since it was started."""
        return Served(**json.loads(await self._order("")))

    async def _order(self, order: str) -> str:
        reader, writer = await asyncio.open_connection(*self.control.split(":"))
        try:
            writer.write(order.encode() + b"\n")
            return (await reader.readline()).decode()
        finally:
            writer.close()
            await writer.wait_closed()

    def freeze(self) -> None:
        """SIGSTOP: connections stay, and the system goes on to accept new ones, but nothing is answered."""
        self.child.signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self.child.signal(signal.SIGCONT)

    async def kill(self) -> None:
        """SIGKILL."""
        self.child.kill()
        await self.child.stop()

    async def restart(self) -> None:
        """Starts it again on its port, and returns once it answers. It must have ended."""
        self.child, _, self.control = await _start(int(self.address.rpartition(":")[2]), self.delay_s)

    async def stop(self) -> None:
        """Ends it, whatever has been done to it."""
        self.thaw()
        await self.child.stop()


@asynccontextmanager
async def running_endpoints(count: int, *, delay_s: float = 0.0) -> AsyncIterator[list[EndpointProcess]]:
    """Starts several at once, and stops them in the end."""
    async with AsyncExitStack() as stack:
        endpoints = []
        for starting in [asyncio.create_task(EndpointProcess.start(delay_s=delay_s)) for _ in range(count)]:
            endpoint = await starting
            stack.push_async_callback(endpoint.stop)
            endpoints.append(endpoint)
        yield endpoints


async def _start(port: int, delay_s: float) -> tuple[Child, str, str]:
    module = ("-m", "tests.benchmarks.fault_endpoint", "--port", str(port), "--delay", str(delay_s))
    child = await Child.start("endpoint", [sys.executable, *module])
    try:
        ready = await child.ready(_START_S)
    except BaseException:
        await child.stop()
        raise
    return child, str(ready["address"]), str(ready["control"])
