"""TLS of the listeners: which files are taken, what is offered to clients, and what becomes of files that change."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import structlog
import trustme
from cryptography.hazmat.primitives import serialization

from gateway.bootstrap import RequiredOn, TlsFiles, TlsFilesError
from gateway.listeners.server_tls import ServerTls
from tests.support.pki import Identity, Pki, issue
from tests.support.polling import eventually


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    pki = Pki(tmp_path)
    pki.renew_node()
    return pki


def files(pki: Pki, *, asks: bool = False, required_on: RequiredOn = RequiredOn.NONE) -> TlsFiles:
    client_ca = pki.client_ca_file if asks else None
    return TlsFiles(certificate=pki.certificate, key=pki.key, client_ca=client_ca, required_on=required_on)


@asynccontextmanager
async def serving(tls: ServerTls) -> AsyncIterator[Callable[..., "asyncio.Future[ssl.SSLObject]"]]:
    """A server that says hello; the function connects, and gives the client's side once that is heard."""

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"hello")
        writer.close()

    server = await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls.context)

    async def connect(context: ssl.SSLContext) -> ssl.SSLObject:
        reader, writer = await asyncio.open_connection(
            *server.sockets[0].getsockname(), ssl=context, server_hostname="localhost"
        )
        try:
            assert await reader.read() == b"hello"
            secured: ssl.SSLObject = writer.get_extra_info("ssl_object")
            return secured
        finally:
            writer.close()

    async with server:
        yield lambda context: asyncio.ensure_future(connect(context))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [(("h2", "http/1.1"), "h2"), (("http/1.1", "h2"), "h2"), (("http/1.1",), "http/1.1"), ((), None)],
)
async def test_protocols(pki: Pki, version: ssl.TLSVersion, offered: tuple[str, ...], chosen: str | None) -> None:
    context = pki.context(alpn=offered)
    context.maximum_version = version
    async with serving(ServerTls(files(pki))) as connect:
        secured = await connect(context)
    assert secured.selected_alpn_protocol() == chosen
    assert secured.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_what_is_too_old_is_not_served(pki: Pki) -> None:
    old, weak = pki.context(), pki.context()
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    weak.maximum_version = ssl.TLSVersion.TLSv1_2
    weak.set_ciphers("AES128-SHA256:ECDHE-ECDSA-AES128-SHA")  # no Galois/Counter mode, no forward secrecy
    async with serving(ServerTls(files(pki))) as connect:
        for context in (old, weak):
            with pytest.raises(OSError):
                await connect(context)


def client_identities(pki: Pki) -> dict[str, Identity | None]:
    return {"none": None, "good": issue(pki.client_ca), "stranger": issue(pki.stranger_ca)}


@pytest.mark.parametrize(
    ("asks", "required_on", "served"),
    [
        (False, RequiredOn.NONE, {"none", "good", "stranger"}),
        (True, RequiredOn.NONE, {"none", "good"}),
        (True, RequiredOn.GRPC, {"none", "good"}),
        (True, RequiredOn.ALL, {"good"}),
    ],
)
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_certificates_of_clients(
    pki: Pki, asks: bool, required_on: RequiredOn, served: set[str], version: ssl.TLSVersion
) -> None:
    found = set()
    async with serving(ServerTls(files(pki, asks=asks, required_on=required_on))) as connect:
        for name, identity in client_identities(pki).items():
            context = pki.context(identity)
            context.maximum_version = version
            try:
                await connect(context)
                found.add(name)
            except (OSError, AssertionError):  # refused in the handshake, or by an end without a word
                pass
    assert found == served


