"""The `transform` policy as frozen values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeAlias

from gateway.types import Message

JsonPath: TypeAlias = tuple[str, ...]

_OF_OUTPUT = frozenset({"max_output_tokens", "n"})
_NO_NUMBERS: Mapping[str, int | float] = MappingProxyType({})


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyEditsConfig:
    """Changes to a JSON object, by path. Values are CEL expressions."""

    set: tuple[tuple[JsonPath, str], ...] = ()
    removed: tuple[JsonPath, ...] = ()
    renamed: tuple[tuple[JsonPath, JsonPath], ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.set or self.removed or self.renamed)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeaderEditsConfig:
    """Headers by name, in lower case; values are CEL expressions."""

    set: tuple[tuple[str, str], ...] = ()
    removed: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.set or self.removed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """The least and the most that a number may be; None is no bound."""

    min: int | float | None = None
    max: int | float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationEditsConfig:
    """Changes to a conversation. Parameters go by the names that `ChatRequest` has for them."""

    defaults: Mapping[str, int | float] = field(default_factory=lambda: _NO_NUMBERS)
    bounds: tuple[tuple[str, Bounds], ...] = ()
    prepended: tuple[Message, ...] = ()
    appended: tuple[Message, ...] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing is changed."""
        return not (self.defaults or self.bounds or self.prepended or self.appended)

    @property
    def changes_output(self) -> bool:
        """Whether it says how much may be answered."""
        return not _OF_OUTPUT.isdisjoint((*self.defaults, *(name for name, _ in self.bounds)))


@dataclass(frozen=True, slots=True, kw_only=True)
class TransformConfig:
    """What is changed of requests and of answers."""

    request_headers: HeaderEditsConfig = HeaderEditsConfig()
    request_body: BodyEditsConfig = BodyEditsConfig()
    conversation: ConversationEditsConfig = ConversationEditsConfig()
    answer_headers: HeaderEditsConfig = HeaderEditsConfig()
    answer_body: BodyEditsConfig = BodyEditsConfig()
