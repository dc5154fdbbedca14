"""Nodes with TLS as they are run: certificates renewed under load, bad ones, several workers, all in one command."""

import asyncio
import json
import signal
import ssl
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import grpc
import httpx
import pytest
import trustme
from janua.inference.v1.chat_pb2 import ChatCompletionRequest
from janua_client.inference_client import InferenceClient
from janua_client.messages import user
from janua_client.processes import Child
from janua_client.tls import Tls

from tests.clients.janua_client.cli_runner import JANUA, janua, run_janua
from tests.support.pki import HTTP1, HTTP2, Pki, issue
from tests.support.polling import eventually
from tests.support.processes import EchoFactory, Node, NodeFactory

BODY = {"model": "echo", "stream": True, "messages": [{"role": "user", "content": "one two three"}]}


@pytest.fixture
def pki(tmp_path: Path) -> Pki:
    return Pki(tmp_path)


@pytest.fixture
async def config_file(echo_models: EchoFactory, tmp_path: Path) -> Path:
    """A model for who has a certificate."""
    (model,) = await echo_models(1, "--word-delay", "0.005")
    route = {"name": "chat", "match": {"models": ["echo"]}, "backends": [{"service": "llm"}], "policies": ["mtls"]}
    resources = {
        "upstreams": [{"name": "pool", "endpoints": [{"address": model.address}]}],
        "services": [{"name": "llm", "upstream_service": {"upstream": "pool"}}],
        "policies": [{"name": "mtls", "mtls_auth": {}}],
        "consumers": [{"name": "caller", "certificate_names": ["CN=caller"]}],
        "routes": [route],
    }
    path = tmp_path / "janua.json"
    path.write_text(json.dumps(resources))
    return path


async def shown_over_http(node: Node, context: ssl.SSLContext) -> bytes:
    """The certificate of a new connection, as DER."""
    host, _, port = node.http.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown
    finally:
        writer.close()


async def shown_over_grpc(node: Node, context: ssl.SSLContext) -> bytes:
    """The same of the gRPC listener, which speaks HTTP/2 alone."""
    context.set_alpn_protocols(list(HTTP2))
    host, _, port = node.grpc.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context)
    try:
        shown: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return shown
    finally:
        writer.close()


def shows(node: Node, pki: Pki, wanted: bytes) -> Callable[[], Awaitable[bool]]:
    """Whether both listeners have that certificate."""
    identity = issue(pki.client_ca)

    async def check() -> bool:
        found = {await shown_over_http(node, pki.context(identity)), await shown_over_grpc(node, pki.context(identity))}
        return found == {wanted}

    return check


@asynccontextmanager
async def load(node: Node, pki: Pki) -> AsyncIterator[Counter[str]]:
    """Asks all the time over each protocol, on connections that last and on new ones, and counts what comes of it."""
    counted: Counter[str] = Counter()
    key, certificate = issue(pki.client_ca)
    identity = (key, certificate)
    file = pki.write("load.pem", key + certificate)
    tls = Tls(ca_file=pki.ca_file, certificate_file=file)
    url = f"https://{node.http}/v1/chat/completions"
    is_over = False

    async def over_http(alpn: bool, lasting: bool) -> None:
        name = f"{'HTTP/2' if alpn else 'HTTP/1.1'} {'lasting' if lasting else 'new'}"
        while not is_over:
            context = pki.context(identity, alpn=HTTP2) if alpn else pki.context(identity)
            async with httpx.AsyncClient(http1=not alpn, http2=alpn, verify=context, trust_env=False) as client:
                while not is_over:
                    reply = await client.post(url, json=BODY)
                    assert (reply.status_code, reply.text.endswith("data: [DONE]\n\n")) == (200, True)
                    counted[name] += 1
                    if not lasting:
                        break

    async def over_grpc(lasting: bool) -> None:
        request = ChatCompletionRequest(model="echo", messages=[user("one two three")])
        while not is_over:
            async with InferenceClient(node.grpc, tls=tls) as client:
                while not is_over:
                    assert [text async for text in client.stream_chat(request).texts()]
                    counted[f"gRPC {'lasting' if lasting else 'new'}"] += 1
                    if not lasting:
                        break

    async with asyncio.TaskGroup() as tasks:
        for lasting in (True, False):
            tasks.create_task(over_http(False, lasting))
            tasks.create_task(over_http(True, lasting))
            tasks.create_task(over_grpc(lasting))
        yield counted
        is_over = True


