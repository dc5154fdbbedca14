"""Callers by address: which are let through, whatever the form of the address."""

from ipaddress import ip_network

import pytest

from gateway.config.snapshot import IpFilterConfig
from gateway.errors import PermissionDeniedError
from gateway.filters.ip_filter import IpFilter
from tests.gateway.filters.requests import context


def passes(address: str, **spec: list[str]) -> bool:
    config = IpFilterConfig(**{name: tuple(map(ip_network, texts)) for name, texts in spec.items()})
    try:
        IpFilter(config).screen(context(client_address=address))
    except PermissionDeniedError:
        return False
    return True


def test_refusal_has_its_reason_and_no_address() -> None:
    config = IpFilterConfig(allow=(ip_network("10.0.0.0/8"),))
    with pytest.raises(PermissionDeniedError, match="not allowed") as refused:
        IpFilter(config).screen(context(client_address="192.0.2.9"))
    assert refused.value.reason == "ADDRESS_NOT_ALLOWED"
    assert "192" not in refused.value.message


@pytest.mark.parametrize(
    ("address", "is_allowed"),
    [
        ("10.1.2.3", True),
        ("11.0.0.1", False),
        ("2001:db8::7", True),
        ("2001:db9::7", False),
        ("192.0.2.1", True),
        ("192.0.2.2", False),
        ("::ffff:10.1.2.3", True),
        ("::ffff:11.1.2.3", False),
        ("", False),
        ("unix", False),
    ],
)
def test_only_allowed_networks_pass(address: str, is_allowed: bool) -> None:
    assert passes(address, allow=["10.0.0.0/8", "2001:db8::/32", "192.0.2.1"]) is is_allowed


@pytest.mark.parametrize(
    ("address", "is_allowed"), [("10.1.2.3", False), ("::ffff:10.1.2.3", False), ("9.9.9.9", True)]
)
def test_denied_networks_do_not_pass(address: str, is_allowed: bool) -> None:
    assert passes(address, deny=["10.0.0.0/8"]) is is_allowed


def test_denial_wins_over_allowance() -> None:
    assert not passes("10.1.2.3", allow=["10.0.0.0/8"], deny=["10.1.0.0/16"])
    assert passes("10.2.2.3", allow=["10.0.0.0/8"], deny=["10.1.0.0/16"])


def test_address_that_is_not_known_may_be_a_denied_one() -> None:
    assert not passes("", deny=["10.0.0.0/8"])
