"""Settings of a node: which addresses can be listened on."""

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from gateway.__main__ import main
from gateway.bootstrap import ListenAddress


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("127.0.0.1:8080", "127.0.0.1", 8080),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("localhost:65535", "localhost", 65535),
        ("[::1]:8080", "::1", 8080),
        ("[::]:0", "::", 0),
        ("node-1.example:00080", "node-1.example", 80),
    ],
)
def test_address(text: str, host: str, port: int) -> None:
    assert ListenAddress.parse(text) == ListenAddress(host=host, port=port)


@pytest.mark.parametrize(
    ("text", "can_be_dialled"),
    [
        ("10.0.0.7:8081", True),
        ("[fd00::7]:8081", True),
        ("127.0.0.1:0", True),
        ("0.0.0.0:8081", False),
        ("[::]:8081", False),
        ("node-1.example:8081", False),
        ("localhost:8081", False),
    ],
)
def test_only_ip_addresses_of_one_machine_can_be_dialled(text: str, can_be_dialled: bool) -> None:
    assert ListenAddress.parse(text).can_be_dialled == can_be_dialled


@pytest.mark.parametrize(("variable", "is_read"), [("JANUA_HTTP_SERVER", True), ("JANUA_SERVER", False)])
def test_what_speaks_http_has_a_variable_that_is_not_the_one_of_the_config_server(variable: str, is_read: bool) -> None:
    """Whoever has `janua` look there must be able to start a node in the same shell."""
    result = CliRunner(env={variable: "127.0.0.1:18000"}).invoke(main, [])
    assert result.exit_code == 2
    assert ("'127.0.0.1:18000' is not one of 'hypercorn', 'granian'" in result.output) == is_read, result.output


@pytest.mark.parametrize("text", ["0.0.0.0:8081", "gateway.example:8081"])
def test_what_nobody_can_dial_is_not_advertised(text: str) -> None:
    result = CliRunner().invoke(main, ["--config-file", "janua.yaml", "--advertise-grpc", text])
    assert result.exit_code == 2
    host = text.rpartition(":")[0]
    assert f"'{host}' is not the IP address of one machine, which clients need" in result.output


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'' is not HOST:PORT"),
        ("8080", "'8080' is not HOST:PORT"),
        (":8080", "':8080' is not HOST:PORT"),
        ("localhost", "'localhost' is not HOST:PORT"),
        ("[]:80", "'[]:80' is not HOST:PORT"),
        ("::1:8080", "'::1:8080' is not HOST:PORT; an IPv6 address stands in brackets: [::1]:8080"),
        ("localhost:", "'' is not a port"),
        ("localhost:http", "'http' is not a port"),
        ("localhost:-1", "'-1' is not a port"),
        ("localhost:+1", "'+1' is not a port"),
        ("localhost:65536", "'65536' is not a port"),
        ("localhost:8080 ", "'8080 ' is not a port"),
        ("localhost:٣", "'٣' is not a port"),  # a digit, but not one of ours
        ("localhost:" + "9" * 5000, "is not a port"),
        ("[::1]", "'1]' is not a port"),
    ],
)
def test_what_is_no_address(text: str, complaint: str) -> None:
    with pytest.raises(ValueError) as caught:
        ListenAddress.parse(text)
    assert complaint in str(caught.value)


@given(st.sampled_from(["127.0.0.1", "::1", "node.example", "fe80::1"]), st.integers(0, 65535))
def test_address_is_read_back_as_it_is_written(host: str, port: int) -> None:
    address = ListenAddress(host=host, port=port)
    assert ListenAddress.parse(str(address)) == address
