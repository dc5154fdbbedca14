"""Weights that grow between two updates, as in slow start, for policies that look at them when they are updated."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Generic

from gateway.upstream.balancing.host import H

if TYPE_CHECKING:  # the table of policies there names this class
    from gateway.upstream.balancing.load_balancer import LoadBalancer


class GrowingWeights(Generic[H]):
    """A balancer that is told of its hosts anew once in as many picks as there are hosts.

    So growth is seen a round late at most, and a pick costs the same on average however many hosts there are.
    """

    def __init__(self, balancer: "LoadBalancer[H]") -> None:
        self._balancer = balancer
        self._hosts: Sequence[H] = ()
        self._picks_left = 0

    def update(self, hosts: Sequence[H]) -> None:
        """The hosts from now on."""
        self._hosts = hosts
        self._picks_left = len(hosts)
        self._balancer.update(hosts)

    def pick(self, key: int | None, exclude: Collection[H]) -> H | None:
        """What the balancer picks by the weights of this round."""
        if self._picks_left <= 0:
            self.update(self._hosts)
        self._picks_left -= 1
        return self._balancer.pick(key, exclude)
