from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.route_pb2 import Backend, Route
from janua.config.v1.service_pb2 import Credential, ProxyService, Service, UpstreamService
from janua_resources.references import references


def test_a_route_names_services_and_policies() -> None:
    route = Route(backends=[Backend(service="a"), Backend(service="b")], policies=["keys"])
    found = [(reference.field, reference.kind.name, reference.name) for reference in references(route)]
    assert found == [
        ("backends[0].service", "Service", "a"),
        ("backends[1].service", "Service", "b"),
        ("policies[0]", "Policy", "keys"),
    ]


def test_a_service_names_its_upstream_or_its_secrets() -> None:
    hosted = Service(upstream_service=UpstreamService(upstream="pool"))
    [reference] = references(hosted)
    assert (reference.field, reference.kind.name, reference.name) == ("upstream_service.upstream", "Upstream", "pool")

    proxied = Service(proxy_service=ProxyService(credentials=[Credential(secret="key")]))
    [reference] = references(proxied)
    assert (reference.field, reference.kind.name) == ("proxy_service.credentials[0].secret", "Secret")


def test_others_name_nothing() -> None:
    assert references(Service()) == ()
    assert references(Consumer(name="alice")) == ()
