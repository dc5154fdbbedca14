"""A real MLServer with models for tests, one for the whole run."""

import http.client
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest
from janua_client import tied_exec

from tests.support.environments import MLSERVER

_START_S = 120.0
_STOP_S = 10.0
_FOLDER = Path(__file__).parent
_MODELS = ("iris", "echo")


@dataclass(frozen=True, slots=True, kw_only=True)
class MLServer:
    """Addresses are `host:port`. Models: see `make_repository.py`."""

    http: str
    grpc: str


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whichever test is the first to need it waits for its start."""
    for item in items:
        if "mlserver" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.timeout(_START_S + 60))


@pytest.fixture(scope="session")
def mlserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MLServer]:
    """MLServer with the models `iris` and `echo`, ready. The test needs the marker `component("mlserver")`."""
    folder = tmp_path_factory.mktemp("mlserver")
    http_port, grpc_port = _free_ports(2)
    models, log = folder / "models", folder / "log"
    models.mkdir()
    make = (str(MLSERVER.python), str(_FOLDER / "make_repository.py"), str(models), str(http_port), str(grpc_port))
    subprocess.run(make, check=True, timeout=_START_S)
    with log.open("wb") as output:
        # Tied to us, so that it does not outlive a run of tests that is killed.
        process = subprocess.Popen(
            [
                sys.executable,
                "-ISE",
                tied_exec.__file__,
                str(os.getpid()),
                str(MLSERVER.program("mlserver")),
                "start",
                ".",
            ],
            cwd=models,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        for model in _MODELS:
            _wait_until_ready(process, http_port, model, log)
        yield MLServer(http=f"127.0.0.1:{http_port}", grpc=f"127.0.0.1:{grpc_port}")
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports that were free just now: MLServer cannot choose its own."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int, model: str, log: Path) -> None:
    """Ports open before models are ready, so the model itself is asked."""
    deadline = time.monotonic() + _START_S
    while not _is_ready(port, model):
        if process.poll() is not None or time.monotonic() > deadline:
            pytest.fail(f"MLServer did not become ready; the end of its log:\n{log.read_text()[-3000:]}", pytrace=False)
        time.sleep(0.1)


def _is_ready(port: int, model: str) -> bool:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=2)) as connection:
        try:
            connection.request("GET", f"/v2/models/{model}/ready")
            return connection.getresponse().status == http.client.OK
        except OSError:
            return False
