"""The HTTP probe's one request: where it goes, by which name, and what of the answer counts."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import RequestReceived

from gateway.config.upstream import HttpProbe, TlsConfig, UpstreamProtocol
from tests.gateway.transport.certificates import TestCertificates
from tests.gateway.upstream.probes.probing import ask, fault, nobody
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response

PROBE = HttpProbe(path="/ready")


@pytest.fixture(scope="module")
def certificates() -> TestCertificates:
    return TestCertificates()


def port_of(upstream: FaultyUpstream) -> str:
    return upstream.address.rpartition(":")[2]


@pytest.mark.parametrize(("status", "verdict"), [(200, None), (204, None), (302, "status 302"), (503, "status 503")])
async def test_the_status_decides(faulty_upstream: FaultyUpstream, status: int, verdict: str | None) -> None:
    faulty_upstream.script = scripts.answer(response(status, headers=[("location", "/elsewhere")]))
    assert await ask(PROBE, faulty_upstream.url) == verdict
    (request,) = faulty_upstream.requests
    assert (request.method, request.target, request.body) == ("GET", "/ready", b"")
    assert dict(request.headers) == {"Host": faulty_upstream.address, "user-agent": "janua-health-check"}


async def test_the_body_is_not_waited_for_beyond_its_bound(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.huge(100_000_000)
    assert await ask(PROBE, faulty_upstream.url) is None
    await faulty_upstream.wait_for_disconnects(1)


async def test_an_endpoint_found_for_a_name_is_asked_by_that_name(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200))
    url = f"http://box.example:{port_of(faulty_upstream)}/base"
    assert await ask(PROBE, url, found_at="127.0.0.1") is None
    (request,) = faulty_upstream.requests
    assert [value for name, value in request.headers if name.lower() == "host"] == [
        f"box.example:{port_of(faulty_upstream)}"
    ]
    assert request.target == "/ready"


async def test_a_configured_host_wins_over_the_name(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200))
    url = f"http://box.example:{port_of(faulty_upstream)}"
    assert await ask(HttpProbe(path="/", host="other.example"), url, found_at="127.0.0.1") is None
    assert [value for name, value in faulty_upstream.requests[0].headers if name.lower() == "host"] == ["other.example"]


async def test_nobody_there() -> None:
    async with nobody() as address:
        assert await fault(PROBE, f"http://{address}") == "connection refused"


async def test_an_answer_that_breaks_off(faulty_upstream: FaultyUpstream) -> None:
    data = response(200, b"0123456789")
    faulty_upstream.script = scripts.cut(data, len(data) - 5)
    assert await fault(PROBE, faulty_upstream.url)


@asynccontextmanager
async def serving_tls(context: ssl.SSLContext) -> AsyncIterator[int]:
    """Answers one request a connection."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(response(200, headers=[("connection", "close")]))
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1]


@pytest.mark.parametrize("server_name", [None, "inner.example"])
async def test_the_certificate_must_be_of_the_name_that_is_configured_or_was_looked_up(
    certificates: TestCertificates, server_name: str | None
) -> None:
    tls = TlsConfig(ca_pem=certificates.ca_pem, server_name=server_name)
    async with serving_tls(certificates.server_context(server_name or "box.example")) as port:
        assert await ask(PROBE, f"https://box.example:{port}", tls=tls, found_at="127.0.0.1") is None
    async with serving_tls(certificates.server_context("other.example")) as port:
        with pytest.raises(Exception, match="certificate not accepted"):
            await ask(PROBE, f"https://box.example:{port}", tls=tls, found_at="127.0.0.1")


async def test_http2_endpoints_are_asked_over_http2() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        h2 = H2Connection(H2Configuration(client_side=False, header_encoding=None))
        h2.initiate_connection()
        while data := await reader.read(65536):
            for event in h2.receive_data(data):
                if isinstance(event, RequestReceived):
                    seen.append(dict(event.headers or []))
                    h2.send_headers(event.stream_id or 0, [(b":status", b"503")], end_stream=True)
            writer.write(h2.data_to_send())
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, family=socket.AF_INET) as server:
        port = server.sockets[0].getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        assert await ask(PROBE, url, protocol=UpstreamProtocol.HTTP2) == "status 503"
    (request,) = seen
    assert (request[b":method"], request[b":path"]) == (b"GET", b"/ready")
    assert request[b"user-agent"] == b"janua-health-check"
