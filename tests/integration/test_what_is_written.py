"""Keys of callers and values of secrets stand nowhere that processes write: not on disk, not in logs or answers."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
import yaml
from janua_client.processes import Child
from janua_resources.sealing import make_key

from tests.clients.janua_client.cli_runner import janua
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.polling import eventually
from tests.support.scripts import fail

# ruff: noqa: ASYNC240 (small files, and nothing else runs)

VALUE = "sk-value-of-the-provider"
START_S = 60.0

CONFIG = {
    "policies": [{"name": "keys", "api_key_auth": {}}],
    "consumers": [{"name": "alice"}],
    "routes": [{"name": "r", "match": {"models": ["m"]}, "backends": [{"service": "s"}], "policies": ["keys"]}],
}


@dataclass(kw_only=True)
class Planes:
    """Both planes at their most talkative, all that they have said, and a backend."""

    directory: Path
    backend: FaultyUpstream
    lines: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    server: str = ""
    http: str = ""
    admin: str = ""

    async def run(self, *words: str, stdin: str = "") -> str:
        done = await janua(*words, "--server", self.server, stdin=stdin)
        assert done.code == 0, done.err
        if words[:2] != ("keys", "create"):
            self.answers.append(done.out)
        self.answers.append(done.err)
        return done.out

    async def status(self, headers: Mapping[str, str], path: str = "/v1/chat/completions") -> int:
        body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
        async with (
            aiohttp.ClientSession() as session,
            session.post(f"http://{self.http}{path}", json=body, headers=headers) as response,
        ):
            self.answers.append(f"{response.headers}{await response.text()}")
            return response.status

    async def look_at_the_node(self) -> None:
        async with aiohttp.ClientSession() as session:
            for path in ("/config_dump", "/metrics", "/endpoints"):
                async with session.get(f"http://{self.admin}{path}") as response:
                    self.answers.append(await response.text())

    def all_of_it(self) -> bytes:
        files = [path.read_bytes() for path in self.directory.rglob("*") if path.is_file()]
        return b"\n".join([*files, *(text.encode() for text in (*self.lines, *self.answers))])


@pytest.fixture
async def planes(tmp_path: Path) -> AsyncIterator[Planes]:
    """A config server and a node whose state is sealed. Their keys are in their environment, not on the disk."""
    backend = FaultyUpstream()
    await backend.start()
    planes = Planes(directory=tmp_path, backend=backend)

    async def start(stack: AsyncExitStack, module: str, *words: str, **variables: str) -> Mapping[str, object]:
        command = [sys.executable, "-m", module, *words, "--log-level", "debug"]
        child = await Child.start(module, command, env=variables, on_line=planes.lines.append)
        stack.push_async_callback(child.stop, START_S)
        return await child.ready(START_S)

    async with AsyncExitStack() as stack:
        store = ("--store", f"sqlite:///{tmp_path / 'config.db'}")
        listen = ("--listen", "127.0.0.1:0")
        ready = await start(stack, "config_server", *listen, *store, JANUA_ENCRYPTION_KEY=make_key())
        planes.server = str(ready["grpc"])
        ports = ("--http", "127.0.0.1:0", "--grpc", "127.0.0.1:0", "--admin", "127.0.0.1:0")
        state = ("--state-dir", str(tmp_path / "node"), "--config-server", planes.server)
        ready = await start(stack, "gateway", *ports, *state, JANUA_STATE_KEY=make_key())
        planes.http, planes.admin = str(ready["http"]), str(ready["admin"])
        yield planes
    await backend.stop()


async def configure(planes: Planes) -> str:
    """Returns the key of a consumer, which works once this is done."""
    await planes.run("secrets", "set", "provider", "--allowed-host", "127.0.0.1", stdin=VALUE)
    service = {"provider": "custom", "base_url": planes.backend.url, "credentials": [{"secret": "provider"}]}
    config = {**CONFIG, "services": [{"name": "s", "proxy_service": service}]}
    await planes.run("apply", "-f", "-", "--wait", "all", stdin=yaml.safe_dump(config))
    key = (await planes.run("keys", "create", "alice", "--label", "laptop")).strip()
    await eventually(lambda: _has(planes, key, 200))
    return key


async def _has(planes: Planes, key: str, status: int) -> bool:
    return await planes.status({"authorization": f"Bearer {key}"}) == status


async def test_a_revoked_key_soon_works_no_more_and_others_go_on(planes: Planes) -> None:
    key = await configure(planes)
    other = (await planes.run("keys", "create", "alice")).strip()
    await eventually(lambda: _has(planes, other, 200))
    (digest, *_) = [line.split()[1] for line in (await planes.run("keys", "list", "alice")).splitlines()[1:]]
    await planes.run("keys", "revoke", "alice", digest.rstrip("…"))
    await eventually(lambda: _has(planes, key, 401), timeout_s=5.0)  # a second, but for what else the machine does
    assert await _has(planes, other, 200)
    await planes.run("apply", "-f", "-", "--wait", "all", stdin=yaml.safe_dump(CONFIG))
    await planes.run("rollback", "2", "--include-secrets", "--yes")
    assert await _has(planes, other, 200), "keys are no part of what is rolled back"
    assert await _has(planes, key, 401)


async def test_nothing_is_written(planes: Planes) -> None:
    key = await configure(planes)
    for headers in ({"x-api-key": key}, {"api-key": key}, {"x-goog-api-key": key}, {"authorization": f"Bearer {key}x"}):
        await planes.status(headers)
    await planes.status({}, f"/v1beta/models/m:generateContent?key={key}")
    await planes.status({}, f"/elsewhere?key={key}")
    for _ in range(3):
        planes.backend.next.append(fail(401, f"Incorrect API key provided: {VALUE}"))
    await planes.status({"authorization": f"Bearer {key}"})
    for words in (
        ("export",),
        ("get", "secrets", "-o", "yaml"),
        ("get", "consumers", "-o", "json"),
        ("history", "1"),
        ("diff", "--revision", "0..1", "-o", "json"),
        ("nodes", "-o", "json"),
        ("status", "-o", "json"),
        ("keys", "list", "-o", "json"),
    ):
        await planes.run(*words)
    await planes.look_at_the_node()
    # The copy on disk is written once a second.
    last_good = planes.directory / "node" / "last-good"
    written = last_good.stat().st_mtime_ns
    await planes.run("secrets", "set", "provider", stdin=f"{VALUE}-2")
    await eventually(lambda: _is_newer(last_good, written))
    sent = planes.backend.requests[0].header("authorization")
    assert sent == f"Bearer {VALUE}", "the backend gets it"
    everything = planes.all_of_it()
    assert b"alice" in everything
    assert VALUE.encode() not in everything
    assert key.removeprefix("jk-").encode() not in everything


async def _is_newer(path: Path, moment: int) -> bool:
    return path.stat().st_mtime_ns > moment
