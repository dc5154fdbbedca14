"""Pages of resources, and the tokens that lead from one to the next."""

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Final, Protocol

from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import ListResourcesRequest, ListResourcesResponse
from janua_resources.kinds import KINDS, ConfigMessage

from config_server.errors import ApiError
from config_server.resources import Key, Kind, StoredEntry, stored_resource

DEFAULT_PAGE_SIZE: Final = 500

# Clients take messages of 4 MiB by default; what is left is for what surrounds the resources.
PAGE_BYTES: Final = 4 * 1024 * 1024 - 64 * 1024

_FILTER_DIGITS: Final = 16


class Listing(Protocol):
    """A configuration that can be listed: the current one, which is the cache, or one that was."""

    @property
    def revision(self) -> int:
        """The revision it is of."""

    def sorted_keys(self) -> Sequence[Key]:
        """All keys by kind and name."""

    def entry(self, key: Key) -> StoredEntry:
        """What is stored under a key that is there."""

    def message(self, key: Key) -> ConfigMessage:
        """That, decoded."""


class PastListing:
    """A configuration as it was. `entries` are in the order of their keys."""

    def __init__(self, revision: int, entries: Mapping[Key, StoredEntry]) -> None:
        self.revision: Final = revision
        self._entries = entries

    def sorted_keys(self) -> Sequence[Key]:
        return list(self._entries)

    def entry(self, key: Key) -> StoredEntry:
        return self._entries[key]

    def message(self, key: Key) -> ConfigMessage:
        return self._entries[key].decode()


def list_page(listing: Listing, request: ListResourcesRequest) -> ListResourcesResponse:
    """The page that `request` asks for. Raises ApiError for a token that is not one of this listing."""
    limit = request.page_size or DEFAULT_PAGE_SIZE
    response = ListResourcesResponse(revision=listing.revision)
    size = 0
    last: Key | None = None
    for entry, message in _wanted(listing, request):
        stored = stored_resource(entry, message)
        size += stored.ByteSize() + 8
        if last is not None and (len(response.resources) == limit or size > PAGE_BYTES):
            response.next_page_token = _token(request, last)
            break
        response.resources.append(stored)
        last = entry.key
    return response


def _wanted(listing: Listing, request: ListResourcesRequest) -> Iterator[tuple[StoredEntry, ConfigMessage]]:
    keys = listing.sorted_keys()
    after = _after(request) if request.page_token else Key(request.kind, "")
    for key in islice(keys, bisect_right(keys, after), None):
        if request.kind and key.kind != request.kind:
            return
        entry = listing.entry(key)
        if request.set and entry.set != request.set:
            continue
        message = listing.message(key)
        if all(message.labels.get(label) == value for label, value in request.labels.items()):
            yield entry, message


def _token(request: ListResourcesRequest, last: Key) -> str:
    text = f"{_filter(request)}{last.kind}/{last.name}"
    return base64.urlsafe_b64encode(text.encode()).decode()


def _after(request: ListResourcesRequest) -> Key:
    """The last key of the page before."""
    try:
        text = base64.urlsafe_b64decode(request.page_token).decode()
    except (binascii.Error, ValueError):
        raise _wrong_token("is not one that this server gave") from None
    kind, separator, name = text[_FILTER_DIGITS:].partition("/")
    if not separator or kind not in _KINDS:
        raise _wrong_token("is not one that this server gave")
    if text[:_FILTER_DIGITS] != _filter(request):
        raise _wrong_token("belongs to a listing with other kind, labels, set or revision")
    return Key(_KINDS[kind], name)


_KINDS: Final[dict[str, Kind]] = {str(info.kind): info.kind for info in KINDS}


def _filter(request: ListResourcesRequest) -> str:
    """Marks what is listed. Pages may differ in size."""
    asked = ListResourcesRequest(kind=request.kind, labels=request.labels, set=request.set, revision=request.revision)
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:_FILTER_DIGITS]


def _wrong_token(what: str) -> ApiError:
    return ApiError(code_pb2.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", f"page_token: {what}; begin without one")
