"""What is wrong with a resource, for people (`message`) and for programs (`reason`)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from janua_resources.kinds import ConfigMessage, KindInfo, kind_of
from janua_resources.quoting import quoted

# Errors: a resource with one of these is refused.
INVALID_FIELD: Final = "INVALID_FIELD"
UNKNOWN_KIND: Final = "UNKNOWN_KIND"
UNRESOLVED_REFERENCE: Final = "UNRESOLVED_REFERENCE"
DUPLICATE: Final = "DUPLICATE"
CONFLICTING_MATCH: Final = "CONFLICTING_MATCH"
SECRET_HOST_NOT_ALLOWED: Final = "SECRET_HOST_NOT_ALLOWED"  # noqa: S105 - a reason, not a password

# Warnings: the resource works, and probably not as meant.
OPEN_ROUTE: Final = "OPEN_ROUTE"
UNUSED: Final = "UNUSED"
EXPIRED_KEY: Final = "EXPIRED_KEY"
CLEARTEXT_CREDENTIAL: Final = "CLEARTEXT_CREDENTIAL"
VERSION_IN_PATH: Final = "VERSION_IN_PATH"
NO_EFFECT: Final = "NO_EFFECT"


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One thing that is wrong, or worth a warning.

    `field` is a path such as `endpoints[1].address` or `proxy_service.headers["x-a"]`, empty if it is about the whole
    resource. `reason` is one of the constants of this module.
    """

    kind: KindInfo
    name: str
    field: str
    message: str
    reason: str

    def __str__(self) -> str:
        place = f"{self.kind.field} {quoted(self.name)}"
        return f"{place}: {self.field}: {self.message}" if self.field else f"{place}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A violation before it is known which resource it is about: what the rules of one message find."""

    field: str
    message: str
    reason: str = INVALID_FIELD


def problem_of_parsing(parse: Callable[[str], object], text: str, field: str) -> Iterator[Problem]:
    """The ValueError that `parse` raises for `text`, if it raises one, as a problem of `field`."""
    try:
        parse(text)
    except ValueError as error:
        yield Problem(field=field, message=str(error))


def violation(message: ConfigMessage, field: str, text: str, reason: str = INVALID_FIELD) -> Violation:
    """A violation of the resource `message`."""
    return Violation(kind=kind_of(message), name=message.name, field=field, message=text, reason=reason)


def first_per_field(violations: Iterable[Violation]) -> list[Violation]:
    """Drops all but the first violation of each field, in order.

    The rules of the .proto and the rules of meaning overlap where a node must not rely on the former; a person wants
    to read each problem once.
    """
    first: dict[tuple[int, str, str], Violation] = {}
    for found in violations:
        first.setdefault((found.kind.kind, found.name, found.field), found)
    return list(first.values())
