"""How far a revision has come on a node, from what the node was sent and answered."""

from datetime import timedelta

from google.rpc.status_pb2 import Status
from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.config_service_pb2 import NodeRollout, Rejection
from janua_resources.kinds import SYNC_STATE_TYPE_URL

from config_server.node_record import NodeIdentity, NodeRecord, NodeSession
from config_server.progress import TypeProgress
from config_server.resources import Operation, StoredChange
from config_server.rollout import changed_versions, node_rollout
from config_server.subscription import Delivery, Page
from config_server.wire import EncodedResource
from tests.config_server.stored import NOW, stored
from tests.config_server.worlds import ROUTE, SECRET, SERVICE, route, service

SYNCED, STALE = NodeRollout.STATE_SYNCED, NodeRollout.STATE_STALE
NOT_SENT, ERROR = NodeRollout.STATE_NOT_SENT, NodeRollout.STATE_ERROR

REFUSED = Status(code=3, message="no")


def record(*types: TypeProgress, revision: int = 0, is_connected: bool = True) -> NodeRecord:
    session = NodeSession(
        identity=NodeIdentity(node_id="n", cluster="", version=""),
        connect_time=NOW,
        revision=revision,
        types={progress.type_url: progress for progress in types},
    )
    sessions = [session] if is_connected else []
    return NodeRecord(latest=session, sessions=sessions, last_seen_time=NOW + timedelta(seconds=1))


def delivery(revision: int, names: str = "a", *, is_complete: bool = True, removed: str = "") -> Delivery:
    """Of resources that have their revision as their version."""
    resources = [EncodedResource(name, f"v{revision}", b"", b"") for name in names]
    page = Page(resources, list(removed))
    return Delivery(nonce="1", revision=revision, page=page, is_complete=is_complete)


def sent(type_url: str, revision: int, names: str = "a", **options: object) -> tuple[TypeProgress, Delivery]:
    progress = TypeProgress(type_url=type_url)
    progress.sent(revision)
    return progress, delivery(revision, names)


def state(node: NodeRecord, revision: int, **changed: str) -> NodeRollout.State.ValueType:
    """Of a revision that changed the named routes to the versions."""
    return node_rollout(node, revision, {ROUTE: changed}).state


def test_what_was_accepted_is_synced() -> None:
    progress, under_way = sent(ROUTE, 2)
    assert state(record(progress), 2, a="v2") == STALE
    progress.accepted(under_way)
    assert state(record(progress), 2, a="v2") == SYNCED
    assert state(record(progress), 1, a="v1") == SYNCED
    assert state(record(progress), 3, a="v3") == NOT_SENT


def test_a_page_that_is_not_the_last_is_not_all() -> None:
    progress = TypeProgress(type_url=ROUTE)
    progress.sent(2)
    progress.accepted(delivery(2, "ab", is_complete=False))
    assert state(record(progress), 2, a="v2") == STALE
    assert progress.acked_revision == 0
    progress.accepted(delivery(2, "c"))
    assert state(record(progress), 2, a="v2") == SYNCED


def test_a_type_of_which_nothing_had_to_be_sent_is_synced() -> None:
    progress = TypeProgress(type_url=ROUTE)
    progress.nothing_to_send(4)
    assert state(record(progress), 4, a="v4") == SYNCED
    assert state(record(progress), 5, a="v5") == NOT_SENT


def test_what_a_node_asks_for_later_it_had_all_of_until_then() -> None:
    """A first secret, for example: until a service named one there was none to accept."""
    node = record()
    assert node.latest.progress(SECRET).acked_revision == 0, "in its first sync it has nothing yet"
    node.latest.types.clear()
    for type_url in (ROUTE, SERVICE, SYNC_STATE_TYPE_URL):
        node.latest.progress(type_url).nothing_to_send(2)
    progress = node.latest.progress(SECRET)
    progress.sent(3)
    progress.refused(delivery(3), REFUSED)
    rollout = node_rollout(node, 3, {SECRET: {"a": "v3"}})
    assert (rollout.state, rollout.acked_revision) == (ERROR, 2)


def test_a_refused_resource_of_the_revision_is_an_error() -> None:
    progress, under_way = sent(ROUTE, 2, "ab")
    error = Status(message="no")
    error.details.add().Pack(Rejection(type_url=ROUTE, name="a", reason="INVALID_FIELD"))
    progress.refused(under_way, error)
    node = record(progress)
    assert state(node, 2, a="v2") == ERROR
    # What else the response held was accepted.
    assert state(node, 2, b="v2") == SYNCED
    (rejection,) = node_rollout(node, 2, {}).rejections
    assert (rejection.name, rejection.version, rejection.reason) == ("a", "v2", "INVALID_FIELD")


