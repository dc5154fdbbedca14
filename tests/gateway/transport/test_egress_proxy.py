"""Connections through a proxy: by CONNECT where TLS is spoken, which the proxy does not see into."""

import asyncio
import ssl

import pytest
from yarl import URL

from gateway.transport.http import ConnectError, HttpTransport
from tests.gateway.transport.certificates import TestCertificates
from tests.gateway.transport.test_http import closed_port
from tests.support import scripts
from tests.support.egress_proxy import egress_proxy
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.raw_backend import read_head

CERTIFICATES = TestCertificates()


async def ask(transport: HttpTransport, url: str) -> bytes:
    headers = [("authorization", "Bearer sk-secret")]
    answer = await transport.send("POST", URL(url), headers=headers, body=b"hi", connect_timeout_s=5)
    try:
        return await answer.read_all(1 << 20)
    finally:
        answer.close()
        await transport.close()


async def test_http_is_asked_for_by_its_whole_url(faulty_upstream: FaultyUpstream) -> None:
    faulty_upstream.script = scripts.answer(response(200, b"hello"))
    async with egress_proxy() as proxy:
        found = await ask(HttpTransport(idle_timeout_s=60, proxy=proxy.url), f"{faulty_upstream.url}/a?b=c")
    assert found == b"hello"
    assert proxy.asked == [f"POST {faulty_upstream.url}/a?b=c"]
    (request,) = faulty_upstream.requests
    assert (request.target, request.body) == ("/a?b=c", b"hi")
    assert request.header("proxy-connection") is None


async def test_tls_goes_through_unseen() -> None:
    trusting = ssl.create_default_context(cadata=CERTIFICATES.ca_pem)

    async def say_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(response(200, b"hello"))
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(say_hello, "127.0.0.1", 0, ssl=CERTIFICATES.server_context("127.0.0.1"))
    address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    async with egress_proxy() as proxy, server:
        transport = HttpTransport(idle_timeout_s=60, ssl_context=trusting, proxy=proxy.url)
        found = await ask(transport, f"https://{address}/a")
    assert found == b"hello"
    assert proxy.asked == [f"CONNECT {address}"]
    assert "sk-secret" not in "".join(proxy.heads)


async def test_refusal_of_the_proxy_means_that_nothing_was_sent() -> None:
    async with egress_proxy(refusal=403) as proxy:
        transport = HttpTransport(idle_timeout_s=60, proxy=proxy.url)
        with pytest.raises(ConnectError, match="the egress proxy refused with status 403"):
            await ask(transport, "https://provider.invalid/a")
        await transport.close()


async def test_proxy_that_is_not_there(faulty_upstream: FaultyUpstream) -> None:
    transport = HttpTransport(idle_timeout_s=60, proxy=f"http://127.0.0.1:{await closed_port()}")
    with pytest.raises(ConnectError, match="egress proxy: connection refused"):
        await ask(transport, f"{faulty_upstream.url}/a")
    await transport.close()
    assert faulty_upstream.requests == []
