from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Cache, Policy, SemanticCache
from janua.config.v1.route_pb2 import Backend, Mirror, Route
from janua.config.v1.service_pb2 import Credential, ProxyService, Service, UpstreamService
from janua.config.v1.upstream_pb2 import ClientCertificate, Tls, Upstream
from janua_resources.references import references


def test_a_route_names_services_and_policies() -> None:
    route = Route(backends=[Backend(service="a"), Backend(service="b")], policies=["keys"])
    found = [(reference.field, reference.kind.name, reference.name) for reference in references(route)]
    assert found == [
        ("backends[0].service", "Service", "a"),
        ("backends[1].service", "Service", "b"),
        ("policies[0]", "Policy", "keys"),
    ]


def test_a_route_names_the_service_that_gets_copies() -> None:
    route = Route(backends=[Backend(service="a")], mirror=Mirror(service="shadow"), policies=["keys"])
    found = [(reference.field, reference.kind.name, reference.name) for reference in references(route)]
    assert found[1] == ("mirror.service", "Service", "shadow")


def test_an_upstream_names_the_secret_of_its_client_certificate() -> None:
    assert references(Upstream(tls=Tls(server_name="box"))) == ()
    [reference] = references(Upstream(tls=Tls(client_certificate=ClientCertificate(secret="box-cert"))))
    assert (reference.field, reference.kind.name, reference.name) == (
        "tls.client_certificate.secret",
        "Secret",
        "box-cert",
    )


def test_a_service_names_its_upstream_or_its_secrets() -> None:
    hosted = Service(upstream_service=UpstreamService(upstream="pool"))
    [reference] = references(hosted)
    assert (reference.field, reference.kind.name, reference.name) == ("upstream_service.upstream", "Upstream", "pool")

    proxied = Service(proxy_service=ProxyService(credentials=[Credential(secret="key")]))
    [reference] = references(proxied)
    assert (reference.field, reference.kind.name) == ("proxy_service.credentials[0].secret", "Secret")


def test_a_cache_names_the_service_that_makes_vectors() -> None:
    assert references(Policy(cache=Cache())) == ()
    [reference] = references(Policy(cache=Cache(semantic=SemanticCache(service="embedder"))))
    assert (reference.field, reference.kind.name, reference.name) == ("cache.semantic.service", "Service", "embedder")
    assert reference.is_late


def test_others_name_nothing() -> None:
    assert references(Policy(name="p")) == ()
    assert references(Service()) == ()
    assert references(Consumer(name="alice")) == ()
