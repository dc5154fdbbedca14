"""`janua store` beside real config servers: from one with SQLite to several over PostgreSQL, and back from a backup."""

from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from grpc import aio
from janua_client.config_client import ConfigClient

from tests.clients.janua_client.cli_runner import run_janua
from tests.config_server.ads_client import ads_client, names, versions
from tests.config_server.server_process import server_process
from tests.config_server.worlds import UPSTREAM, upsert, upstream
from tests.integration.replicas import Fleet, start, state
from tests.support.polling import eventually


@pytest.mark.component("postgres")
async def test_from_one_server_to_several_nodes_are_sent_nothing_anew(tmp_path: Path, postgres_url: str) -> None:
    source = f"sqlite:///{tmp_path / 'config.db'}"
    with_password = postgres_url.replace("janua@", "janua:hidden@")
    migrate = ("store", "migrate", "--from", source, "--to", with_password)
    async with server_process("--listen", "127.0.0.1:0", "--store", source) as server:
        async with ConfigClient(server.address) as client:
            await client.apply([upsert(upstream("u")), upsert(upstream("v"))])
        async with aio.insecure_channel(server.address) as channel, ads_client(channel) as node:
            held = versions(await node.ask(UPSTREAM))
        done = await run_janua(*migrate)
        assert done.code == 1
        assert "is in use by another config server" in done.err
    done = await run_janua(*migrate)
    assert (done.code, "hidden" in done.out + done.err) == (0, False), done.err
    assert done.out.startswith("revision 1, 2 resources migrated to postgresql://127.0.0.1:")
    async with AsyncExitStack() as stack:
        for name in "ab":
            server = await start(stack, postgres_url, name)
            async with aio.insecure_channel(server.address) as channel, ads_client(channel) as node:
                again = await node.ask(UPSTREAM, initial=held)
                assert (names(again), list(again.removed_resources)) == ([], [])
        async with ConfigClient(server.address) as client:
            assert (await client.apply([upsert(upstream("w"))])).revision == 2


@pytest.mark.component("postgres")
async def test_servers_go_on_with_what_is_restored_under_them(fleet: Fleet, tmp_path: Path) -> None:
    file = str(tmp_path / "backup")
    async with fleet.client(0) as first, fleet.client(2) as third:
        await first.apply([upsert(upstream("u"))])
        done = await run_janua("store", "backup", "--store", fleet.url, file)
        assert (done.code, done.out) == (0, f"revision 1, 1 resources written to {file}\n"), done.err
        await third.apply([upsert(upstream("u", description="wrong")), upsert(upstream("v"))])
        restore = ("store", "restore", "--store", fleet.url, file)
        done = await run_janua(*restore)
        assert done.code == 1
        assert "(revision 2, 2 resources)" in done.err
        done = await run_janua(*restore, "--replace-existing")
        assert done.code == 0, done.err

        async def is_back() -> bool:
            try:
                return [await state(each, 0) for each in (first, third)] == [{"u": ""}] * 2
            except aio.AioRpcError:
                return False

        await eventually(is_back)
        revision = (await third.apply([upsert(upstream("w"))])).revision
        assert revision == 2
        assert set(await state(first, revision)) == {"u", "w"}


async def test_a_file_serves_as_a_store_again(tmp_path: Path) -> None:
    source, file = f"sqlite:///{tmp_path / 'config.db'}", str(tmp_path / "backup")
    listen = ("--listen", "127.0.0.1:0", "--store", source)
    async with server_process(*listen) as server, ConfigClient(server.address) as client:
        await client.apply([upsert(upstream("u"))])
        done = await run_janua("store", "backup", file, env={"JANUA_STORE": source})
        assert done.code == 0, done.err
        await client.apply([upsert(upstream("lost"))])
    done = await run_janua("store", "restore", "--store", source, file, "--replace-existing")
    assert done.code == 0, done.err
    async with server_process(*listen) as server, ConfigClient(server.address) as client:
        assert await state(client, 0) == {"u": ""}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("backup", "file"), 2, "Missing option '--store'"),
        (("restore", "--store", "mysql://h/db", "{file}"), 1, "sqlite:///PATH"),
        (("backup", "--store", "sqlite:////nowhere/config.db", "file"), 1, "there is no store at /nowhere/config.db"),
        (("backup", "--store", "postgresql://u:hidden@127.0.0.1:1/db", "file"), 1, "cannot reach postgresql://127.0.0.1:1/db"),
        (("away",), 2, "No such command"),
    ],
)  # fmt: skip
async def test_errors_are_one_line(tmp_path: Path, arguments: tuple[str, ...], code: int, words: str) -> None:
    source, file = f"sqlite:///{tmp_path / 'config.db'}", str(tmp_path / "file")
    async with server_process("--listen", "127.0.0.1:0", "--store", source):
        assert (await run_janua("store", "backup", "--store", source, file)).code == 0
    done = await run_janua("store", *(each.format(file=file) for each in arguments))
    assert done.code == code
    assert words in done.err
    assert "hidden" not in done.err
    assert len(done.errors) == 1
