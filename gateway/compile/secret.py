"""`Secret` messages to values: the only place where a node reads a credential."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from janua.config.v1 import secret_pb2
from janua_resources.secret_values import KEPT_VALUE, value_fault

from gateway.compile.node_files import FileUnreadableError
from gateway.compile.secret_places import SecretPlaces
from gateway.config.credential import AwsAccount, AwsMachine, AwsRole, Key, WebIdentity
from gateway.config.secret import SecretValue
from gateway.config.snapshot import SecretConfig
from gateway.providers.aws_machine import machine_fault


class SecretUnreadableError(FileUnreadableError):
    """The place that a secret names has no usable value."""


@dataclass(frozen=True, slots=True)
class SecretReader:
    """Reads secrets from this node's environment and files, as far as `places` allows."""

    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)
    read_file: Callable[[str], str] = field(default=lambda path: Path(path).read_text("utf-8"))
    places: SecretPlaces = field(default_factory=SecretPlaces)

    def compile(self, message: secret_pb2.Secret) -> SecretConfig:
        """The value of a message that `janua_resources.rules` found nothing wrong with.

        Raises `SecretUnreadableError` when there is no value, or one that cannot stand in a header.
        """
        place = message.WhichOneof("source") or ""
        value = self._read(message).strip()
        if (fault := value_fault(value)) is not None:
            raise SecretUnreadableError(place, f"{_where(message)} {fault}")
        return SecretConfig(name=message.name, value=SecretValue(value))

    def account_fault(self, key: Key) -> str | None:
        """Why this node lacks what an account needs beside its secret, to follow the secret's name; None if it does
        not."""
        source = key.source if isinstance(key, AwsAccount) else None
        match source.source if isinstance(source, AwsRole) else source:
            case AwsMachine() as machine:
                return machine_fault(machine, self.environ)
            case WebIdentity(token_file=file):
                if (fault := self.places.file_fault(file)) is not None:
                    return f"names file {file}, which {fault}"
                try:
                    self.read_file(file)
                except (OSError, UnicodeDecodeError):
                    return f"names file {file}, which cannot be read"
        return None

    def _read(self, message: secret_pb2.Secret) -> str:
        if message.WhichOneof("source") == "value":
            if message.value == KEPT_VALUE:
                raise SecretUnreadableError("value", "the value is only what a config server shows in its place")
            return message.value
        if message.WhichOneof("source") == "env":
            if (fault := self.places.variable_fault(message.env)) is not None:
                raise SecretUnreadableError("env", f"{_where(message)} {fault}")
            value = self.environ.get(message.env)
            if value is None:
                raise SecretUnreadableError("env", f"{_where(message)} is not set on this node")
            return value
        if (fault := self.places.file_fault(message.file)) is not None:
            raise SecretUnreadableError("file", f"{_where(message)} {fault}")
        try:
            return self.read_file(message.file)
        except OSError as error:
            reason = (error.strerror or "cannot be read").lower()
            raise SecretUnreadableError("file", f"{_where(message)}: {reason}") from None
        except UnicodeDecodeError:
            raise SecretUnreadableError("file", f"{_where(message)} is not text") from None


def _where(message: secret_pb2.Secret) -> str:
    match message.WhichOneof("source"):
        case "env":
            return f"environment variable {message.env}"
        case "file":
            return f"file {message.file}"
        case _:
            return "the value"
