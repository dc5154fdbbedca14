"""Programs of ours that are forks of a process which has imported them: they are what they would be if started anew."""

import json
import os
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.forked.popen import EXEC, ForkingPopen
from tests.support.processes import START_S

pytestmark = pytest.mark.skipif(
    sys.platform != "linux" or EXEC in os.environ, reason=f"needs Linux, and {EXEC} not to be set"
)

ECHO = [sys.executable, "-m", "janua_client.demo.echo_server"]


def command_line(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text("utf-8")


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()[1])


def test_it_is_a_child_of_ours_that_was_not_started_anew() -> None:
    with subprocess.Popen([*ECHO, "--port", "0"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["event"] == "ready"
        assert "zygote" in command_line(process.pid)
        assert parent_of(process.pid) == os.getpid()
        process.kill()
        assert process.wait() == -signal.SIGKILL


def test_exit_code_and_streams() -> None:
    done = subprocess.run([*ECHO, "--no-such-option"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--no-such-option" in done.stderr
    assert done.stdout == ""


def test_environment_and_directory(tmp_path: Path) -> None:
    env = {**os.environ, "TOLD": "only this one"}
    with subprocess.Popen([*ECHO, "--port", "0"], stdout=subprocess.PIPE, env=env, cwd=tmp_path) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path
        process.terminate()
    assert "TOLD" not in os.environ


def test_directory_of_ours_as_it_is_now(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with subprocess.Popen([*ECHO, "--port", "0"], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert Path(f"/proc/{process.pid}/cwd").readlink() == tmp_path
        process.terminate()


def test_it_ends_with_its_parent() -> None:
    program = f"""
import asyncio, sys
from janua_client.processes import Child
from tests.support.forked.popen import install
install()
async def main():
    child = await Child.start("echo", {ECHO!r} + ["--port", "0"])
    await child.ready({START_S})
    print(child.pid, flush=True)
    await asyncio.sleep(600)
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert "zygote" in command_line(pid)
        ended = os.pidfd_open(pid)
        parent.kill()
    try:
        assert select.select([ended], [], [], START_S)[0]
    finally:
        os.close(ended)


@pytest.mark.parametrize(
    "words",
    [
        pytest.param([sys.executable, "-c", "print('not forked')"], id="other-program"),
        pytest.param([sys.executable, "-m", "platform"], id="other-module"),
    ],
)
def test_all_else_is_started_as_ever(words: list[str]) -> None:
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        assert isinstance(process, ForkingPopen)
        assert "zygote" not in command_line(process.pid)
        assert process.communicate()[0]
    assert process.returncode == 0


def test_it_is_started_anew_where_that_is_asked_for() -> None:
    env = {**os.environ, EXEC: "1"}
    with subprocess.Popen([*ECHO, "--port", "0"], stdout=subprocess.PIPE, env=env) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert "echo_server" in command_line(process.pid)
        process.terminate()
