"""Reading the fields of a JSON object one by one, with their types and places; what nobody took is left as `extra`."""

from typing import Any, TypeVar

import msgspec

from gateway.schemas.open_inference import MalformedTensorError
from gateway.schemas.openai_fields import UNREADABLE

_T = TypeVar("_T")
_TYPE_NAMES = {str: "a string", list: "an array", dict: "an object", bool: "true or false", int: "an integer"}


class Fields:
    """A JSON object being read. `null` is as good as a field that is not there: servers write both."""

    def __init__(self, value: object, place: str) -> None:
        if not isinstance(value, dict):
            raise MalformedTensorError("a JSON object is needed", place)
        self.place = place
        self._left: dict[str, Any] = {name: item for name, item in value.items() if item is not None}

    @classmethod
    def parse(cls, data: bytes) -> "Fields":
        """The object in a JSON text. Raises `MalformedTensorError`."""
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE as error:
            raise MalformedTensorError(f"the body is not valid JSON: {error}") from None
        return cls(value, "")

    @property
    def extra(self) -> dict[str, Any]:
        """What has not been taken."""
        return dict(self._left)

    def place_of(self, name: str) -> str:
        """Where a field is."""
        return f"{self.place}.{name}" if self.place else name

    def has(self, name: str) -> bool:
        """Whether a field is there and has not been taken."""
        return name in self._left

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        return self._take(name, str, default)

    def truth(self, name: str) -> bool | None:
        """True or false, or None if it is not there."""
        return self._take(name, bool, None) if self.has(name) else None

    def integer(self, name: str) -> int | None:
        """A whole number, or None if it is not there."""
        return self._take(name, int, None) if self.has(name) else None

    def array(self, name: str, *, required: bool = True) -> list[Any]:
        """An array; empty if it is not there and need not be."""
        return self._take(name, list, None if required else [])

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty if it is not there."""
        return tuple(self._items(name, str, required=False))

    def integers(self, name: str) -> tuple[int, ...]:
        """An array of whole numbers that must be there."""
        return tuple(self._items(name, int, required=True))

    def object(self, name: str) -> "Fields":
        """An object; empty if it is not there."""
        return Fields(self._take(name, dict, {}), self.place_of(name))

    def objects(self, name: str, *, required: bool) -> list["Fields"]:
        """An array of objects; empty if it is not there and need not be."""
        array = self.array(name, required=required)
        return [Fields(item, f"{self.place_of(name)}[{index}]") for index, item in enumerate(array)]

    def _items(self, name: str, kind: type[_T], *, required: bool) -> list[_T]:
        items = self.array(name, required=required)
        for index, item in enumerate(items):
            _check_type(item, kind, f"{self.place_of(name)}[{index}]")
        return items

    def _take(self, name: str, kind: type[_T], default: _T | None) -> _T:
        value = self._left.pop(name, default)
        if value is None:
            raise MalformedTensorError("is missing", self.place_of(name))
        _check_type(value, kind, self.place_of(name))
        checked: _T = value
        return checked


def _check_type(value: object, kind: type[Any], place: str) -> None:
    # In Python, not in JSON, true is an integer.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise MalformedTensorError(f"{_TYPE_NAMES[kind]} is needed", place)
