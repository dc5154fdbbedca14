"""What the models of a service cannot do, by its configuration and what is known of its provider."""

from gateway.config.snapshot import ProviderTarget, ServiceConfig
from gateway.providers.table import PROVIDERS
from gateway.types import Feature


class FeatureLimits:
    """The features that each model of a service lacks. One per service and configuration."""

    def __init__(self, service: ServiceConfig) -> None:
        lacks = service.lacks
        if isinstance(service.target, ProviderTarget):
            lacks |= PROVIDERS[service.target.provider].lacks
        self._all = lacks
        self._models = {name: lacks | more for name, more in service.models_lack.items()}

    @property
    def is_empty(self) -> bool:
        """Whether nothing is lacking anywhere."""
        return not self._all and not self._models

    def of(self, model: str) -> frozenset[Feature]:
        """What the model lacks, under the service's name for it."""
        return self._models.get(model, self._all)


def feature_limits(service: ServiceConfig) -> FeatureLimits | None:
    """The limits of a service; None if it has none, and requests need not be looked at."""
    limits = FeatureLimits(service)
    return None if limits.is_empty else limits
