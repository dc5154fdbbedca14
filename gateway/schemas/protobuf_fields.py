"""The top level of a protobuf message, for messages that are passed on and of which only a few texts matter. Pure.

https://protobuf.dev/programming-guides/encoding. The cost grows with the number of fields on the top level, not with
their size: tensors are stepped over.
"""

from collections.abc import Collection

# Wire types.
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_BYTES = {1: 8, 5: 4}

_MAX_VARINT_BYTES = 10


def read_texts(message: bytes, numbers: Collection[int]) -> dict[int, str]:
    """The texts in the fields of these numbers, the last where one occurs twice; those that are not there are left out.

    Raises `ValueError` unless all fields on the top level are whole and these texts are UTF-8.
    """
    texts: dict[int, str] = {}
    at = 0
    while at < len(message):
        tag, at = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        start, at = _step_over(message, at, kind)
        if number == 0 or at > len(message):
            raise ValueError("a field has no number" if number == 0 else "it ends within a field")
        if kind == _LENGTH_DELIMITED and number in numbers:
            texts[number] = message[start:at].decode()
    return texts


def _step_over(message: bytes, at: int, kind: int) -> tuple[int, int]:
    """Where the content of a field begins and where it ends, which may be beyond the message."""
    if kind == _VARINT:
        return at, _read_varint(message, at)[1]
    if kind == _LENGTH_DELIMITED:
        length, start = _read_varint(message, at)
        return start, start + length
    if kind in _FIXED_BYTES:
        return at, at + _FIXED_BYTES[kind]
    raise ValueError(f"there is no wire type {kind}")


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    value = 0
    for index, byte in enumerate(message[at : at + _MAX_VARINT_BYTES]):
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, at + index + 1
    raise ValueError("it ends within a number" if len(message) - at < _MAX_VARINT_BYTES else "a number is too long")
