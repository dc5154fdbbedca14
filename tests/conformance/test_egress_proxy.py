"""Proxy services that reach their provider through a proxy."""

from pathlib import Path

from tests.conformance.calls import Caller, Kind, ask, assert_answered, assert_refused
from tests.conformance.gateway import Gateway
from tests.conformance.test_credential_pools import FIRST, keyed
from tests.support.egress_proxy import egress_proxy
from tests.support.faulty_upstream import FaultyUpstream


async def test_provider_is_asked_through_the_proxy(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, streamed: bool, tmp_path: Path
) -> None:
    async with egress_proxy() as proxy:
        await gateway.apply(keyed(upstream.url, tmp_path, FIRST, egress_proxy=proxy.url))
        assert_answered(await ask(caller, streamed=streamed))
        assert proxy.asked == [f"POST {upstream.url}/v1/chat/completions"]
    assert upstream.requests[0].header("authorization") == f"Bearer {FIRST}"


async def test_proxy_that_is_gone_is_an_unavailable_provider(
    gateway: Gateway, upstream: FaultyUpstream, caller: Caller, tmp_path: Path
) -> None:
    async with egress_proxy() as proxy:
        url = proxy.url
    await gateway.apply(keyed(upstream.url, tmp_path, FIRST, egress_proxy=url))
    assert_refused(await ask(caller), Kind.UNAVAILABLE, "UPSTREAM_UNREACHABLE")
    assert upstream.requests == []
