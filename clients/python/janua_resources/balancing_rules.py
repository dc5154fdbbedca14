"""When the balancing of an upstream makes sense: settings belong to the policies that use them."""

from collections.abc import Iterator
from typing import Final

from janua.config.v1.upstream_pb2 import LoadBalancing

from janua_resources.violations import Problem

_NEED_KEY: Final = frozenset({LoadBalancing.POLICY_RING_HASH, LoadBalancing.POLICY_MAGLEV})
_USE_KEY: Final = _NEED_KEY | {LoadBalancing.POLICY_PREFIX_AFFINITY}


def check_load_balancing(balancing: LoadBalancing) -> Iterator[Problem]:
    """What is wrong with how endpoints are chosen."""
    if balancing.HasField("least_request") and balancing.policy != LoadBalancing.POLICY_LEAST_REQUEST:
        yield Problem(field="load_balancing.least_request", message="is only for policy LEAST_REQUEST")
    if balancing.policy in _NEED_KEY and not balancing.hash_policy:
        text = "is needed with RING_HASH and MAGLEV: it tells which requests belong together"
        yield Problem(field="load_balancing.hash_policy", message=text)
    if balancing.hash_policy and balancing.policy not in _USE_KEY:
        text = "is only for policies RING_HASH, MAGLEV and PREFIX_AFFINITY"
        yield Problem(field="load_balancing.hash_policy", message=text)
    if balancing.HasField("slow_start") and balancing.policy in _USE_KEY:
        text = "is not for policies that send the same requests to the same endpoint"
        yield Problem(field="load_balancing.slow_start", message=text)
