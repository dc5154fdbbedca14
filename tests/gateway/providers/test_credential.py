"""Live credentials: what each puts on a request, and that nobody pays for those that are not there."""

import subprocess
import sys
from typing import Any

import pytest
from yarl import URL

from gateway.config.credential import HeaderKey, QueryKey
from gateway.config.secret import SecretValue
from gateway.providers.credential import Credential, make_credential

HTTP: Any = None  # nothing is fetched


def live(key: HeaderKey | QueryKey) -> Credential:
    return make_credential(key, clock=lambda: 0.0, wall_clock=lambda: 0.0)


async def test_header_is_added() -> None:
    url = URL("https://a/b?c=%20")
    key = HeaderKey(name="x-key", value=SecretValue("Token sk"))
    assert await live(key).authorize("GET", url, (("a", "1"),), None, HTTP) == (
        url,
        [("a", "1"), ("x-key", "Token sk")],
    )


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("https://a:1/b%2Fc", "https://a:1/b%2Fc?key=s%26k"),
        ("https://a/b?x=%20+&y", "https://a/b?x=%20+&y&key=s%26k"),
        ("https://a/b?key=1&x=2&ke%79=3&keys=4", "https://a/b?x=2&keys=4&key=s%26k"),
        ("https://a/b?&&", "https://a/b?key=s%26k"),
    ],
)
async def test_parameter_takes_the_place_of_the_clients_and_the_rest_stays_as_it_is(before: str, after: str) -> None:
    key = QueryKey(name="key", value=SecretValue("s&k"))
    url, headers = await live(key).authorize("GET", URL(before, encoded=True), [("a", "1")], None, HTTP)
    assert (str(url), headers) == (after, [("a", "1")])


def test_values_are_not_shown() -> None:
    for key in (HeaderKey(name="a", value=SecretValue("sk-1")), QueryKey(name="a", value=SecretValue("sk-1"))):
        assert "sk-1" not in f"{key!r} {live(key)!r}"


def test_node_without_such_credentials_does_not_load_their_libraries() -> None:
    heavy = ("botocore", "jwt", "cryptography")
    program = f"import sys, gateway.node; sys.exit(str([name for name in {heavy} if name in sys.modules] or ''))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True).stderr.strip() == ""
