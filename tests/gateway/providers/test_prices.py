"""The prices of a service: its own before the published ones, and one name for what has none."""

from typing import Any

from gateway.config.prices import Price, PricedModel
from gateway.config.snapshot import ProviderTarget, ServiceConfig, UpstreamTarget
from gateway.providers.prices import service_prices

OPENAI = ProviderTarget(provider="openai", base_url="https://api.openai.com")
MINE = Price(input=1)
UNKNOWN = PricedModel("other", None)


def service(**fields: Any) -> ServiceConfig:
    return ServiceConfig(name="s", **{"target": UpstreamTarget(upstream="u"), **fields})


def test_service_without_prices_has_none() -> None:
    assert service_prices(service()) is None
    assert service_prices(service(target=OPENAI)) is None


def test_own_prices_go_by_the_service_s_name_for_the_model() -> None:
    prices = service_prices(service(prices={"fast": MINE}))
    assert prices is not None
    assert prices.of("fast", "gpt-4o") == PricedModel("fast", MINE)
    assert prices.of("gpt-4o", "fast") == UNKNOWN


def test_published_prices_go_by_the_backend_s_name_and_own_ones_win() -> None:
    prices = service_prices(service(target=OPENAI, prices={"fast": MINE}, has_published_prices=True))
    assert prices is not None
    assert prices.of("fast", "gpt-4o") == PricedModel("fast", MINE)
    published = prices.of("slow", "gpt-4o")
    assert published.label == "gpt-4o"
    assert published.price is not None
    assert prices.of("slow", "nobody-knows") == UNKNOWN


def test_usage_is_needed_where_a_price_is_of_tokens() -> None:
    for given, needed in (
        ({"prices": {"m": Price(request=1)}}, False),
        ({"prices": {"m": Price(request=1), "n": MINE}}, True),
        ({"target": OPENAI, "has_published_prices": True}, True),
    ):
        prices = service_prices(service(**given))
        assert prices is not None
        assert prices.is_of_tokens is needed
