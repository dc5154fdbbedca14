"""What is measured: a Janua node and an Envoy, each a process before a pool that says which endpoints it leaves out."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import aiohttp
from janua_client.processes import Child

from tests.benchmarks.cores import starting_on
from tests.benchmarks.envoy_bootstrap import envoy_bootstrap
from tests.benchmarks.janua_pool import janua_resources
from tests.benchmarks.pool import Pool
from tests.support.components import find_program
from tests.support.polling import eventually
from tests.support.processes import start_node


class System(Protocol):
    """A running system. `address` is where requests go, `host:port`."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...

    async def left_out(self) -> frozenset[str]:
        """The addresses of endpoints that get no requests at the moment."""


StartSystem: TypeAlias = Callable[[Pool, Path, int | None], AbstractAsyncContextManager[System]]
"""Starts a system before a pool. It may use the directory, and runs on that core."""


class Janua:
    """A node with a configuration file."""

    name = "Janua"

    def __init__(self, address: str, admin: str, session: aiohttp.ClientSession) -> None:
        self.address = address
        self._admin = admin
        self._session = session

    async def left_out(self) -> frozenset[str]:
        async with self._session.get(f"http://{self._admin}/endpoints") as response:
            endpoints = (await response.json())["endpoints"]
        return frozenset(endpoint["address"] for endpoint in endpoints if not endpoint["healthy"])


@asynccontextmanager
async def running_janua(pool: Pool, directory: Path, core: int | None) -> AsyncIterator[System]:
    """Runs a node until the end of the block."""
    file = directory / "janua.yaml"
    file.write_text(json.dumps(janua_resources(pool)))
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        options = ("--config-file", str(file), "--access-log", "off")
        with starting_on(core):
            node = await start_node(stack, directory / "state", "measured", *options)
        yield Janua(node.http, node.admin, session)


class Envoy:
    """An Envoy with one worker."""

    name = "Envoy"

    def __init__(self, address: str, admin: str, pid: int, session: aiohttp.ClientSession) -> None:
        self.address = address
        self.pid = pid
        self._admin = admin
        self._session = session

    async def left_out(self) -> frozenset[str]:
        async with self._session.get(f"http://{self._admin}/clusters?format=json") as response:
            clusters = (await response.json(content_type=None))["cluster_statuses"]
        hosts = [host for cluster in clusters for host in cluster.get("host_statuses", ())]
        return frozenset(_address(host["address"]) for host in hosts if _is_left_out(host["health_status"]))


def _is_left_out(status: dict[str, Any]) -> bool:
    return bool(status.get("failed_active_health_check") or status.get("failed_outlier_check"))


@asynccontextmanager
async def running_envoy(pool: Pool, directory: Path, core: int | None) -> AsyncIterator[Envoy]:
    """Runs an Envoy until the end of the block."""
    program = find_program("envoy")
    assert program is not None, "Envoy is not installed: make components"
    file, admin_file = directory / "envoy.json", directory / "envoy-admin"
    file.write_text(json.dumps(envoy_bootstrap(pool)))
    admin_file.unlink(missing_ok=True)
    options = ("--admin-address-path", str(admin_file), "--concurrency", "1", "--log-level", "warning")
    async with AsyncExitStack() as stack:
        session = await stack.enter_async_context(aiohttp.ClientSession())
        with starting_on(core):
            child = await Child.start("Envoy", [program, "-c", str(file), "--use-dynamic-base-id", *options])
        stack.push_async_callback(child.stop)

        async def is_ready() -> bool:
            if child.returncode is not None:
                raise await child.died()
            return admin_file.exists() and await _is_live(session, admin_file.read_text().strip())

        await eventually(is_ready)
        admin = admin_file.read_text().strip()
        async with session.get(f"http://{admin}/listeners?format=json") as response:
            (listener,) = (await response.json(content_type=None))["listener_statuses"]
        yield Envoy(_address(listener["local_address"]), admin, child.pid, session)


async def _is_live(session: aiohttp.ClientSession, admin: str) -> bool:
    try:
        async with session.get(f"http://{admin}/ready") as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False


def _address(value: dict[str, Any]) -> str:
    address = value["socket_address"]
    return f"{address['address']}:{address['port_value']}"


async def all_well(system: System) -> None:
    """Waits until no endpoint is left out."""

    async def is_well() -> bool:
        return not await system.left_out()

    await eventually(is_well)
