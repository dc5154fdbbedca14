"""What limits cost a request: CPU of this process for taking, telling and settling on one node, without I/O.

`python -m tests.benchmarks.bench_policies` prints microseconds a request, of several runs the best: others use the
machine too.
"""

import asyncio
import sys
import time
from collections.abc import Callable, Mapping

from gateway.config.limits import (
    BudgetConfig,
    KeyConfig,
    LimitAlgorithm,
    LimitConfig,
    LimitKey,
    LimitUnit,
    RateLimitConfig,
)
from gateway.config.snapshot import ConsumerConfig
from gateway.context import RequestContext
from gateway.errors import RateLimitedError
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


async def main() -> int:
    """Prints the table. 1 if a single limit costs too much."""
    measured = {name: await measure(limiter) for name, limiter in cases(LimitState(metrics=Metrics())).items()}
    for name, microseconds in measured.items():
        sys.stdout.write(f"{name:<28} {microseconds:6.1f} us a request\n")
    single = measured["requests, sliding window"]
    sys.stdout.write(f"one limit of a node: {single:.1f} us, at most {MOST_US:g}\n")
    return int(single > MOST_US)


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
