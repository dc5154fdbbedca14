"""The console over a real socket: who may look, and that what it shows is what there is."""

import base64
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from janua.config.v1.config_service_pb2 import NodeStatus
from janua.config.v1.node_service_pb2 import ReportStatusRequest

from tests.clients.janua_client.cli_runner import janua
from tests.config_server.access.principals import TOKENS, write
from tests.config_server.ads_client import ads_client
from tests.config_server.running_server import RunningServer, running_server
from tests.config_server.server_process import failure, server_process
from tests.config_server.worlds import TYPE, batch, route, service, upstream
from tests.support.polling import eventually


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[RunningServer]:
    async with running_server(tmp_path / "config.db", console=True) as running:
        yield running


async def get(server: RunningServer, path: str, **headers: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://{server.console}{path}", headers=headers) as response,
    ):
        assert "default-src 'none'" in response.headers["content-security-policy"]
        return response.status, await response.text()


async def values(server: RunningServer) -> dict[str, float]:
    """The samples, by name with labels."""
    status, text = await get(server, "/metrics")
    assert status == 200
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def test_health(server: RunningServer) -> None:
    assert await get(server, "/livez") == (200, "ok\n")
    assert await get(server, "/readyz") == (200, "ok\n")
    assert (await get(server, "/nothing"))[0] == 404


async def test_metrics_count_what_happens(server: RunningServer) -> None:
    before = await values(server)
    assert before["janua_xds_streams"] == before["janua_config_revision"] == before["janua_apply_seconds_count"] == 0
    await server.apply(upstream("u"), service("s"), route("a"))
    async with ads_client(server.channel) as client:
        await client.send(TYPE["route"])
        await client.ack(await client.receive())
        await server.apply(route("b"))
        await client.nack(await client.receive())
        await client.send("type.googleapis.com/made.up.Type", subscribe=["x"])
        await client.receive()

        async def is_refused() -> bool:
            return (await values(server)).get('janua_xds_nacks_total{type="Route"}') == 1

        await eventually(is_refused)
        found = await values(server)
        assert found["janua_xds_streams"] == 1
        assert found['janua_nodes{state="connected"}'] == 1, "it has not said that it is ready"
        for status, state in ((NodeStatus(ready=True), "ready"), (NodeStatus(ready=True, draining=True), "draining")):
            await server.nodes.ReportStatus(ReportStatusRequest(node_id="node-1", status=status))
            assert (await values(server))[f'janua_nodes{{state="{state}"}}'] == 1
    assert found["janua_config_revision"] == 2
    assert found["janua_apply_seconds_count"] == 2
    assert found['janua_xds_pushes_total{type="Route"}'] == 2
    assert found['janua_xds_pushes_total{type="other"}'] == 1
    assert found["janua_xds_push_seconds_count"] >= 1

    async def has_left() -> bool:
        now = await values(server)
        return now["janua_xds_streams"] == 0 and now['janua_nodes{state="disconnected"}'] == 1

    await eventually(has_left)


async def test_the_page_shows_nodes_revisions_and_counts(server: RunningServer) -> None:
    status, text = await get(server, "/")
    assert status == 200
    assert "No node has been seen yet" in text
    request = batch(upstream("u"), service("s"), route("a"), route("b"))
    request.author, request.message = "ann", "<script>alert(1)</script>"
    await server.apply_request(request)
    async with ads_client(server.channel, "edge-<b>", version="9.9") as client:
        await client.send(TYPE["route"])
        await client.receive()
        report = ReportStatusRequest(node_id="edge-<b>", status=NodeStatus(ready=True))
        await server.nodes.ReportStatus(report)
        _, text = await get(server, "/")
    assert "Revision 1, 2 routes, 1 service, 1 upstream." in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "edge-&lt;b&gt;" in text
    assert "<script" not in text
    assert re.search(r"<td>9\.9\s+<td class=\"good\">ready\s+<td class=\"dim\">stale", text)


@asynccontextmanager
async def guarded(tmp_path: Path) -> AsyncIterator[RunningServer]:
    access = write(tmp_path / "access.yaml")
    async with running_server(tmp_path / "config.db", console=True, access_file=access) as running:
        yield running


async def test_with_an_access_file_readers_may_look(tmp_path: Path) -> None:
    async with guarded(tmp_path) as server:
        for path in ("/", "/metrics"):
            assert (await get(server, path))[0] == 401
            for role in ("admin", "editor", "viewer"):
                assert (await get(server, path, authorization=f"Bearer {TOKENS[role]}"))[0] == 200
                basic = base64.b64encode(f"anybody:{TOKENS[role]}".encode()).decode()
                assert (await get(server, path, authorization=f"Basic {basic}"))[0] == 200
            for wrong in (f"Bearer {TOKENS['node']}", "Bearer ", "Bearer guessed", "Basic !", "Basic /w==", "Digest x"):
                assert (await get(server, path, authorization=wrong))[0] == 401
        assert await get(server, "/livez") == (200, "ok\n")
        # By any name: a proxy with TLS may stand before it.
        reader = f"Bearer {TOKENS['viewer']}"
        assert (await get(server, "/", authorization=reader, host="console.example"))[0] == 200


async def test_no_website_reads_it_by_a_name_that_leads_here(server: RunningServer) -> None:
    port = server.console.rpartition(":")[2]
    for path in ("/", "/metrics"):
        for host in (
            "evil.example",
            f"evil.example:{port}",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "[",
            "",
        ):
            assert (await get(server, path, host=host))[0] == 403
        for host in (f"127.0.0.1:{port}", "127.0.0.1", f"LOCALHOST:{port}", f"[::1]:{port}"):
            assert (await get(server, path, host=host))[0] == 200
    assert (await get(server, "/livez", host="evil.example"))[0] == 200


async def test_as_a_process(tmp_path: Path) -> None:
    options = ("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path / 'config.db'}", "--console", "127.0.0.1:0")
    async with server_process(*options) as server:
        done = await janua("nodes", "--server", server.address)
        assert done.code == 0
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://{server.ready['console']}/readyz") as response,
        ):
            assert response.status == 200
            server.terminate()
            assert await server.process.wait() == 0


async def test_addresses_that_are_not_taken(tmp_path: Path) -> None:
    store = ("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path / 'config.db'}")
    remote = await failure(*store, "--console", "0.0.0.0:0")
    assert (remote.code, "--insecure-allow-remote" in remote.error) == (2, True)
    async with server_process(*store, "--console", "127.0.0.1:0") as server:
        other = ("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path / 'other.db'}")
        taken = await failure(*other, "--console", str(server.ready["console"]))
    assert taken.code == 1
    assert "give --console another address" in taken.error
