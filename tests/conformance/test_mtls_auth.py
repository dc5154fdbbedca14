"""Client certificates: who is let in by them over both protocols, and how the others are told."""

import asyncio
import re
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
from aiohttp import web
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.conformance.calls import Caller, CallFailedError, Kind, Question, Wire, ask, assert_answered, assert_refused
from tests.conformance.configuration import EMPTY, Configuration, api_key, one_pool
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.grpc_caller import GrpcCaller
from tests.conformance.http_caller import HttpCaller
from tests.conformance.polling import eventually
from tests.conformance.proxying import proxied
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.pki import HTTP2, Identity, Pki, issue
from tests.support.scripts import stall
from tests.support.websocket_backend import websocket_backend

Calling = Callable[..., AbstractAsyncContextManager[Caller]]
Shown = dict[str, Any]

KEY = "sk-alice-0123456789"
SEARCH = "spiffe://prod.example/agents/search"
NAMES: dict[str, tuple[Shown, str]] = {
    "uri": ({"uris": [SEARCH]}, SEARCH),
    "dns": ({"dns": ["Search.prod.example"]}, "search.prod.example"),
    "subject": ({"subject": "CN=search,O=Example"}, "CN=search,O=Example"),
    "common name": ({"subject": "CN=search,O=Example"}, "CN=search"),
}


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def gateway_process(tmp_path_factory: pytest.TempPathFactory, pki: Pki) -> Iterator[GatewayProcess]:
    """A node that asks for certificates, over HTTP optional."""
    process = GatewayProcess(tmp_path_factory.mktemp("gateway"))
    process.start(render(EMPTY, "at-start"), *pki.node_options(client_certificates="grpc"))
    try:
        yield process
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    finally:
        process.stop()
    # grpcio logs it as an error when a caller leaves while a message is on its way to it.
    assert process.log.count("Traceback") == process.log.count("ExecuteBatchError raised in core")
    assert pki.key.read_text().splitlines()[1] not in process.written


@pytest.fixture(params=list(Wire), ids=lambda wire: wire.value)
def wire(request: pytest.FixtureRequest) -> Wire:
    wire: Wire = request.param
    return wire


@pytest.fixture
def calling(gateway: Gateway, pki: Pki) -> Calling:
    """A client over a connection of its own, with a certificate or none."""

    @asynccontextmanager
    async def caller(wire: Wire, identity: Identity | None = None) -> AsyncIterator[Caller]:
        if wire is Wire.HTTP:
            connector = aiohttp.TCPConnector(ssl=pki.context(identity))
            async with aiohttp.ClientSession(connector=connector) as session:
                yield HttpCaller(gateway.addresses.http, session, scheme="https")
        else:
            options = [("grpc.use_local_subchannel_pool", 1)]
            credentials = pki.credentials(identity)
            async with grpc.aio.secure_channel(gateway.addresses.grpc, credentials, options=options) as channel:
                yield GrpcCaller(channel)

    return caller


def guarded(upstream: FaultyUpstream, *policies: str, optional: bool = False, **mtls: Any) -> Configuration:
    """A route for all models behind `mtls`, or these policies; alice has a key and the names of `NAMES`."""
    names = [name for _, name in NAMES.values()]
    consumers = [{"name": "alice", "api_keys": [api_key(KEY)], "certificate_names": names, "groups": ["staff"]}]
    return one_pool(
        upstream.address,
        route={"policies": [*(policies or ("mtls",))]},
        policies=[
            {"name": "mtls", "mtls_auth": {"optional": optional, **mtls}},
            {"name": "keys", "api_key_auth": {"optional": optional}},
        ],
        consumers=consumers,
    )


async def consumer_of(gateway: Gateway, caller: Caller, key: str = "", *, streamed: bool = False) -> str:
    """Who the node says has asked, of a request that must be answered."""
    headers = {"authorization": f"Bearer {key}"} if key else {}
    answered = await ask(caller, Question(headers=headers), streamed=streamed)
    assert_answered(answered)
    consumer: str = (await gateway.access_log_entry(answered.headers["x-request-id"]))["consumer"]
    return consumer


@pytest.mark.parametrize("form", NAMES)
async def test_certificate_of_a_consumer_is_let_in(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire, streamed: bool, form: str
) -> None:
    shown, name = NAMES[form]
    config = guarded(upstream)
    config["consumers"][0]["certificate_names"][:] = [name]
    await gateway.apply(config)
    async with calling(wire, issue(pki.client_ca, **shown)) as caller:
        assert await consumer_of(gateway, caller, streamed=streamed) == "alice"
        assert await consumer_of(gateway, caller, streamed=streamed) == "alice"


