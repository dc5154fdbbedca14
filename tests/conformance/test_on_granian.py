"""A node with `--server granian`: where another server could be wrong, the same tests as on Hypercorn, and what it does
not offer. `make test-granian` has all the others run on it."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from tests.conformance.calls import Caller
from tests.conformance.configuration import EMPTY
from tests.conformance.conftest import MAX_BODY_BYTES
from tests.conformance.gateway import Gateway, render
from tests.conformance.gateway_process import GatewayProcess
from tests.conformance.http_caller import HttpCaller
from tests.conformance.proxying import proxied
from tests.conformance.raw_http import connected, post, request
from tests.conformance.test_answers import test_plain_answer
from tests.conformance.test_bad_requests import test_refusal_reaches_a_client_that_sends_all_before_it_reads
from tests.conformance.test_cancellation import (
    test_http_client_that_breaks_its_connection,
    test_http_client_that_leaves_amid_its_request,
    test_leaving_amid_a_stream,
    test_leaving_before_the_answer,
)
from tests.conformance.test_drain import (
    mortal,
    test_idle_connections_do_not_hold_a_node_up,
    test_stream_in_flight_is_finished_and_nothing_new_is_taken,
    test_what_outlasts_the_drain_timeout_is_cut_and_does_not_look_complete,
)
from tests.conformance.test_http2 import (
    client,
    test_closed_connection_frees_all_its_backends,
    test_reset_stream_frees_the_backend_and_leaves_the_others,
)
from tests.conformance.test_http_proxy_bodies import (
    test_answer_given_before_the_body_is_read_reaches_the_client,
    test_both_bodies_stream_at_a_time,
    test_slow_backend_slows_the_sender_down,
    test_slow_reader_slows_the_backend_down,
)
from tests.conformance.test_http_proxy_failures import (
    test_answer_that_is_cut_has_no_clean_end,
    test_client_that_leaves_amid_its_upload_cuts_the_backend_off,
)
from tests.conformance.test_malformed_http import (
    test_ambiguous_request_is_refused,
    test_expectation_is_met,
    test_pipelined_requests_are_answered_in_order,
)
from tests.conformance.test_streaming import (
    test_each_piece_arrives_before_the_next_is_sent,
    test_slow_client_slows_the_backend_down,
)
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.raw_backend import raw_backend, read_head, until_gone
from tests.support.scripts import answer

__all__ = [
    "client",
    "mortal",
    "test_ambiguous_request_is_refused",
    "test_answer_given_before_the_body_is_read_reaches_the_client",
    "test_answer_that_is_cut_has_no_clean_end",
    "test_both_bodies_stream_at_a_time",
    "test_client_that_leaves_amid_its_upload_cuts_the_backend_off",
    "test_closed_connection_frees_all_its_backends",
    "test_each_piece_arrives_before_the_next_is_sent",
    "test_expectation_is_met",
    "test_http_client_that_breaks_its_connection",
    "test_http_client_that_leaves_amid_its_request",
    "test_idle_connections_do_not_hold_a_node_up",
    "test_leaving_amid_a_stream",
    "test_leaving_before_the_answer",
    "test_pipelined_requests_are_answered_in_order",
    "test_plain_answer",
    "test_refusal_reaches_a_client_that_sends_all_before_it_reads",
    "test_reset_stream_frees_the_backend_and_leaves_the_others",
    "test_slow_backend_slows_the_sender_down",
    "test_slow_client_slows_the_backend_down",
    "test_slow_reader_slows_the_backend_down",
    "test_stream_in_flight_is_finished_and_nothing_new_is_taken",
    "test_what_outlasts_the_drain_timeout_is_cut_and_does_not_look_complete",
]


@pytest.fixture(scope="module", autouse=True)
def on_granian() -> Iterator[None]:
    """Every node that is started here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JANUA_HTTP_SERVER", "granian")
        yield


