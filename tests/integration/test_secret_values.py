"""Values of secrets: kept sealed, given to nodes that use them, shown to nobody, and kept through a change of keys."""

import json
from pathlib import Path

import aiohttp
import pytest
import yaml
from grpc import aio
from janua.config.v1.config_service_pb2 import ApplyRequest, Change
from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret
from janua_client.config_client import ConfigClient
from janua_resources.kinds import unwrap
from janua_resources.sealing import make_key
from janua_resources.secret_values import KEPT_VALUE

from tests.clients.janua_client.cli_runner import Finished, janua
from tests.config_server.ads_client import ads_client, names
from tests.config_server.server_process import failure, server_process
from tests.config_server.worlds import SECRET, proxy_service, upsert
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.polling import eventually
from tests.support.processes import NodeFactory

VALUE = "sk-very-hidden-value"


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text(make_key())
    return path


def arguments(tmp_path: Path, keys: Path, listen: str = "127.0.0.1:0") -> tuple[str, ...]:
    store = ("--store", f"sqlite:///{tmp_path / 'config.db'}")
    return ("--listen", listen, *store, "--encryption-key-file", str(keys))


async def run(address: str, *words: str, stdin: str = "") -> Finished:
    return await janua(*words, "--server", address, stdin=stdin)


def everything_in(directory: Path) -> bytes:
    return b"".join(path.read_bytes() for path in directory.rglob("*") if path.is_file())


async def test_a_value_is_kept_sealed_and_shown_to_nobody(tmp_path: Path, keys: Path) -> None:
    async with server_process(*arguments(tmp_path, keys)) as server:
        done = await run(server.address, "secrets", "set", "key", "--allowed-host", "127.0.0.1", stdin=f"{VALUE}\n")
        assert (done.code, done.out) == (0, "revision 1: secret/key created\n")
        again = await run(server.address, "secrets", "set", "key", stdin=f"{VALUE}2")
        assert again.out == "revision 2: secret/key updated\n"
        shown = [
            (await run(server.address, *words)).out
            for words in (
                ("get", "secret", "key", "-o", "yaml"),
                ("get", "secret", "key", "-o", "yaml", "--revision", "1"),
                ("export",),
                ("history", "2"),
                ("diff", "--revision", "1..2", "-o", "json"),
                ("rollback", "1", "--include-secrets", "--dry-run", "-o", "json"),
            )
        ]
        assert all(VALUE not in text for text in shown)
        assert yaml.safe_load(shown[0])["secrets"] == [
            {"name": "key", "value": KEPT_VALUE, "allowed_hosts": ["127.0.0.1"]}
        ]
        assert '"(the value before)"' in shown[3]
        async with ConfigClient(server.address) as client:
            watch = client.watch()
            batch = await anext(watch)
            await watch.aclose()
        assert VALUE not in str(batch)
    assert VALUE.encode() not in everything_in(tmp_path)


async def test_the_placeholder_keeps_the_value(tmp_path: Path, keys: Path, node: NodeFactory) -> None:
    backend = FaultyUpstream()
    await backend.start()
    async with server_process(*arguments(tmp_path, keys)) as server, ConfigClient(server.address) as client:
        await run(server.address, "secrets", "set", "key", "--allowed-host", "127.0.0.1", stdin=VALUE)
        service = proxy_service("s", secret="key")
        service.proxy_service.provider = "custom"
        service.proxy_service.base_url = f"http://{backend.address}"
        await client.apply([upsert(service)])
        exported = tmp_path / "export.yaml"
        exported.write_text((await run(server.address, "export")).out)
        applied = await run(server.address, "apply", "-f", str(exported))
        assert "nothing to change" in applied.out
        document = yaml.safe_load(exported.read_text())
        document["secrets"][0]["description"] = "new"
        document["routes"] = [{"name": "r", "match": {"models": ["m"]}, "backends": [{"service": "s"}]}]
        exported.write_text(yaml.safe_dump(document))
        gateway = await node(server.address)
        applied = await run(server.address, "apply", "-f", str(exported), "--wait", "all")
        assert applied.code == 0, applied.err
        async with aiohttp.ClientSession() as session:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            async with session.post(f"http://{gateway.http}/v1/chat/completions", json=body):
                pass
            async with session.get(f"http://{gateway.admin}/config_dump") as response:
                dump = await response.text()
        assert backend.requests[-1].header("authorization") == f"Bearer {VALUE}"
        assert VALUE not in dump
        assert KEPT_VALUE in dump
        assert VALUE not in gateway.log
        missing = Secret(name="other", value=KEPT_VALUE)
        with pytest.raises(Exception, match="there is none: give the value"):
            await client.apply([upsert(missing)])
        state = [path for path in gateway.state_dir.rglob("*") if path.is_file()]
        assert all(path.stat().st_mode & 0o077 == 0 for path in state)
    await backend.stop()


