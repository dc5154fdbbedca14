"""Where the requests of a proxy service go, and whether its secret may go there too. Server and node both ask."""

from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import ProxyService

from janua_resources.addresses import Address, parse_url
from janua_resources.hosts import normalize_host_pattern, pattern_covers
from janua_resources.nearest import did_you_mean
from janua_resources.providers import PROVIDER_BASE_URLS
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
    default = provider_address(proxy.provider)
    if default is None:
        raise ValueError(f"is required for provider {quoted(proxy.provider)}, which has no address of its own")
    return default


def is_allowed(secret: Secret, proxy: ProxyService) -> bool:
    """Whether the service may send the secret to its base address.

    `allowed_hosts` decides alone if it is there; otherwise the provider's own host and loopback addresses are allowed.
    A bad pattern allows nothing. Raises ValueError for an unknown provider, and as `base_address` does.
    """
    address = base_address(proxy)
    if secret.allowed_hosts:
        return any(_covers(pattern, address.host) for pattern in secret.allowed_hosts)
    default = provider_address(proxy.provider)
    return address.is_loopback or (default is not None and pattern_covers(default.host, address.host))


def _covers(pattern: str, host: str) -> bool:
    try:
        return pattern_covers(normalize_host_pattern(pattern), host)
    except ValueError:
        return False
