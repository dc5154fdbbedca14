"""What keys and limits cost a request: CPU of this process, for limits on one node for taking, telling and settling,
without I/O.

`python -m tests.benchmarks.bench_policies` prints microseconds a request, of several runs the best: others use the
machine too.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping
from hashlib import sha256

from gateway.config.limits import (
    BudgetConfig,
    KeyConfig,
    LimitAlgorithm,
    LimitConfig,
    LimitKey,
    LimitUnit,
    RateLimitConfig,
)
from gateway.config.snapshot import ApiKeyAuthConfig, ApiKeyConfig, ConsumerConfig
from gateway.context import RequestContext
from gateway.errors import RateLimitedError
from gateway.filters.api_key_auth import ApiKeyAuth
from gateway.filters.api_keys import KeyIndex
from gateway.filters.limits.limiter import Limits
from gateway.filters.limits.rule import rule_of_budget, rules_of_limits
from gateway.filters.limits.state import LimitState
from gateway.operations.inference import ChatBody
from gateway.schemas.table import OPENAI_CHAT
from gateway.telemetry.metrics import Metrics
from gateway.types import Operation, Usage

REQUESTS = 20_000
RUNS = 5
MOST_US = 15.0
"""What one limit of a node may cost."""

MOST_OF_A_KEY_US = 10.0
"""What knowing a caller by a key may cost."""

_MANY = 10**12
_BODY = b'{"model":"m","max_tokens":100,"messages":[{"role":"user","content":"' + b"word " * 200 + b'"}]}'
_USAGE = Usage(input_tokens=250, output_tokens=80)


def limit(unit: LimitUnit, most: int = _MANY) -> LimitConfig:
    """One limit a consumer and minute."""
    return LimitConfig(unit=unit, limit=most, window_s=60.0, key=KeyConfig(kind=LimitKey.CONSUMER))


def limits(state: LimitState, *rules: LimitConfig, algorithm: LimitAlgorithm) -> Limits:
    """A policy of these."""
    return Limits(rules_of_limits("p", RateLimitConfig(limits=rules, algorithm=algorithm), state), state)


def cases(state: LimitState) -> Mapping[str, Limits]:
    """What is measured, by name."""
    window, bucket = LimitAlgorithm.SLIDING_WINDOW, LimitAlgorithm.TOKEN_BUCKET
    requests, tokens = limit(LimitUnit.REQUESTS), limit(LimitUnit.TOTAL_TOKENS)
    budget = rule_of_budget("b", BudgetConfig(unit=LimitUnit.TOTAL_TOKENS, amount=_MANY), state)
    return {
        "requests, sliding window": limits(state, requests, algorithm=window),
        "requests, token bucket": limits(state, requests, algorithm=bucket),
        "requests, refused": limits(state, limit(LimitUnit.REQUESTS, 1), algorithm=window),
        "tokens, sliding window": limits(state, tokens, algorithm=window),
        "requests and tokens": limits(state, requests, tokens, algorithm=window),
        "budget of tokens": Limits([budget], state),
    }


def request(consumer: ConsumerConfig) -> RequestContext:
    """A request as it comes to its limits."""
    return RequestContext(
        request_id="r",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path="/v1/chat/completions",
        host="h",
        query_string=b"",
        headers={},
        model="m",
        is_streaming=False,
        client_address="127.0.0.1",
        started=0.0,
        consumer=consumer,
        route="chat",
    )


async def measure(limiter: Limits, clock: Callable[[], float] = time.process_time) -> float:
    """Microseconds a request, best of the runs; what making the request itself costs is not in it."""
    body = ChatBody(OPENAI_CHAT, _BODY, "m")
    best = float("inf")
    for _ in range(RUNS):
        made = [request(ConsumerConfig(name=f"c{number % 1000}")) for number in range(REQUESTS)]
        begin = clock()
        for context in made:
            try:
                await limiter.reserve(context, body)
            except RateLimitedError:
                continue
            context.usage, context.is_answered = _USAGE, True
            for reservation in context.reservations:
                reservation.settle(context)
        best = min(best, clock() - begin)
    return best / REQUESTS * 1e6


async def measure_keys(clock: Callable[[], float] = time.process_time) -> float:
    """Microseconds to know a caller by one of a thousand keys, best of the runs."""
    keys = [f"key-{number}".encode() for number in range(1000)]
    consumers = [ConsumerConfig(name=f"c{at}", api_keys=(_key(key),)) for at, key in enumerate(keys)]
    policy, best = ApiKeyAuth(ApiKeyAuthConfig(optional=False), KeyIndex.of(consumers)), float("inf")
    for _ in range(RUNS):
        made = [request(consumers[0]) for _ in range(REQUESTS)]
        for at, context in enumerate(made):
            context.headers = {b"authorization": b"Bearer " + keys[at % len(keys)]}
        begin = clock()
        for context in made:
            await policy.authenticate(context)
        best = min(best, clock() - begin)
    return best / REQUESTS * 1e6


def _key(key: bytes) -> ApiKeyConfig:
    return ApiKeyConfig(sha256=sha256(key).hexdigest(), expires=None)


async def main() -> int:
    """Prints the table. 1 if a key or a single limit costs too much."""
    measured = {name: await measure(limiter) for name, limiter in cases(LimitState(metrics=Metrics())).items()}
    for name, microseconds in measured.items():
        sys.stdout.write(f"{name:<28} {microseconds:6.1f} us a request\n")
    single = measured["requests, sliding window"]
    sys.stdout.write(f"one limit of a node: {single:.1f} us, at most {MOST_US:g}\n")
    key = await measure_keys()
    sys.stdout.write(f"a key: {key:.1f} us, at most {MOST_OF_A_KEY_US:g}\n")
    return int(single > MOST_US or key > MOST_OF_A_KEY_US)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
