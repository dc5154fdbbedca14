"""`data:` addresses: what is put in comes out, however it is coded."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InvalidRequestError
from gateway.schemas.data_urls import Inline, data_url, read_data_url, text_url


@given(st.text())
def test_text_comes_back(text: str) -> None:
    inline = read_data_url(text_url(text))
    assert inline is not None
    assert (inline.media_type, inline.text()) == ("text/plain", text)


@given(st.binary())
def test_data_come_back(data: bytes) -> None:
    written = base64.b64encode(data).decode()
    assert read_data_url(data_url("image/png", written)) == Inline("image/png", written)


@pytest.mark.parametrize(
    ("url", "inline"),
    [
        ("data:text/plain;charset=utf-8;base64,YQ==", Inline("text/plain", "YQ==")),
        ("data:Text/Plain;Base64,YQ==", Inline("text/plain", "YQ==")),
        ("data:text/plain,a%20b", Inline("text/plain", base64.b64encode(b"a b").decode())),
        ("https://a/b", None),
        ("s3://a/b", None),
    ],
)
def test_address(url: str, inline: Inline | None) -> None:
    assert read_data_url(url) == inline


@pytest.mark.parametrize("url", ["data:", "data:image/png", "data:,a", "data:;base64,AA=="])
def test_an_address_that_says_too_little_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError):
        read_data_url(url)


@pytest.mark.parametrize("data", ["/w==", "no base64"])
def test_what_is_no_text_is_refused(data: str) -> None:
    with pytest.raises(InvalidRequestError):
        Inline("text/plain", data).text()
