"""The hash on which nodes agree."""

import os
import subprocess
import sys

from gateway.upstream.balancing.hashing import stable_hash, stable_hashes
from tests.gateway.upstream.balancing.laws import spread

# What a process finds, printed: hashes, and picks that follow from them.
_PROGRAM = """
from random import Random
from gateway.config.upstream import BalancingConfig, BalancingPolicy
from gateway.upstream.balancing.hashing import stable_hash, stable_hashes
from gateway.upstream.balancing.load_balancer import BALANCERS
from tests.gateway.upstream.balancing.hosts import owners, pool

print(stable_hash(b"a"), stable_hashes(b"a"))
for policy in (BalancingPolicy.RING_HASH, BalancingPolicy.MAGLEV, BalancingPolicy.PREFIX_AFFINITY):
    balancer = BALANCERS[policy](BalancingConfig(policy=policy), Random(1))
    balancer.update(pool(1, 2, 3))
    print(owners(balancer, map(stable_hash, (b"a", b"b", b"c", b"d", b"e", b"f", b"g"))))
"""


def test_every_process_finds_the_same() -> None:
    found = {
        subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("0", "1", "2")
    }
    assert len(found) == 1
    assert str(stable_hash(b"a")) in found.pop()


def test_the_hash_is_what_it_was_in_other_versions() -> None:
    """Nodes of two versions run side by side while a fleet is renewed."""
    assert stable_hash(b"janua") == 0x0EBD_68E5_3A84_6CF6
    assert stable_hashes(b"janua")[0] == 0x4137_959D_8094_64A4


def test_like_bytes_give_unlike_numbers() -> None:
    numbers = [stable_hash(f"key-{number}".encode()) for number in range(20_000)]
    assert spread(number >> 56 for number in numbers) < 1
    assert spread(number % 256 for number in numbers) < 1


def test_eight_hashes_are_eight_numbers_of_64_bits() -> None:
    of_many = [stable_hashes(f"host_{number}".encode()) for number in range(2_500)]
    numbers = [number for each in of_many for number in each]
    assert len(set(numbers)) == 8 * 2_500
    assert max(numbers) < 1 << 64
    assert spread(number >> 56 for number in numbers) < 1