@pytest.mark.parametrize(
    "shown",
    [
        {"uris": [f"{SEARCH}/more"]},
        {"uris": ["spiffe://prod.example/agents"]},
        # Names of one form that look like those of another.
        {"subject": f"CN={SEARCH}"},
        {"subject": "CN=search.prod.example"},
        {"subject": "CN=search\\,O\\=Example"},
        {"dns": ["*.prod.example"]},
        {"uris": ["urn:search.prod.example"]},
        {"subject": "CN=search+CN=other"},
        {"subject": ""},
    ],
    ids=str,
)
async def test_certificate_of_nobody_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire, streamed: bool, shown: Any
) -> None:
    await gateway.apply(guarded(upstream))
    async with calling(wire, issue(pki.client_ca, **shown)) as caller:
        refused = await ask(caller, streamed=streamed)
    failure = assert_refused(refused, Kind.UNAUTHENTICATED, "UNKNOWN_CLIENT_CERTIFICATE")
    assert "search" not in failure.message
    assert upstream.requests == []


async def test_first_name_that_a_consumer_has_counts(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire
) -> None:
    config = guarded(upstream)
    config["consumers"][0]["certificate_names"][:] = ["search.prod.example"]
    config["consumers"].append({"name": "bob", "certificate_names": ["CN=search", SEARCH]})
    await gateway.apply(config)
    unknown: Shown = {"uris": ["spiffe://prod.example/unknown"], "dns": ["search.prod.example"], "subject": "CN=search"}
    for shown, name in (({**unknown, "uris": [SEARCH]}, "bob"), (unknown, "alice")):
        async with calling(wire, issue(pki.client_ca, **shown)) as caller:
            assert await consumer_of(gateway, caller) == name


async def test_caller_without_a_certificate_is_told_over_http(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, streamed: bool
) -> None:
    await gateway.apply(guarded(upstream))
    spoofed = {
        "x-forwarded-client-cert": f"By=spiffe://x;Hash=0;URI={SEARCH}",
        "x-ssl-client-s-dn": "CN=search,O=Example",
        "client-cert": ":MIIB:",
    }
    async with calling(Wire.HTTP) as caller:
        for headers in ({}, spoofed, {"authorization": f"Bearer {KEY}"}):
            refused = await ask(caller, Question(headers=headers), streamed=streamed)
            assert_refused(refused, Kind.UNAUTHENTICATED, "MISSING_CLIENT_CERTIFICATE")
    assert upstream.requests == []


