"""Signatures, checked by a server of the test's own against what it would have received."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from yarl import URL

from gateway.config.credential import AwsAccount as Account
from gateway.config.credential import AwsKey
from gateway.config.secret import SecretValue
from gateway.errors import InvalidRequestError
from gateway.providers.aws_signature import AwsSignature
from tests.support.aws_signatures import AwsAccount
from tests.support.http_wire import ReceivedRequest

ACCOUNT = AwsAccount(access_key_id="AKIA", secret_access_key="s/e+c=", session_token="t/o+k==", service="execute-api")
KEY = AwsKey(
    access_key_id=SecretValue(ACCOUNT.access_key_id),
    secret_access_key=SecretValue(ACCOUNT.secret_access_key),
    session_token=SecretValue(ACCOUNT.session_token or ""),
)


def signature() -> AwsSignature:
    """What signs with the key."""
    account = Account(source=KEY, region=ACCOUNT.region, service=ACCOUNT.service)
    return AwsSignature(account, clock=time.monotonic, wall_clock=time.time)


HTTP: Any = None  # nothing is fetched


async def received(method: str, url: str, headers: list[tuple[str, str]], body: bytes | None) -> ReceivedRequest:
    """The request as a server gets it."""
    asked = URL(url, encoded=True)
    same, signed = await signature().authorize(method, asked, headers, body, HTTP)
    assert same is asked
    return ReceivedRequest(method=method, target=asked.raw_path_qs, headers=tuple(signed), body=body or b"")


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://box.example:443/model/a%3A0/converse", "box.example"),
        ("https://box.example:8443/model/a:0/converse", "box.example:8443"),
        ("http://[::1]:9001/a%2Fb%20c/~d?b=2&a=%3D&a=1", "[::1]:9001"),
    ],
)
@pytest.mark.parametrize("body", [None, b"", b'{"a": "\xc3\xa4"}'])
async def test_server_finds_the_same_signature(url: str, host: str, body: bytes | None) -> None:
    request = await received("POST", url, [("content-type", "application/json"), ("x-amzn-trace", "a  b")], body)
    assert ACCOUNT.fault(request) is None
    assert request.header("host") == host


async def test_host_that_the_request_names_is_the_one_that_is_signed() -> None:
    request = await received("GET", "https://10.0.0.1/", [("host", "box.example")], None)
    assert ACCOUNT.fault(request) is None
    assert [value for name, value in request.headers if name == "host"] == ["box.example"]


@pytest.mark.parametrize(
    "change",
    [
        {"method": "PUT"},
        {"target": "/model/a:0/converse"},
        {"target": "/model/a%253A0/converse"},
        {"target": "/model/a%3A0/converse?a"},
        {"body": b"{ }"},
    ],
)
async def test_signature_is_of_this_request_alone(change: dict[str, Any]) -> None:
    request = await received("POST", "https://box.example/model/a%3A0/converse", [], b"{}")
    assert ACCOUNT.fault(request) is None
    assert ACCOUNT.fault(replace(request, **change)) == "the signature is wrong"


async def test_headers_on_the_way_may_change() -> None:
    request = await received("GET", "https://box.example/", [("accept", "a"), ("user-agent", "b")], None)
    changed = tuple((name, "other" if name in ("accept", "user-agent") else value) for name, value in request.headers)
    assert ACCOUNT.fault(replace(request, headers=changed)) is None


async def test_body_that_comes_piece_by_piece_is_refused() -> None:
    async def pieces() -> AsyncIterator[bytes]:
        yield b""

    with pytest.raises(InvalidRequestError, match="the whole body must be there") as caught:
        await signature().authorize("POST", URL("https://a/"), [], pieces(), HTTP)
    assert caught.value.reason == "BODY_NOT_SIGNABLE"


async def test_large_bodies_do_not_hold_up_the_loop() -> None:
    signing = asyncio.create_task(received("POST", "https://box.example/", [], b"x" * (8 * 1024 * 1024)))
    turns = 0
    while not signing.done():
        await asyncio.sleep(0)
        turns += 1
    assert ACCOUNT.fault(await signing) is None
    assert turns > 10


async def test_signature_costs_less_than_a_millisecond() -> None:
    signer = signature()
    url = URL("https://box.example/model/a%3A0/converse", encoded=True)
    best = 1.0
    for _ in range(50):
        began = time.process_time()
        await signer.authorize("POST", url, [("content-type", "application/json")], b"x" * 2000, HTTP)
        best = min(best, time.process_time() - began)
    assert best < 0.001


def test_nothing_of_the_key_is_shown() -> None:
    shown = f"{KEY!r} {signature()!r}"
    assert not any(word in shown for word in ("AKIA", "s/e+c=", "t/o+k=="))
