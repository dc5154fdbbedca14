"""Authentication by certificate: which name counts, whose it is, until when, and what is told."""

from collections.abc import Coroutine

import pytest

from gateway.config.snapshot import ConsumerConfig, MtlsAuthConfig
from gateway.context import ClientCertificate, RequestContext
from gateway.errors import Credential, UnauthenticatedError
from gateway.filters.mtls_auth import MtlsAuth
from gateway.types import Operation

NOW = 1_000.0
ALICE, BOB = ConsumerConfig(name="alice"), ConsumerConfig(name="bob")
OWNERS = {"spiffe://a.example/x": ALICE, "a.example": BOB, "CN=a": BOB}


def authenticate(*names: str, expires: float = NOW + 1, optional: bool = False, allowed: tuple[str, ...] = ()) -> str:
    """The name of the caller with such a certificate."""
    caller = run(MtlsAuthConfig(optional=optional, names=allowed), ClientCertificate(names=names, expires=expires))
    return "" if caller is None else caller.name


def run(config: MtlsAuthConfig, certificate: ClientCertificate | None) -> ConsumerConfig | None:
    context = RequestContext(
        request_id="r",
        protocol="http",
        operation=Operation.CHAT,
        method="POST",
        path="/",
        host="",
        query_string=b"",
        headers={b"x-forwarded-client-cert": b"URI=spiffe://a.example/x"},
        model="m",
        is_streaming=False,
        client_address="",
        started=0.0,
        client_certificate=lambda: certificate,
    )
    return finished(MtlsAuth(config, OWNERS, lambda: NOW).authenticate(context))


def finished(coroutine: Coroutine[None, None, ConsumerConfig | None]) -> ConsumerConfig | None:
    """What a coroutine that never waits returns."""
    with pytest.raises(StopIteration) as end:
        coroutine.send(None)
    found: ConsumerConfig | None = end.value.value
    return found


@pytest.mark.parametrize(
    ("names", "allowed", "caller"),
    [
        (("spiffe://a.example/x",), (), "alice"),
        (("spiffe://a.example/x", "a.example"), (), "alice"),
        (("spiffe://b.example/x", "a.example", "CN=b"), (), "bob"),
        (("spiffe://a.example/x", "a.example"), ("a.example",), "bob"),
        (("spiffe://a.example/x",), ("spiffe://a.example/*",), "alice"),
        (("spiffe://a.example/y",), ("spiffe://a.example/*",), "cert:spiffe://a.example/y"),
        (("spiffe://a.example/y", "CN=y"), ("CN=y", "CN=z"), "cert:CN=y"),
        (("spiffe://a.example/y", "CN=y"), ("*",), "cert:spiffe://a.example/y"),
        (("spiffe://a.example/y", "CN=a"), ("*",), "bob"),
    ],
)
def test_caller_is_found(names: tuple[str, ...], allowed: tuple[str, ...], caller: str) -> None:
    assert authenticate(*names, allowed=allowed) == caller


@pytest.mark.parametrize(
    ("names", "allowed"),
    [
        ((), ()),
        ((), ("*",)),
        (("spiffe://a.example/y",), ()),
        (("spiffe://a.example/x",), ("CN=a",)),
        (("spiffe://a.example/x",), ("spiffe://a.example/x/*",)),
        (("spiffe://a.example/xy",), ("spiffe://a.example/x",)),
    ],
)
@pytest.mark.parametrize("optional", [False, True])
def test_certificate_of_nobody_is_refused(names: tuple[str, ...], allowed: tuple[str, ...], optional: bool) -> None:
    with pytest.raises(UnauthenticatedError) as refused:
        authenticate(*names, allowed=allowed, optional=optional)
    assert (refused.value.reason, refused.value.credential) == ("UNKNOWN_CLIENT_CERTIFICATE", Credential.WRONG)
    assert "a.example" not in refused.value.message


@pytest.mark.parametrize(("expires", "is_good"), [(NOW + 0.001, True), (NOW, False), (0.0, False)])
def test_certificate_ends_at_its_moment(expires: float, is_good: bool) -> None:
    if is_good:
        assert authenticate("CN=a", expires=expires) == "bob"
        return
    with pytest.raises(UnauthenticatedError) as refused:
        authenticate("CN=a", expires=expires, optional=True)
    assert refused.value.reason == "EXPIRED_CLIENT_CERTIFICATE"


def test_no_certificate() -> None:
    assert run(MtlsAuthConfig(optional=True), None) is None
    with pytest.raises(UnauthenticatedError) as refused:
        run(MtlsAuthConfig(), None)
    assert (refused.value.reason, refused.value.credential) == ("MISSING_CLIENT_CERTIFICATE", Credential.MISSING)