WRONG: dict[str, Callable[[Pki], Identity | None]] = {
    "expired": lambda pki: issue(pki.client_ca, uris=[SEARCH], expires=datetime.now(UTC) - timedelta(minutes=1)),
    "not valid yet": lambda pki: issue(pki.client_ca, uris=[SEARCH], expires=datetime.now(UTC) + timedelta(days=9)),
    "of another CA": lambda pki: issue(pki.stranger_ca, uris=[SEARCH]),
    "of the CA of nodes": lambda pki: issue(pki.node_ca, uris=[SEARCH]),
    "for servers": lambda pki: issue(pki.client_ca, uris=[SEARCH], usage=ExtendedKeyUsageOID.SERVER_AUTH),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_bad_certificate_makes_no_connection(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire, wrong: str
) -> None:
    await gateway.apply(guarded(upstream, "mtls", "keys", optional=True))
    async with calling(wire, WRONG[wrong](pki)) as caller:
        if wire is Wire.HTTP:
            with pytest.raises(aiohttp.ClientError):
                await ask(caller)
        else:
            failure = (await ask(caller)).failure
            assert failure is not None
            assert (failure.status, failure.reason) == ("UNAVAILABLE", "")
    assert upstream.requests == []
    async with calling(wire, issue(pki.client_ca, uris=[SEARCH])) as caller:
        assert await consumer_of(gateway, caller) == "alice"


async def test_grpc_takes_nobody_without_a_certificate_here(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling
) -> None:
    await gateway.apply(guarded(upstream, optional=True))
    async with calling(Wire.GRPC) as caller:
        failure = (await ask(caller)).failure
    assert failure is not None
    assert (failure.status, failure.reason) == ("UNAVAILABLE", "")


async def test_certificate_that_expires_on_a_connection(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire
) -> None:
    await gateway.apply(guarded(upstream))
    soon = datetime.now(UTC) + timedelta(seconds=3)
    async with calling(wire, issue(pki.client_ca, uris=[SEARCH], expires=soon)) as caller:
        assert_answered(await ask(caller))
        reasons = {""}

        async def is_refused() -> bool:
            failure = (await ask(caller)).failure
            reasons.add(failure.reason if failure is not None else "")
            return failure is not None

        await eventually(is_refused, "the certificate has expired")
    assert reasons == {"", "EXPIRED_CLIENT_CERTIFICATE"}


async def test_names_say_who_may_call(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire
) -> None:
    await gateway.apply(guarded(upstream, names=["spiffe://prod.example/agents/*", "CN=batch"]))
    let_in: dict[str, Shown] = {
        "alice": {"uris": [SEARCH]},
        "cert:spiffe://prod.example/agents/rank": {"uris": ["spiffe://prod.example/agents/rank"]},
        "cert:CN=batch": {"uris": ["spiffe://prod.example/others"], "subject": "CN=batch,O=Example"},
    }
    for consumer, shown in let_in.items():
        async with calling(wire, issue(pki.client_ca, **shown)) as caller:
            assert await consumer_of(gateway, caller) == consumer
    evil: Shown = {"uris": ["spiffe://prod.example.evil/agents/x"]}
    for shown in (evil, {"dns": ["search.prod.example"]}):
        async with calling(wire, issue(pki.client_ca, **shown)) as caller:
            assert_refused(await ask(caller), Kind.UNAUTHENTICATED, "UNKNOWN_CLIENT_CERTIFICATE")


async def test_all_certificates_may_be_let_in(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire
) -> None:
    await gateway.apply(guarded(upstream, names=["*"]))
    async with calling(wire, issue(pki.client_ca, subject="CN=anybody,O=Else")) as caller:
        assert await consumer_of(gateway, caller) == "cert:CN=anybody,O=Else"
    async with calling(wire, issue(pki.client_ca, subject="")) as caller:
        assert_refused(await ask(caller), Kind.UNAUTHENTICATED, "UNKNOWN_CLIENT_CERTIFICATE")


@pytest.mark.parametrize("order", [("keys", "mtls"), ("mtls", "keys")], ids="-then-".join)
@pytest.mark.parametrize("optional", [False, True])
async def test_certificates_and_keys_are_alternatives_in_either_order(
    gateway: Gateway,
    upstream: FaultyUpstream,
    calling: Calling,
    pki: Pki,
    wire: Wire,
    order: tuple[str, str],
    optional: bool,
) -> None:
    await gateway.apply(guarded(upstream, *order, optional=optional))
    async with calling(wire, issue(pki.client_ca, uris=[SEARCH])) as caller:
        assert await consumer_of(gateway, caller) == "alice"
        assert await consumer_of(gateway, caller, "sk-wrong") == "alice"
    async with calling(wire, issue(pki.client_ca, uris=["spiffe://prod.example/nobody"])) as caller:
        assert await consumer_of(gateway, caller, KEY) == "alice"
        assert_refused(await ask(caller), Kind.UNAUTHENTICATED, "UNKNOWN_CLIENT_CERTIFICATE")
    if wire is Wire.GRPC:
        return  # which takes no connection without a certificate
    async with calling(wire) as caller:
        assert await consumer_of(gateway, caller, KEY) == "alice"
        wrong = await ask(caller, Question(headers={"x-api-key": "sk-wrong"}))
        assert_refused(wrong, Kind.UNAUTHENTICATED, "INVALID_API_KEY")
        anonymous = await ask(caller)
        if optional:
            assert_answered(anonymous)
        else:
            assert anonymous.failure is not None
            assert anonymous.failure.reason.startswith("MISSING")


async def test_models_are_listed_for_whom_the_certificate_names(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire
) -> None:
    config = guarded(upstream)
    (route,) = config["routes"]
    config["routes"][:] = [
        {**route, "name": name, "match": {"models": [name]}, "policies": ["mtls", f"for-{name}"]} for name in "ab"
    ]
    config["policies"].extend(
        {"name": f"for-{model}", "authorization": {"allow": [{"consumers": consumers, "models": [model]}]}}
        for model, consumers in {"a": ["alice"], "b": ["alice", "bob"]}.items()
    )
    config["consumers"].append({"name": "bob", "certificate_names": ["CN=bob"]})
    await gateway.apply(config)
    for shown, listed in (({"uris": [SEARCH]}, ["a", "b"]), ({"subject": "CN=bob"}, ["b"])):
        async with calling(wire, issue(pki.client_ca, **shown)) as caller:
            assert (await caller.models()).ids == listed
            refused = await ask(caller, Question(model="a"))
            assert (refused.failure is None) == ("a" in listed)
    async with calling(wire, issue(pki.client_ca, subject="CN=carol")) as caller:
        with pytest.raises(CallFailedError) as error:
            await caller.models()
    assert error.value.failure.reason == "UNKNOWN_CLIENT_CERTIFICATE"


async def test_over_http2(gateway: Gateway, upstream: FaultyUpstream, pki: Pki) -> None:
    await gateway.apply(guarded(upstream))
    url = f"https://{gateway.addresses.http}/v1/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "hello"}]}
    identities = {issue(pki.client_ca, uris=[SEARCH]): 200, issue(pki.client_ca): 401, None: 401}
    for identity, status in identities.items():
        context = pki.context(identity, alpn=HTTP2)
        async with httpx.AsyncClient(http1=False, http2=True, verify=context, trust_env=False) as client:
            answers = await asyncio.gather(*(client.post(url, json=body) for _ in range(20)))
            assert {(answer.http_version, answer.status_code) for answer in answers} == {("HTTP/2", status)}
            async with client.stream("POST", url, json={**body, "stream": True}) as streamed:
                text = "".join([line async for line in streamed.aiter_lines()])
                assert (streamed.status_code, text.endswith("data: [DONE]")) == (status, status == 200)


async def test_websockets(gateway: Gateway, pki: Pki) -> None:
    async def greet(request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.send_str(f"hello over {request.headers['x-forwarded-proto']}")
        await socket.close()
        return socket

    async with websocket_backend(greet) as backend:
        policies = [{"name": "mtls", "mtls_auth": {}}]
        consumers = [{"name": "alice", "certificate_names": [SEARCH]}]
        route = {"policies": ["mtls"]}
        await gateway.apply(proxied(backend.address, route=route, policies=policies, consumers=consumers))
        url = f"wss://{gateway.addresses.http}/greet"
        connector = aiohttp.TCPConnector(ssl=pki.context(issue(pki.client_ca, uris=[SEARCH])))
        async with aiohttp.ClientSession(connector=connector) as session, session.ws_connect(url) as socket:
            assert await socket.receive_str() == "hello over https"
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=pki.context())) as session:
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(url)
        assert refused.value.status == 401


