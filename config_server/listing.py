"""Pages of resources, and the tokens that lead from one to the next."""

import base64
import binascii
import hashlib
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import Final

from google.rpc import code_pb2
from janua.config.v1.config_service_pb2 import ListResourcesRequest, ListResourcesResponse
from janua_resources.kinds import KINDS

from config_server.errors import ApiError
from config_server.resources import Key, Kind, stored_resource
from config_server.snapshot_cache import CachedResource, SnapshotCache

DEFAULT_PAGE_SIZE: Final = 500

# Clients take messages of 4 MiB by default; what is left is for what surrounds the resources.
PAGE_BYTES: Final = 4 * 1024 * 1024 - 64 * 1024

_FILTER_DIGITS: Final = 16


def list_page(cache: SnapshotCache, request: ListResourcesRequest) -> ListResourcesResponse:
    """The page that `request` asks for. Raises ApiError for a token that is not one of this listing."""
    limit = request.page_size or DEFAULT_PAGE_SIZE
    response = ListResourcesResponse(revision=cache.revision)
    size = 0
    last: Key | None = None
    for resource in _wanted(cache, request):
        stored = stored_resource(resource.entry, resource.message)
        size += stored.ByteSize() + 8
        if last is not None and (len(response.resources) == limit or size > PAGE_BYTES):
            response.next_page_token = _token(request, last)
            break
        response.resources.append(stored)
        last = resource.entry.key
    return response


def _wanted(cache: SnapshotCache, request: ListResourcesRequest) -> Iterator[CachedResource]:
    keys = cache.sorted_keys()
    after = _after(request) if request.page_token else Key(request.kind, "")
    for key in islice(keys, bisect_right(keys, after), None):
        if request.kind and key.kind != request.kind:
            return
        resource = cache.resources[key]
        if request.set and resource.entry.set != request.set:
            continue
        labels = resource.message.labels
        if all(labels.get(label) == value for label, value in request.labels.items()):
            yield resource


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
        raise _wrong_token("belongs to a listing with other kind, labels or set")
    return Key(_KINDS[kind], name)


_KINDS: Final[dict[str, Kind]] = {str(info.kind): info.kind for info in KINDS}


def _filter(request: ListResourcesRequest) -> str:
    """Marks what is listed. Pages may differ in size."""
    asked = ListResourcesRequest(kind=request.kind, labels=request.labels, set=request.set)
    return hashlib.sha256(asked.SerializeToString(deterministic=True)).hexdigest()[:_FILTER_DIGITS]


def _wrong_token(what: str) -> ApiError:
    return ApiError(code_pb2.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID", f"page_token: {what}; begin without one")
