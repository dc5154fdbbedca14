import pytest
from janua_resources.addresses import parse_url
from janua_resources.providers import PROVIDER_BASE_URLS


@pytest.mark.parametrize("url", [url for url in PROVIDER_BASE_URLS.values() if url is not None])
def test_default_urls_are_secure_or_local_and_have_no_version(url: str) -> None:
    address = parse_url(url)
    assert address.scheme == "https" or address.is_loopback
    assert not address.base_path.endswith("/v1")


def test_self_hosted_servers_have_no_default() -> None:
    assert {name for name, url in PROVIDER_BASE_URLS.items() if url is None} == {"custom", "vllm", "llama_cpp"}