def encrypted(pki: Pki) -> bytes:
    key = serialization.load_pem_private_key(pki.key.read_bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


BAD: dict[str, tuple[Callable[[Pki], object], str]] = {
    "no file": (lambda pki: pki.key.unlink(), "node.key: No such file or directory"),
    "key of another": (
        lambda pki: pki.write("node.key", pki.node_ca.issue_cert("x.example").private_key_pem.bytes()),
        "node.pem, {0}/node.key: the certificate and its private key do not belong together",
    ),
    "swapped": (lambda pki: pki.write("node.pem", pki.key.read_bytes()), "node.pem: there is no certificate in it"),
    "no key": (lambda pki: pki.write("node.key", pki.certificate.read_bytes()), "node.key: there is no private key"),
    "encrypted": (lambda pki: pki.write("node.key", encrypted(pki)), "or the key is encrypted"),
    "cut": (
        lambda pki: pki.write("node.pem", pki.certificate.read_bytes()[:200] + b"\n-----END CERTIFICATE-----\n"),
        "is not valid PEM",
    ),
    "empty": (lambda pki: pki.write("node.pem", b""), "node.pem: there is no certificate in it"),
    "no CA": (lambda pki: pki.write("clients.pem", b"\xff\x00"), "clients.pem: the CA certificates are not valid PEM"),
}


@pytest.mark.parametrize("bad", BAD)
def test_bad_files_are_told_by_name_and_never_shown(pki: Pki, bad: str) -> None:
    spoil, text = BAD[bad]
    wanted = files(pki, asks=True)
    spoil(pki)
    with pytest.raises(TlsFilesError) as error:
        ServerTls(wanted)
    assert text.format(pki.directory) in str(error.value)
    assert "\n" not in str(error.value)
    assert "MI" not in str(error.value)  # how keys and certificates begin


@pytest.mark.parametrize("bad", BAD)
async def test_files_that_become_bad_change_nothing(pki: Pki, bad: str) -> None:
    tls = ServerTls(files(pki, asks=True))
    pki.client_ca_file  # noqa: B018  # it is there
    before = ssl.PEM_cert_to_DER_cert(pki.certificate.read_text())
    BAD[bad][0](pki)
    with structlog.testing.capture_logs() as log:
        tls.reload()
    assert [(each["log_level"], BAD[bad][1].format(pki.directory) in each["error"]) for each in log] == [
        ("error", True)
    ]
    async with serving(tls) as connect:
        assert (await connect(pki.context())).getpeercert(binary_form=True) == before
        await connect(pki.context(issue(pki.client_ca)))


async def test_changed_files_are_taken_for_new_connections(pki: Pki) -> None:
    looks = asyncio.Semaphore(0)

    async def sleep(_: float) -> None:
        await looks.acquire()

    tls = ServerTls(files(pki, asks=True), sleep=sleep)
    async with serving(tls) as connect:
        running = asyncio.ensure_future(tls.run())
        renewed = pki.renew_node()
        other_ca = trustme.CA()
        pki.write("clients.pem", other_ca.cert_pem.bytes())
        old = pki.context(issue(pki.client_ca))
        await connect(old)  # nobody has looked yet
        with structlog.testing.capture_logs() as log:
            looks.release()

            async def is_told() -> bool:
                return bool(log)

            await eventually(is_told)
        assert log[0]["event"] == "new certificates in use"
        assert (await connect(pki.context(issue(other_ca)))).getpeercert(binary_form=True) == renewed
        with pytest.raises((OSError, AssertionError)):
            await connect(old)
        running.cancel()


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_resumed_session_keeps_its_certificate_and_ends_with_its_ca(pki: Pki, version: ssl.TLSVersion) -> None:
    identity = issue(pki.client_ca)
    context = pki.context(identity)
    context.minimum_version = context.maximum_version = version
    tls = ServerTls(files(pki, asks=True))

    async def greet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.write(shown or b"nobody")
        writer.close()

    def connect(port: int, session: ssl.SSLSession | None) -> tuple[bytes, bool | None, ssl.SSLSession | None]:
        with (
            socket.create_connection(("127.0.0.1", port)) as plain,
            context.wrap_socket(plain, server_hostname="localhost", session=session) as secured,
        ):
            return secured.recv(10_000), secured.session_reused, secured.session

    async with await asyncio.start_server(greet, "127.0.0.1", 0, ssl=tls.context) as server:
        port = server.sockets[0].getsockname()[1]
        certificate = ssl.PEM_cert_to_DER_cert(identity[1].decode())
        heard, is_resumed, session = await asyncio.to_thread(connect, port, None)
        assert (heard, is_resumed) == (certificate, False)
        heard, is_resumed, session = await asyncio.to_thread(connect, port, session)
        assert (heard, is_resumed) == (certificate, True)
        pki.write("clients.pem", trustme.CA().cert_pem.bytes())
        tls.reload()
        try:
            heard, is_resumed, _ = await asyncio.to_thread(connect, port, session)
            assert (heard, is_resumed) == (b"", False)  # ended without a word
        except OSError:
            pass  # refused in the handshake


def test_files_that_are_only_touched_are_no_news(pki: Pki) -> None:
    tls = ServerTls(files(pki))
    pki.certificate.touch()
    with structlog.testing.capture_logs() as log:
        tls.reload()
    assert log == []