async def test_a_change_of_the_value_alone_reaches_the_node(tmp_path: Path, keys: Path, node: NodeFactory) -> None:
    backend = FaultyUpstream()
    await backend.start()
    async with server_process(*arguments(tmp_path, keys)) as server, ConfigClient(server.address) as client:
        await run(server.address, "secrets", "set", "key", "--allowed-host", "127.0.0.1", stdin="first")
        service = proxy_service("s", secret="key")
        service.proxy_service.provider = "custom"
        service.proxy_service.base_url = f"http://{backend.address}"
        await client.apply([upsert(service)])
        routes = tmp_path / "routes.json"
        routes.write_text(
            json.dumps({"routes": [{"name": "r", "match": {"models": ["m"]}, "backends": [{"service": "s"}]}]})
        )
        gateway = await node(server.address)
        assert (await run(server.address, "apply", "-f", str(routes), "--wait", "all")).code == 0
        await run(server.address, "secrets", "set", "key", stdin="second")

        async def uses_the_second() -> bool:
            body = {"model": "m", "messages": [{"role": "user", "content": "x"}]}
            async with (
                aiohttp.ClientSession() as session,
                session.post(f"http://{gateway.http}/v1/chat/completions", json=body),
            ):
                return backend.requests[-1].header("authorization") == "Bearer second"

        await eventually(uses_the_second)
    await backend.stop()


# ruff: noqa: ASYNC240 (small files, and nothing else runs)
async def test_keys_are_changed_and_the_old_one_is_needed_no_more(tmp_path: Path, keys: Path) -> None:
    async with server_process(*arguments(tmp_path, keys)) as server:
        await run(server.address, "secrets", "set", "key", stdin="first")
        await run(server.address, "secrets", "set", "key", stdin="second")
        async with ConfigClient(server.address) as client:
            etag = (await client.get(KIND_SECRET, "key")).etag
    old = keys.read_text()
    keys.write_text(make_key())
    refused = await failure(*arguments(tmp_path, keys))
    assert refused.code == 1
    assert "is sealed with the key" in refused.error
    new = keys.read_text()
    keys.write_text(f"{new}\n{old}\n")
    async with server_process(*arguments(tmp_path, keys)) as server, ConfigClient(server.address) as client:
        assert (await client.get(KIND_SECRET, "key")).etag == etag, "nodes are sent nothing for it"
    keys.write_text(new)
    async with server_process(*arguments(tmp_path, keys)) as server, ConfigClient(server.address) as client:
        before = await client.get(KIND_SECRET, "key", revision=1)
        assert unwrap(before.resource) == Secret(name="key", value=KEPT_VALUE)


async def test_without_a_key_values_are_refused(tmp_path: Path) -> None:
    async with server_process("--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path / 'config.db'}") as server:
        refused = await run(server.address, "secrets", "set", "key", stdin=VALUE)
        assert refused.code == 1
        assert "this server has no encryption key" in refused.err
        assert VALUE not in refused.err + refused.out
        async with ConfigClient(server.address) as client:
            request = ApplyRequest(changes=[Change(upsert=upsert(Secret(name="a", env="A")).upsert)])
            assert (await client.apply(request.changes)).revision == 1


async def test_values_do_not_leave_the_machine_in_clear(tmp_path: Path, keys: Path) -> None:
    async with server_process(*arguments(tmp_path, keys)) as server, ConfigClient(server.address) as client:
        await run(server.address, "secrets", "set", "key", "--allowed-host", "api.openai.com", stdin=VALUE)
        await client.apply([upsert(proxy_service("s", secret="key")), upsert(Secret(name="of-env", env="A"))])
        await client.apply([upsert(proxy_service("t", secret="of-env"))])
        assert await secrets_on_nodes(server.address) == ["key", "of-env"]
    remote = arguments(tmp_path, keys, listen="0.0.0.0:0")
    async with server_process(*remote, "--insecure-allow-remote") as server:
        address = server.address.replace("0.0.0.0", "127.0.0.1")
        assert await secrets_on_nodes(address) == ["of-env"]
        refused = await run(address, "secrets", "set", "key", stdin="another")
        assert refused.code == 1
        assert "give it --tls-cert, --tls-key and --access-file" in refused.err
        exported = await run(address, "export")
        applied = await run(address, "apply", "-f", "-", stdin=exported.out)
        assert "nothing to change" in applied.out, "what is kept is kept"
    async with server_process(*arguments(tmp_path, keys)) as server:
        assert await secrets_on_nodes(server.address) == ["key", "of-env"]


async def secrets_on_nodes(address: str) -> list[str]:
    async with aio.insecure_channel(address) as channel, ads_client(channel) as node:
        return sorted(names(await node.ask(SECRET, subscribe=["key", "of-env"])))


async def test_an_empty_value_is_refused(tmp_path: Path, keys: Path) -> None:
    async with server_process(*arguments(tmp_path, keys)) as server:
        refused = await run(server.address, "secrets", "set", "key", stdin="\n")
    assert refused.code == 2
    assert "standard input is empty" in refused.err
