"""TLS of the config server, with certificates of an authority of the test's own."""

import asyncio
import os
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc import aio
from janua.config.v1 import config_service_pb2 as pb
from janua.config.v1.config_service_pb2_grpc import ConfigServiceStub
from structlog.testing import capture_logs

from config_server.tls import ServerTls, TlsError, TlsFiles
from tests.config_server.access.certificates import Authority
from tests.config_server.access.principals import TOKENS, entry, write
from tests.config_server.running_server import CHANNEL_OPTIONS, running_server
from tests.support.polling import eventually


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@asynccontextmanager
async def dialled(address: str, ca: Authority, shown: TlsFiles | None = None) -> AsyncIterator[aio.Channel]:
    key, certificate = (None, None) if shown is None else (shown.key.read_bytes(), shown.certificate.read_bytes())
    credentials = grpc.ssl_channel_credentials(ca.pem.read_bytes(), key, certificate)
    async with aio.secure_channel(address, credentials, options=CHANNEL_OPTIONS) as channel:
        yield channel


async def list_nodes(channel: aio.Channel, token: str = "") -> pb.ListNodesResponse:
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    return await ConfigServiceStub(channel).ListNodes(pb.ListNodesRequest(), metadata=metadata, timeout=5)


async def code_of(call: Any) -> str:
    try:
        await call
    except aio.AioRpcError as error:
        return error.code().name
    return "OK"


def shown_certificate(address: str, ca: Authority) -> bytes:
    host, _, port = address.rpartition(":")
    return ssl.get_server_certificate((host, int(port)), ca_certs=str(ca.pem)).encode()


async def test_tls_and_a_token(authority: Authority, tmp_path: Path) -> None:
    access = write(tmp_path / "access.yaml")
    async with running_server(tmp_path / "config.db", tls=authority.server(), access_file=access) as server:
        async with dialled(server.address, authority) as channel:
            assert (await list_nodes(channel, TOKENS["viewer"])).revision == 0
            assert await code_of(list_nodes(channel)) == "UNAUTHENTICATED"
        assert await code_of(server.config.ListNodes(pb.ListNodesRequest(), timeout=5)) == "UNAVAILABLE"
        async with dialled(server.address, Authority(tmp_path, "other")) as channel:
            assert await code_of(list_nodes(channel, TOKENS["viewer"])) == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("identities", "common_name", "listed"),
    [
        (["edge.example"], None, "edge.example"),
        (["a.example", "edge.example"], None, "edge.example"),
        (["person@example.com"], None, "person@example.com"),
        (["10.0.0.1"], "alice", "alice"),
    ],
)
async def test_a_certificate_says_who_one_is(
    authority: Authority, tmp_path: Path, identities: list[str], common_name: str | None, listed: str
) -> None:
    access = write(tmp_path / "access.yaml", [entry("viewer", certificates=[listed]), entry("node")])
    files = authority.server(takes_clients_of=authority)
    mine = authority.issue("mine", *identities, common_name=common_name)
    stranger = authority.issue("stranger", "stranger.example")
    other = Authority(tmp_path, "other")
    forged = other.issue("forged", *identities, common_name=common_name)
    async with running_server(tmp_path / "config.db", tls=files, access_file=access) as server:
        async with dialled(server.address, authority, mine) as channel:
            assert await code_of(list_nodes(channel)) == "OK"
            assert await code_of(list_nodes(channel, "guessed")) == "UNAUTHENTICATED"
            assert await code_of(list_nodes(channel, TOKENS["node"])) == "PERMISSION_DENIED"
        async with dialled(server.address, authority, stranger) as channel:
            assert await code_of(list_nodes(channel)) == "UNAUTHENTICATED"
        for shown in (None, forged):
            async with dialled(server.address, authority, shown) as channel:
                assert await code_of(list_nodes(channel)) == "UNAVAILABLE"


async def test_a_new_certificate_is_used_for_new_connections(authority: Authority, tmp_path: Path) -> None:
    files = authority.server()
    async with running_server(tmp_path / "config.db", tls=files) as server:
        before = await asyncio.to_thread(shown_certificate, server.address, authority)
        async with dialled(server.address, authority) as old:
            await list_nodes(old)
            authority.issue("server", "127.0.0.1", "renewed.example")

            async def is_renewed() -> bool:
                return await asyncio.to_thread(shown_certificate, server.address, authority) != before

            await eventually(is_renewed)
            await list_nodes(old)
        async with dialled(server.address, authority) as channel:
            await list_nodes(channel)


async def test_a_half_written_certificate_is_not_used(authority: Authority, tmp_path: Path) -> None:
    files = authority.server()
    async with running_server(tmp_path / "config.db", tls=files) as server:
        whole = files.certificate.read_bytes()
        files.certificate.write_bytes(whole[: len(whole) // 2])
        with capture_logs() as logs:
            async with dialled(server.address, authority) as channel:
                await list_nodes(channel)
        assert [entry["log_level"] for entry in logs if "certificate not taken" in entry["event"]] == ["error"]
        files.certificate.write_bytes(whole)
        async with dialled(server.address, authority) as channel:
            await list_nodes(channel)


def test_files_of_no_use(authority: Authority, tmp_path: Path) -> None:
    good, other = authority.server(), authority.issue("other", "other.example")
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    for files, says in (
        (TlsFiles(certificate=tmp_path / "absent", key=good.key), "absent: no such file or directory"),
        (TlsFiles(certificate=good.certificate, key=other.key), "are not a certificate and its key"),
        (TlsFiles(certificate=empty, key=good.key), "are not a certificate and its key"),
        (TlsFiles(certificate=good.certificate, key=good.key, client_ca=empty), "has no certificates"),
    ):
        with pytest.raises(TlsError) as caught:
            ServerTls(files)
        assert says in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_key_with_a_passphrase_is_not_asked_for(authority: Authority, tmp_path: Path) -> None:
    files = authority.server()
    from cryptography.hazmat.primitives import serialization

    key = serialization.load_pem_private_key(files.key.read_bytes(), None)
    files.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(os.urandom(8)),
        )
    )
    with pytest.raises(TlsError, match="unencrypted"):
        ServerTls(files)


async def test_a_server_that_begins_anew_goes_on_with_the_newest_certificate(authority: Authority) -> None:
    """As after a store was restored: the old one may have been replaced because its key was lost."""
    tls = ServerTls(authority.server())

    @asynccontextmanager
    async def serving() -> AsyncIterator[str]:
        server = aio.server()
        port = server.add_secure_port("127.0.0.1:0", tls.credentials())
        await server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            await server.stop(0)

    async with serving() as address:
        before = await asyncio.to_thread(shown_certificate, address, authority)
        authority.issue("server", "127.0.0.1", "renewed.example")
        renewed = await asyncio.to_thread(shown_certificate, address, authority)
        assert renewed != before
    async with serving() as address:
        assert await asyncio.to_thread(shown_certificate, address, authority) == renewed