async def test_certificates_are_renewed_under_load(node: NodeFactory, config_file: Path, pki: Pki) -> None:
    gateway = await node(None, *pki.node_options(client_certificates="grpc"), config_file=config_file)
    async with load(gateway, pki) as counted:

        async def have_all_gone_on() -> bool:
            return len(counted) == 6 and all(count > before[name] + 1 for name, count in counted.items())

        for is_told in (False, True, False):
            renewed = pki.renew_node()
            if is_told:
                gateway.child.signal(signal.SIGHUP)
            await eventually(shows(gateway, pki, renewed))
            before = counted.copy()
            await eventually(have_all_gone_on)
    assert "Traceback" not in gateway.log


async def test_bad_files_change_nothing_until_they_are_good(node: NodeFactory, config_file: Path, pki: Pki) -> None:
    gateway = await node(None, *pki.node_options(client_certificates="grpc"), config_file=config_file)
    before = await shown_over_http(gateway, pki.context())
    # As a tool renews them that writes one file after the other.
    leaf = pki.node_ca.issue_cert("localhost", "127.0.0.1")
    pki.write("node.pem", leaf.cert_chain_pems[0].bytes())

    async def is_told() -> bool:
        return "certificates not taken, going on with those of before" in gateway.log

    await eventually(is_told)
    assert await shows(gateway, pki, before)()
    pki.write("node.key", leaf.private_key_pem.bytes())
    await eventually(shows(gateway, pki, ssl.PEM_cert_to_DER_cert(leaf.cert_chain_pems[0].bytes().decode())))
    assert "PRIVATE KEY" not in gateway.log


async def test_another_ca_for_clients_is_taken(node: NodeFactory, config_file: Path, pki: Pki) -> None:
    gateway = await node(None, *pki.node_options(client_certificates="all"), config_file=config_file)
    other = trustme.CA()

    async def who_is_served() -> dict[str, tuple[bool, bool]]:
        return {name: await is_served(gateway, pki, ca) for name, ca in (("old", pki.client_ca), ("new", other))}

    assert await who_is_served() == {"old": (True, True), "new": (False, False)}
    pki.write("clients.pem", other.cert_pem.bytes())
    gateway.child.signal(signal.SIGHUP)

    async def has_changed() -> bool:
        return await who_is_served() == {"old": (False, False), "new": (True, True)}

    await eventually(has_changed)


async def is_served(node: Node, pki: Pki, ca: trustme.CA) -> tuple[bool, bool]:
    """Whether a certificate of that CA gets answers over HTTP, and over gRPC."""
    key, certificate = issue(ca)
    body = {**BODY, "stream": False}
    over_http = over_grpc = False
    connector = aiohttp.TCPConnector(ssl=pki.context((key, certificate)))
    async with aiohttp.ClientSession(connector=connector) as session:
        try:
            async with session.post(f"https://{node.http}/v1/chat/completions", json=body) as reply:
                over_http = reply.status == 200
        except aiohttp.ClientError:
            pass
    options = [("grpc.use_local_subchannel_pool", 1)]
    async with grpc.aio.secure_channel(node.grpc, pki.credentials((key, certificate)), options=options) as channel:
        try:
            await asyncio.wait_for(channel.channel_ready(), 1.0)
            over_grpc = True
        except TimeoutError:
            pass
    return over_http, over_grpc


async def test_streams_are_finished_when_the_node_stops(node: NodeFactory, config_file: Path, pki: Pki) -> None:
    options = (*pki.node_options(client_certificates="grpc"), "--access-log", "off")
    gateway = await node(None, *options, config_file=config_file)
    key, certificate = issue(pki.client_ca)
    tls = Tls(ca_file=pki.ca_file, certificate_file=pki.write("me.pem", key + certificate))
    words = "word " * 100
    begun = asyncio.Barrier(4)

    async def over_http(alpn: Sequence[str]) -> None:
        body = {**BODY, "messages": [{"role": "user", "content": words}]}
        url = f"https://{gateway.http}/v1/chat/completions"
        context = pki.context((key, certificate), alpn=alpn)
        async with (
            httpx.AsyncClient(http2=alpn == HTTP2, verify=context, trust_env=False, timeout=30) as client,
            client.stream("POST", url, json=body) as reply,
        ):
            assert reply.http_version == ("HTTP/2" if alpn == HTTP2 else "HTTP/1.1")
            await begun.wait()
            text = "".join([line async for line in reply.aiter_lines()])
        assert (text.count("word"), text.endswith("[DONE]")) == (100, True)

    async def over_grpc() -> None:
        request = ChatCompletionRequest(model="echo", messages=[user(words)])
        async with InferenceClient(gateway.grpc, tls=tls) as client, client.stream_chat(request) as stream:
            await stream.headers()
            await begun.wait()
            assert "".join([text async for text in stream.texts()]).count("word") == 100

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(over_http(HTTP1))
        tasks.create_task(over_http(HTTP2))
        tasks.create_task(over_grpc())
        await begun.wait()
        stopped = tasks.create_task(gateway.stop())
    assert stopped.result() == 0


