"""The prices of one service: its own, then the published ones."""

from collections.abc import Callable
from datetime import UTC, datetime

from janua_resources.providers import PUBLISHED_PRICES

from gateway.config.prices import PricedModel
from gateway.config.snapshot import ProviderTarget, ServiceConfig
from gateway.providers.published_prices import PublishedPrices

# One name for all that no price is known of: clients make up names, and metrics must not grow with them.
_UNKNOWN = PricedModel("other", None)


def _now() -> datetime:
    return datetime.now(UTC)


class ServicePrices:
    """What the models of a service cost. One per service and configuration."""

    def __init__(self, service: ServiceConfig, now: Callable[[], datetime] = _now) -> None:
        self._own = {name: PricedModel(name, price) for name, price in service.prices.items()}
        self._published: PublishedPrices | None = None
        if service.has_published_prices and isinstance(service.target, ProviderTarget):
            self._published = PublishedPrices(PUBLISHED_PRICES[service.target.provider], now)
        self.is_of_tokens = self._published is not None or any(price.is_of_tokens for price in service.prices.values())

    def of(self, model: str, upstream_model: str) -> PricedModel:
        """The model under the service's name for it and the backend's, with its price at this moment."""
        if (own := self._own.get(model)) is not None:
            return own
        published = self._published.find(upstream_model) if self._published is not None else None
        return published or _UNKNOWN


def service_prices(service: ServiceConfig) -> ServicePrices | None:
    """The prices of a service; None if it has none, and no cost is of interest."""
    return ServicePrices(service) if service.prices or service.has_published_prices else None
