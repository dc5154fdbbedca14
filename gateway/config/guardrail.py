"""The `guardrail` policy as frozen values."""

from dataclasses import dataclass, field
from enum import Enum, auto
from typing import TypeAlias

import re2


class GuardrailAction(Enum):
    """What becomes of what is found, the gravest first."""

    DENY = auto()
    MASK = auto()
    REPORT = auto()


class PersonalData(Enum):
    """A kind of personal data or secret."""

    EMAIL = auto()
    CREDIT_CARD = auto()
    IBAN = auto()
    PHONE = auto()
    IP_ADDRESS = auto()
    API_KEY = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class FindData:
    """Finds one kind of personal data."""

    kind: PersonalData


@dataclass(frozen=True, slots=True, kw_only=True)
class FindRegex:
    """Finds what an RE2 expression matches."""

    pattern: str
    compiled: "re2._Regexp" = field(compare=False, repr=False)


TextCheck: TypeAlias = FindData | FindRegex


@dataclass(frozen=True, slots=True, kw_only=True)
class TextRule:
    """What is searched for in texts, what becomes of it, and what stands in its place. `name` is for metrics."""

    name: str
    action: GuardrailAction
    check: TextCheck
    replacement: str


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeRule:
    """How large a request may be; None is no limit. `max_input_bytes` are those of its texts."""

    name: str
    action: GuardrailAction
    max_input_bytes: int | None = None
    max_messages: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """A service that judges texts. `window` is how many characters of a stream are judged at once; `egress_proxy`
    empty: it is asked directly. With `fails_open` what it does not judge goes on."""

    url: str
    timeout_s: float = 2.0
    fails_open: bool = False
    window: int = 256
    egress_proxy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailConfig:
    """Rules, in their order, who judges after them, and which texts both are for."""

    texts: tuple[TextRule, ...] = ()
    sizes: tuple[SizeRule, ...] = ()
    on_requests: bool = True
    on_answers: bool = False
    window: int = 128
    webhook: WebhookConfig | None = None