async def test_workers_have_tls_too(node: NodeFactory, config_file: Path, pki: Pki) -> None:
    options = ("--workers", "2", *pki.node_options(client_certificates="grpc"))
    gateway = await node(None, *options, config_file=config_file)
    assert gateway.ready["tls"] is True
    assert await is_served(gateway, pki, pki.client_ca) == (True, True)
    renewed = pki.renew_node()
    gateway.child.signal(signal.SIGHUP)

    async def have_all() -> bool:
        return all([await shows(gateway, pki, renewed)() for _ in range(10)])

    await eventually(have_all)
    async with aiohttp.ClientSession() as session, session.get(f"http://{gateway.admin}/readyz") as reply:
        assert await reply.text() == "worker 0: ok\nworker 1: ok\n"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (("node.key", b"-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\n"), "is not valid PEM"),
        (("node.pem", b""), "there is no certificate in it"),
        (("clients.pem", b"MII"), "the CA certificates are not valid PEM"),
    ],
)
async def test_bad_files_at_start_are_one_line(
    config_file: Path, pki: Pki, spoil: tuple[str, bytes], reason: str, workers: str
) -> None:
    options = pki.node_options(client_certificates="all")
    pki.write(*spoil)
    listen = ("--http=127.0.0.1:0", "--grpc=127.0.0.1:0", "--admin=127.0.0.1:0", f"--state-dir={pki.directory / 's'}")
    command = [sys.executable, "-m", "gateway", f"--config-file={config_file}", "--workers", workers, *listen]
    child = await Child.start("gateway", [*command, *options])
    assert await child.wait() == 1
    await child.stop()
    (line,) = child.log_tail()
    assert line.startswith(f"janua gateway: {pki.directory}/")
    assert reason in line
    assert "MII" not in line


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--tls-cert=a",), "--tls-cert and --tls-key go together"),
        (("--tls-key=a",), "--tls-cert and --tls-key go together"),
        (("--tls-client-ca=a",), "give --tls-cert and --tls-key too"),
        (("--tls-cert=a", "--tls-key=b", "--tls-require-client-cert=all"), "give --tls-client-ca"),
    ],
)
async def test_options_that_make_no_sense(options: tuple[str, ...], reason: str) -> None:
    done = await run_janua("gateway", "--config-file=x", *options)
    assert (done.code, reason in done.err) == (2, True)


async def test_up_and_chat(config_file: Path, pki: Pki, tmp_path: Path) -> None:
    key, certificate = issue(pki.client_ca)
    (tmp_path / "me.pem").write_bytes(certificate)
    (tmp_path / "me.key").write_bytes(key)
    listen = [word for name in ("listen", "http", "grpc", "admin") for word in (f"--{name}", "127.0.0.1:0")]
    command = [JANUA, "up", "-f", str(config_file), *listen]
    options = [*pki.node_options(client_certificates="grpc"), "--data-dir", str(tmp_path / "data")]
    child = await Child.start("up", [*command, *options])
    try:
        ready = await child.ready(60)
        shown = ("--gateway-cert", str(tmp_path / "me.pem"), "--gateway-key", str(tmp_path / "me.key"))
        trusting = (*shown, "--gateway-ca", str(pki.ca_file))
        ways = (("--url", f"https://{ready['http']}"), ("--grpc", "--address", str(ready["grpc"])))
        for way in ways:
            done = await janua("chat", "echo", "-m", "hello", *way, *trusting)
            assert (done.code, "hello" in done.out) == (0, True), done.err
            done = await janua("chat", "echo", "-m", "hello", *way, *shown)
            assert (done.code, "cannot reach the gateway" in done.err) == (1, True)
        done = await janua("chat", "echo", "-m", "hello", *ways[0], "--gateway-ca", str(pki.ca_file))
        assert (done.code, "a client certificate is needed" in done.err) == (1, True)
    finally:
        assert await child.stop() == 0
