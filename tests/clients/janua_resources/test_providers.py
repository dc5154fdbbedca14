import pytest
from janua_resources.addresses import parse_url
from janua_resources.providers import PROVIDER_BASE_URLS


@pytest.mark.parametrize("url", [url for url in PROVIDER_BASE_URLS.values() if url is not None])
def test_default_urls_are_secure_or_local_and_have_no_version(url: str) -> None:
    address = parse_url(url)
    assert address.scheme == "https" or address.is_loopback
    assert not address.base_path.endswith("/v1")


def test_what_you_host_or_have_an_address_of_your_own_at_has_no_default() -> None:
    hosted = {"custom", "vllm", "llama_cpp", "tgi", "sglang", "triton", "mlserver"}
    in_clouds = {"azure_openai", "vertex_ai", "bedrock"}
    assert {name for name, url in PROVIDER_BASE_URLS.items() if url is None} == hosted | in_clouds
