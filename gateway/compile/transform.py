"""`Transform` messages to values."""

from collections.abc import Mapping
from types import MappingProxyType

from janua.config.v1 import policy_pb2

from gateway.config.transform import (
    BodyEditsConfig,
    Bounds,
    ConversationEditsConfig,
    HeaderEditsConfig,
    JsonPath,
    TransformConfig,
)
from gateway.types import Message, Role, TextPart

_CANONICAL = {"max_tokens": "max_output_tokens"}
_WHOLE = frozenset({"max_tokens", "top_k", "n"})


def compile_transform(spec: policy_pb2.Transform) -> TransformConfig:
    """The value of a message that the rules found nothing wrong with."""
    return TransformConfig(
        request_headers=_headers(spec.request),
        request_body=_body(spec.request),
        conversation=_conversation(spec.request),
        answer_headers=_headers(spec.response),
        answer_body=_body(spec.response),
    )


def _headers(spec: policy_pb2.RequestTransform | policy_pb2.AnswerTransform) -> HeaderEditsConfig:
    return HeaderEditsConfig(
        set=tuple(sorted((name.lower(), text) for name, text in spec.set_headers.items())),
        removed=tuple(name.lower() for name in spec.remove_headers),
    )


def _body(spec: policy_pb2.RequestTransform | policy_pb2.AnswerTransform) -> BodyEditsConfig:
    return BodyEditsConfig(
        set=tuple(sorted((_path(path), text) for path, text in spec.set_body.items())),
        removed=tuple(_path(path) for path in spec.remove_body_fields),
        renamed=tuple(sorted((_path(source), _path(target)) for source, target in spec.rename_body_fields.items())),
    )


def _path(text: str) -> JsonPath:
    return tuple(text.split("."))


def _conversation(spec: policy_pb2.RequestTransform) -> ConversationEditsConfig:
    return ConversationEditsConfig(
        defaults=_numbers(spec.set_defaults),
        bounds=tuple(
            (_CANONICAL.get(field.name, field.name), _bounds(bounds, is_whole=field.name in _WHOLE))
            for field, bounds in spec.clamp.ListFields()
        ),
        prepended=tuple(_message(each) for each in spec.prepend_messages),
        appended=tuple(_message(each) for each in spec.append_messages),
    )


def _numbers(spec: policy_pb2.Parameters) -> Mapping[str, int | float]:
    return MappingProxyType({_CANONICAL.get(field.name, field.name): value for field, value in spec.ListFields()})


def _bounds(spec: policy_pb2.Bounds, *, is_whole: bool) -> Bounds:
    number = int if is_whole else float
    return Bounds(
        min=number(spec.min) if spec.HasField("min") else None, max=number(spec.max) if spec.HasField("max") else None
    )


def _message(spec: policy_pb2.PromptMessage) -> Message:
    return Message(role=Role(spec.role), content=(TextPart(text=spec.content),))
