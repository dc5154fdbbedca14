"""A small model server that can be told to suffer, so that what stands before it can be measured meanwhile.

Usage: `python -m tests.benchmarks.fault_endpoint [--port 0] [--delay SECONDS]`. Its ready line has two addresses: where
it answers, and where it is told what to do. There each line is answered by a line of JSON with what it has served; a
line that names a mode changes to it first. Being killed or stopped is left to signals.
"""

import argparse
import asyncio
import ctypes
import json
import signal
import socket
import struct
import sys
from dataclasses import asdict, dataclass
from enum import Enum
from typing import cast

from janua_client.tied_exec import PR_SET_PDEATHSIG

from tests.support.http_wire import ReceivedRequest, RequestReader, json_response
from tests.support.scripts import chat_completion

MODEL = "m"
SLOWNESS = 10
"""How many times as long as usual a slow answer takes."""

_ANSWER = json_response(200, chat_completion("hello there", model=MODEL))
_REFUSAL = json_response(503, {"error": {"message": "overloaded", "type": "server_error", "param": None, "code": None}})
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)  # struct linger: on, with no time to send what is left


class Mode(Enum):
    """What is done to every request, health checks too."""

    WELL = "well"
    SLOW = "slow"
    UNAVAILABLE = "unavailable"
    """Status 503, at once."""
    RESET = "reset"
    """The connection is broken before an answer."""


@dataclass(slots=True)
class Served:
    """What has come so far: requests other than health checks, and connections of all kinds."""

    requests: int = 0
    connections: int = 0


@dataclass(slots=True, kw_only=True)
class FaultEndpoint:
    """What its connections share. `delay_s` is how long an answer takes while all is well."""

    delay_s: float
    mode: Mode = Mode.WELL
    served: Served

    async def obey(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serves one connection of the control channel."""
        while line := (await reader.readline()).decode():
            if order := line.strip():
                self.mode = Mode(order)
            writer.write(json.dumps(asdict(self.served)).encode() + b"\n")
        writer.close()


class Connection(asyncio.Protocol):
    """One connection of a client, with one request at a time."""

    def __init__(self, endpoint: FaultEndpoint) -> None:
        self._endpoint = endpoint
        self._requests = RequestReader()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._endpoint.served.connections += 1

    def data_received(self, data: bytes) -> None:
        self._requests.feed(data)
        if (request := self._requests.next_request()) is not None:
            self._take(request)

    def _take(self, request: ReceivedRequest) -> None:
        endpoint = self._endpoint
        if request.method == "POST":
            endpoint.served.requests += 1
        match endpoint.mode:
            case Mode.WELL:
                self._answer_after(endpoint.delay_s)
            case Mode.SLOW:
                self._answer_after(endpoint.delay_s * SLOWNESS)
            case Mode.UNAVAILABLE:
                self._write(_REFUSAL)
            case Mode.RESET:
                self._reset()

    def _answer_after(self, seconds: float) -> None:
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self._write, _ANSWER)
        else:
            self._write(_ANSWER)

    def _write(self, data: bytes) -> None:
        assert self._transport is not None
        if not self._transport.is_closing():
            self._transport.write(data)

    def _reset(self) -> None:
        assert self._transport is not None
        raw: socket.socket = self._transport.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._transport.abort()


async def serve(port: int, delay_s: float) -> None:
    """Listens until SIGTERM."""
    loop = asyncio.get_running_loop()
    ended = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, ended.set)
    endpoint = FaultEndpoint(delay_s=delay_s, served=Served())
    server = await loop.create_server(lambda: Connection(endpoint), "127.0.0.1", port, backlog=1024)
    control = await asyncio.start_server(endpoint.obey, "127.0.0.1", 0)
    places = {"address": _address(server), "control": _address(control)}
    sys.stdout.write(json.dumps({"event": "ready", "component": "endpoint", **places}) + "\n")
    sys.stdout.flush()
    await ended.wait()


def _address(server: asyncio.Server) -> str:
    host, port = server.sockets[0].getsockname()
    return f"{host}:{port}"


def die_with_parent() -> None:
    """Where the system can: has it killed, for while it is stopped it would not take a SIGTERM."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="A model server that can be told to suffer.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds that an answer takes")
    args = parser.parse_args()
    die_with_parent()
    asyncio.run(serve(args.port, args.delay))


if __name__ == "__main__":
    main()
