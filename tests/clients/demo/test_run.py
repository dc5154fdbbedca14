"""The demo as a user runs it: a real process with all its children, ended in every way a user ends things."""

import asyncio
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aiohttp
import pytest
from janua_client.processes import Child

from tests.support.components import find_program

FREE = [option for name in ("--http", "--grpc", "--admin", "--listen") for option in (name, "127.0.0.1:0")]
PID = re.compile(r"\(pid (\d+)\)")


class Demo:
    """A running `janua demo`, its lines as they come."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.child: Child
        self._new = asyncio.Event()

    async def start(self, *arguments: str, env: dict[str, str] | None = None) -> "Demo":
        command = "import sys; from janua_client.cli import main; sys.exit(main())"
        program = [sys.executable, "-c", command, "demo", *arguments]
        self.child = await Child.start("demo", program, env=env, on_line=self._take)
        return self

    def _take(self, line: str) -> None:
        self.lines.append(line)
        self._new.set()

    async def line(self, start: str) -> str:
        """Waits for a line that begins so, spaces aside."""
        while True:
            for line in self.lines:
                if line.strip().startswith(start):
                    return line
            if self.child.returncode is not None:
                raise AssertionError("\n".join(self.lines))
            self._new.clear()
            await self._new.wait()

    @property
    def pids(self) -> list[int]:
        return [int(pid) for line in self.lines if " is ready" in line for pid in PID.findall(line)]

    async def ended(self) -> int:
        """Waits for its end, and asserts that no process is left."""
        code = await self.child.wait()
        await self.child.stop()
        assert [pid for pid in self.pids if is_running(pid)] == []
        return code


DemoFactory = Callable[..., Awaitable[Demo]]


@pytest.fixture
async def start() -> AsyncIterator[DemoFactory]:
    """Starts demos: `await start("--once", …)`."""
    demos: list[Demo] = []

    async def factory(*arguments: str, env: dict[str, str] | None = None) -> Demo:
        demos.append(await Demo().start(*arguments, env=env))
        return demos[-1]

    yield factory
    for demo in demos:
        await demo.child.stop()


def is_running(pid: int) -> bool:
    return os.path.exists(f"/proc/{pid}")


async def test_once_prints_two_answers_with_their_endpoints_and_ends(start: DemoFactory) -> None:
    demo = await start("--model", "echo", "--once", *FREE)
    assert await demo.ended() == 0
    text = "\n".join(demo.lines)
    assert "HTTP  What is the capital of France?" in text
    assert "gRPC  What is a gateway?" in text
    assert len(re.findall(r"^echo-[12] heard: What is", text, re.MULTILINE)) == 2
    models = re.findall(r"model server \d is ready at (\S+)", text)
    answered_by = re.findall(r"^answered by (\S+)", text, re.MULTILINE)
    assert len(models) == len(answered_by) == 2
    assert set(answered_by) <= set(models)
    assert len(demo.pids) == 4
    stopped = re.findall(r"stopping (gateway node|config server|model server \d)", text)
    assert stopped == ["gateway node", "config server", "model server 2", "model server 1"]


@pytest.mark.component("llama")
@pytest.mark.timeout(300)
async def test_once_with_the_real_model(start: DemoFactory) -> None:
    demo = await start("--once", *FREE)
    assert await demo.ended() == 0
    assert sum(line.startswith("answered by 127.0.0.1:") for line in demo.lines) == 2


@pytest.mark.component("buf")
@pytest.mark.component("openai")
async def test_all_it_suggests_works(start: DemoFactory) -> None:
    demo = await start("--model", "echo", *FREE)
    await demo.line("Ctrl-C ends it all")
    commands = [line for line, heading in zip(demo.lines[1:], demo.lines, strict=False) if heading.startswith("# ")]
    tried = {program: await shell(command) for command in commands if (program := program_of(command)) != "kill"}
    assert {"python", "buf", "janua"} <= tried.keys()
    assert "heard: What is a door?" in tried["python"]
    assert "heard: What is a gate?" in tried["buf"]
    demo.child.signal(signal.SIGINT)
    assert await demo.ended() == 0


def program_of(command: str) -> str:
    """The program a command runs; empty if this machine does not have it."""
    name = next(word for word in command.split() if "=" not in word)
    return name if find_program(name) else ""


async def shell(command: str) -> str:
    """Output of a suggested command, run with the programs of this environment; it must succeed."""
    if not program_of(command):
        return ""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_shell(
        command, stdin=pipe, stdout=pipe, stderr=pipe, env={**os.environ, "PATH": path}
    )
    output, errors = await process.communicate(b"What is a hinge?")
    assert (process.returncode, output != b"") == (0, True), errors.decode()
    return output.decode()


async def test_it_outlives_a_model_server_as_it_says(start: DemoFactory, tmp_path: Path) -> None:
    demo = await start("--model", "echo", "--data-dir", str(tmp_path / "data"), *FREE)
    await demo.line("Ctrl-C ends it all")
    http = re.search(r"HTTP (\S+),", await demo.line("gateway node is ready"))
    assert http is not None
    os.kill(int((await demo.line("kill ")).split()[1]), signal.SIGKILL)
    await demo.line("model server 1 ended unexpectedly (signal SIGKILL)")
    body = {"model": "echo", "messages": [{"role": "user", "content": "still there?"}]}
    async with aiohttp.ClientSession(headers={"authorization": "Bearer janua-demo-key"}) as session:
        for _ in range(4):
            async with session.post(f"http://{http[1]}/v1/chat/completions", json=body) as reply:
                assert "echo-2 heard: still there?" in await reply.text()
    demo.child.signal(signal.SIGTERM)
    assert await demo.ended() == 0
    assert {path.name for path in (tmp_path / "data").iterdir()} >= {"config.db", "gateway-node.log"}


async def test_a_plane_that_dies_ends_it_with_the_reason(start: DemoFactory) -> None:
    demo = await start("--model", "echo", *FREE)
    await demo.line("Ctrl-C ends it all")
    os.kill(demo.pids[2], signal.SIGKILL)
    assert await demo.ended() == 1
    assert "janua demo: config server ended unexpectedly (signal SIGKILL)" in demo.lines[-1]


async def test_ctrl_c_while_it_starts_leaves_nothing(start: DemoFactory) -> None:
    demo = await start("--model", "echo", *FREE)
    await demo.line("model server 1 is ready")
    demo.child.signal(signal.SIGINT)
    assert await demo.ended() == 130


async def test_second_ctrl_c_does_not_wait(start: DemoFactory) -> None:
    """A stopped process handles no SIGTERM, so only a kill ends it before the grace period."""
    demo = await start("--model", "echo", *FREE)
    await demo.line("Ctrl-C ends it all")
    os.kill(demo.pids[3], signal.SIGSTOP)
    demo.child.signal(signal.SIGINT)
    await demo.line("stopping gateway node")
    demo.child.signal(signal.SIGINT)
    async with asyncio.timeout(5):
        assert await demo.ended() == 0


async def test_port_in_use_is_said_before_anything_starts(start: DemoFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        demo = await start("--model", "echo", *FREE, "--http", address)
        assert await demo.ended() == 1
    assert demo.lines == [
        f"janua demo: {address} is in use: stop what listens there, or choose another with --http 127.0.0.1:0"
    ]


async def test_absent_model_says_what_to_install(start: DemoFactory, tmp_path: Path) -> None:
    """An empty module in front of the real one stands for a machine without it."""
    (tmp_path / "xllamacpp.py").write_text("raise ImportError")
    demo = await start(*FREE, env={"PYTHONPATH": str(tmp_path)})
    assert await demo.ended() == 1
    assert demo.lines == ["janua demo: the model is not installed: pip install 'janua[demo]', or use --model echo"]
