"""`Policy` messages."""

import pytest
from janua.config.v1.policy_pb2 import ApiKeyAuth, Policy

from gateway.compile.policy import compile_policy
from gateway.config.snapshot import ApiKeyAuthConfig, PolicyConfig


@pytest.mark.parametrize("optional", [False, True])
def test_api_key_auth(optional: bool) -> None:
    message = Policy(name="p", description="d", api_key_auth=ApiKeyAuth(optional=optional))
    assert compile_policy(message) == PolicyConfig(name="p", spec=ApiKeyAuthConfig(optional=optional))


def test_every_kind_of_policy_has_a_test() -> None:
    assert [field.name for field in Policy.DESCRIPTOR.oneofs_by_name["spec"].fields] == ["api_key_auth"]
