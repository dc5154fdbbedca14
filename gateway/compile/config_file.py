"""A configuration file as the source of a node's configuration: the same resources, rules and compile path as those
that come from a config server."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from janua_resources import documents, field_rules, rules, world
from janua_resources.documents import DocumentError, Located
from janua_resources.kinds import ConfigMessage, kind_of
from janua_resources.violations import first_per_field

from gateway.bootstrap import ConfigFileError
from gateway.compile.node_config import NodeConfig
from gateway.config.resources import ReceivedResource


def load_config_file(path: Path, config: NodeConfig) -> None:
    """Takes the file as the whole configuration. Raises `ConfigFileError`, and then nothing has changed."""
    try:
        text = path.read_text("utf-8")
    except OSError as error:
        raise ConfigFileError(f"{path}: {(error.strerror or 'cannot be read').lower()}") from error
    except UnicodeDecodeError as error:
        raise ConfigFileError(f"{path}: not UTF-8 text") from error
    try:
        located = documents.parse(text, source=str(path), environ=os.environ).resources
    except DocumentError as error:
        raise ConfigFileError(str(error)) from error
    _check(located)
    rejections = config.load_if_good([_received(item.message) for item in located])
    if rejections:
        raise ConfigFileError("\n".join(f"{path}: {rejection}" for rejection in rejections))


def _check(located: Sequence[Located]) -> None:
    faults = []
    for item in located:
        found = [*field_rules.check_fields(item.message), *rules.check(item.message)]
        faults += [str(item.locate(violation)) for violation in first_per_field(found)]
    if not faults:
        by_key = {(kind_of(item.message).kind, item.message.name): item for item in located}
        found = world.check_world({key: item.message for key, item in by_key.items()})
        faults = [str(by_key[violation.kind.kind, violation.name].locate(violation)) for violation in found]
    if faults:
        raise ConfigFileError("\n".join(faults))


def _received(message: ConfigMessage) -> ReceivedResource:
    value = message.SerializeToString(deterministic=True)
    return ReceivedResource(kind_of(message).type_url, message.name, hashlib.sha256(value).hexdigest(), value)
