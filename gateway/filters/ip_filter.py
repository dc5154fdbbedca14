"""Callers by address: the `ip_filter` policy."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address

from gateway.config.snapshot import IpFilterConfig, IpNetwork
from gateway.context import RequestContext
from gateway.errors import PermissionDeniedError
from gateway.filters.phases import Screen


class IpFilter(Screen):
    """Takes requests from some addresses. One that cannot be told is none of them."""

    def __init__(self, config: IpFilterConfig) -> None:
        self._config = config

    def screen(self, context: RequestContext) -> None:
        """Raises `PermissionDeniedError` for an address that may not call."""
        address = _parse(context.client_address)
        if address is None or _is_in(address, self._config.deny) or not self._is_allowed(address):
            raise PermissionDeniedError("calls from this address are not allowed", reason="ADDRESS_NOT_ALLOWED")

    def _is_allowed(self, address: IPv4Address | IPv6Address) -> bool:
        return not self._config.allow or _is_in(address, self._config.allow)


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # An IPv4 client of a socket for both.
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _is_in(address: IPv4Address | IPv6Address, networks: Iterable[IpNetwork]) -> bool:
    return any(address in network for network in networks if network.version == address.version)
