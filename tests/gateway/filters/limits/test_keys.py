"""The keys that limits count under."""

import pytest

from gateway.config.limits import KeyConfig, LimitKey
from gateway.filters.limits.keys import keys_of
from tests.gateway.filters.requests import context

BY_ADDRESS = keys_of(KeyConfig(kind=LimitKey.IP))


@pytest.mark.parametrize(
    ("address", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("", ""),
        ("a:b", "a:b"),
    ],
)
def test_who_has_many_addresses_counts_once(address: str, key: str) -> None:
    """An attacker has a fresh address of IPv6 for each request."""
    assert BY_ADDRESS(context(client_address=address)) == (key,)


@pytest.mark.parametrize("text", ["1 / 0 == 1", "[1][5]", "unknown.name", "request.headers['x-none']"])
def test_who_makes_an_expression_fail_counts_with_all_who_do(text: str) -> None:
    """Else a header left out would be a way round the limit."""
    keys = keys_of(KeyConfig(kind=LimitKey.EXPRESSION, expression=text))
    assert keys(context()) == keys(context(model="other")) == ("",)


@pytest.mark.parametrize("model", ["x" * 1000, "\ud800" * 100, "a\0b"])
def test_what_callers_choose_takes_little_memory(model: str) -> None:
    (key,) = keys_of(KeyConfig(kind=LimitKey.MODEL))(context(model=model))
    assert len(key) <= 64
    assert "\0" not in key
