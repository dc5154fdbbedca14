"""Nodes that come from one server to another, as those see it whose clients follow them."""

from datetime import timedelta

import pytest

from config_server.store.base import PeerNode
from tests.config_server.fleet.fleet import Fleet

A, B = "10.0.0.1:8081", "10.0.0.2:8081"
BOTH, ONLY_TWO = frozenset({"one", "two"}), frozenset({"two"})


class Pair:
    """Two servers over one store; the second reads what the first has written."""

    def __init__(self) -> None:
        self.one = Fleet(has_peers=True)
        self.two = Fleet(has_peers=True)

    def meet(self, servers: frozenset[str] = BOTH) -> list[str] | None:
        """What the second shows after that."""
        rows = [PeerNode(replica="one", node_id=row.node_id, record=row.record) for row in self.one.rows()]
        self.two.nodes.take_peers(rows, servers)
        return self.two.addresses


@pytest.fixture
def pair() -> Pair:
    """Node a at the first server, node b at the second."""
    pair = Pair()
    pair.one.join("a", A)
    pair.two.join("b", B)
    return pair


def test_nothing_is_said_before_other_servers_have_been_heard(pair: Pair) -> None:
    assert pair.two.addresses is None
    assert pair.meet() == [A, B]


def test_other_servers_are_given_up_with_the_nodes_of_before(pair: Pair) -> None:
    pair.two.view.release()
    assert pair.two.addresses == [B]


def test_a_node_that_leaves_there_leaves_here(pair: Pair) -> None:
    pair.meet()
    pair.one.report("a", A, draining=True)
    assert pair.meet() == [B]


def test_a_node_that_is_lost_there_is_lost_here(pair: Pair) -> None:
    pair.meet()
    pair.one.disconnect("a")
    assert pair.meet() == [B]


def test_a_node_whose_server_is_gone_stays_until_it_has_come_to_another(pair: Pair) -> None:
    pair.meet()
    assert pair.meet(ONLY_TWO) == [A, B]
    pair.two.wait(10)
    pair.two.connect("a")
    assert pair.two.addresses == [A, B]
    pair.two.report("a", A)
    assert pair.two.addresses == [A, B]
    pair.two.wait(60)
    assert pair.meet(ONLY_TWO) == [A, B]


def test_a_node_that_comes_to_no_other_server_leaves(pair: Pair) -> None:
    pair.meet()
    assert pair.meet(ONLY_TWO) == [A, B]
    pair.two.wait(20)
    assert pair.meet(ONLY_TWO) == [B]


@pytest.mark.parametrize("by", [timedelta(hours=-1), timedelta(hours=1)], ids=str)
def test_a_clock_that_is_set_gives_a_node_neither_more_nor_less_time_to_come(pair: Pair, by: timedelta) -> None:
    pair.meet()
    assert pair.meet(ONLY_TWO) == [A, B]
    pair.two.set_clock(by)
    pair.two.wait(19)
    assert pair.meet(ONLY_TWO) == [A, B]
    pair.two.wait(1)
    assert pair.meet(ONLY_TWO) == [B]


def test_a_server_that_goes_down_in_order_takes_no_node_with_it(pair: Pair) -> None:
    pair.meet()
    pair.one.view.freeze()
    pair.one.disconnect("a")
    assert pair.meet() == [A, B]
    assert pair.meet(ONLY_TWO) == [A, B]


def test_a_draining_node_leaves_although_its_server_is_gone(pair: Pair) -> None:
    pair.meet()
    pair.one.report("a", A, draining=True)
    assert pair.meet(ONLY_TWO) == [B]
