"""Who names whom: the references of all resources, the other way round."""

from collections.abc import Collection

from janua_resources.kinds import ConfigMessage
from janua_resources.references import references

from config_server.resources import Key


def named_by(message: ConfigMessage) -> frozenset[Key]:
    """What a resource names, whether it exists or not."""
    return frozenset(Key(reference.kind.kind, reference.name) for reference in references(message))


class ReferenceIndex:
    """For each key, the resources that name it."""

    def __init__(self) -> None:
        self._users: dict[Key, set[Key]] = {}

    def users(self, key: Key) -> Collection[Key]:
        return self._users.get(key, ())

    def copy(self) -> "ReferenceIndex":
        copy = ReferenceIndex()
        copy._users = {key: set(users) for key, users in self._users.items()}
        return copy

    def replace(self, key: Key, before: frozenset[Key], after: frozenset[Key]) -> None:
        """Takes in that the resource `key` names `after` instead of `before`."""
        for named in before - after:
            users = self._users[named]
            users.remove(key)
            if not users:
                del self._users[named]
        for named in after - before:
            self._users.setdefault(named, set()).add(key)
