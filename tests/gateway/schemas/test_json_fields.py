"""Fields of a JSON object read one by one: with their types, their places, and what is left of them."""

from collections.abc import Callable
from typing import Any

import pytest

from gateway.schemas.json_fields import FieldError, Fields


@pytest.mark.parametrize("body", [b"", b"[]", b"5", b"null", b'{"a":', b"\xff", b"[" * 100_000])
def test_what_is_no_object_is_refused(body: bytes) -> None:
    with pytest.raises(FieldError) as caught:
        Fields.parse(body)
    assert caught.value.param == ""


READERS: dict[str, tuple[Callable[[Fields], Any], Any, list[Any]]] = {
    "text": (lambda fields: fields.text("a"), "x", [5, True, [], {}]),
    "optional text": (lambda fields: fields.optional_text("a"), "", [5, []]),
    "truth": (lambda fields: fields.truth("a"), False, [0, "true"]),
    "integer": (lambda fields: fields.integer("a"), 5, [True, 5.5, "5"]),
    "number": (lambda fields: fields.number("a"), 5.5, [True, "5"]),
    "array": (lambda fields: fields.array("a"), [1, None], ["a", {}]),
    "strings": (lambda fields: fields.strings("a"), ["x"], ["x"]),
    "integers": (lambda fields: fields.integers("a"), [1], [{}]),
}


@pytest.mark.parametrize("reader", READERS)
def test_field_is_read_once_and_of_its_type(reader: str) -> None:
    read, value, wrong_values = READERS[reader]
    fields = Fields({"a": value, "b": 1}, "outer")
    found = read(fields)
    assert (list(found) if isinstance(found, tuple) else found) == value
    assert fields.extra == {"b": 1}
    for wrong in wrong_values:
        with pytest.raises(FieldError) as caught:
            read(Fields({"a": wrong}, "outer"))
        assert caught.value.param == "outer.a"


def test_null_is_as_good_as_nothing() -> None:
    fields = Fields({"a": None}, "")
    assert not fields.has("a")
    assert (fields.value("a"), fields.optional_text("a"), fields.number("a"), fields.extra) == (None, None, None, {})
    assert fields.text("a", "default") == "default"
    with pytest.raises(FieldError, match="a: is missing"):
        fields.text("a")


def test_places_within_places() -> None:
    fields = Fields({"a": {"b": [{"c": 5}]}, "d": [1, "x"]}, "")
    (item,) = fields.object("a").objects("b", required=True)
    with pytest.raises(FieldError) as caught:
        item.text("c")
    assert caught.value.param == "a.b[0].c"
    with pytest.raises(FieldError) as caught:
        fields.integers("d")
    assert caught.value.param == "d[1]"
    with pytest.raises(FieldError) as caught:
        fields.objects("e", required=True)
    assert caught.value.param == "e"
    assert fields.objects("e", required=False) == []


def test_error_is_of_the_kind_that_was_asked_for() -> None:
    class OtherError(FieldError):
        pass

    fields = Fields.parse(b'{"a":{"b":5}}', OtherError)
    assert isinstance(fields.wrong("a", "no"), OtherError)
    with pytest.raises(OtherError):
        fields.object("a").text("b")
