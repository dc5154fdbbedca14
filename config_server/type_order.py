"""Make before break: which type of resource comes before which on a stream, and in what is told of it."""

from typing import Final

from janua_resources.kinds import KINDS

from config_server.fleet.envoy_types import ENVOY_TYPES

_PLACES: Final = {type_url: place for place, type_url in enumerate((*(info.type_url for info in KINDS), *ENVOY_TYPES))}


def place(type_url: str) -> int:
    """Where a type stands: before what names it. Types that nobody knows have the last place together."""
    return _PLACES.get(type_url, len(_PLACES))
