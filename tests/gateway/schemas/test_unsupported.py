"""What a dialect has no place for: an error with its name, or nothing at all."""

import pytest

from gateway.errors import InvalidRequestError
from gateway.schemas.unsupported import Unsupported


def test_field_is_named() -> None:
    with pytest.raises(InvalidRequestError, match=r"seed cannot be carried: .* speaks Klingon") as caught:
        Unsupported("Klingon", drop=False).field("seed")
    assert (caught.value.param, caught.value.reason) == ("seed", "UNSUPPORTED_FIELD")


def test_what_it_is_may_be_told_in_words() -> None:
    with pytest.raises(InvalidRequestError, match=r"^sound: ") as caught:
        Unsupported("Klingon", drop=False).field("messages", "sound")
    assert caught.value.param == "messages"


def test_nothing_happens_where_fields_are_dropped() -> None:
    Unsupported("Klingon", drop=True).field("seed")
