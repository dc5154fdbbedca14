"""`Policy` messages to values."""

from janua.config.v1 import policy_pb2

from gateway.config.snapshot import ApiKeyAuthConfig, PolicyConfig


def compile_policy(message: policy_pb2.Policy) -> PolicyConfig:
    """The value of a message that `janua_resources.rules` found nothing wrong with."""
    return PolicyConfig(name=message.name, spec=ApiKeyAuthConfig(optional=message.api_key_auth.optional))
