"""`LoadBalancing` messages to values."""

from janua.config.v1 import upstream_pb2

from gateway.compile.durations import seconds
from gateway.config.upstream import (
    BalancingConfig,
    BalancingPolicy,
    HashConsumer,
    HashCookie,
    HashHeader,
    HashPolicy,
    HashPromptPrefix,
    HashSourceIp,
    SlowStartConfig,
)

_Message = upstream_pb2.LoadBalancing

_POLICIES = {
    _Message.POLICY_UNSPECIFIED: BalancingPolicy.ROUND_ROBIN,
    _Message.POLICY_ROUND_ROBIN: BalancingPolicy.ROUND_ROBIN,
    _Message.POLICY_LEAST_REQUEST: BalancingPolicy.LEAST_REQUEST,
    _Message.POLICY_RANDOM: BalancingPolicy.RANDOM,
    _Message.POLICY_RING_HASH: BalancingPolicy.RING_HASH,
    _Message.POLICY_MAGLEV: BalancingPolicy.MAGLEV,
    _Message.POLICY_PEAK_EWMA: BalancingPolicy.PEAK_EWMA,
    _Message.POLICY_PREFIX_AFFINITY: BalancingPolicy.PREFIX_AFFINITY,
}
_DEFAULT_PREFIX = (HashPromptPrefix(1024),)


def compile_balancing(message: upstream_pb2.LoadBalancing) -> BalancingConfig:
    """The value of a message; of an unset one the defaults."""
    default = BalancingConfig()
    policy = _POLICIES[message.policy]
    least = message.least_request
    hash_policies = tuple(_hash_policy(each) for each in message.hash_policy)
    if policy is BalancingPolicy.PREFIX_AFFINITY and not hash_policies:
        hash_policies = _DEFAULT_PREFIX
    return BalancingConfig(
        policy=policy,
        choice_count=least.choice_count if least.HasField("choice_count") else default.choice_count,
        active_request_bias=least.active_request_bias
        if least.HasField("active_request_bias")
        else default.active_request_bias,
        hash_policies=hash_policies,
        slow_start=_slow_start(message.slow_start) if message.HasField("slow_start") else None,
        panic_threshold=message.healthy_panic_threshold
        if message.HasField("healthy_panic_threshold")
        else default.panic_threshold,
        overprovisioning_factor=message.overprovisioning_factor
        if message.HasField("overprovisioning_factor")
        else default.overprovisioning_factor,
    )


def _hash_policy(message: upstream_pb2.LoadBalancing.HashPolicy) -> HashPolicy:
    match message.WhichOneof("key"):
        case "header":
            return HashHeader(message.header.lower().encode())
        case "cookie":
            return HashCookie(message.cookie)
        case "consumer":
            return HashConsumer()
        case "source_ip":
            return HashSourceIp()
        case _:
            return HashPromptPrefix(message.prompt_prefix_bytes)


def _slow_start(message: upstream_pb2.LoadBalancing.SlowStart) -> SlowStartConfig:
    return SlowStartConfig(
        window_s=seconds(message, "window", 0.0),
        aggression=message.aggression if message.HasField("aggression") else 1.0,
        min_weight_percent=message.min_weight_percent if message.HasField("min_weight_percent") else 10.0,
    )
