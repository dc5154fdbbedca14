import pytest
from janua.config.v1.resource_pb2 import KIND_ROUTE, KIND_UNSPECIFIED, Kind, Resource
from janua.config.v1.route_pb2 import Route
from janua.config.v1.service_pb2 import Service
from janua.config.v1.sync_state_pb2 import SyncState
from janua_resources.kinds import (
    KINDS,
    SYNC_STATE_TYPE_URL,
    KindInfo,
    key_of,
    kind_by_type_url,
    kind_by_word,
    kind_info,
    kind_of,
    unwrap,
    wrap,
)


def test_kinds_stand_in_make_before_break_order() -> None:
    assert [info.name for info in KINDS] == ["Secret", "Upstream", "Policy", "Service", "Consumer", "Route"]


def test_every_kind_of_the_proto_is_listed_once() -> None:
    assert sorted(info.kind for info in KINDS) == [number for number in sorted(Kind.values()) if number]


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.name)
def test_names_of_a_kind_agree_with_the_proto(info: KindInfo) -> None:
    field = Resource.DESCRIPTOR.fields_by_name[info.field]
    assert field.message_type is info.message.DESCRIPTOR
    assert Kind.Name(info.kind) == f"KIND_{info.name.upper()}"
    assert info.type_url == f"type.googleapis.com/janua.config.v1.{info.name}"


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.name)
def test_a_kind_is_found_by_each_of_its_names(info: KindInfo) -> None:
    assert kind_info(info.kind) is info
    assert kind_by_type_url(info.type_url) is info
    assert kind_of(info.message()) is info
    for word in (info.field, info.plural, info.name, info.plural.upper()):
        assert kind_by_word(word) is info


def test_what_is_no_kind_is_not_found() -> None:
    assert kind_by_word("ingress") is None
    assert kind_by_type_url("type.googleapis.com/envoy.config.route.v3.RouteConfiguration") is None
    assert kind_by_type_url(SYNC_STATE_TYPE_URL) is None
    with pytest.raises(ValueError, match="0 is not a kind"):
        kind_info(KIND_UNSPECIFIED)
    with pytest.raises(TypeError, match="SyncState is not a kind"):
        kind_of(SyncState())  # type: ignore[arg-type]  # the point of the test


@pytest.mark.parametrize("info", KINDS, ids=lambda info: info.name)
def test_wrap_and_unwrap_are_inverse_even_for_an_empty_resource(info: KindInfo) -> None:
    for message in (info.message(), info.message(name="a")):
        assert unwrap(wrap(message)) == message
        assert wrap(message).WhichOneof("kind") == info.field


def test_wrap_copies() -> None:
    service = Service(name="a")
    resource = wrap(service)
    service.name = "b"
    assert resource.service.name == "a"


def test_unwrap_refuses_an_empty_envelope() -> None:
    with pytest.raises(ValueError, match="has no kind"):
        unwrap(Resource())


def test_key_of_names_kind_and_name() -> None:
    key = key_of(Route(name="chat"))
    assert (key.kind, key.name) == (KIND_ROUTE, "chat")
