"""The power of two choices begins with a draw."""

from collections.abc import Sequence
from random import Random

from gateway.upstream.balancing.host import H


def draw_two(hosts: Sequence[H], random: Random) -> tuple[H, H]:
    """Two different hosts, of two or more. By two numbers, which is much cheaper than a sample."""
    count = len(hosts)
    first = int(random.random() * count)
    second = int(random.random() * (count - 1))
    return hosts[first], hosts[second + (second >= first)]
