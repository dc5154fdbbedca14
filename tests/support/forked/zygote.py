"""Imports what the programs import, once, and then forks for each that is to run.

Usage: `python -m tests.support.forked.zygote FD`. A request and its three standard streams come over that socket, and
the process id of the program goes back.
"""

import gc
import importlib
import json
import os
import random
import runpy
import socket
import sys
import time
from dataclasses import dataclass

from janua_client.tied_exec import tie_to_parent

PROGRAMS = {"gateway": ("gateway.node",), "config_server": (), "janua_client.demo.echo_server": ()}
"""What is run as `python -m`, and what it imports only when it runs."""

MOST_BYTES = 128 * 1024
"""Of a request, most of which is an environment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A program to be run. `parent`: whose child it shall be, which is the one that asks. `is_tied`: it is terminated
    when its parent ends."""

    module: str
    arguments: list[str]
    env: dict[str, str]
    cwd: str
    new_session: bool
    is_tied: bool
    parent: int


def main() -> None:
    requests = socket.socket(fileno=int(sys.argv[1]))
    for program, later in PROGRAMS.items():
        _import(program)
        for module in later:
            importlib.import_module(module)
    gc.collect()
    gc.freeze()  # or each program's collections would copy all of it
    while True:
        data, streams, _, _ = socket.recv_fds(requests, MOST_BYTES, 3)
        if not data:
            return
        request = Request(**json.loads(data))
        pid = _fork()
        if pid == 0:
            requests.close()  # not only its number, which something else will have when this object goes
            _become(request, streams)
            runpy.run_module(request.module, run_name="__main__", alter_sys=True)
            return
        for stream in streams:
            os.close(stream)
        requests.send(str(pid).encode())


def _import(program: str) -> None:
    """Imports what it imports. It is no module itself then: Python would warn that it runs what it has imported."""
    main = program if "." in program else f"{program}.__main__"
    importlib.import_module(main)
    del sys.modules[main]


def _fork() -> int:
    """The process id of a new process, 0 within it. Its parent has ended when this returns: it is the child of the
    next process up that takes in orphans."""
    read, write = os.pipe()
    between = os.fork()
    if between == 0:
        pid = os.fork()
        if pid == 0:
            os.close(read)
            os.close(write)
            return 0
        os.write(write, str(pid).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(between, 0)
    pid = int(os.read(read, 32))
    os.close(read)
    return pid


def _become(request: Request, streams: list[int]) -> None:
    """Makes the new process what it would be had it been started by itself."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    if request.new_session:
        os.setsid()
    os.chdir(request.cwd)
    os.environ.clear()
    os.environ.update(request.env)
    sys.argv = [request.module, *request.arguments]
    random.seed()
    if request.is_tied:
        while os.getppid() != request.parent:
            time.sleep(0.0005)
        tie_to_parent(request.parent)


if __name__ == "__main__":
    main()
