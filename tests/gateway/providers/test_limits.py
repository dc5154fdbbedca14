"""What models cannot do: by the provider, the service and the model itself, together."""

from gateway.config.snapshot import ProviderTarget, ServiceConfig, UpstreamTarget
from gateway.providers.limits import feature_limits
from gateway.providers.table import PROVIDERS
from gateway.types import Feature

POOL = UpstreamTarget(upstream="u")


def test_nothing_is_lacking_unless_it_is_said() -> None:
    assert feature_limits(ServiceConfig(name="s", target=POOL)) is None
    assert feature_limits(ServiceConfig(name="s", target=ProviderTarget(provider="openai", base_url=""))) is None


def test_model_lacks_what_its_service_and_provider_lack_too() -> None:
    groq = ProviderTarget(provider="groq", base_url="")
    service = ServiceConfig(
        name="s", target=groq, lacks=frozenset({Feature.AUDIO}), models_lack={"m": frozenset({Feature.IMAGES})}
    )
    limits = feature_limits(service)
    assert limits is not None
    everywhere = {Feature.AUDIO, Feature.LOGPROBS, Feature.MULTIPLE_CHOICES}
    assert limits.of("other") == everywhere
    assert limits.of("m") == everywhere | {Feature.IMAGES}


def test_one_model_alone_may_lack_something() -> None:
    limits = feature_limits(ServiceConfig(name="s", target=POOL, models_lack={"m": frozenset({Feature.IMAGES})}))
    assert limits is not None
    assert limits.of("m") == {Feature.IMAGES}
    assert limits.of("other") == frozenset()


def test_providers_lack_only_what_can_be_seen_in_a_request() -> None:
    assert {name for name, provider in PROVIDERS.items() if provider.lacks} == {"groq"}
