"""The registry of nodes: streams, records, what is written down."""

from datetime import UTC, datetime, timedelta

from google.rpc.status_pb2 import Status
from janua.config.v1.config_service_pb2 import Node, NodeStatus

from config_server.node_record import NodeIdentity
from config_server.nodes import FORGET_AFTER, NodeRegistry
from config_server.store.base import NodeRow
from config_server.subscription import Delivery, Page
from config_server.wire import EncodedResource
from tests.config_server.worlds import ROUTE


class Clock:
    def __init__(self) -> None:
        self.now = datetime(2026, 1, 1, tzinfo=UTC)

    def __call__(self) -> datetime:
        return self.now


def identity(node_id: str = "n", version: str = "1") -> NodeIdentity:
    return NodeIdentity(node_id=node_id, cluster="edge", version=version)


def ids(rows: tuple[list[NodeRow], list[str]]) -> tuple[list[str], list[str]]:
    return [row.node_id for row in rows[0]], list(rows[1])


def test_a_node_counts_once_however_many_streams_it_has() -> None:
    nodes = NodeRegistry([], clock=Clock())
    with nodes.connected(identity()):
        with nodes.connected(identity()), nodes.connected(identity("m")):
            assert nodes.connected_nodes == 2
        assert nodes.connected_nodes == 1
    assert nodes.connected_nodes == 0
    assert [record.node_id for record in nodes.records()] == ["m", "n"]


def test_the_newest_stream_counts_then_the_one_that_is_left() -> None:
    nodes = NodeRegistry([], clock=Clock())
    with nodes.connected(identity(version="old")) as old:
        with nodes.connected(identity(version="new")) as new:
            old.sent(ROUTE, 1)
            new.sent(ROUTE, 2)
            (record,) = nodes.records()
            assert record.to_proto().version == "new"
            assert record.to_proto().types[0].sent_revision == 2
        assert record.to_proto().version == "old"
        assert record.to_proto().types[0].sent_revision == 1


def test_a_record_survives_a_restart() -> None:
    clock = Clock()
    nodes = NodeRegistry([], clock=clock)
    page = Page([EncodedResource("a", "v", b"", b"")], [])
    with nodes.connected(identity()) as session:
        session.sent(ROUTE, 3)
        session.answered(ROUTE, Delivery(nonce="1", revision=3, page=page, is_complete=True), None)
        session.sent(ROUTE, 4)
        session.answered(ROUTE, Delivery(nonce="2", revision=4, page=page, is_complete=True), Status(message="refused"))
        nodes.report("n", NodeStatus(draining=True))
        before = nodes.records()[0].to_proto()
    rows, _ = nodes.take_unsaved()
    after = NodeRegistry(rows, clock=clock).records()[0].to_proto()
    # Only what is true without a stream is kept.
    assert (before.connected, before.status.draining) == (True, True)
    before.ClearField("connected")
    before.ClearField("status")
    assert after == before
    assert after.types[0].rejections[0].name == "a"


def test_only_what_changed_is_written() -> None:
    nodes = NodeRegistry([], clock=Clock())
    assert nodes.take_unsaved() == ([], [])
    with nodes.connected(identity("a")), nodes.connected(identity("b")):
        assert [row.node_id for row in nodes.take_unsaved()[0]] == ["a", "b"]
        assert nodes.take_unsaved() == ([], [])
        nodes.heard("b")
        assert [row.node_id for row in nodes.take_unsaved()[0]] == ["b"]
    assert [row.node_id for row in nodes.take_unsaved()[0]] == ["a", "b"]


def test_a_node_that_is_gone_for_long_is_forgotten() -> None:
    clock = Clock()
    nodes = NodeRegistry([], clock=clock)
    with nodes.connected(identity("stays")):
        with nodes.connected(identity("goes")):
            pass
        nodes.take_unsaved()
        clock.now += FORGET_AFTER
        assert nodes.take_unsaved() == ([], [])
        clock.now += timedelta(seconds=1)
        assert nodes.take_unsaved() == ([], ["goes"])
        assert [record.node_id for record in nodes.records()] == ["stays"]


def test_a_report_of_an_unknown_node_is_not_kept() -> None:
    nodes = NodeRegistry([], clock=Clock())
    assert not nodes.report("nobody", NodeStatus())
    assert nodes.records() == []


def test_a_report_is_a_sign_of_life() -> None:
    clock = Clock()
    nodes = NodeRegistry([NodeRow(node_id="n", record=Node(id="n").SerializeToString())], clock=clock)
    clock.now += timedelta(hours=1)
    assert nodes.report("n", NodeStatus(active_requests=7))
    node = nodes.records()[0].to_proto()
    assert node.last_seen_time.ToDatetime(UTC) == clock.now
    assert node.status.active_requests == 7
    assert not node.connected
