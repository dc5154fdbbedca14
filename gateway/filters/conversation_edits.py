"""Parameters and messages of a conversation, changed. Pure."""

from msgspec.structs import replace

from gateway.config.transform import Bounds, ConversationEditsConfig
from gateway.types import ChatRequest


def edited_conversation(request: ChatRequest, edits: ConversationEditsConfig) -> ChatRequest:
    """The conversation with its defaults, within its bounds, and with the messages around it."""
    changes = {name: value for name, value in edits.defaults.items() if getattr(request, name) is None}
    for name, bounds in edits.bounds:
        value = changes.get(name, getattr(request, name))
        if value is not None and (clamped := _clamped(value, bounds)) != value:
            changes[name] = clamped
    if edits.prepended or edits.appended:
        return replace(request, messages=(*edits.prepended, *request.messages, *edits.appended), **changes)
    return replace(request, **changes) if changes else request


def _clamped(value: int | float, bounds: Bounds) -> int | float:
    if bounds.min is not None and value < bounds.min:
        return bounds.min
    if bounds.max is not None and value > bounds.max:
        return bounds.max
    return value
