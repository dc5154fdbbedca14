"""`Consumer` messages to values."""

from datetime import UTC
from types import MappingProxyType

from janua.config.v1 import consumer_pb2

from gateway.config.snapshot import ApiKeyConfig, ConsumerConfig


def compile_consumer(message: consumer_pb2.Consumer) -> ConsumerConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    return ConsumerConfig(
        name=message.name,
        api_keys=tuple(_key(key) for key in message.api_keys),
        groups=frozenset(message.groups),
        labels=MappingProxyType(dict(message.labels)),
        policies=tuple(message.policies),
        jwt_subjects=tuple(message.jwt_subjects),
        certificate_names=tuple(message.certificate_names),
    )


def _key(message: consumer_pb2.ApiKey) -> ApiKeyConfig:
    return ApiKeyConfig(
        sha256=message.key_sha256,
        expires=message.expires.ToDatetime(tzinfo=UTC) if message.HasField("expires") else None,
    )