def test_a_refusal_without_details_is_one_of_the_whole_response() -> None:
    progress, _ = sent(ROUTE, 2)
    progress.refused(delivery(2, "ab", removed="c"), REFUSED)
    node = record(progress)
    assert [state(node, 2, **{name: version}) for name, version in (("a", "v2"), ("b", "v2"), ("c", ""))] == [ERROR] * 3
    assert {rejection.message for rejection in node_rollout(node, 2, {}).rejections} == {"no"}


def test_details_of_other_kinds_explain_nothing() -> None:
    progress, under_way = sent(ROUTE, 2)
    error = Status(message="no")
    error.details.add().Pack(Status(message="other"))
    error.details.add(type_url="type.googleapis.com/janua.config.v1.Rejection", value=b"\xff")
    progress.refused(under_way, error)
    assert set(progress.rejections) == {"a"}


def test_a_refused_version_that_was_replaced_is_no_error_of_the_older_revision() -> None:
    progress, under_way = sent(ROUTE, 2)
    progress.refused(under_way, REFUSED)
    progress.sent(3)
    progress.accepted(delivery(3))
    node = record(progress)
    assert state(node, 2, a="v2") == SYNCED
    assert state(node, 3, a="v3") == SYNCED
    assert node_rollout(node, 3, {}).rejections == []


def test_a_rejection_stays_until_its_resource_is_accepted() -> None:
    progress, under_way = sent(ROUTE, 2, "ab")
    progress.refused(under_way, REFUSED)
    progress.sent(3)
    progress.accepted(delivery(3, "b"))
    node = record(progress)
    assert set(progress.rejections) == {"a"}
    assert progress.error_message == ""
    assert state(node, 2, a="v2", b="v2") == ERROR
    assert state(node, 3, b="v3") == SYNCED
    progress.sent(4)
    progress.accepted(delivery(4, "", removed="a"))
    assert not progress.rejections


def test_the_type_that_is_least_far_decides() -> None:
    routes, route_page = sent(ROUTE, 2)
    services, service_page = sent(SERVICE, 2)
    changed = {ROUTE: {"a": "v2"}, SERVICE: {"a": "v2"}}
    node = record(routes, services)
    services.accepted(service_page)
    assert node_rollout(node, 2, changed).state == STALE
    assert node_rollout(node, 2, changed).acked_revision == 0
    routes.refused(route_page, REFUSED)
    assert node_rollout(node, 2, changed).state == ERROR
    routes.accepted(route_page)
    rollout = node_rollout(node, 2, changed)
    assert (rollout.state, rollout.acked_revision) == (SYNCED, 2)


def test_a_type_that_is_not_asked_for_is_synced_once_the_stream_has_come_by() -> None:
    assert state(record(revision=1), 2, a="v2") == NOT_SENT
    assert state(record(revision=2), 2, a="v2") == SYNCED


def test_a_node_that_is_gone_keeps_what_it_accepted() -> None:
    progress, under_way = sent(ROUTE, 2)
    assert state(record(progress, is_connected=False), 2, a="v2") == NOT_SENT
    progress.accepted(under_way)
    node = record(progress, is_connected=False)
    assert state(node, 2, a="v2") == SYNCED
    assert not node_rollout(node, 2, {}).connected


def test_types_that_are_no_configuration_do_not_count() -> None:
    progress, under_way = sent(ROUTE, 2)
    progress.accepted(under_way)
    other = TypeProgress(type_url="type.googleapis.com/test.Other")
    assert node_rollout(record(progress, other), 2, {ROUTE: {"a": "v2"}}).acked_revision == 2


def test_what_a_revision_changed() -> None:
    changes = [
        StoredChange(operation=Operation.ADDED, entry=stored(route("new"))),
        StoredChange(operation=Operation.DELETED, entry=stored(route("gone"))),
        StoredChange(operation=Operation.MODIFIED, entry=stored(service("s"))),
    ]
    assert changed_versions(changes) == {
        ROUTE: {"new": stored(route("new")).version, "gone": ""},
        SERVICE: {"s": stored(service("s")).version},
    }


@given(st.text())
def test_a_text_of_any_length_and_script_is_cut_to_4_kib(text: str) -> None:
    progress = TypeProgress(type_url=ROUTE)
    error = Status(message=text * 50)
    progress.refused(delivery(1), error)
    kept = progress.error_message
    assert len(kept.encode()) <= 4096
    assert error.message.startswith(kept)
    assert kept == error.message or len(kept.encode()) > 4092


def test_a_refusal_comes_before_those_that_follow_from_it() -> None:
    """However the answers came: a node that does not take a service has no use for the route that names it."""
    types = []
    for type_url in (ROUTE, SERVICE, "type.example/other"):
        progress, under_way = sent(type_url, 2)
        progress.refused(under_way, REFUSED)
        types.append(progress)
    node = record(*types)
    assert [each.type_url for each in node_rollout(node, 2, {}).rejections] == [SERVICE, ROUTE]
    assert [each.type_url for each in node.to_proto().types] == [SERVICE, ROUTE, "type.example/other"]
