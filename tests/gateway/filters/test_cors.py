"""What browsers are told: which origins may call, and what a preflight is answered."""

import pytest

from gateway.config.snapshot import CorsConfig
from gateway.filters.cors import Cors
from gateway.filters.phases import Preflight
from tests.gateway.filters.requests import context

APP = b"https://app.example"


# What pages of others may call their origin, to be taken for `APP`.
EVIL = (
    b"null", b"", b"https://", b"https://evil-app.example", b"https://evilapp.example", b"https://app.example.evil.example",
    b"https://a.app.example.evil.example", b"https://app.exampleevil", b"https://app-example", b"http://app.example",
    b"http://a.app.example", b"https://app.example:443", b"https://a.app.example:8443", b"https://app.example/",
    b"https://APP.example", b"HTTPS://app.example", b"https://app.example https://evil.example", b"https://evil@app.example",
    b"https://evil.example#.app.example", b"https://evil.example\\.app.example", b"https://app.example, https://app.example",
)  # fmt: skip


def cors(*origins: str, headers: tuple[str, ...] = (), credentials: bool = False, max_age_s: int | None = None) -> Cors:
    return Cors(
        CorsConfig(
            allow_origins=origins or (APP.decode(),),
            allow_methods=("POST",),
            allow_headers=headers,
            expose_headers=("x-request-id",),
            allow_credentials=credentials,
            max_age_s=max_age_s,
        )
    )


def asked(*headers: str, origin: bytes = APP, method: str = "POST") -> Preflight:
    return Preflight(origin=origin, method=method, headers=headers)


@pytest.mark.parametrize(
    ("allowed", "origin", "is_allowed"),
    [
        ("*", b"https://x.example", True),
        ("*", b"null", True),
        ("https://app.example", APP, True),
        ("https://app.example", b"https://app.example.", False),
        ("https://app.example", b"https://app.example:8443", False),
        ("https://*.app.example", b"https://a.app.example", True),
        ("https://*.app.example:8443", b"https://a.app.example:8443", True),
        ("https://*.app.example:8443", b"https://a.app.example", False),
        ("https://*.app.example", b"https://.app.example", False),
        ("https://*.app.example", b"https://a..app.example", False),
        ("https://*.app.example", b"https://a@b.app.example", False),
        ("https://*.app.example", b"https://a/.app.example", False),
        ("https://*.app.example", b"https://app.example", False),
        ("https://app.example", b"\xff", False),
        *(("https://app.example", evil, False) for evil in EVIL),
        *(("https://*.app.example", evil, False) for evil in EVIL),
    ],
)
def test_origins(allowed: str, origin: bytes, is_allowed: bool) -> None:
    assert cors(allowed).allows(origin) == is_allowed


@pytest.mark.parametrize(
    ("allowed", "header", "is_allowed"),
    [
        ((), "content-type", True),
        ((), "authorization", False),
        (("authorization",), "authorization", True),
        (("authorization",), "authorization-x", False),
        (("x-stainless-*",), "x-stainless-os", True),
        (("x-stainless-*",), "x-stainles", False),
        (("*",), "anything", True),
        (("*",), "no name", False),
        (("*",), "\u0130", False),
    ],
)
def test_headers(allowed: tuple[str, ...], header: str, is_allowed: bool) -> None:
    answer = cors(headers=allowed).preflight(asked(header))
    assert (answer is not None) == is_allowed
    if answer is not None:
        assert (b"access-control-allow-headers", header.encode()) in answer


def test_preflight() -> None:
    policy = cors(credentials=True, max_age_s=60)
    assert policy.preflight(asked()) == [
        (b"access-control-allow-origin", APP),
        (b"vary", b"origin"),
        (b"access-control-allow-credentials", b"true"),
        (b"access-control-allow-methods", b"POST"),
        (b"access-control-max-age", b"60"),
        (b"vary", b"access-control-request-method, access-control-request-headers"),
    ]
    assert policy.preflight(asked(method="PUT")) is None
    assert policy.preflight(asked(origin=b"https://x.example")) is None


def test_answers() -> None:
    mine, other = context(headers={b"origin": APP}), context(headers={b"origin": b"https://x.example"})
    for each in (mine, other):
        cors().mark(each)
        assert each.answers_for_origins
    assert mine.answer_headers == [
        (b"access-control-allow-origin", APP),
        (b"vary", b"origin"),
        (b"access-control-expose-headers", b"x-request-id"),
    ]
    assert other.answer_headers == [(b"vary", b"origin")]


def test_nobody_else_is_told_that_its_page_may_use_what_the_browser_keeps() -> None:
    """With credentials, an origin that is only repeated would let every page act as who is logged in."""
    for policy in (cors(credentials=True), cors("https://*.app.example", credentials=True)):
        for evil in EVIL:
            answered = context(headers={b"origin": evil})
            policy.mark(answered)
            assert answered.answer_headers == [(b"vary", b"origin")]
            assert policy.preflight(asked(origin=evil)) is None


def test_answers_over_grpc_say_nothing() -> None:
    call = context(protocol="grpc", headers={b"origin": APP})
    cors().mark(call)
    assert call.answer_headers == []
