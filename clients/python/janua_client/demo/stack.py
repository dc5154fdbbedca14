"""The processes of the demo and the order they start and stop in: model servers, config server, gateway node."""

import sys
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self, assert_never

from janua_client.processes import Child

ModelKind = Literal["gemma", "echo"]
Progress = Callable[[str], None]

MODEL_SERVERS = 2
MODEL_NAMES: Mapping[ModelKind, str] = {"gemma": "gemma-3-270m", "echo": "echo"}

_MODEL_START_S = 180.0  # the first time the weights are put together, on a slow disk perhaps
_PLANE_START_S = 30.0
_GRACE_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Listen:
    """Addresses to listen on, `host:port`; port 0 takes a free one."""

    http: str
    grpc: str
    admin: str
    config: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """Where everything has come to listen."""

    models: tuple[str, ...]
    config: str
    http: str
    grpc: str
    admin: str


class Stack:
    """An async context manager that starts everything, and in the end stops it in the opposite order: the node first,
    while the models can still finish its requests. Raises `ChildError` when a process does not start."""

    def __init__(self, model: ModelKind, listen: Listen, data_dir: Path, progress: Progress) -> None:
        self.models: tuple[Child, ...] = ()
        self.planes: tuple[Child, ...] = ()
        self._model = model
        self._listen = listen
        self._data_dir = data_dir
        self._progress = progress
        self._running = AsyncExitStack()

    async def __aenter__(self) -> Self:
        await self._running.__aenter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._running.aclose()

    async def start(self) -> Served:
        """Starts all processes and waits until each is ready."""
        addresses = await self._start_models()
        config = await self._start_config_server()
        node = await self._start_node(config)
        return Served(
            models=addresses,
            config=config,
            http=str(node["http"]),
            grpc=str(node["grpc"]),
            admin=str(node["admin"]),
        )

    def kill(self) -> None:
        """Ends all processes at once, for one who does not want to wait."""
        for child in (*self.planes, *self.models):
            child.kill()

    async def _start_models(self) -> tuple[str, ...]:
        self._progress("loading the model twice" if self._model == "gemma" else "starting two model servers")
        commands = [model_command(self._model, number) for number in range(1, MODEL_SERVERS + 1)]
        self.models = tuple(
            [await self._child(f"model server {number}", *command) for number, command in enumerate(commands, 1)]
        )
        addresses = []
        for child, ready in [(child, await child.ready(_MODEL_START_S)) for child in self.models]:
            address = str(ready["url"]).removeprefix("http://")
            self._progress(f"{child.name} is ready at {address} (pid {child.pid})")
            addresses.append(address)
        return tuple(addresses)

    async def _start_config_server(self) -> str:
        store = f"sqlite:///{self._data_dir / 'config.db'}"
        child = await self._child(
            "config server", *("-P", "-m", "config_server", "--listen", self._listen.config, "--store", store)
        )
        self.planes = (*self.planes, child)
        address = str((await child.ready(_PLANE_START_S))["grpc"])
        self._progress(f"config server is ready at {address} (pid {child.pid})")
        return address

    async def _start_node(self, config: str) -> Mapping[str, object]:
        listen = self._listen
        child = await self._child(
            "gateway node",
            *("-P", "-m", "gateway", "--config-server", config, "--state-dir", str(self._data_dir / "node")),
            *("--http", listen.http, "--grpc", listen.grpc, "--admin", listen.admin),
        )
        self.planes = (*self.planes, child)
        ready = await child.ready(_PLANE_START_S)
        listeners = f"HTTP {ready['http']}, gRPC {ready['grpc']}, admin {ready['admin']}"
        self._progress(f"gateway node is ready at {listeners} (pid {child.pid})")
        return ready

    async def _child(self, name: str, *arguments: str) -> Child:
        log = (self._data_dir / f"{name.replace(' ', '-')}.log").open("a", encoding="utf-8", buffering=1)
        self._running.callback(log.close)
        child = await Child.start(
            name,
            [sys.executable, *arguments],
            env={"JANUA_CONFIG_FILE": ""},  # it would contradict --config-server
            on_line=lambda line: print(line, file=log),
        )
        self._running.push_async_callback(self._stop, child)
        return child

    async def _stop(self, child: Child) -> None:
        if child.returncode is None:
            self._progress(f"stopping {child.name} (pid {child.pid})")
        await child.stop(_GRACE_S)


def model_command(model: ModelKind, number: int) -> tuple[str, ...]:
    """Arguments to Python that start the model server with this number."""
    match model:
        case "gemma":
            return ("-P", "-m", "janua_client.demo.llama_server")
        case "echo":
            names = ("--name", f"echo-{number}", "--models", MODEL_NAMES[model])
            return ("-P", "-m", "janua_client.demo.echo_server", *names)
        case _:
            assert_never(model)
