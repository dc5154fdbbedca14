"""Whether a configuration is right, in three layers: fields, meaning, the whole. Synchronous, to be run in a thread.

The rules themselves stand in `janua_resources` and in the .proto files; here their findings are placed in a request.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Final

from janua.config.v1.config_service_pb2 import Warning as ApplyWarning
from janua_resources import rules, world
from janua_resources.field_rules import check_fields
from janua_resources.kinds import ConfigMessage, World
from janua_resources.unknown_fields import discard_unknown_fields
from janua_resources.violations import Violation, first_per_field

from config_server.batch import BatchChange
from config_server.errors import Conflict, RequestViolation, conflicting, invalid
from config_server.reference_index import ReferenceIndex, named_by
from config_server.resources import Key, Kind, key_to_proto

MAX_RESOURCE_BYTES: Final = 1024 * 1024


def check_resource(path: str, message: ConfigMessage, size: int) -> Sequence[RequestViolation]:
    """What is wrong with a resource, seen alone. `path` leads to it in the request; `size` is that of its bytes."""
    if size > MAX_RESOURCE_BYTES:
        text = f"has {size} bytes, and a resource has at most {MAX_RESOURCE_BYTES}"
        return [RequestViolation(path=path, message=text, reason="RESOURCE_TOO_LARGE")]
    found = first_per_field([*check_fields(message), *rules.check(message)])
    violations = [_in_request(path, violation) for violation in found]
    # Last, because it changes the message: what this version does not know would be kept and never acted on.
    discard_unknown_fields(message)
    if message.ByteSize() != size:
        text = "has fields that this version does not know"
        violations.append(RequestViolation(path=path, message=text, reason="UNKNOWN_FIELD"))
    return violations


def check_world(
    whole: World,
    before: World,
    changed: Collection[Key],
    changes: Mapping[Key, BatchChange],
    found: Sequence[RequestViolation],
) -> None:
    """Raises ApiError if anything is wrong, `found` in single resources included.

    `whole` is what the configuration would be, `before` what it is. What is wrong with a resource of the batch is
    INVALID_ARGUMENT; what the batch would break elsewhere, above all references to what it deletes, is
    FAILED_PRECONDITION.
    """
    violations = list(found)
    conflicts: list[Conflict] = []
    for violation in world.check_world(whole, changed, before):
        change = changes.get(Key(violation.kind.kind, violation.name))
        if change is None or change.message is None:
            conflicts.append(_elsewhere(violation))
        else:
            violations.append(_in_request(change.path, violation))
    if violations:
        raise invalid(violations)
    if conflicts:
        raise conflicting(conflicts)


def warnings(whole: World, keys: Collection[Key], users: ReferenceIndex, *, now: datetime) -> Iterator[ApplyWarning]:
    """What is doubtful about the resources `keys`. `users` may be that of before they were changed."""
    for violation in world.warnings(_around(whole, keys, users), now=now):
        key = Key(violation.kind.kind, violation.name)
        if key in keys:
            yield ApplyWarning(key=key_to_proto(key), field=violation.field, message=violation.message)


def _around(whole: World, keys: Collection[Key], users: ReferenceIndex) -> World:
    """The resources `keys`, what they name and what names them: of a large configuration, all that they warn about."""
    around: dict[tuple[Kind, str], ConfigMessage] = {key: whole[key] for key in keys if key in whole}
    for message in list(around.values()):
        around.update((named, whole[named]) for named in named_by(message) if named in whole)
    for key in keys:
        around.update((user, whole[user]) for user in users.users(key) if user in whole)
    return around


def _in_request(path: str, violation: Violation) -> RequestViolation:
    place = f"{path}.{violation.field}" if violation.field else path
    return RequestViolation(path=place, message=violation.message, reason=violation.reason)


def _elsewhere(violation: Violation) -> Conflict:
    key = Key(violation.kind.kind, violation.name)
    text = f"{violation.field}: {violation.message}" if violation.field else violation.message
    return Conflict(subject=str(key), message=text, reason=violation.reason)
