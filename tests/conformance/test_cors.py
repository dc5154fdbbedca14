"""Pages of other origins: preflights, what answers and errors say to browsers, and that backends say nothing of it."""

from collections.abc import Mapping
from io import BytesIO
from typing import Any

import aiohttp
import pytest

from tests.conformance.configuration import api_key, one_pool, with_keys
from tests.conformance.gateway import Gateway
from tests.support.faulty_upstream import FaultyUpstream
from tests.support.http_wire import chunked_response, response, sse
from tests.support.scripts import Script, answer, chat, chat_events, fail, reset

KEY = "sk-alice-0123456789"
APP, OTHER = "https://app.example", "https://other.example"
WIDE_OPEN = (
    ("access-control-allow-origin", "*"),
    ("access-control-allow-credentials", "true"),
    ("access-control-expose-headers", "x-secret"),
)
CHAT = "/v1/chat/completions"
Session = aiohttp.ClientSession


def cors(name: str = "web", **spec: Any) -> dict[str, Any]:
    return {"name": name, "cors": {"allow_origins": [APP], "allow_headers": ["authorization"], **spec}}


def configuration(backend: FaultyUpstream, **spec: Any) -> dict[str, Any]:
    """One pool for callers with a key, and for pages of `APP`."""
    config = dict(with_keys(one_pool(backend.address), api_key(KEY)))
    config["policies"] = [*config["policies"], cors(**spec)]
    config["routes"] = [{**config["routes"][0], "policies": ["keys", "web"]}]
    return config


async def preflight(
    gateway: Gateway, session: Session, path: str = CHAT, *, origin: str = APP, method: str = "POST", headers: str = ""
) -> tuple[int, Mapping[str, str], str]:
    """Status, headers and body of the answer to a preflight."""
    asked = {"origin": origin, "access-control-request-method": method}
    if headers:
        asked["access-control-request-headers"] = headers
    async with session.options(f"http://{gateway.addresses.http}{path}", headers=asked) as got:
        return got.status, got.headers, await got.text()


async def post(
    gateway: Gateway,
    session: Session,
    path: str = CHAT,
    *,
    origin: str | None = APP,
    key: str = KEY,
    data: bytes | None = None,
    **body: Any,
) -> tuple[int, Any, bytes]:
    headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
    if origin is not None:
        headers["origin"] = origin
    url = f"http://{gateway.addresses.http}{path}"
    asked = {"model": "m", "messages": [{"role": "user", "content": "hello"}], **body}
    sent: dict[str, Any] = {"json": asked} if data is None else {"data": BytesIO(data)}
    async with session.post(url, headers=headers, **sent) as got:
        return got.status, got.headers, await got.read()


def said(headers: Any) -> dict[str, str]:
    """What the answer says of origins."""
    return {name.lower(): value for name, value in headers.items() if name.lower().startswith("access-control-")}


@pytest.mark.parametrize(
    "path", [CHAT, "/v1/messages", "/v1/embeddings", "/v1beta/models/m:generateContent", "/api/chat"]
)
async def test_preflight_is_answered_before_authentication(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, path: str
) -> None:
    await gateway.apply(configuration(upstream, max_age="600s"))

    status, headers, body = await preflight(gateway, session, path, headers="Authorization, content-type")

    assert (status, body) == (204, "")
    assert said(headers) == {
        "access-control-allow-origin": APP,
        "access-control-allow-methods": "GET, HEAD, POST",
        "access-control-allow-headers": "authorization, content-type",
        "access-control-max-age": "600",
    }
    assert "origin" in ", ".join(headers.getall("vary"))  # type: ignore[attr-defined]
    assert (await gateway.access_log_entry(headers["x-request-id"]))["status"] == "204"
    assert upstream.requests == []


@pytest.mark.parametrize(
    "asked",
    [
        {"origin": OTHER},
        {"origin": "null"},
        {"origin": f"{APP}.evil.example"},
        {"origin": "http://app.example"},
        {"method": "DELETE"},
        {"headers": "authorization, x-other"},
    ],
    ids=lambda asked: str(next(iter(asked.items()))),
)
async def test_preflight_for_what_is_not_allowed_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, asked: dict[str, str]
) -> None:
    await gateway.apply(configuration(upstream))
    status, headers, body = await preflight(gateway, session, **asked)
    assert status == 403
    assert "ORIGIN_NOT_ALLOWED" in body
    assert said(headers).keys() <= {"access-control-allow-origin"}
    assert asked.get("origin", APP) == APP or said(headers) == {}


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/app/x"])
async def test_preflight_from_an_address_that_may_not_call_is_refused(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, path: str
) -> None:
    config = dict(configuration(upstream))
    (route,) = config["routes"]
    anywhere = {"name": "app", "match": {"path": {"prefix": "/app"}}, "backends": route["backends"]}
    for addresses, status in ((["192.0.2.0/24"], 403), (["127.0.0.0/8"], 204)):
        office = {"name": "office", "ip_filter": {"allow": addresses}}
        policies = ["office", *route["policies"]]
        routes = [{**route, "policies": policies}, {**anywhere, "policies": policies}]
        await gateway.apply({**config, "policies": [*config["policies"], office], "routes": routes})
        told, headers, body = await preflight(gateway, session, path)
        assert told == status
        assert ("ADDRESS_NOT_ALLOWED" in body, "access-control-allow-methods" in headers) == (
            status == 403,
            status == 204,
        )


