import pytest
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import ProxyService
from janua_resources.egress import base_address, is_allowed, is_allowed_for_tokens, provider_address, region


def proxy(provider: str = "openai", base_url: str = "") -> ProxyService:
    return ProxyService(provider=provider, base_url=base_url)


def test_the_base_url_wins_over_the_providers_own() -> None:
    assert str(base_address(proxy())) == "https://api.openai.com:443"
    assert str(base_address(proxy(base_url="https://eu.example/openai"))) == "https://eu.example:443/openai"


@pytest.mark.parametrize(
    ("service", "problem"),
    [
        (proxy("custom"), "is required for provider 'custom'"),
        (proxy("bedrock"), "is required for provider 'bedrock', unless it has a region"),
        (proxy("opnai"), "did you mean 'openai'"),
        (proxy(base_url="nonsense"), "does not start with http"),
    ],
)
def test_a_service_without_an_address_says_why(service: ProxyService, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        base_address(service)


def test_providers_without_an_address_have_none() -> None:
    assert provider_address("vllm") is None
    with pytest.raises(ValueError, match="'skynet' is not known"):
        provider_address("skynet")


@pytest.mark.parametrize(
    ("allowed_hosts", "service", "allowed"),
    [
        # No list: the provider's own host and this machine.
        ([], proxy(), True),
        ([], proxy(base_url="https://API.openai.com/other"), True),
        ([], proxy(base_url="https://api.openai.com.evil.example"), False),
        ([], proxy(base_url="https://evil.example"), False),
        ([], proxy(base_url="http://127.0.0.1:9000"), True),
        ([], proxy(base_url="http://localhost:9000"), True),
        ([], proxy(base_url="http://[::1]:9000"), True),
        ([], proxy("custom", "https://box.example"), False),
        ([], proxy("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com"), False),
        ([], ProxyService(provider="bedrock", region="us-east-1"), True),
        ([], proxy("bedrock", "https://evil.example"), False),
        (
            [],
            ProxyService(
                provider="bedrock", region="us-east-1", base_url="https://bedrock-runtime.us-east-2.amazonaws.com"
            ),
            False,
        ),
        ([], ProxyService(provider="vertex_ai", region="global"), True),
        ([], proxy("custom", "http://127.0.0.1:1"), True),
        # A list: the list alone.
        (["api.openai.com"], proxy(), True),
        (["API.OpenAI.com."], proxy(), True),
        (["eu.example"], proxy(), False),
        (["*.openai.com"], proxy(), True),
        (["*.example"], proxy("custom", "https://a.b.example"), True),
        (["*.example"], proxy("custom", "https://example"), False),
        (["api.openai.com"], proxy(base_url="http://127.0.0.1:9000"), False),
        (["a b", "api.openai.com"], proxy(), True),
        (["*"], proxy(), False),
    ],
)
def test_where_a_secret_may_go(allowed_hosts: list[str], service: ProxyService, allowed: bool) -> None:
    assert is_allowed(Secret(name="key", allowed_hosts=allowed_hosts), service) is allowed


@pytest.mark.parametrize(
    ("service", "expected"),
    [
        (ProxyService(provider="bedrock", region="eu-west-1"), "eu-west-1"),
        (proxy("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com"), "us-east-1"),
        (proxy("bedrock", "https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com/base"), "us-gov-west-1"),
        (proxy("bedrock", "https://vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com"), "us-east-1"),
        (proxy("bedrock", "https://bedrock-runtime.us-east-1.amazonaws.com.evil.example"), ""),
        (proxy("bedrock", "http://127.0.0.1:1"), ""),
        (proxy("openai", "https://bedrock-runtime.us-east-1.amazonaws.com"), ""),
    ],
)
def test_region_that_a_service_or_its_address_names(service: ProxyService, expected: str) -> None:
    assert region(service) == expected


def test_tokens_are_fetched_where_the_secret_allows() -> None:
    assert is_allowed_for_tokens(Secret(), "127.0.0.1")
    assert not is_allowed_for_tokens(Secret(), "sts.example")
    assert is_allowed_for_tokens(Secret(allowed_hosts=["*.example"]), "sts.example")
    assert not is_allowed_for_tokens(Secret(allowed_hosts=["api.openai.com"]), "sts.example")
