"""Where the requests of a proxy service go, and whether its secret may go there too. Server and node both ask."""

from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import ProxyService

from janua_resources.addresses import Address, parse_url
from janua_resources.hosts import is_loopback, normalize_host_pattern, pattern_covers
from janua_resources.nearest import did_you_mean
from janua_resources.providers import PROVIDER_BASE_URLS, REGIONAL_PROVIDERS, region_of_bedrock, regional_url
from janua_resources.quoting import quoted


def provider_address(provider: str) -> Address | None:
    """Where the provider is by default; None if services must say it. Raises ValueError for an unknown provider."""
    if provider not in PROVIDER_BASE_URLS:
        hint = did_you_mean(provider, PROVIDER_BASE_URLS) or f"; known are {', '.join(sorted(PROVIDER_BASE_URLS))}"
        raise ValueError(f"provider {quoted(provider)} is not known{hint}")
    url = PROVIDER_BASE_URLS[provider]
    return None if url is None else parse_url(url)


def base_address(proxy: ProxyService) -> Address:
    """Where the service's requests go. Raises ValueError, in words, if its fields do not say."""
    if proxy.base_url:
        return parse_url(proxy.base_url)
    default = _default_address(proxy)
    if default is None:
        why = "unless it has a region" if proxy.provider in REGIONAL_PROVIDERS else "which has no address of its own"
        raise ValueError(f"is required for provider {quoted(proxy.provider)}, {why}")
    return default


def region(proxy: ProxyService) -> str:
    """The region that the service names, or that its address shows; empty if neither does. Raises ValueError as
    `base_address` does."""
    return proxy.region or (region_of_bedrock(base_address(proxy).host) if proxy.provider == "bedrock" else "")


def _default_address(proxy: ProxyService) -> Address | None:
    """Where the provider is in the service's region, or anywhere."""
    if proxy.provider in REGIONAL_PROVIDERS:
        return parse_url(regional_url(proxy.provider, proxy.region)) if proxy.region else None
    return provider_address(proxy.provider)


def is_allowed(secret: Secret, proxy: ProxyService) -> bool:
    """Whether the service may send the secret to its base address.

    `allowed_hosts` decides alone if it is there; otherwise the provider's own host and loopback addresses are allowed.
    A bad pattern allows nothing. Raises ValueError for an unknown provider, and as `base_address` does.
    """
    address = base_address(proxy)
    if secret.allowed_hosts:
        return any(_covers(pattern, address.host) for pattern in secret.allowed_hosts)
    default = _default_address(proxy)
    return address.is_loopback or (default is not None and pattern_covers(default.host, address.host))


def is_allowed_for_tokens(secret: Secret, host: str) -> bool:
    """Whether the secret may be used at that host to fetch tokens, beside the hosts of who issues them."""
    return is_loopback(host) or any(_covers(pattern, host) for pattern in secret.allowed_hosts)


def _covers(pattern: str, host: str) -> bool:
    try:
        return pattern_covers(normalize_host_pattern(pattern), host)
    except ValueError:
        return False
