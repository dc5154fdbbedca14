"""The parent of the workers: starts them on shared ports, answers for them on the admin port, stops them."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final

import structlog

from gateway.bootstrap import ListenAddress, NodeSettings
from gateway.listeners.hypercorn import bind, serve_http
from gateway.listeners.workers_admin import make_workers_admin_app
from gateway.workers.ports import shared_port
from gateway.workers.worker import Worker, WorkerFailedError

# Beyond its own draining a worker has so long to end.
_END_S: Final = 10.0
_ADMIN_DRAIN_S: Final = 1.0

_log = structlog.get_logger("janua.workers")


class Supervisor:
    """Runs `count` workers with these settings. `command` starts a node with the options that it was given itself."""

    def __init__(self, settings: NodeSettings, count: int, command: Sequence[str]) -> None:
        self._settings = settings
        self._count = count
        self._command = command
        self._stop = asyncio.Event()

    async def run(self) -> None:
        """Until SIGTERM or SIGINT. Raises ListenError, and WorkerFailedError if a worker cannot begin."""
        settings = self._settings
        with ExitStack() as ports:
            http = ports.enter_context(shared_port(settings.http))
            grpc = ports.enter_context(shared_port(settings.grpc))
            admin = bind(settings.admin.host, settings.admin.port)
            taken = {
                "http": str(http),
                "grpc": str(grpc),
                "admin": str(ListenAddress(host=settings.admin.host, port=admin.getsockname()[1])),
            }
            workers = [Worker(index, self._command_of(index, http, grpc)) for index in range(self._count)]
            self._handle_signals(workers)
            try:
                await self._serve(workers, admin, taken)
            except* WorkerFailedError as failed:
                raise failed.exceptions[0] from None

    async def _serve(self, workers: Sequence[Worker], admin: socket.socket, addresses: Mapping[str, str]) -> None:
        app = make_workers_admin_app(lambda: {worker.index: worker.admin for worker in workers})
        stop_admin = asyncio.Event()
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(serve_http(app, admin, stop_admin, _ADMIN_DRAIN_S))
            running = [tasks.create_task(worker.run()) for worker in workers]
            announced = tasks.create_task(self._announce(workers, addresses))
            await self._stop.wait()
            announced.cancel()
            await self._end(workers, running)
            stop_admin.set()

    def _command_of(self, index: int, http: ListenAddress, grpc: ListenAddress) -> Sequence[str]:
        """Of an option that is given twice the last counts."""
        settings = self._settings
        return (
            *self._command,
            *("--workers", "1", "--worker", "--http", str(http), "--grpc", str(grpc), "--admin", "127.0.0.1:0"),
            *("--node-id", f"{settings.node_id}-{index}", "--state-dir", str(settings.state_dir / str(index))),
        )

    def _handle_signals(self, workers: Sequence[Worker]) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)

        def reload() -> None:
            for worker in workers:
                worker.signal(signal.SIGHUP)

        loop.add_signal_handler(signal.SIGHUP, reload)

    async def _announce(self, workers: Sequence[Worker], addresses: Mapping[str, str]) -> None:
        """One line for all of them, once all are ready."""
        for worker in workers:
            await worker.was_ready.wait()
        line = {
            "event": "ready",
            "component": "gateway",
            "node_id": self._settings.node_id,
            **addresses,
            "revision": min((worker.ready["revision"] for worker in workers if worker.ready is not None), default=0),
            "workers": self._count,
            **({"tls": True} if self._settings.tls is not None else {}),
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()

    async def _end(self, workers: Sequence[Worker], running: Sequence[asyncio.Task[None]]) -> None:
        timeout_s = self._settings.drain_timeout_s + _END_S
        _log.info("draining", workers=self._count, timeout_s=self._settings.drain_timeout_s)
        for worker in workers:
            worker.stop()
        _, late = await asyncio.wait(running, timeout=timeout_s)
        for task in late:
            _log.error("a worker did not end in time and is killed", timeout_s=timeout_s)
            task.cancel()
