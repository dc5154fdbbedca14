"""Reading the fields of a JSON object one by one, with their types and places; what nobody took is left as `extra`."""

from typing import Any, TypeVar

import msgspec

from gateway.schemas.openai.fields import UNREADABLE

_T = TypeVar("_T")
_TYPE_NAMES = {str: "a string", list: "an array", dict: "an object", bool: "true or false", int: "an integer"}


class FieldError(ValueError):
    """JSON that is not as it must be. `param` is the place, such as `messages[0].role`; empty for the whole."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.message = message
        self.param = param


class Fields:
    """A JSON object being read. `null` is as good as a field that is not there: clients and servers write both.

    `error` is what is raised for a field that is missing or of another type.
    """

    def __init__(self, value: object, place: str, error: type[FieldError] = FieldError) -> None:
        if not isinstance(value, dict):
            raise error("a JSON object is needed", place)
        self.place = place
        self._error = error
        left: dict[str, Any] = value.copy()
        if None in left.values():
            left = {name: item for name, item in left.items() if item is not None}
        self._left = left

    @classmethod
    def parse(cls, data: bytes, error: type[FieldError] = FieldError) -> "Fields":
        """The object in a JSON text. Raises `error`."""
        try:
            value = msgspec.json.decode(data)
        except UNREADABLE as fault:
            raise error(f"the body is not valid JSON: {fault}") from None
        return cls(value, "", error)

    @property
    def extra(self) -> dict[str, Any]:
        """What has not been taken."""
        return dict(self._left)

    def place_of(self, name: str) -> str:
        """Where a field is."""
        return f"{self.place}.{name}" if self.place else name

    def wrong(self, name: str, message: str) -> FieldError:
        """The error for a field whose value makes no sense, to be raised."""
        return self._error(message, self.place_of(name))

    def has(self, name: str) -> bool:
        """Whether a field is there and has not been taken."""
        return name in self._left

    def value(self, name: str) -> Any:
        """A field of any type, or None if it is not there."""
        return self._left.pop(name, None)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        return self._take(name, str, default)

    def optional_text(self, name: str) -> str | None:
        """A string, or None if it is not there."""
        return self._take(name, str, None) if self.has(name) else None

    def truth(self, name: str) -> bool | None:
        """True or false, or None if it is not there."""
        return self._take(name, bool, None) if self.has(name) else None

    def integer(self, name: str) -> int | None:
        """A whole number, or None if it is not there."""
        return self._take(name, int, None) if self.has(name) else None

    def number(self, name: str) -> float | None:
        """A number, or None if it is not there."""
        value = self._left.pop(name, None)
        if value is not None and (isinstance(value, bool) or not isinstance(value, (int, float))):
            raise self._error("a number is needed", self.place_of(name))
        return value

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
        return Fields(self._take(name, dict, {}), self.place_of(name), self._error)

    def objects(self, name: str, *, required: bool) -> list["Fields"]:
        """An array of objects; empty if it is not there and need not be."""
        array = self.array(name, required=required)
        place = self.place_of(name)
        return [Fields(item, f"{place}[{index}]", self._error) for index, item in enumerate(array)]

    def _items(self, name: str, kind: type[_T], *, required: bool) -> list[_T]:
        items = self.array(name, required=required)
        for index, item in enumerate(items):
            if not _is_of(item, kind):
                raise self._error(f"{_TYPE_NAMES[kind]} is needed", f"{self.place_of(name)}[{index}]")
        return items

    def _take(self, name: str, kind: type[_T], default: _T | None) -> _T:
        value = self._left.pop(name, default)
        if value is None:
            raise self._error("is missing", self.place_of(name))
        if not _is_of(value, kind):
            raise self._error(f"{_TYPE_NAMES[kind]} is needed", self.place_of(name))
        checked: _T = value
        return checked


def _is_of(value: object, kind: type[Any]) -> bool:
    # In Python, not in JSON, true is an integer.
    return isinstance(value, kind) and not (kind is int and isinstance(value, bool))
