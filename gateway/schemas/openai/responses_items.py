"""The items of a conversation in OpenAI's responses, to canonical messages and back.

Thoughts, calls and texts of the assistant are items of their own here; those that follow each other make one message.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from gateway.errors import InvalidRequestError
from gateway.schemas.json_fields import Fields
from gateway.schemas.openai.responses_parts import decode_content, encode_content
from gateway.schemas.openai.responses_reasoning import CallSignature, own_fields, read_thought, reasoning_item
from gateway.schemas.openai.responses_wire import NAME
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    ContentPart,
    FilePart,
    ImagePart,
    Message,
    OpaquePart,
    ReasoningPart,
    RefusalPart,
    Role,
    TextPart,
    ToolCall,
    ToolResult,
)


def decode_items(fields: Fields) -> list[Message]:
    """The messages in `input`. Raises `FieldError`, and `InvalidRequestError` for what only OpenAI has stored."""
    given = fields.value("input")
    if isinstance(given, str):
        return [Message(role=Role.USER, content=(TextPart(text=given),))]
    if not isinstance(given, list):
        raise fields.wrong("input", "a string or an array is needed")
    conversation = _Conversation()
    for index, item in enumerate(given):
        _decode_item(Fields(item, f"input[{index}]"), conversation)
    if not (messages := conversation.messages()):
        raise fields.wrong("input", "at least one item is needed")
    return messages


class _Conversation:
    """Messages as they grow."""

    def __init__(self) -> None:
        self._rows: list[tuple[Role, list[ContentPart]]] = []
        self._is_open = False
        self._signatures: dict[str, str] = {}

    def add_message(self, role: Role, parts: Sequence[ContentPart]) -> None:
        """A message that is whole."""
        self._is_open = False
        self._rows.append((role, list(parts)))

    def add_parts(self, role: Role, parts: Iterable[ContentPart]) -> None:
        """Parts that belong to what was said before by the same side, if it was."""
        if not self._is_open or self._rows[-1][0] is not role:
            self._rows.append((role, []))
            self._is_open = True
        self._rows[-1][1].extend(parts)

    def sign(self, call: CallSignature) -> None:
        """A signature that belongs to a call before or after it."""
        self._signatures[call.call_id] = call.signature

    def messages(self) -> list[Message]:
        """All of them."""
        if self._signatures:
            self._rows = [(role, [self._signed(part) for part in parts]) for role, parts in self._rows]
        return [Message(role=role, content=tuple(parts)) for role, parts in self._rows]

    def _signed(self, part: ContentPart) -> ContentPart:
        if isinstance(part, ToolCall) and part.id in self._signatures:
            return replace(part, signature=self._signatures[part.id])
        return part


def _decode_item(fields: Fields, conversation: _Conversation) -> None:
    kind = fields.optional_text("type") or ("message" if fields.has("role") else "item_reference")
    match kind:
        case "message":
            _decode_message(fields, conversation)
        case "function_call":
            call = ToolCall(id=fields.text("call_id"), name=fields.text("name"), arguments=fields.text("arguments", ""))
            conversation.add_parts(Role.ASSISTANT, (call,))
        case "function_call_output":
            conversation.add_parts(Role.TOOL, (_decode_result(fields),))
        case "reasoning":
            _decode_reasoning(fields, conversation)
        case "item_reference":
            raise InvalidRequestError(
                "a reference to what OpenAI has stored: the service of this route is another and cannot know it",
                reason="UNSUPPORTED_FIELD",
                param=fields.place,
            )
        case _:
            opaque = OpaquePart(dialect=NAME, value={"type": kind, **fields.extra})
            conversation.add_parts(Role.ASSISTANT, (opaque,))


def _decode_message(fields: Fields, conversation: _Conversation) -> None:
    role = fields.text("role")
    try:
        known = Role(role)
    except ValueError:
        known = Role.TOOL
    if known is Role.TOOL:
        raise fields.wrong("role", f"'{role}' is not a role; known: user, assistant, system, developer")
    content = decode_content(fields, "content")
    if known is Role.ASSISTANT:
        conversation.add_parts(known, content)
    else:
        conversation.add_message(known, content)


def _decode_result(fields: Fields) -> ToolResult:
    content: list[TextPart | ImagePart | FilePart] = []
    for part in decode_content(fields, "output"):
        if not isinstance(part, (TextPart, ImagePart, FilePart)):
            raise fields.wrong("output", "a result is text, pictures and files")
        content.append(part)
    return ToolResult(call_id=fields.text("call_id"), content=tuple(content), name=fields.optional_text("name"))


def _decode_reasoning(fields: Fields, conversation: _Conversation) -> None:
    summary = [part.text("text") for part in fields.objects("summary", required=False)]
    content = [part.text("text") for part in fields.objects("content", required=False)]
    thought = read_thought(
        fields.text("id", ""), fields.optional_text("encrypted_content"), "".join(content) or "\n\n".join(summary)
    )
    match thought:
        case CallSignature():
            conversation.sign(thought)
        case ReasoningPart():
            conversation.add_parts(Role.ASSISTANT, (thought,))


def encode_items(messages: Iterable[Message], unsupported: Unsupported) -> list[dict[str, Any]]:
    """The items that say the same."""
    return [item for message in messages for item in _message_items(message, unsupported)]


def _message_items(message: Message, unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    unsupported.message_details(message)
    run: list[ContentPart] = []
    for part in message.content:
        if isinstance(part, (TextPart, RefusalPart, ImagePart, AudioPart, FilePart)):
            run.append(part)
            continue
        yield from _run_items(message.role, run, unsupported)
        run = []
        yield from _item(part, unsupported)
    if run or not message.content:
        yield _message(message.role, run, unsupported)


def _run_items(role: Role, run: Sequence[ContentPart], unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    if run:
        yield _message(role, run, unsupported)


def _message(role: Role, parts: Sequence[ContentPart], unsupported: Unsupported) -> dict[str, Any]:
    content = encode_content(parts, unsupported, is_output=role is Role.ASSISTANT)
    return {"type": "message", "role": (Role.USER if role is Role.TOOL else role).value, "content": content}


def _item(
    part: ToolCall | ToolResult | ReasoningPart | OpaquePart, unsupported: Unsupported
) -> Iterator[dict[str, Any]]:
    match part:
        case ToolCall():
            yield {"type": "function_call", "call_id": part.id, "name": part.name, "arguments": part.arguments}
        case ToolResult():
            output = encode_content(part.content, unsupported)
            yield {"type": "function_call_output", "call_id": part.call_id, "output": output}
        case ReasoningPart():
            yield from _thought(part, unsupported)
        case OpaquePart() if part.dialect == NAME:
            yield dict(part.value)
        case OpaquePart():
            unsupported.content(part)


def _thought(part: ReasoningPart, unsupported: Unsupported) -> Iterator[dict[str, Any]]:
    """A thought that OpenAI signed as it was; of others the text alone, for their signatures are nothing to it."""
    if part.redacted is not None:
        unsupported.field("messages", "a thought that only another backend can read")
        return
    fields = own_fields(part.signature) if part.signature is not None else None
    if fields is not None or part.text:
        yield reasoning_item(part.text, fields or {})
