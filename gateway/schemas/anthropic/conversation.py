"""The messages of a conversation as Anthropic wants them: the system's apart, user and assistant in turns."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, assert_never

from gateway.schemas.anthropic.blocks import BlockWriter
from gateway.schemas.anthropic.parts import decode_parts
from gateway.schemas.anthropic.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.schemas.unsupported import Unsupported, nothing_said
from gateway.types import ChatRequest, Message, Role

_ROLES = (Role.USER, Role.ASSISTANT, Role.SYSTEM)


def decode_conversation(fields: Fields) -> tuple[Message, ...]:
    """The messages, the system's first. Raises `FieldError`."""
    system = decode_parts(fields, "system")
    messages = [_decode_message(message) for message in fields.objects("messages", required=True)]
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    return (Message(role=Role.SYSTEM, content=system), *messages) if system else tuple(messages)


def _decode_message(fields: Fields) -> Message:
    role = fields.text("role")
    if role not in _ROLES:
        raise fields.wrong("role", f"'{role}' is not a role; known: {', '.join(_ROLES)}")
    return Message(role=Role(role), content=decode_parts(fields, "content"))


@dataclass(frozen=True, slots=True)
class Conversation:
    """The fields of a request that hold the conversation."""

    system: str | list[dict[str, Any]] | None
    messages: list[dict[str, Any]]


def encode_conversation(request: ChatRequest, unsupported: Unsupported) -> Conversation:
    """Messages of one side that follow each other become one, results of calls first in it.

    What the system says later stays where it is only if it came in this dialect: not every model knows such messages,
    so others' is put with what it says first. Raises `InvalidRequestError` where nobody but the system speaks.
    """
    writer = BlockWriter(unsupported)
    system: list[dict[str, Any]] = []
    turns: list[tuple[str, list[dict[str, Any]]]] = []
    for message in request.messages:
        unsupported.message_details(message)
        side = _side(message.role)
        blocks = writer.blocks(message.content)
        if side == "system" and (request.dialect != NAME or not turns):
            system += blocks
        elif turns and turns[-1][0] == side:
            turns[-1][1].extend(blocks)
        elif blocks:
            turns.append((side, blocks))
    if not turns:
        raise nothing_said()
    messages = [{"role": side, "content": _content(_results_first(blocks))} for side, blocks in turns]
    return Conversation(_content(system) if system else None, messages)


def _results_first(blocks: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return sorted(blocks, key=lambda block: block["type"] != "tool_result") if len(blocks) > 1 else blocks


def _side(role: Role) -> str:
    match role:
        case Role.SYSTEM | Role.DEVELOPER:
            return "system"
        case Role.USER | Role.TOOL:
            return "user"
        case Role.ASSISTANT:
            return "assistant"
        case _:
            assert_never(role)


def _content(blocks: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """One plain text is written as a string."""
    only = blocks[0] if len(blocks) == 1 else {}
    if len(only) == 2 and only["type"] == "text":
        text: str = only["text"]
        return text
    return blocks


def begins_with_a_call(messages: Sequence[dict[str, Any]]) -> bool:
    """Whether the last answer has calls but does not begin with a thought.

    Models that think by a budget refuse to take up thinking after it.
    """
    for message in reversed(messages):
        if message["role"] == "assistant":
            content = message["content"]
            kinds = [] if isinstance(content, str) else [block["type"] for block in content]
            return "tool_use" in kinds and kinds[0] not in ("thinking", "redacted_thinking")
    return False