async def test_caller_that_leaves_is_noticed(
    gateway: Gateway, upstream: FaultyUpstream, calling: Calling, pki: Pki, wire: Wire, streamed: bool
) -> None:
    await gateway.apply(guarded(upstream))
    upstream.script = stall()
    async with calling(wire, issue(pki.client_ca, uris=[SEARCH])) as caller:
        asking = asyncio.ensure_future(ask(caller, streamed=streamed))
        await upstream.wait_for_requests(1)
        await gateway.wait_for_active_requests(1)
        asking.cancel()
        await gateway.wait_until_idle()


async def test_clear_text_is_not_served(gateway: Gateway, upstream: FaultyUpstream, pki: Pki, calling: Calling) -> None:
    await gateway.apply(guarded(upstream))
    host, _, port = gateway.addresses.http.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n")
    answered = b""
    with suppress(ConnectionError):
        answered = await reader.read()
    writer.close()
    assert b"HTTP/" not in answered
    async with calling(Wire.HTTP, issue(pki.client_ca, uris=[SEARCH])) as caller:
        assert_answered(await ask(caller))


async def test_node_that_asks_for_no_certificates_refuses_the_policy(tmp_path: Path, upstream: FaultyUpstream) -> None:
    process = GatewayProcess(tmp_path)
    process.config_file.write_text(render(guarded(upstream), "x"), "utf-8")
    process.launch(f"--config-file={process.config_file}")
    try:
        assert await asyncio.to_thread(process.wait) == 1
    finally:
        process.stop()
    assert re.search(r"mtls CLIENT_CA_MISSING mtls_auth: .* start it with --tls-client-ca", process.log)
