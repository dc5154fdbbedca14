"""Reading Gemini's JSON: names in camelCase or, as protobuf's JSON allows, in snake_case; one object for an array of
one, and a text for an object that holds nothing else."""

from collections.abc import Callable
from typing import Any

from gateway.schemas.json_fields import Fields

# Nothing can be taken of it, nor is anything ever put into it.
_ABSENT = Fields({}, "")


def read_object(value: object, place: str) -> Fields:
    """An object whose names may be written either way. Raises `FieldError`."""
    if isinstance(value, dict) and "_" in "".join(value):
        value = {camel(name): each for name, each in value.items()}
    return Fields(value, place)


def camel(name: str) -> str:
    """The name in camelCase."""
    head, *tail = name.split("_")
    return head + "".join(part.capitalize() for part in tail) if tail and head else name


def read_inner(fields: Fields, name: str) -> Fields:
    """An object in a field; empty if it is not there."""
    value = fields.value(name)
    return _ABSENT if value is None else read_object(value, fields.place_of(name))


def read_items(fields: Fields, name: str, from_text: Callable[[str], Any] | None = None) -> list[Fields]:
    """The objects of an array, or the only one. `from_text` makes an object of a string, where one may stand."""
    value = read_array(fields, name)
    if not value:
        return []
    place = fields.place_of(name)
    if from_text is not None:
        value = [from_text(item) if isinstance(item, str) else item for item in value]
    return [read_object(item, f"{place}[{index}]") for index, item in enumerate(value)]


def read_array(fields: Fields, name: str) -> list[Any]:
    """What is in an array, or the only thing that stands for one; empty if it is not there."""
    value = fields.value(name)
    if isinstance(value, list):
        return value
    if value is None:
        return []
    if isinstance(value, (dict, str)):
        return [value]
    raise fields.wrong(name, "an array is needed")
