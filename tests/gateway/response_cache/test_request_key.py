"""Which requests are the same."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config.snapshot import ServiceConfig, UpstreamTarget
from gateway.providers.outbound import outbound_headers
from gateway.response_cache.request_key import (
    canonical_json,
    effective_request,
    headers_to_show,
    request_key,
    seen_headers,
)
from gateway.types import CacheTtl, ChatRequest, Message, Operation, RefusalPart, Role, TextPart
from tests.gateway.filters.requests import context

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=4), inner, max_size=4),
    max_leaves=20,
)  # fmt: skip


def key(**fields: Any) -> str:
    own = {"scope", "version", "form", "effective", "seen"}
    defaults: dict[str, Any] = {"scope": ("anonymous",), "version": b"1", "form": "f", "effective": b"{}", "seen": {}}
    asked = context(**{"route": "chat"} | {name: value for name, value in fields.items() if name not in own})
    return request_key(asked, **{**defaults, **{name: value for name, value in fields.items() if name in own}})


def shuffled(value: Any) -> Any:
    """The same with members in the opposite order."""
    if isinstance(value, dict):
        return {name: shuffled(each) for name, each in reversed(value.items())}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


@given(value=JSON)
def test_order_of_members_and_white_space_and_escapes_make_no_difference(value: Any) -> None:
    canonical = canonical_json(json.dumps(value).encode())
    assert canonical is not None
    assert canonical == canonical_json(json.dumps(shuffled(value), indent=3, ensure_ascii=False).encode())
    assert json.loads(canonical) == value


@given(one=JSON, other=JSON)
def test_what_differs_has_another_form(one: Any, other: Any) -> None:
    texts = [json.dumps(each, sort_keys=True) for each in (one, other)]
    canonical = [canonical_json(text.encode()) for text in texts]
    assert (texts[0] == texts[1]) == (canonical[0] == canonical[1])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"\xff", b'{"a":1,"a":2}', b'{"a":1, "\\u0061":1}', b'[{"x":{"b":1,"c":2,"b":1}}]', b"[" * 100_000],
)
def test_what_is_not_json_or_means_two_things_has_no_form(body: bytes) -> None:
    assert canonical_json(body) is None


@pytest.mark.parametrize(
    "other",
    [
        {"route": "other"},
        {"scope": ("consumer", "alice")},
        {"scope": ("consumer", "")},
        {"version": b"2"},
        {"protocol": "grpc"},
        {"operation": Operation.EMBEDDINGS},
        {"form": "g"},
        {"model": "n"},
        {"is_streaming": True},
        {"effective": b"[]"},
        {"seen": {b"openai-beta": b"x"}},
    ],
    ids=lambda other: next(iter(other)),
)
def test_everything_counts(other: dict[str, Any]) -> None:
    assert key() != key(**other)
    assert key(**other) == key(**other)


def test_parts_cannot_be_shifted_into_each_other() -> None:
    assert key(scope=("groups", "a", "b")) != key(scope=("groups", "a,b"))
    assert key(scope=("a", "bc")) != key(scope=("ab", "c"))
    assert key(model="a", form="bc") != key(model="ab", form="c")
    assert key(seen={b"a": b"bc"}) != key(seen={b"ab": b"c"})
    assert key(seen={b"a": b"b"}) != key(scope=("anonymous", "a", "b"))


def test_keys_begin_with_the_route() -> None:
    assert key().startswith("chat/")


NAMES = st.sampled_from(
    [
        b"openai-beta", b"x-custom", b"accept-language", b"user-agent", b"cookie", b"authorization", b"x-api-key",
        b"x-forwarded-for", b"x-stainless-retry-count", b"traceparent", b"tracestate", b"baggage", b"cache-control",
        b"connection", b"x-janua-timeout-ms", b"accept", b"content-type", b"via", b"idempotency-key", b"x-request-id",
    ]
)  # fmt: skip


@given(sent=st.dictionaries(NAMES, st.sampled_from([b"1", b"2", b"x-custom", b"openai-beta, x"])))
def test_backends_see_nothing_that_is_not_in_the_key(sent: dict[bytes, bytes]) -> None:
    service = ServiceConfig(name="s", target=UpstreamTarget(upstream="u"))
    headers = outbound_headers(service, {})
    bare = dict(headers.build({}, "1", accept="application/json"))
    forwarded = dict(headers.build(headers_to_show(seen_headers(sent), sent), "1", accept="application/json"))
    seen = seen_headers(sent)
    for name, value in forwarded.items():
        if name not in ("traceparent", "tracestate"):
            assert seen.get(name.encode()) == value.encode() or bare.get(name) == value
    # And what they would see without a cache that matters to an answer, they see with one.
    usual = dict(headers.build(sent, "1", accept="application/json"))
    assert {n: v for n, v in usual.items() if n in ("openai-beta", "x-custom")} == {
        n: v for n, v in forwarded.items() if n in ("openai-beta", "x-custom")
    }


@pytest.mark.parametrize(
    ("one", "other"),
    [(TextPart(text="a"), RefusalPart(text="a")), (TextPart(text="a"), TextPart(text="a", cache=CacheTtl.ONE_HOUR))],
)
def test_parts_of_different_kinds_are_different(one: Any, other: Any) -> None:
    said = [ChatRequest(model="m", messages=(Message(role=Role.USER, content=(part,)),)) for part in (one, other)]
    assert effective_request(said[0]) == effective_request(msgspec.structs.replace(said[0]))
    assert effective_request(said[0]) != effective_request(said[1])


def test_order_of_members_makes_no_difference_to_what_has_been_read() -> None:
    extras: list[Any] = [{"a": 1, "b": {"c": 2, "d": 3}}, {"b": {"d": 3, "c": 2}, "a": 1}]
    forms = {effective_request(ChatRequest(model="m", messages=(), extra=extra)) for extra in extras}
    assert len(forms) == 1


def test_what_cannot_be_written_has_no_form() -> None:
    assert effective_request(ChatRequest(model="m", messages=(), extra={"a": 2**70})) is None


@st.composite
def written(draw: st.DrawFn, depth: int = 2) -> tuple[str, bool]:
    """JSON in which names occur twice, with colons and escapes in texts, and whether one does in the same object."""
    kind = draw(st.sampled_from(["text", "object", "array"] if depth else ["text"]))
    if kind == "text":
        pieces = draw(st.lists(st.sampled_from(["a", ":", "\\u003a", "\\\\u003a", '\\"', "\\n", " "]), max_size=3))
        return f'"{"".join(pieces)}"', False
    inner = draw(st.lists(written(depth=depth - 1), max_size=3))
    has_twins = any(twins for _, twins in inner)
    if kind == "array":
        return f"[{', '.join(text for text, _ in inner)}]", has_twins
    names = [draw(st.sampled_from(["a", "b", ":", "\\u003a", "\\u0061"])) for _ in inner]
    pairs = ", ".join(f'"{name}" : {text}' for name, (text, _) in zip(names, inner, strict=True))
    read = [json.loads(f'"{name}"') for name in names]
    return f"{{{pairs}}}", has_twins or len(set(read)) != len(read)


@given(json_and_twins=written())
def test_members_of_one_name_are_found_wherever_they_are(json_and_twins: tuple[str, bool]) -> None:
    text, has_twins = json_and_twins
    assert (canonical_json(text.encode()) is None) == has_twins
