"""What a dialect has no place for: refused by name, or left out where the service says so."""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any

from gateway.errors import InvalidRequestError
from gateway.types import FilePart, Message, OpaquePart, Role

# What a file has beside its `url` in other words, of which that has all the content.
_SAME_CONTENT = frozenset({"block", "bedrock_block", "source", "document_url", "file_data"})
_WITHOUT_EFFECT = ("auto", {"enabled": False})

# Values that ask for what is done anyway.
_DEFAULTS: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "store": (False,),
        "service_tier": ("auto", "default"),
        "modalities": (["text"],),
        "logit_bias": ({},),
        "additionalModelResponseFieldPaths": (["/stop_sequence"],),
    }
)

# What OpenAI's clients say of the cache of prompts: how it is to be kept, nothing of the answer.
_OF_CACHES = frozenset({"prompt_cache_key", "prompt_cache_options", "prompt_cache_retention"})

# What servers put beside an answer and clients send back with it; nothing is meant by it.
_NOTES = frozenset({"annotations", "provider_specific_fields"})


# What the dialects of clients call the conversation, where not `messages` as encoders do.
_CONVERSATIONS: Mapping[str, str] = MappingProxyType(
    {"openai_responses": "input", "openai_completions": "prompt", "gemini_generate_content": "contents"}
)


class UnsupportedByBackendError(InvalidRequestError):
    """The request can never succeed at this backend, without it having been asked; at another one it may."""

    default_reason = "UNSUPPORTED_FIELD"


def name_as_asked(error: InvalidRequestError, dialect: str) -> None:
    """Has an encoder's error name the conversation as the dialect of the caller does."""
    if error.param == "messages":
        error.param = _CONVERSATIONS.get(dialect, error.param)


def nothing_said() -> InvalidRequestError:
    """The error for a conversation of which nothing is left to send, to be raised."""
    return InvalidRequestError("at least one message of the user with something in it is needed", param="messages")


class Unsupported:
    """Takes note of each field that cannot be carried. With `drop` nothing happens, else the first is an error."""

    def __init__(self, target: str, *, drop: bool) -> None:
        self._target = target
        self._drop = drop

    def field(self, param: str, what: str = "") -> None:
        """A field that was given. Raises `UnsupportedByBackendError` that names it."""
        if not self._drop:
            text = what or f"{param} cannot be carried"
            raise UnsupportedByBackendError(
                f"{text}: the service of this route speaks {self._target}, which has nothing like it",
                param=param,
            )

    def own_field(self, name: str, value: object) -> None:
        """A field that only the caller's dialect has. Raises as `field` does, but for what asks for nothing else."""
        if name not in _OF_CACHES and value not in _DEFAULTS.get(name, ()):
            self.field(name)

    def content(self, part: OpaquePart) -> None:
        """What only the caller's dialect has. Raises as `field` does, and tells what it calls it."""
        kind = part.value.get("type")
        name = kind if isinstance(kind, str) else next(iter(part.value), "")
        self.field("messages", f"'{name}' in a message")

    def message_details(self, message: Message) -> None:
        """What is said of a message beside its parts: who speaks, and what only its dialect knows. Raises as `field`
        does."""
        if message.name is not None and message.role is not Role.TOOL:
            self.field("messages", "the name of who speaks")
        for name, value in (message.extra or {}).items():
            if says_something(value) and name not in _NOTES:
                self.field("messages", f"'{name}' of a message")

    def picture_detail(self, detail: str | None) -> None:
        """How closely a picture is to be looked at. Raises as `field` does."""
        if detail not in (None, "auto"):
            self.field("messages", "the detail of a picture")

    def file_details(self, file: FilePart, *, known: Collection[str] = ()) -> None:
        """What is said of a file beside those details. Raises as `field` does."""
        for name, value in (file.extra or {}).items():
            if name not in known and name not in _SAME_CONTENT and value not in _WITHOUT_EFFECT:
                self.field("messages", f"'{name}' of a file")


def says_something(value: object) -> bool:
    """Whether a field of that value says more than one that is not there."""
    return value is not False and value not in (None, "", [], {})  # zero equals False, and may be what is wanted
