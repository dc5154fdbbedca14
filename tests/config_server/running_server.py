"""A whole config server in this process, on a port of its own and with a store on disk."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grpc import aio
from janua.config.v1.config_service_pb2 import ApplyRequest, ApplyResponse, Change
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from janua.config.v1.node_service_pb2_grpc import NodeServiceStub
from janua_resources.kinds import ConfigMessage

from config_server.bootstrap import Ready, Settings, run
from config_server.listen_address import ListenAddress
from config_server.push_schedule import Debounce
from config_server.tls import TlsFiles
from tests.config_server.worlds import batch

if TYPE_CHECKING:  # these stand in the type stubs only
    from janua.config.v1.config_service_pb2_grpc import ConfigServiceAsyncStub
    from janua.config.v1.node_service_pb2_grpc import NodeServiceAsyncStub

# Tests send and receive whole batches; a client of the defaults has tests of its own.
CHANNEL_OPTIONS = (
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True, slots=True)
class RunningServer:
    address: str
    channel: aio.Channel
    config: "ConfigServiceAsyncStub"
    nodes: "NodeServiceAsyncStub"
    stop: asyncio.Event
    task: "asyncio.Task[None]"
    console: str = ""

    async def apply(self, *changes: ConfigMessage | Change) -> ApplyResponse:
        return await self.config.Apply(batch(*changes))

    async def apply_request(self, request: ApplyRequest) -> ApplyResponse:
        return await self.config.Apply(request)


@asynccontextmanager
async def running_server(
    path: Path,
    *,
    replica_id: str = "replica-a",
    drain_timeout_s: float = 2.0,
    debounce: Debounce | None = None,
    tls: TlsFiles | None = None,
    access_file: Path | None = None,
    console: bool = False,
    encryption_keys: Sequence[bytes] = (),
) -> AsyncIterator[RunningServer]:
    """Serves the store at `path`, made if need be, until the context ends."""
    ready: asyncio.Future[Ready] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    settings = Settings(
        listen=ListenAddress("127.0.0.1", 0),
        store=f"sqlite:///{path}",
        replica_id=replica_id,
        drain_timeout_s=drain_timeout_s,
        debounce=debounce or Debounce(),
        tls=tls,
        access_file=access_file,
        encryption_keys=encryption_keys,
        console=ListenAddress("127.0.0.1", 0) if console else None,
    )
    task = asyncio.create_task(run(settings, on_ready=ready.set_result, stopped=stop.wait))
    await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        await task
    address = str(ready.result().grpc)
    try:
        async with aio.insecure_channel(address, options=CHANNEL_OPTIONS) as channel:
            stubs = ConfigServiceStub(channel), NodeServiceStub(channel)
            yield RunningServer(address, channel, *stubs, stop, task, str(ready.result().console))
    finally:
        stop.set()
        await task
