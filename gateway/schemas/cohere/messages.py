"""The messages of Cohere's requests, and the documents beside them: to canonical and back."""

from collections.abc import Iterator, Sequence
from typing import Any, assert_never

from msgspec.structs import replace

from gateway.schemas.cohere.citations import decode_citations, encode_citations, is_own
from gateway.schemas.cohere.documents import decode_document, encode_document
from gateway.schemas.cohere.wire import NAME
from gateway.schemas.json_fields import Fields
from gateway.schemas.openai.chat_request import read_image
from gateway.schemas.unsupported import Unsupported
from gateway.types import (
    AudioPart,
    Citation,
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

# Models cite every document that they use.
_ALWAYS = ("citations",)

_ROLES = {role.value: role for role in (Role.SYSTEM, Role.USER, Role.ASSISTANT, Role.TOOL)}


def decode_messages(fields: Fields) -> tuple[Message, ...]:
    """The messages; the documents, which are of the whole request here, begin what the user said last."""
    messages = [_decode_message(message) for message in fields.objects("messages", required=True)]
    if not messages:
        raise fields.wrong("messages", "at least one message is needed")
    place = fields.place_of("documents")
    given = enumerate(fields.array("documents", required=False))
    documents = tuple(decode_document(document, f"{place}[{index}]") for index, document in given)
    if documents:
        last = max((index for index, message in enumerate(messages) if message.role is Role.USER), default=None)
        if last is None:
            messages.append(Message(role=Role.USER, content=documents))
        else:
            messages[last] = replace(messages[last], content=(*documents, *messages[last].content))
    return tuple(messages)


def _decode_message(fields: Fields) -> Message:
    role = _ROLES.get(written := fields.text("role"))
    match role:
        case None:
            raise fields.wrong("role", f"'{written}' is not a role; known: {', '.join(_ROLES)}")
        case Role.TOOL:
            return Message(role=role, content=(_decode_result(fields),))
        case Role.ASSISTANT:
            return Message(role=role, content=_decode_answer(fields))
        case _:
            return Message(role=role, content=tuple(_decode_content(fields)))


def _decode_answer(fields: Fields) -> tuple[ContentPart, ...]:
    parts = _with_citations(list(_decode_content(fields)), fields.objects("citations", required=False))
    if plan := fields.optional_text("tool_plan"):
        parts.append(ReasoningPart(text=plan))
    return (*parts, *(_decode_call(call) for call in fields.objects("tool_calls", required=False)))


def _with_citations(parts: list[ContentPart], citations: Sequence[Fields]) -> list[ContentPart]:
    """The parts, each text with its sources: the one that a citation names, or the first."""
    texts = [index for index, part in enumerate(parts) if isinstance(part, TextPart)]
    found: dict[int, list[Citation]] = {}
    for citation in citations if texts else ():
        value = citation.extra
        named = value.get("content_index")
        found.setdefault(named if named in texts else texts[0], []).extend(decode_citations(value))
    for index, sources in found.items():
        part = parts[index]
        assert isinstance(part, TextPart)
        parts[index] = replace(part, citations=tuple(sources))
    return parts


def _decode_content(fields: Fields) -> Iterator[ContentPart]:
    content = fields.value("content")
    if isinstance(content, str):
        if content:
            yield TextPart(text=content)
    elif isinstance(content, list):
        place = fields.place_of("content")
        for index, block in enumerate(content):
            yield _decode_block(block, f"{place}[{index}]")
    elif content is not None:
        raise fields.wrong("content", "a string or an array is needed")


def _decode_block(block: Any, place: str) -> ContentPart:
    fields = Fields(block, place)
    match fields.text("type"):
        case "text":
            return TextPart(text=fields.text("text"))
        case "image_url":
            inner = read_image(fields)
            return ImagePart(url=inner.address("url"), detail=inner.optional_text("detail"))
        case "thinking":
            redacted = fields.optional_text("redacted")
            text = "" if redacted is not None else fields.text("thinking", "")
            return ReasoningPart(text=text, signature=fields.optional_text("signature"), redacted=redacted)
        case "document":
            return decode_document(fields.value("document"), fields.place_of("document"))
        case _:
            return OpaquePart(dialect=NAME, value=block)


def _decode_call(fields: Fields) -> ToolCall:
    function = fields.object("function")
    return ToolCall(
        id=fields.text("id", ""),
        name=function.text("name"),
        arguments=function.text("arguments", ""),
        signature=fields.optional_text("signature"),
    )


def _decode_result(fields: Fields) -> ToolResult:
    """What a function gave; a document of an error alone says that it failed."""
    call_id = fields.text("tool_call_id")
    match fields.value("content"):
        case [{"type": "document", "document": {"data": {"error": str(text), **rest}}}] if not rest:
            return ToolResult(call_id=call_id, content=(TextPart(text=text),), is_error=True)
        case content:
            held = Fields({"content": content}, fields.place)
    parts = []
    for part in _decode_content(held):
        if not isinstance(part, TextPart | FilePart):
            raise fields.wrong("content", "a result is text and documents")
        parts.append(part)
    return ToolResult(call_id=call_id, content=tuple(parts))


def encode_messages(
    messages: Sequence[Message], unsupported: Unsupported
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The messages, results of functions each in one of its own, and the documents, which are the whole request's."""
    writer = _Writer(unsupported)
    return [each for message in messages for each in writer.messages(message)], writer.documents


class _Writer:
    """Writes the messages of one request."""

    def __init__(self, unsupported: Unsupported) -> None:
        self._unsupported = unsupported
        self.documents: list[dict[str, Any]] = []

    def messages(self, message: Message) -> Iterator[dict[str, Any]]:
        self._unsupported.message_details(message)
        rest: list[ContentPart] = []
        for part in message.content:
            if isinstance(part, ToolResult):
                yield {"role": "tool", "tool_call_id": part.call_id, "content": self._result(part)}
            else:
                rest.append(part)
        if rest or not message.content:
            yield self._message(message.role, rest)

    def _message(self, role: Role, parts: Sequence[ContentPart]) -> dict[str, Any]:
        fields: dict[str, Any] = {"role": Role.SYSTEM if role is Role.DEVELOPER else role}
        if len(parts) == 1 and isinstance(only := parts[0], TextPart) and not only.citations:
            fields["content"] = only.text  # most are this, and it saves looking for all else
            return fields
        calls = [_call(part) for part in parts if isinstance(part, ToolCall)]
        said = [part for part in parts if not isinstance(part, ToolCall)]
        plan = _plan(said) if calls else None
        content = [block for part in (said if plan is None else said[:-1]) if (block := self._block(part)) is not None]
        match content:
            case [{"type": "text", "text": str(text)}]:
                fields["content"] = text
            case [_, *_]:
                fields["content"] = content
            case _ if not calls:
                fields["content"] = ""
        if plan is not None:
            fields["tool_plan"] = plan
        if calls:
            fields["tool_calls"] = calls
        if citations := encode_citations(_own_citations(said)):
            fields["citations"] = citations
        return fields

    def _block(self, part: ContentPart) -> dict[str, Any] | None:
        match part:
            case TextPart(text=text) | RefusalPart(text=text):
                return {"type": "text", "text": text}
            case ImagePart(url=url, detail=detail):
                image = {"url": url, "detail": detail}
                return {"type": "image_url", "image_url": {"url": url} if detail is None else image}
            case FilePart():
                self._add_document(part)
            case ReasoningPart(redacted=None, text=text):
                return {"type": "thinking", "thinking": text} if text else None  # signatures are of other backends
            case ReasoningPart():
                self._unsupported.field("messages", "a thought that only another backend can read")
            case AudioPart():
                self._unsupported.field("messages", "sound")
            case OpaquePart():
                if part.dialect == NAME:
                    return dict(part.value)
                self._unsupported.content(part)
            case ToolCall() | ToolResult():
                raise AssertionError("these have fields and messages of their own")
            case _:
                assert_never(part)
        return None

    def _add_document(self, file: FilePart) -> None:
        self._unsupported.file_details(file, known=_ALWAYS)
        document = encode_document(file)
        if document is None:
            self._unsupported.field("messages", "a file that is no text, or is not in the request")
        else:
            self.documents.append(document)

    def _result(self, result: ToolResult) -> str | list[dict[str, Any]]:
        texts = [part.text for part in result.content if isinstance(part, TextPart)]
        if result.is_error:
            error = {"data": {"error": "".join(texts)}}
            return [{"type": "document", "document": error}]
        if len(texts) == len(result.content) <= 1:
            return "".join(texts)
        return [block for part in result.content if (block := self._result_block(part)) is not None]

    def _result_block(self, part: TextPart | ImagePart | FilePart) -> dict[str, Any] | None:
        match part:
            case TextPart(text=text):
                return {"type": "text", "text": text}
            case FilePart() if (document := encode_document(part)) is not None:
                self._unsupported.file_details(part, known=_ALWAYS)
                return {"type": "document", "document": document}
            case _:
                self._unsupported.field("messages", "pictures and files that are no text in the result of a tool")
                return None


def _plan(said: Sequence[ContentPart]) -> str | None:
    """The thought right before the calls."""
    match said:
        case [*_, ReasoningPart(redacted=None, text=str(text))] if text:
            return text
        case _:
            return None


def _own_citations(parts: Sequence[ContentPart]) -> Iterator[Citation]:
    for part in parts:
        if isinstance(part, TextPart):
            yield from filter(is_own, part.citations)


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments or "{}"}
    # Calls of clients that know no ids are answered by the name of the function.
    return {"id": call.id or call.name, "type": "function", "function": function}
