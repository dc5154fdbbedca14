"""When a rollout is far enough: targets, and which nodes count."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.config_service_pb2 import GetRolloutResponse, NodeRollout
from janua_client.rollout import ALL, MAJORITY, RolloutTracker, RolloutVerdict, WaitTarget, parse_wait_target

SYNCED, STALE, NOT_SENT, ERROR = (
    NodeRollout.STATE_SYNCED,
    NodeRollout.STATE_STALE,
    NodeRollout.STATE_NOT_SENT,
    NodeRollout.STATE_ERROR,
)


def rollout(**nodes: tuple[NodeRollout.State.ValueType, bool]) -> GetRolloutResponse:
    return GetRolloutResponse(
        revision=9,
        nodes=[NodeRollout(node_id=id_, state=state, connected=connected) for id_, (state, connected) in nodes.items()],
    )


@pytest.mark.parametrize(
    ("text", "nodes", "needed"),
    [
        ("all", 1, 1),
        ("all", 7, 7),
        ("ALL", 7, 7),
        ("majority", 1, 1),
        ("majority", 2, 2),
        ("majority", 3, 2),
        ("majority", 4, 3),
        ("50%", 4, 2),
        ("50%", 3, 2),
        ("1%", 5, 1),
        ("99%", 100, 99),
        ("99%", 10, 10),
        ("100%", 10, 10),
        (" 30% ", 10, 3),
    ],
)
def test_how_many_are_needed(text: str, nodes: int, needed: int) -> None:
    assert parse_wait_target(text).needed(nodes) == needed


@pytest.mark.parametrize(
    "text", ["", "none", "0%", "101%", "-5%", "5", "%", "1.5%", "1e1%", "five%", "²%", "all nodes"]
)
def test_refuses_what_is_no_target(text: str) -> None:
    with pytest.raises(ValueError, match="is not `all`, `majority` or a percentage"):
        parse_wait_target(text)


@given(target=st.sampled_from([ALL, MAJORITY, parse_wait_target("1%"), parse_wait_target("73%")]), nodes=st.integers(1))
def test_at_least_one_and_never_more_than_there_are(target: WaitTarget, nodes: int) -> None:
    assert 1 <= target.needed(nodes) <= nodes


def test_a_target_prints_as_it_is_written() -> None:
    assert [str(parse_wait_target(text)) for text in ("all", "Majority", "07%")] == ["all", "majority", "7%"]


def test_nodes_that_were_away_are_listed_and_do_not_count() -> None:
    progress = RolloutTracker(ALL, connected_at_commit=1).progress(rollout(a=(SYNCED, True), b=(NOT_SENT, False)))
    assert progress.verdict is RolloutVerdict.SYNCED
    assert [node.node_id for node in progress.counted] == ["a"]
    assert [node.node_id for node in progress.disconnected] == ["b"]


def test_later_joiners_count() -> None:
    tracker = RolloutTracker(ALL, connected_at_commit=1)
    first = tracker.progress(rollout(a=(STALE, True)))
    assert (first.verdict, first.needed) == (RolloutVerdict.WAITING, 1)
    joined = tracker.progress(rollout(a=(SYNCED, True), b=(NOT_SENT, True)))
    assert (joined.verdict, joined.needed) == (RolloutVerdict.WAITING, 2)


def test_a_node_that_leaves_during_the_wait_still_counts() -> None:
    tracker = RolloutTracker(ALL, connected_at_commit=2)
    tracker.progress(rollout(a=(SYNCED, True), b=(STALE, True)))
    left = tracker.progress(rollout(a=(SYNCED, True), b=(NOT_SENT, False)))
    assert left.verdict is RolloutVerdict.WAITING
    assert [node.node_id for node in left.missing] == ["b"]


def test_a_node_that_left_before_the_first_answer_still_counts() -> None:
    progress = RolloutTracker(ALL, connected_at_commit=2).progress(rollout(a=(SYNCED, True), b=(NOT_SENT, False)))
    assert (progress.verdict, progress.needed) == (RolloutVerdict.WAITING, 2)


def test_no_node_at_all() -> None:
    progress = RolloutTracker(ALL, connected_at_commit=0).progress(rollout(b=(ERROR, False)))
    assert (progress.verdict, progress.needed) == (RolloutVerdict.NO_NODES, 0)


def test_one_refusal_is_enough_even_where_a_majority_accepts() -> None:
    progress = RolloutTracker(MAJORITY, connected_at_commit=3).progress(
        rollout(a=(SYNCED, True), b=(SYNCED, True), c=(ERROR, True))
    )
    assert progress.verdict is RolloutVerdict.REJECTED
    assert [node.node_id for node in progress.rejecting] == ["c"]
    assert progress.missing == ()