@pytest.fixture(scope="module")
def gateway_process(on_granian: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    """One for this module, in place of that for all others."""
    process = GatewayProcess(tmp_path_factory.mktemp("granian"))
    process.start(render(EMPTY, "at-start"), f"--max-body-bytes={MAX_BODY_BYTES}")
    try:
        yield process
        assert "Traceback" not in process.log
    finally:
        process.stop()


@pytest.fixture
def caller(http: HttpCaller) -> Caller:
    """Over HTTP alone: gRPC has a server of its own."""
    return http


async def test_it_is_granian_that_serves(gateway: Gateway, session: aiohttp.ClientSession) -> None:
    async with session.get(f"http://{gateway.addresses.http}/none") as refused:
        assert refused.headers["server"] == "granian"


async def test_client_that_waits_to_be_asked_for_its_body_is_refused_at_once(gateway: Gateway) -> None:
    async with connected(gateway.addresses.http) as connection:
        large = MAX_BODY_BYTES + 1
        await connection.send(post(b"", f"content-length: {large}", "expect: 100-continue"))
        refused = await connection.response()
    assert refused is not None
    assert (refused.status, refused.is_complete, refused.header("content-length")) == (
        413,
        True,
        str(len(refused.body)),
    )


async def test_control_characters_of_a_backend_become_spaces(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(response(200, b"hello", headers=[("x-odd", "a\x01b"), ("x-tab", "a\tb")]))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(request("GET", "/"))
        answered = await connection.response()
    assert answered is not None
    assert (answered.status, answered.body) == (200, b"hello")
    assert (answered.header("x-odd"), answered.header("x-tab")) == ("a b", "a\tb")


async def test_version_of_http_1_0_is_told_as_such(gateway: Gateway, upstream: FaultyUpstream) -> None:
    await gateway.apply(proxied(upstream.address))
    upstream.script = answer(response(200, b"hello"))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(b"GET / HTTP/1.0\r\nhost: gateway\r\n\r\n")
        assert await connection.head() is not None
    assert upstream.requests[0].header("via") == "1.0 janua"


async def test_head_of_an_answer_does_not_wait_for_its_body(gateway: Gateway) -> None:
    async def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_head(reader)
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ntransfer-encoding: chunked\r\n\r\n")
        await until_gone(reader)

    async with raw_backend(begin) as backend:
        await gateway.apply(proxied(backend.address))
        async with connected(gateway.addresses.http) as connection:
            await connection.send(request("GET", "/"))
            head = await connection.head()
    assert head is not None
    assert head.status == 200


async def test_websocket_is_refused_and_the_client_told_where_it_can_be(
    gateway: Gateway, upstream: FaultyUpstream, session: aiohttp.ClientSession
) -> None:
    await gateway.apply(proxied(upstream.address))
    async with connected(gateway.addresses.http) as connection:
        await connection.send(HANDSHAKE)
        refused = await connection.response()
    assert refused is not None
    assert refused.status == 400
    assert b"NO_WEBSOCKETS" in refused.body
    assert b"--server hypercorn" in refused.body
    assert upstream.requests == []


HANDSHAKE = request(
    "GET",
    "/",
    "connection: Upgrade",
    "upgrade: WebSocket",
    "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
    "sec-websocket-version: 13",
)


def test_tls_is_refused_at_start(tmp_path: Path) -> None:
    node = GatewayProcess(tmp_path)
    node.launch("--config-file=none", "--tls-cert=cert.pem", "--tls-key=key.pem")
    assert node.wait() == 2
    assert "--server granian speaks no TLS" in node.log
    assert "Traceback" not in node.log


def test_without_the_package_a_node_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys; sys.modules['granian'] = None")
    node = GatewayProcess(tmp_path)
    node.launch("--config-file=none", env={"PYTHONPATH": str(tmp_path)})
    assert node.wait() == 2
    assert "pip install 'janua[granian]'" in node.log
