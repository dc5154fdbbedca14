"""Parameters and messages of a conversation, changed. Pure."""

from typing import Final

from msgspec.structs import replace

from gateway.config.transform import Bounds, ConversationEditsConfig
from gateway.schemas.field_names import is_limit
from gateway.types import ChatRequest

_LIMIT: Final = "max_output_tokens"


def edited_conversation(request: ChatRequest, edits: ConversationEditsConfig) -> ChatRequest:
    """The conversation with its defaults, within its bounds, and with the messages around it."""
    if request.extra and any(name == _LIMIT for name, _ in edits.bounds):
        request = _with_one_limit(request)
    changes = {name: value for name, value in edits.defaults.items() if getattr(request, name) is None}
    for name, bounds in edits.bounds:
        value = changes.get(name, getattr(request, name))
        # Who sets no limit of tokens asks for all there is, and to many servers 0 and less are none.
        if name == _LIMIT and bounds.max is not None and (value is None or value < 1):
            changes[name] = bounds.max
        elif value is not None and (clamped := _clamped(value, bounds)) != value:
            changes[name] = clamped
    if edits.prepended or edits.appended:
        return replace(request, messages=(*edits.prepended, *request.messages, *edits.appended), **changes)
    return replace(request, **changes) if changes else request


def _with_one_limit(request: ChatRequest) -> ChatRequest:
    """The conversation without other words for the limit of tokens; they count where it has none of its own."""
    extra = dict(request.extra or {})
    others = [extra.pop(name) for name in list(extra) if is_limit(name)]
    if not others:
        return request
    limit = request.max_output_tokens
    if limit is None:
        limit = next((value for value in others if type(value) is int), None)
    return replace(request, max_output_tokens=limit, extra=extra or None)


def _clamped(value: int | float, bounds: Bounds) -> int | float:
    if bounds.min is not None and value < bounds.min:
        return bounds.min
    if bounds.max is not None and value > bounds.max:
        return bounds.max
    return value
