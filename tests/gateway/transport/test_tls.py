"""Whom endpoints' certificates must come from and what they must say, on real handshakes; and PEM that is no use."""

import asyncio
import os
import ssl
import stat
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from yarl import URL

from gateway.config.secret import SecretValue
from gateway.config.upstream import TlsConfig
from gateway.transport.http import ConnectError, HttpTransport, TransportError
from gateway.transport.tls import client_context, split_certificate
from tests.gateway.transport.certificates import TestCertificates
from tests.support.http_wire import response


@pytest.fixture(scope="module")
def certificates() -> TestCertificates:
    return TestCertificates()


@asynccontextmanager
async def serving(context: ssl.SSLContext, seen: list[ssl.SSLObject] | None = None) -> AsyncIterator[int]:
    """A server that answers every request, on the port that this gives."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if seen is not None:
            seen.append(writer.get_extra_info("ssl_object"))
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, b"ok", headers=[("connection", "close")]))
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def ask(tls: TlsConfig | None, port: int, *, host: str = "127.0.0.1", server_name: str | None = None) -> bytes:
    transport = HttpTransport(idle_timeout_s=1, ssl_context=client_context(tls))
    try:
        url = URL(f"https://{host}:{port}/")
        answer = await transport.send("GET", url, headers=[], body=None, connect_timeout_s=5, server_name=server_name)
        try:
            return await answer.read_all(100)
        finally:
            answer.close()
    finally:
        await transport.close()


async def test_own_ca_is_trusted(certificates: TestCertificates) -> None:
    async with serving(certificates.server_context("127.0.0.1")) as port:
        assert await ask(TlsConfig(ca_pem=certificates.ca_pem), port) == b"ok"


@pytest.mark.parametrize("tls", [None, TlsConfig()])
async def test_a_ca_that_the_system_does_not_know_is_not_trusted(
    certificates: TestCertificates, tls: TlsConfig | None
) -> None:
    async with serving(certificates.server_context("127.0.0.1")) as port:
        with pytest.raises(ConnectError, match=r"^certificate not accepted: "):
            await ask(tls, port)


async def test_another_ca_is_not_trusted(certificates: TestCertificates) -> None:
    async with serving(certificates.server_context("127.0.0.1")) as port:
        with pytest.raises(ConnectError, match=r"^certificate not accepted: "):
            await ask(TlsConfig(ca_pem=TestCertificates().ca_pem), port)


async def test_certificate_must_carry_the_hosts_name(certificates: TestCertificates) -> None:
    async with serving(certificates.server_context("box.example")) as port:
        with pytest.raises(ConnectError, match=r"^certificate not accepted: .*127\.0\.0\.1"):
            await ask(TlsConfig(ca_pem=certificates.ca_pem), port)


async def test_server_name_is_asked_for_and_checked(certificates: TestCertificates) -> None:
    asked: list[str | None] = []
    context = certificates.server_context("box.example")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    tls = TlsConfig(ca_pem=certificates.ca_pem)
    async with serving(context) as port:
        assert await ask(tls, port, server_name="box.example") == b"ok"
        with pytest.raises(ConnectError, match=r"^certificate not accepted: .*other\.example"):
            await ask(tls, port, server_name="other.example")
    assert asked == ["box.example", "other.example"]


async def test_nothing_is_checked_when_told_so(certificates: TestCertificates) -> None:
    async with serving(certificates.server_context("box.example")) as port:
        assert await ask(TlsConfig(verify=False), port) == b"ok"


async def test_client_certificate_is_shown(certificates: TestCertificates) -> None:
    seen: list[ssl.SSLObject] = []
    tls = TlsConfig(ca_pem=certificates.ca_pem, client_certificate=certificates.client_certificate())
    async with serving(certificates.server_context("127.0.0.1", wants_client=True), seen) as port:
        assert await ask(tls, port) == b"ok"
    assert ("DNS", "node.example") in (seen[0].getpeercert() or {})["subjectAltName"]


async def test_server_that_wants_a_client_certificate_refuses_without(certificates: TestCertificates) -> None:
    async with serving(certificates.server_context("127.0.0.1", wants_client=True)) as port:
        with pytest.raises(TransportError):
            await ask(TlsConfig(ca_pem=certificates.ca_pem), port)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_tls_1_1_is_refused(certificates: TestCertificates) -> None:
    context = certificates.server_context("127.0.0.1")
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    async with serving(context) as port:
        with pytest.raises(ConnectError, match=r"^(tls failed: .*|connection reset)$"):
            await ask(TlsConfig(ca_pem=certificates.ca_pem), port)


async def test_protocols_are_offered(certificates: TestCertificates) -> None:
    context = certificates.server_context("127.0.0.1", alpn=("h2", "http/1.1"))
    seen: list[ssl.SSLObject] = []
    async with serving(context, seen) as port:
        await ask(TlsConfig(verify=False), port)
        with pytest.raises(TransportError):
            await asyncio.wait_for(_shake_hands_for_h2(port), 5)
    assert [each.selected_alpn_protocol() for each in seen] == ["http/1.1", "h2"]


async def _shake_hands_for_h2(port: int) -> None:
    context = client_context(TlsConfig(verify=False), alpn=("h2",))
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
    writer.write(b"\r\n\r\n")
    await reader.read()
    writer.close()
    raise TransportError


# PEM that is no use.


def encrypted_pem(certificates: TestCertificates) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.BestAvailableEncryption(b"secret"),
    )
    return split_certificate(certificates.client_certificate().reveal())[0].decode() + encrypted.decode()


def mixed_pem(certificates: TestCertificates) -> str:
    chain, _ = split_certificate(certificates.client_certificate().reveal())
    _, key = split_certificate(certificates.client_certificate().reveal())
    return (chain + key).decode()


def broken_key_pem(certificates: TestCertificates) -> str:
    chain, _ = split_certificate(certificates.client_certificate().reveal())
    return chain.decode() + "-----BEGIN PRIVATE KEY-----\nc2VjcmV0\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    "ca_pem", ["", "nothing", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "ü"]
)
def test_bad_ca(ca_pem: str) -> None:
    with pytest.raises(ValueError, match=r"CA certificate"):
        client_context(TlsConfig(ca_pem=ca_pem))


@pytest.mark.parametrize(
    ("make", "fault"),
    [
        pytest.param(lambda _: "", "no private key", id="empty"),
        pytest.param(lambda certificates: certificates.ca_pem, "no private key", id="no key"),
        pytest.param(
            lambda certificates: split_certificate(certificates.client_certificate().reveal())[1].decode(),
            "not valid PEM",
            id="no certificate",
        ),
        pytest.param(mixed_pem, "do not belong together", id="of two"),
        pytest.param(encrypted_pem, "encrypted", id="encrypted"),
        pytest.param(broken_key_pem, "not valid PEM", id="broken key"),
    ],
)
def test_bad_client_certificate(
    certificates: TestCertificates, make: Callable[[TestCertificates], str], fault: str
) -> None:
    with pytest.raises(ValueError, match=fault) as caught:
        client_context(TlsConfig(client_certificate=SecretValue(make(certificates))))
    assert "BEGIN" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_key_is_in_no_file_that_others_can_read_or_that_stays(
    certificates: TestCertificates, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes: list[int] = []
    load = ssl.SSLContext.load_cert_chain

    def watch(context: ssl.SSLContext, certfile: str, keyfile: str, **kwargs: str) -> None:
        modes.extend(stat.S_IMODE(os.stat(file).st_mode) for file in (certfile, keyfile))
        load(context, certfile, keyfile, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watch)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client_context(TlsConfig(client_certificate=certificates.client_certificate()))
    with pytest.raises(ValueError, match="encrypted"):
        client_context(TlsConfig(client_certificate=SecretValue(encrypted_pem(certificates))))
    assert modes == [0o600] * 4
    assert list(tmp_path.iterdir()) == []
