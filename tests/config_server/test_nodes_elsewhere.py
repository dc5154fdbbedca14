"""Nodes that other servers know: the newest stream counts, and a server that is gone serves none."""

from datetime import UTC, datetime, timedelta

from google.rpc.status_pb2 import Status
from janua.config.v1.config_service_pb2 import NodeRollout, NodeStatus

from config_server.node_record import NodeIdentity
from config_server.nodes import FORGET_AFTER, NodeRegistry
from config_server.rollout import node_rollout
from config_server.store.base import PeerNode
from config_server.subscription import Delivery, Page
from tests.config_server.worlds import ROUTE

START = datetime(2026, 1, 1, tzinfo=UTC)
BOTH = frozenset("ab")


class Server:
    """A registry, and what it writes for the others."""

    def __init__(self, name: str, now: datetime = START) -> None:
        self.name = name
        self.now = now
        self.nodes = NodeRegistry([], clock=lambda: self.now)

    def written(self) -> list[PeerNode]:
        rows, _ = self.nodes.take_unsaved()
        return [PeerNode(replica=self.name, node_id=row.node_id, record=row.record) for row in rows]

    def seen(self) -> list[tuple[str, str, bool]]:
        nodes = [record.to_proto() for record in self.nodes.records()]
        return [(node.id, node.version, node.connected) for node in nodes]


def identity(version: str = "1", node_id: str = "n") -> NodeIdentity:
    return NodeIdentity(node_id=node_id, cluster="", version=version)


def test_a_node_is_seen_with_all_that_its_server_knows_of_it() -> None:
    a, b = Server("a"), Server("b")
    page = Page([], [])
    with a.nodes.connected(identity()) as session:
        session.sent(ROUTE, 3)
        session.answered(ROUTE, Delivery(nonce="1", revision=3, page=page, is_complete=True), None)
        session.looked_at(3, [])
        a.nodes.report("n", NodeStatus(draining=True))
        b.nodes.take_peers(a.written(), BOTH)
    (record,) = b.nodes.records()
    assert record.status == NodeStatus(draining=True)
    assert b.nodes.connected_nodes == 1
    assert node_rollout(record, 3, {ROUTE: {"r": "1"}}).state == NodeRollout.STATE_SYNCED
    assert node_rollout(record, 4, {ROUTE: {"r": "1"}}).state == NodeRollout.STATE_NOT_SENT


def test_what_a_node_refuses_is_seen_elsewhere() -> None:
    a, b = Server("a"), Server("b")
    with a.nodes.connected(identity()) as session:
        session.sent(ROUTE, 1)
        delivery = Delivery(nonce="1", revision=1, page=Page([], []), is_complete=True)
        session.answered(ROUTE, delivery, Status(code=3, message="no"))
        a.nodes.changed("n")
        b.nodes.take_peers(a.written(), BOTH)
    (node,) = [record.to_proto() for record in b.nodes.records()]
    assert (node.types[0].nacked_revision, node.types[0].error_message) == (1, "no")


def test_a_server_that_is_gone_serves_none_of_its_nodes() -> None:
    a, b = Server("a"), Server("b")
    with a.nodes.connected(identity()):
        b.nodes.take_peers(a.written(), BOTH)
    assert b.seen() == [("n", "1", True)]
    b.nodes.take_peers([], frozenset("b"))
    assert b.seen() == [("n", "1", False)]
    assert b.nodes.connected_nodes == 0
    # It was only late.
    b.nodes.take_peers([], BOTH)
    assert b.seen() == [("n", "1", True)]


def test_of_two_servers_the_one_with_the_newest_stream_is_believed() -> None:
    a, b = Server("a"), Server("b", START + timedelta(seconds=1))
    with a.nodes.connected(identity("old")):  # which has not noticed yet that the node has left
        with b.nodes.connected(identity("new")):
            a.nodes.take_peers(b.written(), BOTH)
            b.nodes.take_peers(a.written(), BOTH)
            assert a.seen() == b.seen() == [("n", "new", True)]
            assert a.nodes.connected_nodes == b.nodes.connected_nodes == 1
        a.nodes.take_peers(b.written(), BOTH)
        assert a.seen() == [("n", "old", True)], "a stream that is there counts before one that is not"


def test_of_servers_that_are_gone_the_last_word_is_kept_until_it_is_old() -> None:
    here = Server("c")
    for name, seconds in (("a", 0), ("b", 1)):
        other = Server(name, START + timedelta(seconds=seconds))
        with other.nodes.connected(identity(name)):
            here.nodes.take_peers(other.written(), frozenset(name))
    here.nodes.take_peers([], frozenset())
    assert here.seen() == [("n", "b", False)]
    here.now += FORGET_AFTER + timedelta(minutes=1)
    here.nodes.take_peers([], frozenset())
    assert here.seen() == []
