"""Warnings are looked for around a batch only, and must be those of the whole configuration."""

from hypothesis import given
from hypothesis import strategies as st
from janua.config.v1.resource_pb2 import KIND_POLICY, KIND_ROUTE, KIND_SERVICE
from janua_resources import world
from janua_resources.kinds import ConfigMessage

from config_server import validation
from config_server.reference_index import ReferenceIndex, named_by
from config_server.resources import Key, Kind, key_of
from tests.config_server.stored import NOW
from tests.config_server.worlds import consumer, policy, proxy_service, route, secret, service, upstream

names = st.sampled_from("abc")
messages = st.one_of(
    st.builds(upstream, names),
    st.builds(policy, names),
    st.builds(secret, names),
    st.builds(consumer, names),
    st.builds(lambda name, other: service(name, upstream=other), names, names),
    st.builds(lambda name, other: proxy_service(name, secret=other), names, names),
    st.builds(
        lambda name, other, policies: route(name, service=other, policies=policies), names, names, st.sets(names)
    ),
)
worlds = st.lists(messages, max_size=8).map(lambda found: {key_of(message): message for message in found})


@given(worlds, worlds, st.sets(st.integers(0, 20)))
def test_warnings_about_a_batch_are_those_of_the_whole(
    before: dict[Key, ConfigMessage], upserts: dict[Key, ConfigMessage], deleted: set[int]
) -> None:
    index = ReferenceIndex()
    for key, message in before.items():
        index.replace(key, frozenset(), named_by(message))
    gone = {key for number, key in enumerate(before) if number in deleted}
    after: dict[tuple[Kind, str], ConfigMessage] = {key: message for key, message in before.items() if key not in gone}
    after.update((key, message) for key, message in upserts.items())
    batch = {*upserts, *gone}
    found = {
        (warning.key.kind, warning.key.name, warning.field, warning.message)
        for warning in validation.warnings(after, batch, index, now=NOW)
    }
    expected = {
        (violation.kind.kind, violation.name, violation.field, violation.message)
        for violation in world.warnings(after, now=NOW)
        if (violation.kind.kind, violation.name) in batch
    }
    assert found == expected


def test_the_index_knows_who_names_what() -> None:
    index = ReferenceIndex()
    s, t, a, b = Key(KIND_SERVICE, "s"), Key(KIND_SERVICE, "t"), Key(KIND_ROUTE, "a"), Key(KIND_ROUTE, "b")
    nothing = frozenset[Key]()
    assert named_by(route("a", service="t", policies=["p"])) == {t, Key(KIND_POLICY, "p")}
    index.replace(a, nothing, frozenset({s}))
    index.replace(b, nothing, frozenset({s, t}))
    assert set(index.users(s)) == {a, b}
    index.replace(a, frozenset({s}), frozenset({t}))
    assert (set(index.users(s)), set(index.users(t))) == ({b}, {a, b})
    index.replace(b, frozenset({s, t}), nothing)
    assert (set(index.users(s)), set(index.users(t))) == (set(), {a})
