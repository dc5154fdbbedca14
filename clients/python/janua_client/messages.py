"""Short ways to write the messages of a conversation."""

from janua.inference.v1.chat_pb2 import ContentPart, Message


def system(text: str) -> Message:
    """Instructions to the model."""
    return _message(Message.ROLE_SYSTEM, text)


def user(text: str) -> Message:
    """What the person says."""
    return _message(Message.ROLE_USER, text)


def assistant(text: str) -> Message:
    """What the model said before."""
    return _message(Message.ROLE_ASSISTANT, text)


def _message(role: Message.Role.ValueType, text: str) -> Message:
    return Message(role=role, content=[ContentPart(text=text)])
