import pytest
from janua_resources.addresses import parse_url
from janua_resources.providers import PROVIDER_BASE_URLS, REGIONAL_PROVIDERS, regional_url

# What a request of the field's own client libraries goes to.
HOSTS = {
    ("bedrock", "us-east-1"): "bedrock-runtime.us-east-1.amazonaws.com",
    ("vertex_ai", "us-central1"): "us-central1-aiplatform.googleapis.com",
    ("vertex_ai", "global"): "aiplatform.googleapis.com",
    ("vertex_ai", "us"): "aiplatform.us.rep.googleapis.com",
    ("vertex_ai", "eu"): "aiplatform.eu.rep.googleapis.com",
}


@pytest.mark.parametrize("url", [url for url in PROVIDER_BASE_URLS.values() if url is not None])
def test_default_urls_are_secure_or_local_and_have_no_version(url: str) -> None:
    address = parse_url(url)
    assert address.scheme == "https" or address.is_loopback
    assert not address.base_path.endswith("/v1")


def test_what_you_host_or_have_an_address_of_your_own_at_has_no_default() -> None:
    hosted = {"custom", "vllm", "llama_cpp", "tgi", "sglang", "triton", "mlserver"}
    in_clouds = {"azure_openai", "vertex_ai", "bedrock"}
    assert {name for name, url in PROVIDER_BASE_URLS.items() if url is None} == hosted | in_clouds


@pytest.mark.parametrize(("provider", "region"), HOSTS)
def test_regions_have_hosts_of_their_own(provider: str, region: str) -> None:
    assert provider in REGIONAL_PROVIDERS
    assert regional_url(provider, region) == f"https://{HOSTS[provider, region]}"


def test_all_providers_of_the_field_are_there() -> None:
    of_clouds = "azure_openai bedrock vertex_ai"
    with_keys = (
        "openai anthropic gemini mistral cohere groq together fireworks openrouter deepseek xai perplexity nvidia"
    )
    hosted = "huggingface ollama vllm llama_cpp tgi sglang triton mlserver custom"
    assert set(PROVIDER_BASE_URLS) == {*of_clouds.split(), *with_keys.split(), *hosted.split()}
