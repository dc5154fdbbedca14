"""Credentials that make themselves known on each request: in its headers, in its URL, or as a signature of it."""

from typing import Protocol
from urllib.parse import quote, unquote_plus

from yarl import URL

from gateway.config.credential import AwsAccount, EntraApp, GoogleAccount, HeaderKey, Key, QueryKey
from gateway.providers.access_token import AccessToken
from gateway.providers.aws_signature import AwsSignature
from gateway.providers.renewed import Clock
from gateway.transport.messages import Body, Headers, HttpSender


class Credential(Protocol):
    """One credential of a service, live."""

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        """The URL and the headers of the request with the credential in them. `http` is for fetching what it needs.

        Raises `InvalidRequestError` for a request that it cannot be put on, `NoCredentialError` if it is not to be had.
        """

    def refused(self) -> None:
        """Notes that the provider does not know it."""


def make_credential(key: Key, *, clock: Clock, wall_clock: Clock) -> Credential:
    """The live credential. `clock` measures time in seconds, `wall_clock` tells it, since 1970."""
    match key:
        case HeaderKey():
            return _InHeader(key)
        case QueryKey():
            return _InQuery(key)
        case AwsAccount():
            return AwsSignature(key, clock=clock, wall_clock=wall_clock)
        case GoogleAccount() | EntraApp():
            return AccessToken(key, clock=clock, wall_clock=wall_clock)


class _InHeader:
    def __init__(self, key: HeaderKey) -> None:
        self._header = (key.name, key.value.reveal())

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        return url, [*headers, self._header]

    def refused(self) -> None:
        pass


class _InQuery:
    def __init__(self, key: QueryKey) -> None:
        self._name = key.name
        self._value = quote(key.value.reveal(), safe="")

    async def authorize(
        self, method: str, url: URL, headers: Headers, body: Body, http: HttpSender
    ) -> tuple[URL, Headers]:
        # Not by yarl, which would write the rest of the query anew.
        others = [part for part in url.raw_query_string.split("&") if part and _name(part) != self._name]
        query = "&".join([*others, f"{self._name}={self._value}"])
        return URL(f"{url.with_query(None)}?{query}", encoded=True), headers

    def refused(self) -> None:
        pass


def _name(part: str) -> str:
    """The name of one parameter of a query."""
    return unquote_plus(part.partition("=")[0])
