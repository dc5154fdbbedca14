"""The list prices of providers, from the data of the package `genai-prices`. Nothing is fetched.

The package takes 28 MB and 0.2 s to load: it is imported when the first service asks for it, and not before. Its own
calculation takes more than 100 µs a request and remembers every name a client makes up, so only its data are used.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import lru_cache
from typing import TYPE_CHECKING, TypeAlias

from gateway.config.prices import Price, PricedModel, PriceTier

if TYPE_CHECKING:
    from decimal import Decimal

    from genai_prices.types import ModelPrice, Provider, TieredPrices

    _Published: TypeAlias = Decimal | TieredPrices | None

_REMEMBERED_NAMES = 1024

# Our name for each kind of token → the package's, whose prices are per million tokens too.
_KINDS: Mapping[str, str] = {
    "input": "input_mtok",
    "cached_input": "cache_read_mtok",
    "cache_creation": "cache_write_mtok",
    "audio_input": "input_audio_mtok",
    "output": "output_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_output": "output_audio_mtok",
}


class PricesNotInstalledError(Exception):
    """The node has no published prices."""


class PublishedPrices:
    """The prices of one provider, by its name in the package. `now` tells the time, with its zone: prices change.

    Raises `PricesNotInstalledError`.
    """

    def __init__(self, provider: str, now: Callable[[], datetime]) -> None:
        self._find = lru_cache(_REMEMBERED_NAMES)(_provider(provider).find_model)
        self._now = now
        # By identity: the package's prices cannot be hashed, and live as long as it is loaded.
        self._prices: dict[int, Price | None] = {}

    def find(self, model: str) -> PricedModel | None:
        """The model that the provider knows by that name, and what it costs now; None if it is not in the list."""
        found = self._find(model)
        if found is None:
            return None
        published = found.get_prices(self._now())
        key = id(published)
        if key not in self._prices:
            self._prices[key] = _price(published)
        return PricedModel(found.id, self._prices[key])


def check_published(provider: str) -> None:
    """Raises `PricesNotInstalledError` if there are no published prices of this provider here."""
    _provider(provider)


def _provider(name: str) -> "Provider":
    try:
        from genai_prices.data_snapshot import find_provider_by_id, get_snapshot
    except ImportError:
        raise PricesNotInstalledError("this node has no published prices: install janua[prices] there") from None
    provider = find_provider_by_id(get_snapshot().providers, name)
    if provider is None:
        raise PricesNotInstalledError(f"the genai-prices of this node does not know {name}: install a newer one")
    return provider


def _price(published: "ModelPrice") -> Price | None:
    """The price as ours; None if it is of things that nobody counts here, such as minutes of sound."""
    kinds = {kind: getattr(published, name) for kind, name in _KINDS.items()}
    requests = published.requests_kcount
    if kinds["input"] is None and kinds["output"] is None and requests is None:
        return None
    starts = {tier.start for each in (*kinds.values(), requests) for tier in getattr(each, "tiers", ())}
    base, *longer = (_price_above(start, kinds, requests) for start in (0, *sorted(starts)))
    return replace(base, tiers=tuple(PriceTier(*each) for each in zip(sorted(starts), longer, strict=True)))


def _price_above(start: int, kinds: "Mapping[str, _Published]", requests: "_Published") -> Price:
    """The price of requests with more than so many input tokens."""
    dollars = {kind: _dollars(published, start) for kind, published in kinds.items()}
    return Price(
        input=dollars["input"] or 0.0,
        cached_input=dollars["cached_input"],
        cache_creation=dollars["cache_creation"],
        audio_input=dollars["audio_input"],
        output=dollars["output"] or 0.0,
        reasoning=dollars["reasoning"],
        audio_output=dollars["audio_output"],
        request=(_dollars(requests, start) or 0.0) / 1000,
    )


def _dollars(published: "_Published", start: int) -> float | None:
    from genai_prices.types import TieredPrices

    if published is None:
        return None
    if not isinstance(published, TieredPrices):
        return float(published)
    tiers = reversed(published.tiers)  # now the highest first
    return float(next((tier.price for tier in tiers if tier.start <= start), published.base))
