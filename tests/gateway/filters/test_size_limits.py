"""Limits of size: what is counted, and what is left to who reads a body."""

import pytest

from gateway.config.snapshot import SizeLimitsConfig
from gateway.errors import GatewayError, HeadersTooLargeError, PayloadTooLargeError
from gateway.filters.phases import NO_FILTERS, Filters
from gateway.filters.size_limits import SizeLimits
from tests.gateway.filters.requests import context


def limits(**config: int) -> SizeLimits:
    return SizeLimits(SizeLimitsConfig(**config))


@pytest.mark.parametrize(("size", "limit", "is_right"), [(5, 5, True), (6, 5, False), (0, 0, True), (1, 0, False)])
def test_bodies(size: int, limit: int, is_right: bool) -> None:
    request = context(body_size=lambda: size)
    for decide in (limits(max_body_bytes=limit).screen, limits(max_body_bytes=limit).authorize):
        assert refused(decide, request) == (None if is_right else PayloadTooLargeError)


def refused(decide: object, request: object) -> type[GatewayError] | None:
    assert callable(decide)
    try:
        decide(request)
    except GatewayError as error:
        return type(error)
    return None


def test_body_that_is_not_measured_is_left_to_who_reads_it() -> None:
    limits(max_body_bytes=0).screen(context())


@pytest.mark.parametrize(("limit", "is_right"), [(10, True), (9, False)])
def test_headers_are_names_and_values(limit: int, is_right: bool) -> None:
    request = context(headers={b"abc": b"de", b"f": b"ghij"})
    assert refused(limits(max_header_bytes=limit).screen, request) == (None if is_right else HeadersTooLargeError)


def test_lowest_limit_counts() -> None:
    several = Filters.of([limits(max_body_bytes=7), limits(max_header_bytes=1), limits(max_body_bytes=5)])
    assert several.max_body_bytes == 5
    assert Filters.of([limits(max_header_bytes=1)]).max_body_bytes is None
    assert NO_FILTERS.max_body_bytes is None
