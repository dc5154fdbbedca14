"""`Consumer` messages."""

from datetime import UTC, datetime

from google.protobuf.json_format import ParseDict
from janua.config.v1.consumer_pb2 import Consumer
from janua_resources import rules

from gateway.compile.consumer import compile_consumer
from gateway.config.snapshot import ApiKeyConfig, ConsumerConfig


def compiled(**fields: object) -> ConsumerConfig:
    message = ParseDict({"name": "c", **fields}, Consumer())
    assert rules.check(message) == []
    return compile_consumer(message)


def test_defaults() -> None:
    assert compiled() == ConsumerConfig(name="c", api_keys=())


def test_every_field() -> None:
    keys = [
        {"key_sha256": "a" * 64, "label": "laptop", "expires": "2027-01-01T00:00:00.5Z"},
        {"key_sha256": "0" * 64},
        {"key_sha256": "1" * 64, "expires": "0001-01-01T00:00:00Z"},
        {"key_sha256": "2" * 64, "expires": "9999-12-31T23:59:59.999999Z"},
    ]
    assert compiled(
        labels={"a": "b"},
        description="d",
        api_keys=keys,
        groups=["g", "h"],
        policies=["p", "q"],
        jwt_subjects=["a@b"],
        certificate_names=["spiffe://a.example/b", "CN=c"],
    ) == ConsumerConfig(
        name="c",
        labels={"a": "b"},
        groups=frozenset({"g", "h"}),
        policies=("p", "q"),
        jwt_subjects=("a@b",),
        certificate_names=("spiffe://a.example/b", "CN=c"),
        api_keys=(
            ApiKeyConfig(sha256="a" * 64, expires=datetime(2027, 1, 1, microsecond=500_000, tzinfo=UTC)),
            ApiKeyConfig(sha256="0" * 64, expires=None),
            ApiKeyConfig(sha256="1" * 64, expires=datetime(1, 1, 1, tzinfo=UTC)),
            ApiKeyConfig(sha256="2" * 64, expires=datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)),
        ),
    )
