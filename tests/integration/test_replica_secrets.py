"""Values of secrets and API keys with several config servers over one database; a change of keys that stops none."""

import base64
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.resource_pb2 import KIND_SECRET
from janua.config.v1.secret_pb2 import Secret
from janua_client.config_client import ConfigClient

from tests.config_server.ads_client import ads_client
from tests.config_server.api.refusals import refused
from tests.config_server.server_process import ServerProcess, failure, server_process
from tests.config_server.worlds import CONSUMER, SECRET, batch, consumer, proxy_service, upsert, upstream

pytestmark = pytest.mark.component("postgres")

OLD, NEW = (base64.b64encode(letter * 32).decode() for letter in (b"o", b"n"))


@asynccontextmanager
async def replica(url: str, name: str, *keys: str) -> AsyncIterator[ServerProcess]:
    options = ("--listen", "127.0.0.1:0", "--store", url, "--replica-id", name, "--drain-timeout", "1s")
    async with server_process(*options, JANUA_ENCRYPTION_KEY=",".join(keys)) as server:
        yield server


async def secret_on_node(server: ServerProcess) -> tuple[str, str]:
    """Its value and its version."""
    async with aio.insecure_channel(server.address) as channel, ads_client(channel) as node:
        (resource,) = (await node.ask(SECRET, subscribe=["key"])).resources
    return Secret.FromString(resource.resource.value).value, resource.version


async def set_value(server: ServerProcess, value: str) -> int:
    async with ConfigClient(server.address) as client:
        secret = Secret(name="key", value=value, allowed_hosts=["api.openai.com"])
        return (await client.apply([upsert(secret)])).revision


async def has_revision(server: ServerProcess, revision: int) -> None:
    """Returns once it has."""
    async with ConfigClient(server.address) as client:
        await client._stub.ListResources(pb.ListResourcesRequest(min_revision=revision))


async def test_all_servers_give_the_same_value_in_the_same_version(postgres_url: str) -> None:
    async with replica(postgres_url, "a", OLD) as a, replica(postgres_url, "b", OLD) as b:
        await set_value(a, "first")
        async with ConfigClient(b.address) as client:
            revision = (await client.apply([upsert(proxy_service("s", secret="key"))])).revision
        await has_revision(a, revision)
        on_a, on_b = await secret_on_node(a), await secret_on_node(b)
        assert on_a == on_b
        assert on_a[0] == "first"
        await has_revision(a, await set_value(b, "second"))
        assert (await secret_on_node(a))[0] == "second"


async def test_keys_are_changed_one_server_after_the_other(postgres_url: str) -> None:
    """First all can open with the new key, then all seal with it, then none needs the old one."""
    async with AsyncExitStack() as steps:
        servers: dict[str, tuple[AsyncExitStack, ServerProcess]] = {}

        async def start(name: str, *keys: str) -> ServerProcess:
            if name in servers:
                await servers[name][0].aclose()
            stack = await steps.enter_async_context(AsyncExitStack())
            server = await stack.enter_async_context(replica(postgres_url, name, *keys))
            servers[name] = (stack, server)
            return server

        a = await start("a", OLD)
        await start("b", OLD)
        await set_value(a, "0")
        async with ConfigClient(a.address) as client:
            await client.apply([upsert(proxy_service("s", secret="key"))])
        count, versions = 0, set()
        for keys in ([OLD, NEW], [NEW, OLD], [NEW]):
            for name in "ab":
                server = await start(name, *keys)
                other = servers["b" if name == "a" else "a"][1]
                before = await secret_on_node(server)
                assert before == await secret_on_node(other), "nodes are sent nothing for it"
                versions.add(before[1])
                for writer, reader in ((server, other), (other, server)):
                    count += 1
                    await has_revision(reader, await set_value(writer, str(count)))
                    assert (await secret_on_node(reader))[0] == str(count)
        assert len(versions) == 6
    async with replica(postgres_url, "c", NEW) as server, ConfigClient(server.address) as client:
        for revision in range(1, count + 3):
            stored, _ = await client.snapshot(KIND_SECRET, revision=revision)
            assert len(stored) == 1


async def test_a_server_without_the_key_says_so(postgres_url: str) -> None:
    async with replica(postgres_url, "a", NEW) as a:
        async with replica(postgres_url, "b", OLD) as b, ConfigClient(b.address) as client:
            await set_value(a, "first")
            refusal = await refused(client._stub.Apply(batch(upstream("u"))))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "STORE_UNREADABLE")
        ended = await failure("--listen", "127.0.0.1:0", "--store", postgres_url, JANUA_ENCRYPTION_KEY=OLD)
        assert ended.code == 1
        assert ended.error.count("\n") == 1
        assert "secret key in the store is sealed with the key" in ended.error
        async with replica(postgres_url, "b", NEW, OLD) as b:
            await has_revision(a, await set_value(b, "second"))


async def test_keys_made_by_one_server_are_known_to_all(postgres_url: str) -> None:
    async with (
        replica(postgres_url, "a") as a,
        replica(postgres_url, "b") as b,
        ConfigClient(a.address) as one,
        ConfigClient(b.address) as two,
    ):
        await one.apply([upsert(consumer("c"))])
        made = await two.create_key(pb.CreateApiKeyRequest(consumer="c"))
        await has_revision(a, made.revision)
        assert list(await one.keys("c")) == [made.record]
        on_nodes = [await consumer_on_node(each) for each in (a, b)]
        assert on_nodes[0] == on_nodes[1]
        assert [key.key_sha256 for key in on_nodes[0].api_keys] == [made.record.key_sha256]
        revoked = await one.revoke_key(made.record.id)
        await has_revision(b, revoked.revision)
        assert not (await consumer_on_node(b)).api_keys


async def consumer_on_node(server: ServerProcess) -> Consumer:
    async with aio.insecure_channel(server.address) as channel, ads_client(channel) as node:
        (resource,) = (await node.ask(CONSUMER)).resources
    return Consumer.FromString(resource.resource.value)
