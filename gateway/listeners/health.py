"""The standard gRPC health service, `grpc.health.v1`.

The one that grpcio brings keeps a watch open until its client leaves, which holds a draining server up, and waits for
slow watchers before a status changes.
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthServicer as HealthServicerBase

Call: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"


class HealthServicer(HealthServicerBase):
    """Answers for the server as a whole, whose name is empty, and for the named services, all of which are well or
    not together. They are not until `set_serving` says so."""

    def __init__(self, *services: str) -> None:
        self._services = frozenset({"", *services})
        self._is_serving = False
        self._is_stopping = False
        self._changed = asyncio.Event()

    def set_serving(self, *, serving: bool) -> None:
        """Changes the status and tells all who watch."""
        self._is_serving = serving
        self._notify()

    def end_watches(self) -> None:
        """Ends every watch once it has told the last status."""
        self._is_stopping = True
        self._notify()

    async def Check(self, request: HealthCheckRequest, call: Call) -> HealthCheckResponse:  # noqa: N802  # name of the RPC
        """The status now; NOT_FOUND for a service that is not known."""
        if request.service not in self._services:
            await call.abort(grpc.StatusCode.NOT_FOUND, f"service '{request.service}' is not known")
        return self._status(request.service)

    async def Watch(self, request: HealthCheckRequest, call: Call) -> AsyncIterator[HealthCheckResponse]:  # noqa: N802
        """The status now and after every change. A status that a slow watcher has missed is not sent late."""
        told: HealthCheckResponse | None = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != told:
                yield status
                told = status
            elif self._is_stopping:
                return
            else:
                await changed.wait()

    def _status(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        is_serving = HealthCheckResponse.SERVING if self._is_serving else HealthCheckResponse.NOT_SERVING
        return HealthCheckResponse(status=is_serving)

    def _notify(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()
