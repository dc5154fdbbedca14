import subprocess
import sys

import pytest
from google.protobuf.duration_pb2 import Duration
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import ProxyService, Service
from janua.config.v1.upstream_pb2 import ConnectionPool, Endpoint, Upstream
from janua_resources.field_rules import check_fields
from janua_resources.kinds import ConfigMessage
from janua_resources.violations import INVALID_FIELD


def test_a_right_resource_breaks_no_rule() -> None:
    assert check_fields(Upstream(name="pool", endpoints=[Endpoint(address="127.0.0.1:9001")])) == []


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (Secret(name="Key", env="A"), "name"),
        (Secret(name="key", env="1A"), "env"),
        (Secret(name="key", file="relative"), "file"),
        (Policy(name="keys"), "spec"),
        (Upstream(name="pool", endpoints=[Endpoint(address="a:1"), Endpoint()]), "endpoints[1].address"),
        (
            Upstream(
                name="pool",
                endpoints=[Endpoint(address="a:1")],
                connection_pool=ConnectionPool(connect_timeout=Duration(seconds=-1)),
            ),
            "connection_pool.connect_timeout",
        ),
        (Service(name="s", proxy_service=ProxyService(provider="openai", base_url="x")), "proxy_service.base_url"),
    ],
)
def test_a_broken_rule_names_resource_and_field(message: ConfigMessage, field: str) -> None:
    [found] = check_fields(message)
    assert (found.name, found.field, found.reason) == (message.name, field, INVALID_FIELD)
    assert found.message


def test_all_broken_rules_are_found_at_once() -> None:
    found = check_fields(Upstream(name="-", endpoints=[Endpoint(), Endpoint(address="a:1", weight=500)]))
    assert {violation.field for violation in found} == {"name", "endpoints[0].address", "endpoints[1].weight"}


def test_protovalidate_is_loaded_only_when_it_is_used() -> None:
    # A node imports the package; what that costs shows only in a process of its own.
    program = "import sys, janua_resources.field_rules; sys.exit('protovalidate' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
