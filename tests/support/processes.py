"""Janua's planes and small model servers as real processes, on free ports, for tests of the whole."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from janua_client.processes import Child

START_S = 30.0
"""How long a process may take until it is ready; busy machines are slow."""


@dataclass(kw_only=True)
class Process:
    """A program that can be stopped, killed, and started again in the same place."""

    name: str
    arguments: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    child: Child
    ready: Mapping[str, object]

    @property
    def pid(self) -> int:
        return self.child.pid

    @property
    def log(self) -> str:
        """The end of what it has written."""
        return "\n".join(self.child.log_tail(200))

    async def stop(self) -> int:
        """SIGTERM, and its exit code."""
        return await self.child.stop(START_S)

    async def kill(self) -> None:
        """SIGKILL, as a crash."""
        self.child.kill()
        await self.child.stop()

    async def restart(self) -> None:
        """Starts it again where it was, on the same ports and files. It must have ended."""
        self.child = await _start(self.name, self.arguments, self.env)
        self.ready = await self.child.ready(START_S)


@dataclass(kw_only=True)
class ConfigServer(Process):
    """A config server with a store of its own."""

    address: str
    """gRPC address, `host:port`."""
    store: Path


@dataclass(kw_only=True)
class Node(Process):
    """A gateway node with a state directory of its own. Addresses are `host:port`."""

    http: str
    grpc: str
    admin: str
    state_dir: Path


@dataclass(kw_only=True)
class EchoServer(Process):
    """A model server that echoes; its name is in its answers."""

    address: str
    """`host:port`."""


NodeFactory = Callable[..., Awaitable[Node]]
EchoFactory = Callable[..., Awaitable[list[EchoServer]]]


@pytest.fixture
async def running() -> AsyncIterator[AsyncExitStack]:
    """Stops what a test has started, the last first."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def config_server(running: AsyncExitStack, tmp_path: Path) -> ConfigServer:
    """A config server with an empty SQLite store."""
    return await start_config_server(running, tmp_path / "config.db")


@pytest.fixture
def node(running: AsyncExitStack, tmp_path: Path) -> NodeFactory:
    """Starts nodes: `await node(config_server)`, or `await node(config_file=path)`; see `start_node`."""
    count = 0

    async def factory(
        server: ConfigServer | str | None = None,
        *arguments: str,
        config_file: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> Node:
        nonlocal count
        count += 1
        source = ("--config-file", str(config_file)) if server is None else ("--config-server", _address(server))
        return await start_node(running, tmp_path / f"node-{count}", f"node-{count}", *source, *arguments, env=env)

    return factory


@pytest.fixture
def echo_models(running: AsyncExitStack) -> EchoFactory:
    """Starts echo servers named echo-1, echo-2 …: `await echo_models(2, "--models", "echo,gemma")`."""

    async def factory(count: int, *arguments: str) -> list[EchoServer]:
        return [await start_echo(running, f"echo-{number}", *arguments) for number in range(1, count + 1)]

    return factory


async def start_config_server(running: AsyncExitStack, store: Path) -> ConfigServer:
    """Starts a config server on a free port."""
    arguments = ("config_server", "--listen", "127.0.0.1:0", "--store", f"sqlite:///{store}")
    child, ready = await _ready(running, "config server", arguments, {})
    address = str(ready["grpc"])
    server = ConfigServer(
        name="config server",
        arguments=_with_ports(arguments, {"--listen": address}),
        child=child,
        ready=ready,
        address=address,
        store=store,
    )
    running.push_async_callback(lambda: server.stop())
    return server


async def start_node(
    running: AsyncExitStack, state_dir: Path, node_id: str, *arguments: str, env: Mapping[str, str] | None = None
) -> Node:
    """Starts a gateway node on free ports and waits until it is ready."""
    state = ("--state-dir", str(state_dir), "--node-id", node_id)
    listen = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
    command = ("gateway", *listen, *state, *arguments)
    child, ready = await _ready(running, node_id, command, env or {})
    http, grpc, admin = (str(ready[key]) for key in ("http", "grpc", "admin"))
    node = Node(
        name=node_id,
        arguments=_with_ports(command, {"--http": http, "--grpc": grpc, "--admin": admin}),
        env=env or {},
        child=child,
        ready=ready,
        http=http,
        grpc=grpc,
        admin=admin,
        state_dir=state_dir,
    )
    running.push_async_callback(lambda: node.stop())
    return node


async def start_echo(running: AsyncExitStack, name: str, *arguments: str) -> EchoServer:
    """Starts an echo server on a free port."""
    command = ("janua_client.demo.echo_server", "--name", name, *arguments, "--port", "0")
    child, ready = await _ready(running, name, command, {})
    address = str(ready["url"]).removeprefix("http://")
    port = address.rpartition(":")[2]
    server = EchoServer(name=name, arguments=(*command[:-1], port), child=child, ready=ready, address=address)
    running.push_async_callback(lambda: server.stop())
    return server


async def _ready(
    running: AsyncExitStack, name: str, arguments: tuple[str, ...], env: Mapping[str, str]
) -> tuple[Child, Mapping[str, object]]:
    child = await _start(name, arguments, env)
    running.push_async_callback(child.stop)  # if it never becomes ready
    return child, await child.ready(START_S)


async def _start(name: str, arguments: tuple[str, ...], env: Mapping[str, str]) -> Child:
    return await Child.start(name, [sys.executable, "-m", *arguments], env=env)


def _with_ports(arguments: tuple[str, ...], taken: Mapping[str, str]) -> tuple[str, ...]:
    """The arguments with the addresses that were taken, so that a restart takes the same."""
    before = (None, *arguments)
    return tuple(taken.get(option or "", argument) for option, argument in zip(before, arguments, strict=False))


def _address(server: "ConfigServer | str") -> str:
    return server if isinstance(server, str) else server.address
