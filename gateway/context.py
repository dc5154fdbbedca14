"""What is known of one request while it is handled."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Protocol
from urllib.parse import parse_qsl

from gateway.config.prices import PricedModel
from gateway.config.snapshot import ConsumerConfig
from gateway.edits import AnswerEdits, HeaderEdits
from gateway.types import Operation, Usage

_NO_GROUPS: frozenset[str] = frozenset()
_NO_QUERY: Mapping[str, str] = MappingProxyType({})
_BY_PATH = frozenset({Operation.FILES, Operation.BATCHES, Operation.PROXY})


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCertificate:
    """What a caller has proved to be when the connection was made. `names` are those that configurations can speak of,
    the ones that say most first; `expires` is in seconds since 1970."""

    names: tuple[str, ...]
    expires: float


def no_certificate() -> ClientCertificate | None:
    """That of a caller who has shown none."""
    return None


class Reservation(Protocol):
    """What a request holds of a limit until it ends."""

    def settle(self, context: "RequestContext") -> None:
        """Counts what the request has really taken, and gives back the rest. Called once, however it ended."""


@dataclass(slots=True, kw_only=True)
class RequestContext:
    """One request, from its arrival to its access log line.

    The first group of fields is set by the listener and not changed; the second is filled in on the way. Header names
    are in lower case, values are raw bytes; several values of one name are joined by `, `. `path` is decoded,
    `raw_path` is as it came over HTTP. `deadline` is a time of the event loop's clock; `started` one of
    `time.perf_counter`. `priced` is the model at the service that was called last; None where that has no prices.
    `cost_usd` is set when the request is settled, None if the cost is not known. `is_answered` is set with it: the
    answer was whole. `needs_usage`: a stream must tell its usage, also where the caller does not want it.
    `cache` is what a cache did: `hit`, `miss`, `coalesced`, `bypass` or `refresh`; empty where there is none.
    `seen_headers` are those that models' backends may see, None: all that are end-to-end. `answer_headers` are what
    policies tell the caller, `reservations` what the request holds of limits. `body_size` measures the body, None where
    it is not there yet; `answers_for_origins`: browsers are told by a policy what pages may do, so not by the backend.
    `client_certificate` gives what has been verified of the other end of the connection.
    `header_edits` are made to what the backend that is called gets, `answer_edits` to what it answers; None: nothing.
    """

    request_id: str
    protocol: str
    operation: Operation
    method: str
    path: str
    host: str
    query_string: bytes = field(repr=False)  # like headers, it may hold a key
    headers: Mapping[bytes, bytes] = field(repr=False)
    model: str
    is_streaming: bool
    client_address: str
    started: float
    raw_path: str = ""
    deadline: float | None = None
    body_size: Callable[[], int] | None = field(default=None, repr=False)
    seen_headers: Mapping[bytes, bytes] | None = field(default=None, repr=False)
    client_certificate: Callable[[], ClientCertificate | None] = field(default=no_certificate, repr=False)

    consumer: ConsumerConfig | None = None
    route: str = ""
    service: str = ""
    endpoint: str = ""
    attempts: int = 0
    upstream_seconds: float = 0.0
    first_content_at: float | None = None
    sticky_cookie: tuple[str, str] | None = None
    usage: Usage | None = None
    priced: PricedModel | None = None
    cost_usd: float | None = None
    is_answered: bool = False
    needs_usage: bool = False
    cache: str = ""
    answer_headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    answers_for_origins: bool = False
    reservations: list[Reservation] = field(default_factory=list, repr=False)
    header_edits: HeaderEdits | None = field(default=None, repr=False)
    answer_edits: AnswerEdits | None = field(default=None, repr=False)
    _query: dict[str, str] | None = field(default=None, repr=False)

    def of_shared_call(self, seen_headers: Mapping[bytes, bytes]) -> "RequestContext":
        """That of a call whose answer is for others too: without the caller's own limits and time limit, and before
        anything has been done."""
        return RequestContext(
            request_id=self.request_id,
            protocol=self.protocol,
            operation=self.operation,
            method=self.method,
            path=self.path,
            host=self.host,
            query_string=self.query_string,
            headers=self.headers,
            model=self.model,
            is_streaming=self.is_streaming,
            client_address=self.client_address,
            started=self.started,
            raw_path=self.raw_path,
            seen_headers=seen_headers,
            consumer=self.consumer,
            route=self.route,
            needs_usage=self.needs_usage,
        )

    @property
    def is_inference(self) -> bool:
        """Whether the request is for a model, as opposed to one that is routed by its path alone."""
        return self.operation not in _BY_PATH

    @property
    def takes_key_in_query(self) -> bool:
        """Whether the path is one of Gemini's, whose clients may send their key as `?key=`."""
        path = self.path
        return path.startswith("/v1beta/models") or (":" in path and path.startswith("/v1/models/"))

    @property
    def consumer_name(self) -> str:
        """Who calls; empty for nobody known."""
        return self.consumer.name if self.consumer else ""

    def tell_cache(self, result: str) -> None:
        """Notes what a cache did for the request, and tells the caller."""
        self.cache = result
        self.answer_headers.append((b"x-janua-cache", result.encode()))

    def retell_cache(self, result: str) -> None:
        """The same, where something else has been told before."""
        self.answer_headers = [header for header in self.answer_headers if header[0] != b"x-janua-cache"]
        self.tell_cache(result)

    @property
    def groups(self) -> frozenset[str]:
        """The groups that the caller is in; none for nobody known."""
        return self.consumer.groups if self.consumer else _NO_GROUPS

    @property
    def query(self) -> Mapping[str, str]:
        """Query parameters, decoded; of a name that occurs several times the first value."""
        if not self.query_string:
            return _NO_QUERY
        if self._query is None:
            pairs = parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True)
            self._query = dict(reversed(pairs))
        return self._query
