"""The cells of docs/conformance.md: for which pairs of dialects a test shows what a row names, and what it shows."""

from collections.abc import Callable, Collection

import pytest

from tests.conformance.dialect_backends import Backend
from tests.conformance.dialect_table import PAIRS
from tests.conformance.dialects import Client


def on_every_pair(*rows: str) -> pytest.MarkDecorator:
    """A test of a `client` and a `backend`, whatever they have."""
    pairs = [pytest.param(*pair, id=_id(*pair), marks=pytest.mark.feature(*rows)) for pair in PAIRS]
    return pytest.mark.parametrize(("client", "backend"), pairs)


def where_both_have(*rows: str) -> pytest.MarkDecorator:
    """A test of a `client` and a `backend` that both have some of these `rows`."""
    return _with_rows(rows, lambda client, backend: client.has & _had(client, backend))


def where_the_backend_lacks(rows: Collection[str]) -> pytest.MarkDecorator:
    """A test of a `client` that has some of these `rows` and a `backend` that lacks them, which shows a refusal."""
    return _with_rows(rows, lambda client, backend: client.has - _had(client, backend), how="refused")


def where_the_backend_passes_over(row: str, *, of: str) -> pytest.MarkDecorator:
    """A test of a `client` that has this row and a `backend` that lacks it and yet has what it is said `of`."""

    def passed_over(client: Client, backend: Backend) -> Collection[str]:
        return client.has - _had(client, backend) if of in backend.has else ()

    return _with_rows([row], passed_over, how="left out")


def where_the_client_lacks(row: str, *, how: str) -> pytest.MarkDecorator:
    """A test of a `backend` that has this row and a `client` that lacks it, which shows what becomes of it."""
    return _with_rows([row], lambda client, backend: backend.has - client.has, how=how)


def on_fields_of_their_own(row: str) -> pytest.MarkDecorator:
    """A test of a `client` with a field that its dialect alone has; to a `backend` of another it is refused."""
    pairs = [
        pytest.param(client, backend, id=_id(client, backend), marks=pytest.mark.feature(row, how=how))
        for client, backend in PAIRS
        if client.own_field is not None
        for how in ["" if client.name == backend.name else "refused"]
    ]
    return pytest.mark.parametrize(("client", "backend"), pairs)


def _with_rows(
    rows: Collection[str], had: Callable[[Client, Backend], Collection[str]], how: str = ""
) -> pytest.MarkDecorator:
    found = [(client, backend, tuple(row for row in rows if row in had(client, backend))) for client, backend in PAIRS]
    untested = set(rows).difference(*(rows for _, _, rows in found))
    assert not untested, f"no pair of dialects has {untested}"
    return pytest.mark.parametrize(
        ("client", "backend", "rows"),
        [
            pytest.param(client, backend, rows, id=_id(client, backend), marks=pytest.mark.feature(*rows, how=how))
            for client, backend, rows in found
            if rows
        ],
    )


def _had(client: Client, backend: Backend) -> frozenset[str]:
    return backend.has | backend.own if client.name == backend.name else backend.has


def _id(client: Client, backend: Backend) -> str:
    return f"from-{client.name}-to-{backend.name}"
