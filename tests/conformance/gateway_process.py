"""A gateway node as users run it: a process with a configuration file, on free ports."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import janua_client.tied_exec

_EXIT_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Addresses:
    """Where a node listens, each as `host:port`."""

    http: str
    grpc: str
    admin: str


class GatewayProcess:
    """One node, to be started once and stopped once. It belongs to no event loop, so that many tests can use it.

    Everything it writes is kept in files of `directory`; so is its configuration.
    """

    def __init__(self, directory: Path) -> None:
        self.config_file = directory / "config.yaml"
        self.access_log = directory / "access.log"
        self._directory = directory
        self._stderr = directory / "stderr"
        self._stdout: list[str] = []
        self._process: subprocess.Popen[str] | None = None
        self.addresses = Addresses(http="", grpc="", admin="")

    def start(self, configuration: str, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Starts the node with that configuration and returns once it is ready. Fails with its log if it ends."""
        self.config_file.write_text(configuration, "utf-8")
        self.launch(f"--config-file={self.config_file}", *options, env=env)
        assert self._running.stdout is not None
        self._stdout.append(self._running.stdout.readline())
        if not self._stdout[0]:
            code = self.wait()
            raise AssertionError(f"the node ended at start with exit code {code}:\n{self.log}")
        ready = json.loads(self._stdout[0])
        assert (ready["event"], ready["component"]) == ("ready", "gateway")
        self.addresses = Addresses(http=ready["http"], grpc=ready["grpc"], admin=ready["admin"])

    def launch(self, *options: str, env: Mapping[str, str] | None = None) -> None:
        """Starts the node and does not wait for it."""
        with self._stderr.open("wb") as stderr:
            self._process = subprocess.Popen(
                [*_tied(), "-m", "gateway", *self._places(), *options],
                stdout=subprocess.PIPE,
                stderr=stderr,
                env={**os.environ, **(env or {})},
                cwd=self._directory,
                text=True,
            )

    def _places(self) -> list[str]:
        listeners = (f"--{name}=127.0.0.1:0" for name in ("http", "grpc", "admin"))
        return [*listeners, f"--state-dir={self._directory / 'state'}", f"--access-log={self.access_log}"]

    @property
    def pid(self) -> int:
        """The process id."""
        return self._running.pid

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._stderr.read_text("utf-8")

    @property
    def written(self) -> str:
        """All that it has written anywhere."""
        access_log = self.access_log.read_text("utf-8") if self.access_log.exists() else ""
        return "".join(self._stdout) + self.log + access_log

    @property
    def resident_bytes(self) -> int:
        """Memory in use."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def send_signal(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._running.send_signal(number)

    def wait(self) -> int:
        """Waits for its end, and gives the exit code."""
        process = self._running
        code = process.wait(_EXIT_S)
        assert process.stdout is not None
        with process.stdout:
            self._stdout.append(process.stdout.read())
        return code

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        if self._process is None or self._process.returncode is not None:
            return
        self._process.kill()
        self.wait()

    @property
    def _running(self) -> "subprocess.Popen[str]":
        assert self._process is not None, "it was not started"
        return self._process


def _tied() -> list[str]:
    """Runs Python such that it dies with these tests."""
    return [sys.executable, "-ISE", janua_client.tied_exec.__file__, str(os.getpid()), sys.executable]
