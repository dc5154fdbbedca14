"""What one resource must be so that a node can act on it, whatever else is configured.

A node refuses what these rules refuse, and nothing else of a single resource; the rules of the .proto, which need
protovalidate, stand in `field_rules`, and what several resources must agree on in `world`.
"""

from collections.abc import Iterator
from typing import assert_never

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.route_pb2 import Route
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import Upstream

from janua_resources.consumer_rules import check_consumer
from janua_resources.kinds import ConfigMessage
from janua_resources.policy_rules import check_policy
from janua_resources.route_rules import check_route
from janua_resources.secret_rules import check_secret
from janua_resources.service_rules import check_service
from janua_resources.structure import check_structure
from janua_resources.upstream_rules import check_upstream
from janua_resources.violations import Problem, Violation, violation


def check(message: ConfigMessage) -> list[Violation]:
    """All that is wrong with `message`, seen alone. Never raises, whatever the message holds."""
    problems = [*check_structure(message), *_check_meaning(message)]
    return [violation(message, problem.field, problem.message, problem.reason) for problem in problems]


def _check_meaning(message: ConfigMessage) -> Iterator[Problem]:
    match message:
        case Upstream():
            return check_upstream(message)
        case Service():
            return check_service(message)
        case Route():
            return check_route(message)
        case Consumer():
            return check_consumer(message)
        case Secret():
            return check_secret(message)
        case Policy():
            return check_policy(message)
        case _:
            assert_never(message)
