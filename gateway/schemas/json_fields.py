"""Reading the fields of a JSON object one by one, with their types and places; what nobody took is left as `extra`."""

from typing import Any

import msgspec

from gateway.schemas.data_urls import is_base64, is_readable
from gateway.schemas.openai.fields import UNREADABLE


class FieldError(ValueError):
    """JSON that is not as it must be. `param` is the place, such as `messages[0].role`; empty for the whole."""

    def __init__(self, message: str, param: str = "") -> None:
        super().__init__(f"{param}: {message}" if param else message)
        self.message = message
        self.param = param


class Fields:
    """A JSON object being read. `null` is as good as a field that is not there: clients and servers write both.

    `error` is what is raised for a field that is missing or of another type. What reads a field checks its type in
    place: a request has dozens of fields, and each call between would cost more than the check.
    """

    __slots__ = ("_error", "_left", "place")

    def __init__(self, value: object, place: str, error: type[FieldError] = FieldError) -> None:
        if not isinstance(value, dict):
            raise error("a JSON object is needed", place)
        self.place = place
        self._error = error
        self._left: dict[str, Any] = value.copy()

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
        left = self._left
        return {name: value for name, value in left.items() if value is not None} if left else {}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left to take, not even `null`."""
        return not self._left

    def place_of(self, name: str) -> str:
        """Where a field is."""
        return f"{self.place}.{name}" if self.place else name

    def wrong(self, name: str, message: str) -> FieldError:
        """The error for a field whose value makes no sense, to be raised."""
        return self._error(message, self.place_of(name))

    def has(self, name: str) -> bool:
        """Whether a field is there and has not been taken."""
        return self._left.get(name) is not None

    def value(self, name: str) -> Any:
        """A field of any type, or None if it is not there."""
        return self._left.pop(name, None)

    def text(self, name: str, default: str | None = None) -> str:
        """A string; without a default it must be there."""
        value = self._left.pop(name, None)
        if isinstance(value, str):
            return value
        if value is None and default is not None:
            return default
        raise self._unfit(name, value, "a string")

    def optional_text(self, name: str) -> str | None:
        """A string, or None if it is not there."""
        value = self._left.pop(name, None)
        if value is None or isinstance(value, str):
            return value
        raise self._unfit(name, value, "a string")

    def base64(self, name: str) -> str:
        """Data in base64, which must be there."""
        data = self.text(name)
        if not is_base64(data):
            raise self.wrong(name, "data in base64 is needed")
        return data

    def address(self, name: str) -> str:
        """The address of a picture or a file, which must be there; one that holds it must hold base64."""
        url = self.text(name)
        if not is_readable(url):
            raise self.wrong(name, "what follows ';base64,' must be base64")
        return url

    def truth(self, name: str) -> bool | None:
        """True or false, or None if it is not there."""
        value = self._left.pop(name, None)
        if value is None or isinstance(value, bool):
            return value
        raise self._unfit(name, value, "true or false")

    def integer(self, name: str) -> int | None:
        """A whole number, or None if it is not there."""
        value: int | None = self._left.pop(name, None)
        if value is None or _is_integer(value):
            return value
        raise self._unfit(name, value, "an integer")

    def number(self, name: str) -> float | None:
        """A number, or None if it is not there."""
        value: float | None = self._left.pop(name, None)
        if value is None or isinstance(value, float) or _is_integer(value):
            return value
        raise self._unfit(name, value, "a number")

    def array(self, name: str, *, required: bool = True) -> list[Any]:
        """An array; empty if it is not there and need not be."""
        value = self._left.pop(name, None)
        if isinstance(value, list):
            return value
        if value is None and not required:
            return []
        raise self._unfit(name, value, "an array")

    def strings(self, name: str) -> tuple[str, ...]:
        """An array of strings; empty if it is not there."""
        items = self.array(name, required=False)
        for index, item in enumerate(items):
            if not isinstance(item, str):
                raise self._error("a string is needed", f"{self.place_of(name)}[{index}]")
        return tuple(items)

    def integers(self, name: str) -> tuple[int, ...]:
        """An array of whole numbers that must be there."""
        items = self.array(name)
        for index, item in enumerate(items):
            if not _is_integer(item):
                raise self._error("an integer is needed", f"{self.place_of(name)}[{index}]")
        return tuple(items)

    def object(self, name: str) -> "Fields":
        """An object whose fields are read in turn; empty if it is not there."""
        value = self._left.pop(name, None)
        if value is None or isinstance(value, dict):
            return Fields(value or {}, self.place_of(name), self._error)
        raise self._unfit(name, value, "an object")

    def mapping(self, name: str) -> dict[str, Any] | None:
        """An object that is carried as it is, such as a schema, with what is `null` in it; None if it is not there."""
        value = self._left.pop(name, None)
        if value is None or isinstance(value, dict):
            return value
        raise self._unfit(name, value, "an object")

    def objects(self, name: str, *, required: bool) -> list["Fields"]:
        """An array of objects; empty if it is not there and need not be."""
        array = self.array(name, required=required)
        if not array:
            return []
        place = self.place_of(name)
        return [Fields(item, f"{place}[{index}]", self._error) for index, item in enumerate(array)]

    def _unfit(self, name: str, value: Any, kind: str) -> FieldError:
        """The error for a field that is missing or of another type, to be raised."""
        return self._error("is missing" if value is None else f"{kind} is needed", self.place_of(name))


def _is_integer(value: object) -> bool:
    # In Python, not in JSON, true is an integer.
    return isinstance(value, int) and not isinstance(value, bool)