async def test_preflight_where_no_policy_speaks_of_origins_is_no_preflight(
    gateway: Gateway, upstream: FaultyUpstream, session: Session
) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), api_key(KEY)))
    status, headers, _ = await preflight(gateway, session)
    assert status == 405
    assert said(headers) == {}
    await gateway.apply(configuration(upstream))
    status, headers, _ = await preflight(gateway, session, "/nowhere")
    assert status == 404
    assert "access-control-allow-methods" not in headers


@pytest.mark.parametrize("streamed", [False, True])
async def test_answers_can_be_read_by_the_page(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, streamed: bool
) -> None:
    await gateway.apply(configuration(upstream, expose_headers=["x-request-id"], allow_credentials=True))
    upstream.script = chat(headers=WIDE_OPEN)

    status, headers, _ = await post(gateway, session, stream=streamed)

    assert status == 200
    assert said(headers) == {
        "access-control-allow-origin": APP,
        "access-control-allow-credentials": "true",
        "access-control-expose-headers": "x-request-id",
    }
    assert headers.getall("access-control-allow-origin") == [APP]
    assert headers.getall("vary") == ["origin"]


@pytest.mark.parametrize("origin", [OTHER, None])
async def test_pages_of_other_origins_cannot_read_answers(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, origin: str | None
) -> None:
    await gateway.apply(configuration(upstream))
    upstream.script = chat(headers=WIDE_OPEN)
    status, headers, _ = await post(gateway, session, origin=origin)
    assert status == 200
    assert said(headers) == {}
    assert headers["vary"] == "origin"


async def test_route_without_a_policy_passes_nothing_on_of_a_model_servers_opinion(
    gateway: Gateway, upstream: FaultyUpstream, session: Session
) -> None:
    await gateway.apply(with_keys(one_pool(upstream.address), api_key(KEY)))
    upstream.script = chat(headers=WIDE_OPEN)
    _, headers, _ = await post(gateway, session)
    assert said(headers) == {}
    assert "vary" not in headers


ERRORS: dict[str, tuple[Script, dict[str, Any], int]] = {
    "unauthenticated": (chat(), {"key": "sk-wrong"}, 401),
    "slow down": (fail(429, headers=WIDE_OPEN), {}, 429),
    "refused by the backend": (fail(400, headers=WIDE_OPEN), {}, 400),
    "backend failed": (fail(500), {}, 502),
    "backend gone": (reset(), {}, 502),
    "no JSON": (chat(), {"data": b"{"}, 400),
    "too large": (chat(), {"data": b"x" * (1024 * 1024 + 1)}, 413),
}


@pytest.mark.parametrize("name", ERRORS)
async def test_errors_can_be_read_by_the_page(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, name: str
) -> None:
    await gateway.apply(configuration(upstream))
    upstream.script, asked, expected = ERRORS[name]
    status, headers, _ = await post(gateway, session, **asked)
    assert status == expected
    assert said(headers) == {"access-control-allow-origin": APP}
    status, headers, _ = await post(gateway, session, origin=OTHER, **asked)
    assert status == expected
    assert said(headers) == {}


async def test_model_that_nobody_serves_and_the_list_of_models(
    gateway: Gateway, upstream: FaultyUpstream, session: Session
) -> None:
    config = configuration(upstream)
    config["routes"][0]["match"] = {"models": ["m"]}
    await gateway.apply(config)

    status, headers, _ = await post(gateway, session, model="other")
    assert (status, said(headers)) == (404, {"access-control-allow-origin": APP})
    status, headers, _ = await preflight(gateway, session, "/v1/models", method="GET", headers="authorization")
    assert status == 204
    assert headers["access-control-allow-headers"] == "authorization"
    for key, expected in ((KEY, 200), ("sk-wrong", 401)):
        sent = {"origin": APP, "authorization": f"Bearer {key}"}
        async with session.get(f"http://{gateway.addresses.http}/v1/models", headers=sent) as got:
            assert (got.status, said(got.headers)) == (expected, {"access-control-allow-origin": APP})


