"""Changes to requests and answers: the `transform` policy."""

import re
from typing import Any

import msgspec

from gateway.config.transform import BodyEditsConfig, HeaderEditsConfig, JsonPath, TransformConfig
from gateway.context import RequestContext
from gateway.edits import AnswerEdits, HeaderEdits, JsonEdit, header_edits
from gateway.errors import InvalidRequestError
from gateway.filters import json_paths
from gateway.filters.conversation_edits import edited_conversation
from gateway.filters.expressions import Expression, ExpressionFailedError, request_values
from gateway.filters.phases import AnswerEditor, R, RequestEditor
from gateway.types import ChatRequest, Operation

# Over gRPC, metadata is that alone; over HTTP, more would be read differently by different servers.
_TEXT = re.compile(r"[\x20-\x7e]*")

_WITH_BODIES = frozenset({Operation.CHAT, Operation.EMBEDDINGS, Operation.RERANK, Operation.COUNT_TOKENS})


class Transform(RequestEditor, AnswerEditor):
    """Makes the changes of one policy. What expressions say of a request is found out once for each side."""

    def __init__(self, name: str, config: TransformConfig) -> None:
        self._name = name
        self._conversation = config.conversation
        self.changes_demand = config.conversation.changes_output
        self._request_headers = _HeaderTemplate(name, config.request_headers)
        self._request_body = _BodyTemplate(name, config.request_body)
        self._answer_headers = _HeaderTemplate(name, config.answer_headers)
        self._answer_body = _BodyTemplate(name, config.answer_body)

    def foreseen(self, said: ChatRequest) -> ChatRequest:
        """The conversation with its parameters and messages changed."""
        return edited_conversation(said, self._conversation)

    async def edit_request(self, context: RequestContext, request: R) -> R:
        """The request, changed. Raises `InvalidRequestError`."""
        if (headers := self._request_headers.edits(context)) is not None:
            before = context.header_edits
            context.header_edits = headers if before is None else before.then(headers)
        if context.operation not in _WITH_BODIES:
            return request
        if (edit := self._request_body.edit(context)) is not None:
            request = request.with_json(edit, stream=context.is_streaming)
        if not self._conversation.is_empty and isinstance(said := request.canonical(), ChatRequest):
            request = request.with_canonical(edited_conversation(said, self._conversation))
        return request

    def request_shape(self, context: RequestContext) -> bytes:
        """The values of the expressions. Raises `InvalidRequestError`."""
        return _shape(context, self._request_headers, self._request_body)

    def answer_shape(self, context: RequestContext) -> bytes:
        """The values of the expressions. Raises `InvalidRequestError`."""
        return _shape(context, self._answer_headers, self._answer_body)

    def edit_answer(self, context: RequestContext) -> AnswerEdits:
        """What is to be changed of the answer. Raises `InvalidRequestError`."""
        headers = self._answer_headers.edits(context) or HeaderEdits()
        edit = self._answer_body.edit(context) if context.operation in _WITH_BODIES else None
        if edit is None:
            return AnswerEdits(headers=headers)
        if context.protocol == "grpc":
            text = f"policy {self._name} changes fields of JSON, which a typed answer has not: ask over HTTP"
            raise InvalidRequestError(text, reason="UNSUPPORTED_BY_POLICY")
        return AnswerEdits(headers=headers, json=(edit,))


class _HeaderTemplate:
    """Headers as they are configured."""

    def __init__(self, policy: str, config: HeaderEditsConfig) -> None:
        self._policy = policy
        self._removed = tuple(name.encode() for name in config.removed)
        self._set = tuple((name, Expression(text)) for name, text in config.set)
        self._fixed = HeaderEdits(frozenset(self._removed)) if self._removed and not self._set else None

    def edits(self, context: RequestContext) -> HeaderEdits | None:
        """What they are for one request; None for nothing."""
        if not self._set:
            return self._fixed
        return header_edits(self._removed, self.added(request_values(context)))

    @property
    def has_expressions(self) -> bool:
        """Whether they depend on the request."""
        return bool(self._set)

    def added(self, values: dict[str, Any]) -> list[tuple[bytes, bytes]]:
        """The headers that are set for a request of which expressions can say this."""
        texts = ((name, self._text(name, expression, values)) for name, expression in self._set)
        return [(name.encode(), text.encode()) for name, text in texts if text is not None]

    def _text(self, name: str, expression: Expression, values: dict[str, Any]) -> str | None:
        match _value(self._policy, f"header {name}", expression, values):
            case None:
                return None
            case bool() as truth:
                return "true" if truth else "false"
            case int() | float() as number:
                return str(number)
            case str() as text if _TEXT.fullmatch(text):
                return text.strip()
            case _:
                raise _failed(self._policy, f"header {name}")


class _BodyTemplate:
    """Changes to a JSON object as they are configured."""

    def __init__(self, policy: str, config: BodyEditsConfig) -> None:
        self._policy = policy
        self._config = config
        self._set = tuple((path, Expression(text)) for path, text in config.set)

    def edit(self, context: RequestContext) -> JsonEdit | None:
        """What they are for one request; None for nothing."""
        config = self._config
        if config.is_empty:
            return None
        fields = self.fields(request_values(context)) if self._set else []

        def edit(body: dict[str, Any]) -> None:
            for path, text in fields:
                json_paths.put(body, path, msgspec.json.decode(text))
            for path in config.removed:
                json_paths.remove(body, path)
            for source, target in config.renamed:
                json_paths.move(body, source, target)

        return edit

    @property
    def has_expressions(self) -> bool:
        """Whether they depend on the request."""
        return bool(self._set)

    def fields(self, values: dict[str, Any]) -> list[tuple[JsonPath, bytes]]:
        """The fields that are set, with their JSON, for a request of which expressions can say this."""
        return [(path, self._json(path, expression, values)) for path, expression in self._set]

    def _json(self, path: JsonPath, expression: Expression, values: dict[str, Any]) -> bytes:
        """As text, so that each object that it is put into has its own."""
        place = f"field {'.'.join(path)}"
        try:
            return msgspec.json.encode(_value(self._policy, place, expression, values))
        except (TypeError, ValueError, OverflowError):
            raise _failed(self._policy, place) from None


def _shape(context: RequestContext, headers: _HeaderTemplate, body: _BodyTemplate) -> bytes:
    if not headers.has_expressions and not body.has_expressions:
        return b""
    values = request_values(context)
    return msgspec.msgpack.encode((headers.added(values), body.fields(values)))


def _value(policy: str, place: str, expression: Expression, values: dict[str, Any]) -> Any:
    try:
        return expression.evaluate(values)
    except ExpressionFailedError:
        raise _failed(policy, place) from None


def _failed(policy: str, place: str) -> InvalidRequestError:
    """What the expression says is not told: it may speak of what the caller has no business with."""
    text = f"policy {policy} has no value for {place} of this request"
    return InvalidRequestError(text, reason="TRANSFORM_FAILED")
