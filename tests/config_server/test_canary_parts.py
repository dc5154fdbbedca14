"""The parts of canaries: who is meant, what is shown, what is counted."""

from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.config_service_pb2 import Canary, CanaryOptions, NodeSelector
from janua_resources.kinds import KINDS, ConfigMessage

from config_server.failure_tally import SETTLING_S, FailureTally
from config_server.node_selector import Selection, place
from config_server.proposal import PROPOSAL_KEY, ended, new_proposal, proposal_of
from config_server.resources import Key, Operation, StoredChange, key_of
from config_server.snapshot_cache import CacheUpdate, SnapshotCache
from config_server.stamp import Stamp
from tests.config_server.stored import NOW, cache_of, stored
from tests.config_server.worlds import consumer, proxy_service, route, secret, service, upstream

NODES = CanaryOptions(nodes=NodeSelector(clusters=["edge"]))


def test_all_that_is_said_of_nodes_must_hold() -> None:
    selection = Selection(NodeSelector(ids=["a-*", "b"], clusters=["e*e"]))
    assert selection.covers("a-1", "edge")
    assert selection.covers("b", "eve")
    assert not selection.covers("b1", "edge")
    assert not selection.covers("a-1", "core")
    assert str(selection) == "cluster e*e and node a-* or b"


def test_nothing_but_a_star_is_special() -> None:
    assert not Selection(NodeSelector(ids=["a.c"])).covers("abc", "")
    assert Selection(NodeSelector(ids=["a[.]|*"])).covers("a[.]|\n", "")


@given(st.text(), st.integers(1, 99))
def test_a_larger_percentage_adds_to_a_smaller(node_id: str, percent: int) -> None:
    smaller, larger = (Selection(NodeSelector(percent=each)) for each in (percent, percent + 1))
    assert not smaller.covers(node_id, "") or larger.covers(node_id, "")
    assert Selection(NodeSelector(percent=100)).covers(node_id, "")


def test_percentages_are_about_right() -> None:
    chosen = sum(place(f"gateway-{number}") < 10 for number in range(10_000))
    assert 900 < chosen < 1100


def states(cache: SnapshotCache) -> dict[str, dict[str, str]]:
    """By type, what nodes see: names and versions."""
    found = {}
    for info in KINDS:
        view = cache.view(info.type_url)
        assert view is not None
        found[info.field] = {resource.name: resource.version for resource in view.resources()}
    return found


WORLD = (upstream("u"), service("s"), proxy_service("p", secret="k"), secret("k"), secret("l"), route("a"), route("b"))


def key_of_edit(edit: ConfigMessage | Key) -> Key:
    return edit if isinstance(edit, Key) else key_of(edit)


EDITS: st.SearchStrategy[list[ConfigMessage | Key]] = st.lists(
    st.sampled_from(
        [
            proxy_service("p", secret="l"),
            proxy_service("q", secret="l"),
            route("a", description="new"),
            route("c"),
            consumer("c"),
            upstream("u", description="new"),
            key_of(route("b")),
            key_of(proxy_service("p", secret="")),
        ]
    ),
    unique_by=key_of_edit,
    min_size=1,
)


@given(EDITS, st.booleans())
def test_its_nodes_see_what_all_will_see_and_others_what_all_have_seen(
    edits: list[ConfigMessage | Key], promoted: bool
) -> None:
    cache = cache_of(*WORLD)
    before = states(cache)
    proposal = new_proposal([_change(cache, edit) for edit in edits], NODES, _stamp(2), "")
    cache.apply(CacheUpdate(revision=2, records=[proposal.entry]))
    assert states(cache) == before
    assert states(cache.for_node("n", "core")) == before
    kept = {key: resource.message for key, resource in cache.resources.items()}
    for edit in edits:
        if isinstance(edit, Key):
            del kept[edit]
        else:
            kept[key_of(edit)] = edit
    shown = cache.for_node("n", "edge")
    assert states(shown) == states(cache_of(*kept.values()))
    # Nothing but what is proposed is there twice.
    for key, resource in cache.resources.items():
        if key not in {key_of_edit(edit) for edit in edits}:
            assert shown.resources[key] is resource
    end = ended(proposal, Canary.STATE_PROMOTED if promoted else Canary.STATE_ABORTED, _stamp(3))
    cache.apply(CacheUpdate(revision=3, records=[end.entry]))
    assert cache.for_node("n", "edge") is cache
    assert states(cache) == before


def _stamp(revision: int, author: str = "") -> Stamp:
    return Stamp(revision=revision, time=NOW, author=author)


def _change(cache: SnapshotCache, edit: ConfigMessage | Key) -> StoredChange:
    if isinstance(edit, Key):
        return StoredChange(operation=Operation.DELETED, entry=cache.entry(edit))
    return StoredChange(operation=Operation.MODIFIED, entry=stored(edit))


def test_a_proposal_is_read_back_as_it_was_written() -> None:
    changes = [StoredChange(operation=Operation.ADDED, entry=stored(route("a"), set_name="files"))]
    proposal = new_proposal(changes, NODES, _stamp(7, "bob"), "why")
    assert proposal.entry.key == PROPOSAL_KEY
    again = proposal_of(proposal.entry)
    assert (again.revision, again.is_running, again.message) == (7, True, proposal.message)
    (entry,) = again.upserts
    assert (entry.key, entry.body, entry.version, entry.set) == (
        key_of(route("a")),
        stored(route("a")).body,
        stored(route("a")).version,
        "files",
    )


def test_requests_count_from_when_a_node_has_settled() -> None:
    tally = FailureTally()
    tally.observe("n", 100, 50, now=10.0)
    tally.observe("n", 120, 60, now=10.0 + SETTLING_S - 0.1)
    assert (tally.requests, tally.failed) == (0, 0)
    tally.observe("n", 130, 65, now=10.0 + SETTLING_S)
    assert (tally.requests, tally.failed) == (0, 0)
    tally.observe("n", 135, 66, now=20.0)
    tally.observe("n", 135, 66, now=21.0)
    tally.observe("m", 7, 7, now=21.0)
    assert (tally.requests, tally.failed) == (5, 1)
    # It was started again, and has answered three since.
    tally.observe("n", 3, 2, now=22.0)
    assert (tally.requests, tally.failed) == (8, 3)
