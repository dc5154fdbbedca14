"""What a message holds that this version has no name for: fields and kinds that a newer one has written."""

from typing import Protocol, cast

from google.protobuf.message import Message


class _Discarding(Protocol):
    """What every message has, and its published types lack."""

    def DiscardUnknownFields(self) -> None: ...  # noqa: N802 (the name is protobuf's)


def discard_unknown_fields(message: Message) -> None:
    """Leaves in the message and all within it what has a name."""
    cast("_Discarding", message).DiscardUnknownFields()


def has_unknown_fields(message: Message) -> bool:
    """Whether anything in it, or in a message within it, would be lost in text."""
    known = type(message)()
    known.CopyFrom(message)
    discard_unknown_fields(known)
    return known.ByteSize() != message.ByteSize()
