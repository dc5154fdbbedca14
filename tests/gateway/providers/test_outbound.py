"""Which headers go to a backend: the client's own, none of its credentials, nothing of its connection, and nothing that
it could pass off as ours."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from gateway.config.credential import HeaderAuth
from gateway.config.secret import SecretValue
from gateway.config.snapshot import (
    CredentialRef,
    ProviderTarget,
    SecretConfig,
    ServiceConfig,
    Snapshot,
    UpstreamTarget,
)
from gateway.config.upstream import EndpointConfig, UpstreamConfig
from gateway.providers.outbound import OutboundHeaders, outbound_headers, provider_upstream, service_upstreams
from gateway.transport.http import HttpTransport
from tests.support import scripts
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import json_response

LOCAL = ServiceConfig(name="local", target=UpstreamTarget(upstream="pool"))
SECRETS = {"key": SecretConfig(name="key", value=SecretValue("sk-ours"))}

OURS = [
    ("content-type", "application/json"),
    ("accept-encoding", "identity"),
    ("accept", "application/json"),
    ("x-request-id", "r-1"),
]


def provider(
    name: str = "openai", *, secret: str | None = "key", headers: Sequence[tuple[str, str]] = ()
) -> ServiceConfig:
    credentials = (CredentialRef(secret=secret),) if secret else ()
    target = ProviderTarget(
        provider=name, base_url="https://api.example", credentials=credentials, headers=tuple(headers)
    )
    return ServiceConfig(name="outside", target=target)


def sent(
    inbound: Mapping[bytes, bytes], service: ServiceConfig = LOCAL, *, accept: str = "application/json"
) -> list[tuple[str, str]]:
    return outbound_headers(service, SECRETS).build(inbound, "r-1", accept=accept)


def test_ours_alone() -> None:
    assert sorted(sent({})) == sorted(OURS)


def test_what_is_asked_for_is_not_the_clients_to_say() -> None:
    assert dict(sent({b"accept": b"text/html"}, accept="text/event-stream"))["accept"] == "text/event-stream"


def test_other_headers_of_the_client_are_passed_on() -> None:
    inbound = {b"user-agent": b"test", b"traceparent": b"00-1-2-03", b"x-user": b"", b"openai-beta": b"a, b"}
    headers = sent(inbound)
    assert [header for header in headers if header not in OURS] == [
        ("user-agent", "test"),
        ("traceparent", "00-1-2-03"),
        ("x-user", ""),
        ("openai-beta", "a, b"),
    ]


@pytest.mark.parametrize(
    "name",
    [
        *("connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"),
        *("proxy-authenticate", "proxy-authorization", "http2-settings"),
        *("host", "content-length", "content-type", "accept", "accept-encoding", "expect"),
        *("authorization", "x-api-key", "api-key", "x-goog-api-key", "cookie"),
        *("x-request-id", "x-janua-timeout-ms", "x-janua-service", "x-janua-anything"),
        *("grpc-timeout", "grpc-encoding", "grpc-accept-encoding", "trace-bin"),
    ],
)
@pytest.mark.parametrize("service", [LOCAL, provider(), provider(secret=None)], ids=["local", "provider", "keyless"])
def test_header_is_never_passed_on(name: str, service: ServiceConfig) -> None:
    headers = sent({name.encode(): b"of-the-client"}, service)
    assert "of-the-client" not in dict(headers).values()
    assert sorted(headers) == sorted(sent({}, service))


@pytest.mark.parametrize(
    "connection", [b"x-hop", b"close, X-Hop", b" x-hop ,keep-alive", b"x-hop,,", b"close, close, x-HOP, te"]
)
def test_header_named_by_connection_stays_here(connection: bytes) -> None:
    headers = sent({b"connection": connection, b"x-hop": b"1", b"x-end": b"2"})
    assert "x-hop" not in dict(headers)
    assert ("x-end", "2") in headers


@pytest.mark.parametrize("name", [b"content-type", b"accept-encoding", b"authorization", b"x-request-id", b"accept"])
def test_client_cannot_have_our_headers_dropped(name: bytes) -> None:
    service = provider()
    assert sorted(sent({b"connection": name}, service)) == sorted(sent({}, service))


def test_provider_gets_our_credential_and_not_the_clients() -> None:
    headers = sent({b"authorization": b"Bearer sk-client", b"x-api-key": b"sk-client"}, provider())
    assert [value for name, value in headers if name == "authorization"] == ["Bearer sk-ours"]
    assert "sk-client" not in str(headers)


def test_provider_without_a_secret_gets_no_credential() -> None:
    assert "authorization" not in dict(sent({b"authorization": b"Bearer sk-client"}, provider(secret=None)))


@pytest.mark.parametrize("name", [b"openai-organization", b"openai-project"])
def test_account_of_the_client_is_not_named_to_a_provider(name: bytes) -> None:
    assert name.decode() not in dict(sent({name: b"org-client"}, provider()))
    assert (name.decode(), "org") in sent({name: b"org"}, LOCAL)


def test_headers_of_the_service_win() -> None:
    service = provider(headers=[("openai-organization", "org-ours"), ("user-agent", "ours"), ("x-extra", "1")])
    headers = sent({b"user-agent": b"client", b"openai-organization": b"org-client", b"x-extra": b"2"}, service)
    assert [value for name, value in headers if name == "user-agent"] == ["ours"]
    assert [value for name, value in headers if name == "openai-organization"] == ["org-ours"]
    assert [value for name, value in headers if name == "x-extra"] == ["1"]


@given(
    st.dictionaries(
        st.from_regex(r"[a-z][a-z0-9-]{0,10}", fullmatch=True).map(str.encode), st.binary(max_size=10), max_size=5
    ),
    st.sampled_from([LOCAL, provider(), provider(headers=[("x-a", "1")])]),
)
def test_no_header_is_sent_twice(inbound: dict[bytes, bytes], service: ServiceConfig) -> None:
    names = [name for name, _ in sent(inbound, service)]
    assert len(names) == len(set(names))


def test_credential_is_not_shown() -> None:
    assert "sk-ours" not in repr(outbound_headers(provider(), SECRETS))
    assert "sk-ours" not in repr(SECRETS)


async def on_the_wire(headers: Sequence[tuple[str, str]], upstream: FaultyUpstream) -> dict[str, str]:
    """What the upstream reads, each byte as one character."""
    upstream.script = scripts.answer(json_response(200, {}))
    transport = HttpTransport(idle_timeout_s=1)
    try:
        response = await transport.send("POST", URL(upstream.url), headers=headers, body=b"{}", connect_timeout_s=5)
        await response.read_all(100)
        response.close()
    finally:
        await transport.close()
    return {name.lower(): value for name, value in upstream.requests[-1].headers}


@pytest.mark.parametrize("value", [b"caf\xc3\xa9 \xf0\x9f\x99\x82", b"a\tb", b'"quoted", %41'])
async def test_value_reaches_the_upstream_byte_for_byte(value: bytes, faulty_upstream: FaultyUpstream) -> None:
    found = await on_the_wire(sent({b"x-user": value}), faulty_upstream)
    assert found["x-user"].encode("latin-1") == value


async def test_value_that_is_no_utf8_still_reaches_the_upstream(faulty_upstream: FaultyUpstream) -> None:
    found = await on_the_wire(sent({b"x-user": b"caf\xe9!"}), faulty_upstream)
    assert found["x-user"].startswith("caf")
    assert found["x-user"].endswith("!")


@pytest.mark.parametrize("value", [b"a\r\nx-injected: 1", b"a\nx-injected: 1", b"a\rx-injected: 1", b"a\x00b"])
async def test_value_cannot_inject_a_header(value: bytes, faulty_upstream: FaultyUpstream) -> None:
    try:
        found = await on_the_wire(sent({b"x-user": value}), faulty_upstream)
    except ValueError:
        assert faulty_upstream.requests == []
    else:
        assert "x-injected" not in found


# Pools that stand for providers.


def test_provider_is_a_pool_of_one() -> None:
    url = "https://api.example"
    assert provider_upstream(provider(), SECRETS) == UpstreamConfig(
        name="provider:outside", endpoints=(EndpointConfig(address=url, url=url),), connect_timeout_s=5.0
    )


def test_service_with_an_upstream_has_no_pool_of_its_own() -> None:
    assert provider_upstream(LOCAL, SECRETS) is None
    snapshot = Snapshot(services={"local": LOCAL, "outside": provider()}, secrets=SECRETS)
    assert [upstream.name for upstream in service_upstreams(snapshot)] == ["provider:outside"]


def with_credentials(name: str, *texts: str, **fields: Any) -> tuple[ServiceConfig, Mapping[str, SecretConfig]]:
    """A service of that provider, and the secrets that its credentials are."""
    secrets = {f"s{n}": SecretConfig(name=f"s{n}", value=SecretValue(text)) for n, text in enumerate(texts)}
    credentials = tuple(CredentialRef(secret=each) for each in secrets)
    target = ProviderTarget(provider=name, base_url="https://api.example", credentials=credentials, **fields)
    return ServiceConfig(name="outside", target=target), secrets


def test_one_key_in_a_header_is_like_any_other_header_and_costs_no_more() -> None:
    service, secrets = with_credentials("openai", "sk-1")
    upstream = provider_upstream(service, secrets)
    assert upstream is not None
    assert upstream.credentials == ()
    assert ("authorization", "Bearer sk-1") in outbound_headers(service, secrets).configured


def test_several_keys_are_left_to_each_attempt() -> None:
    service, secrets = with_credentials("openai", "sk-1", "sk-2")
    upstream = provider_upstream(service, secrets)
    assert upstream is not None
    assert [each.secret for each in upstream.credentials] == ["s0", "s1"]
    assert "sk-" not in str(outbound_headers(service, secrets).build({}, "r", accept="application/json"))
    assert "sk-" not in repr(upstream)


def test_headers_that_a_key_or_a_signature_takes_are_not_the_clients() -> None:
    service, secrets = with_credentials("custom", "sk-1", "sk-2", auth=HeaderAuth(name="x-key", scheme=""))
    assert outbound_headers(service, secrets).dropped >= {b"x-key"}
    service, secrets = with_credentials("bedrock", '{"access_key_id":"A","secret_access_key":"S"}', region="eu-west-1")
    assert outbound_headers(service, secrets).dropped >= {b"x-amz-date", b"x-amz-security-token"}


def test_headers_are_compiled_once_per_service() -> None:
    maker = outbound_headers(provider(), SECRETS)
    assert isinstance(maker, OutboundHeaders)
    assert maker.build({}, "a", accept="application/json")[-1] == ("x-request-id", "a")
    assert maker.build({}, "b", accept="application/json")[-1] == ("x-request-id", "b")
