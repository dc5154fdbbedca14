"""Keys that are found by what an issuer says of itself, and which of that is believed."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from gateway.config.snapshot import KeySource
from gateway.filters.published_keys import KeyFetcher, NoKeysError
from tests.support.egress_proxy import egress_proxy
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import response
from tests.support.scripts import Exchange, Script, answer, fail
from tests.support.tokens import ec_key, jwk, key_set

KEYS = key_set(jwk(ec_key())).encode()
DISCOVERY = "/.well-known/openid-configuration"


@pytest.fixture
async def upstream() -> AsyncIterator[FaultyUpstream]:
    upstream = FaultyUpstream()
    await upstream.start()
    yield upstream
    await upstream.stop()


@pytest.fixture
async def fetcher() -> AsyncIterator[KeyFetcher]:
    fetcher = KeyFetcher()
    yield fetcher
    await fetcher.close()


def telling(**metadata: Any) -> Script:
    """Says that of itself, and has keys at every other path."""

    async def script(exchange: Exchange) -> None:
        is_asked_for_keys = not exchange.request.target.endswith(DISCOVERY)
        await exchange.send(response(200, KEYS if is_asked_for_keys else json.dumps(metadata).encode()))

    return script


@pytest.mark.parametrize("path", ["", "/", "/realms/ai", "/realms/ai/"])
async def test_keys_are_where_the_issuer_says(upstream: FaultyUpstream, fetcher: KeyFetcher, path: str) -> None:
    issuer = f"{upstream.url}{path}"
    upstream.script = telling(issuer=issuer, jwks_uri=f"{upstream.url}/keys", scopes_supported=["openid"])
    assert (await fetcher(KeySource(issuer=issuer))).find("k1", "ES256") is not None
    assert [request.target for request in upstream.requests] == [f"{path.removesuffix('/')}{DISCOVERY}", "/keys"]


async def test_address_that_moves_is_followed(upstream: FaultyUpstream, fetcher: KeyFetcher) -> None:
    for place in ("old", "new"):
        upstream.script = telling(issuer=upstream.url, jwks_uri=f"{upstream.url}/{place}")
        await fetcher(KeySource(issuer=upstream.url))
    assert [request.target for request in upstream.requests] == [DISCOVERY, "/old", DISCOVERY, "/new"]


@pytest.mark.parametrize(
    ("metadata", "text"),
    [
        ({"issuer": "https://evil.example"}, "is of another issuer"),
        ({"issuer": "{url}/"}, "is of another issuer"),
        ({"jwks_uri": "http://id.example/keys"}, "not https"),
        ({"jwks_uri": "file:///etc/passwd"}, "not https"),
        ({"jwks_uri": ""}, "not https"),
        ({"jwks_uri": 7}, "does not tell"),
        ({"issuer": None}, "does not tell"),
    ],
)
async def test_what_an_issuer_may_not_say(
    upstream: FaultyUpstream, fetcher: KeyFetcher, metadata: dict[str, Any], text: str
) -> None:
    said = {"issuer": upstream.url, "jwks_uri": f"{upstream.url}/keys", **metadata}
    said["issuer"] = said["issuer"] and said["issuer"].replace("{url}", upstream.url)
    upstream.script = telling(**said)
    with pytest.raises(NoKeysError, match=text):
        await fetcher(KeySource(issuer=upstream.url))
    assert [request.target for request in upstream.requests] == [DISCOVERY]


@pytest.mark.parametrize("script", [fail(404), answer(response(200, b"<html>")), answer(response(200, b"[" * 10_000))])
async def test_issuer_that_says_nothing_of_itself(
    upstream: FaultyUpstream, fetcher: KeyFetcher, script: Script
) -> None:
    upstream.script = script
    with pytest.raises(NoKeysError):
        await fetcher(KeySource(issuer=upstream.url))


async def test_issuer_elsewhere_has_no_keys_on_this_machine(upstream: FaultyUpstream, fetcher: KeyFetcher) -> None:
    """Field failure: an answer from outside leads a node to what only it can reach. A proxy plays the outside."""
    upstream.script = telling(issuer="http://id.example", jwks_uri=f"{upstream.url}/keys")
    with pytest.raises(NoKeysError, match="not https"):
        await fetcher(KeySource(issuer="http://id.example", egress_proxy=upstream.url))
    assert [request.target for request in upstream.requests] == [f"http://id.example{DISCOVERY}"]


@pytest.mark.parametrize("is_discovered", [True, False])
async def test_keys_are_read_through_the_proxy(
    upstream: FaultyUpstream, fetcher: KeyFetcher, is_discovered: bool
) -> None:
    upstream.script = telling(issuer=upstream.url, jwks_uri=f"{upstream.url}/keys")
    source = {"issuer": upstream.url} if is_discovered else {"jwks_uri": f"{upstream.url}/keys"}
    async with egress_proxy() as proxy:
        await fetcher(KeySource(**source, egress_proxy=proxy.url))
        await fetcher(KeySource(**source))
        assert proxy.asked == [f"GET {upstream.url}{DISCOVERY if is_discovered else '/keys'}"]
    assert len(upstream.requests) == (4 if is_discovered else 2)