async def test_origin_for_all(gateway: Gateway, upstream: FaultyUpstream, session: Session) -> None:
    await gateway.apply(configuration(upstream, allow_origins=["*"], allow_headers=["authorization", "x-stainless-*"]))
    status, headers, _ = await preflight(gateway, session, origin=OTHER, headers="x-stainless-lang")
    assert (status, headers["access-control-allow-origin"]) == (204, "*")
    _, answered, _ = await post(gateway, session, origin=None)
    assert said(answered) == {"access-control-allow-origin": "*"}
    assert "vary" not in answered
    assert (await preflight(gateway, session, headers="x-other"))[0] == 403


@pytest.mark.parametrize(
    ("origin", "is_allowed"),
    [
        ("https://a.app.example", True),
        ("https://a.b.app.example", True),
        ("https://app.example", False),
        ("https://evilapp.example", False),
        ("http://a.app.example", False),
        ("https://a.app.example:8443", False),
        ("https://a.app.example.evil.example", False),
        ("https://evil.example/.app.example", False),
        ("https://.app.example", False),
    ],
)
async def test_origins_below_one(
    gateway: Gateway, upstream: FaultyUpstream, session: Session, origin: str, is_allowed: bool
) -> None:
    await gateway.apply(configuration(upstream, allow_origins=["https://*.app.example"]))
    assert ((await preflight(gateway, session, origin=origin))[0] == 204) == is_allowed
    _, headers, _ = await post(gateway, session, origin=origin)
    assert said(headers) == ({"access-control-allow-origin": origin} if is_allowed else {})


async def test_most_specific_route_that_allows_it_answers(
    gateway: Gateway, upstream: FaultyUpstream, session: Session
) -> None:
    config = configuration(upstream)
    config["policies"] += [cors("narrow", allow_methods=["POST"]), cors("other", allow_origins=[OTHER])]
    config["routes"] += [
        {**config["routes"][0], "name": "special", "match": {"models": ["special"]}, "policies": ["narrow"]},
        {**config["routes"][0], "name": "path", "match": {"path": {"exact": CHAT}}, "policies": ["other"]},
    ]
    await gateway.apply(config)

    _, headers, _ = await preflight(gateway, session, origin=OTHER)
    assert headers["access-control-allow-origin"] == OTHER
    _, headers, _ = await preflight(gateway, session)
    assert headers["access-control-allow-methods"] == "POST"
    _, headers, _ = await preflight(gateway, session, method="GET")
    assert headers["access-control-allow-methods"] == "GET, HEAD, POST"


def passing_through(backend: FaultyUpstream, *policies: str) -> dict[str, Any]:
    config = dict(one_pool(backend.address, route={"match": {"path": {"prefix": "/app"}}, "policies": list(policies)}))
    return {**config, "policies": [cors()] if policies else []}


async def test_what_passes_through_keeps_the_backends_opinion_unless_there_is_a_policy(
    gateway: Gateway, upstream: FaultyUpstream, session: Session
) -> None:
    upstream.script = answer(response(200, b"x", headers=WIDE_OPEN))
    await gateway.apply(passing_through(upstream))
    _, headers, _ = await post(gateway, session, "/app/x")
    assert said(headers) == dict(WIDE_OPEN)
    # The backend answers its own preflights.
    status, headers, _ = await preflight(gateway, session, "/app/x")
    assert (status, upstream.requests[-1].method) == (200, "OPTIONS")

    await gateway.apply(passing_through(upstream, "web"))
    for script, expected in (
        (answer(response(200, b"x", headers=WIDE_OPEN)), 200),
        (fail(404, headers=WIDE_OPEN), 404),
    ):
        upstream.script = script
        status, headers, _ = await post(gateway, session, "/app/x")
        assert (status, said(headers)) == (expected, {"access-control-allow-origin": APP})
    asked = len(upstream.requests)
    assert (await preflight(gateway, session, "/app/x"))[0] == 204
    assert (await preflight(gateway, session, "/app/x", origin=OTHER))[0] == 403
    assert len(upstream.requests) == asked


async def test_stream_that_passes_through(gateway: Gateway, upstream: FaultyUpstream, session: Session) -> None:
    upstream.script = answer(chunked_response(sse(*chat_events("hi", model="m")), headers=WIDE_OPEN))
    await gateway.apply(passing_through(upstream, "web"))
    status, headers, body = await post(gateway, session, "/app/x")
    assert (status, said(headers)) == (200, {"access-control-allow-origin": APP})
    assert body.endswith(b"[DONE]\n\n")
