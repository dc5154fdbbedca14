"""What tells which requests belong together."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.upstream import (
    HashConsumer,
    HashCookie,
    HashHeader,
    HashPolicy,
    HashPromptPrefix,
    HashSourceIp,
)
from gateway.upstream.balancing.hash_policy import cookie_key, request_key
from gateway.upstream.balancing.hashing import stable_hash


@dataclass(kw_only=True)
class Request:
    headers: dict[bytes, bytes] = field(default_factory=dict)
    consumer_name: str = ""
    client_address: str = ""
    prompt: bytes = b""

    def prompt_prefix(self, size: int) -> bytes:
        return self.prompt[:size]


FULL = Request(
    headers={b"x-session": b"s1", b"cookie": b"sid=c1"}, consumer_name="ada", client_address="::1", prompt=b"Once upon"
)
ALL: tuple[tuple[HashPolicy, bytes], ...] = (
    (HashHeader(b"x-session"), b"s1"),
    (HashCookie("sid"), b"c1"),
    (HashConsumer(), b"ada"),
    (HashSourceIp(), b"::1"),
    (HashPromptPrefix(4), b"Once"),
)


def cookie(header: bytes, name: str = "sid") -> int | None:
    return request_key([HashCookie(name)], Request(headers={b"cookie": header}))


@pytest.mark.parametrize(("policy", "hashed"), ALL)
def test_each_policy_hashes_its_part_of_the_request(policy: HashPolicy, hashed: bytes) -> None:
    assert request_key([policy], FULL) == stable_hash(hashed)


@pytest.mark.parametrize("policy", [policy for policy, _ in ALL])
def test_what_is_not_there_gives_no_key(policy: HashPolicy) -> None:
    assert request_key([policy], Request()) is None


def test_no_policy_gives_no_key() -> None:
    assert request_key([], FULL) is None


@given(st.permutations(ALL), st.sets(st.integers(0, 4)))
@settings(deadline=None)
def test_the_first_that_is_there_wins(order: Sequence[tuple[HashPolicy, bytes]], absent: set[int]) -> None:
    missing = {ALL[number][1] for number in absent}
    request = Request(
        headers={name: value for name, value in FULL.headers.items() if value.removeprefix(b"sid=") not in missing},
        consumer_name="" if b"ada" in missing else "ada",
        client_address="" if b"::1" in missing else "::1",
        prompt=b"" if b"Once" in missing else b"Once upon",
    )
    first = next((hashed for _, hashed in order if hashed not in missing), None)
    expected = None if first is None else stable_hash(first)
    assert request_key([policy for policy, _ in order], request) == expected


def test_an_empty_header_is_as_good_as_none() -> None:
    request = Request(headers={b"x-session": b""}, consumer_name="ada")
    assert request_key([HashHeader(b"x-session"), HashConsumer()], request) == stable_hash(b"ada")


@pytest.mark.parametrize("first", [1, 4, 9])
def test_prompts_that_begin_alike_belong_together(first: int) -> None:
    policies = [HashPromptPrefix(first)]
    beginning = b"Once upon"[:first]
    one, other = Request(prompt=beginning + b" a time"), Request(prompt=beginning + b" a hill")
    assert request_key(policies, one) == request_key(policies, other) == stable_hash(beginning)
    assert request_key(policies, Request(prompt=b"Twice")) != request_key(policies, one)


@pytest.mark.parametrize(
    "header",
    [
        b"sid=c1",
        b"a=1; sid=c1; b=2",
        b"a=1;sid=c1",
        b"a=1, sid=c1",  # two fields of HTTP/2, joined
        b'sid="c1"',
        b" sid = c1 ",
        b"sid=c1; sid=c2",
        b"xsid=c2; sid=c1",
        b"SID=c2; sid=c1",
        b"=c2; ; sid=c1",
    ],
)
def test_the_cookie_is_found_in_its_header(header: bytes) -> None:
    assert cookie(header) == stable_hash(b"c1")


@pytest.mark.parametrize("header", [b"", b"sid", b"sid=", b'sid=""', b"xsid=c1", b"a=sid=c1", b";;,"])
def test_a_cookie_that_is_not_there(header: bytes) -> None:
    assert cookie(header) is None


def test_a_cookie_may_hold_an_equals_sign() -> None:
    assert cookie(b"sid=YQ==; a=1") == stable_hash(b"YQ==")


@given(st.text("0123456789abcdef", min_size=1))
@settings(deadline=None)
def test_a_cookie_that_was_given_is_known_when_it_comes_back(value: str) -> None:
    assert cookie(f"a=1; sid={value}".encode()) == cookie_key(value)


@given(st.binary(max_size=40))
@settings(deadline=None)
def test_any_cookie_header_can_be_read(header: bytes) -> None:
    key = cookie(header)
    assert key is None or 0 <= key < 1 << 64
