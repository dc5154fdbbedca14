"""Which nodes are endpoints, and where."""

import pytest

from config_server.fleet.endpoints import EndpointAddress, dialable


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("10.0.0.7:8081", EndpointAddress("10.0.0.7", 8081)),
        ("[fd00::7]:8081", EndpointAddress("fd00::7", 8081)),
        ("[FD00:0::7]:8081", EndpointAddress("fd00::7", 8081)),  # another way to write the same
        ("0.0.0.0:8081", None),
        ("[::]:8081", None),
        ("localhost:8081", None),
        ("10.0.0.7:0", None),
        ("10.0.0.7:65536", None),
        ("10.0.0.7:٣", None),
        ("10.0.0.7:" + "9" * 5000, None),  # more digits than Python makes a number of
        ("10.0.0.7", None),
        ("10.0.0.7:", None),
        (":8081", None),
        ("", None),
    ],
)
def test_only_an_ip_address_with_a_port_can_be_dialled(text: str, address: EndpointAddress | None) -> None:
    assert dialable(text) == address
