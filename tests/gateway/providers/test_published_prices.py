"""The published prices: what they say is what the package calculates; they are loaded when they are asked for."""

import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import ClauseEquals as Named
from genai_prices.types import (
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    Tier,
    TieredPrices,
    TimeOfDateConstraint,
)
from janua_resources.providers import PUBLISHED_PRICES

from gateway.config.prices import Price, PriceTier, cost
from gateway.providers import published_prices
from gateway.providers.published_prices import PricesNotInstalledError, PublishedPrices, check_published
from gateway.types import Usage

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)
CHAT_KINDS = {"input_mtok", "output_mtok", "cache_read_mtok", "cache_write_mtok", "requests_kcount"}


def prices(provider: str, now: datetime = NOW) -> PublishedPrices:
    return PublishedPrices(provider, lambda: now)


@pytest.mark.parametrize("provider", sorted(set(PUBLISHED_PRICES.values())))
def test_every_provider_is_in_the_package(provider: str) -> None:
    check_published(provider)
    assert any(each.id == provider for each in get_snapshot().providers)


@pytest.mark.parametrize("provider", sorted(set(PUBLISHED_PRICES.values())))
def test_cost_is_what_the_package_calculates(provider: str) -> None:
    """Of all models that have prices of text alone; for short prompts and long ones."""
    (found,) = (each for each in get_snapshot().providers if each.id == provider)
    compared = 0
    for model in found.models:
        published = model.get_prices(NOW)
        given = {name for name, price in published.__dict__.items() if price is not None}
        if not given <= CHAT_KINDS or not {"input_mtok", "output_mtok"} <= given:
            continue
        priced = published_prices._price(published)
        assert priced is not None
        for tokens in (1000, 250_000, 2_000_000):
            usage = Usage(
                input_tokens=tokens,
                output_tokens=700,
                cached_input_tokens=300 if "cache_read_mtok" in given else 0,
                cache_creation_tokens=200 if "cache_write_mtok" in given else 0,
            )
            theirs = published.calc_price(
                genai_prices.Usage(
                    input_tokens=tokens,
                    output_tokens=700,
                    cache_read_tokens=usage.cached_input_tokens,
                    cache_write_tokens=usage.cache_creation_tokens,
                )
            )
            # The package counts no request unless it is told of one.
            assert cost(usage, priced) == pytest.approx(float(theirs["total_price"]) + priced.request)
            compared += 1
    assert compared


def test_model_is_found_under_its_other_names() -> None:
    found = prices("openai").find("gpt-4o-2024-08-06")
    assert found is not None
    assert found.label == "gpt-4o"
    assert found.price is not None
    assert found.price.input > 0
    assert prices("openai").find("nobody-knows-this") is None


def test_names_that_clients_make_up_are_not_remembered_without_bound() -> None:
    ours = prices("openai")
    before = len(get_snapshot()._lookup_cache)
    for number in range(3000):
        ours.find(f"gpt-4o-2024-08-06-{number}")
    assert ours._find.cache_info().currsize <= 1024
    assert len(get_snapshot()._lookup_cache) == before
    assert len(ours._prices) <= 3


def model(**prices: Any) -> ModelPrice:
    return ModelPrice(**prices)


@pytest.mark.parametrize(
    ("published", "price"),
    [
        (model(input_mtok=2, output_mtok=3), Price(input=2, output=3)),
        (model(input_mtok=2), Price(input=2)),
        (model(requests_kcount=5), Price(request=0.005)),
        (
            model(input_mtok=1, cache_read_mtok=2, cache_write_mtok=3, input_audio_mtok=4),
            Price(input=1, cached_input=2, cache_creation=3, audio_input=4),
        ),
        (
            model(output_mtok=1, output_reasoning_mtok=2, output_audio_mtok=3),
            Price(output=1, reasoning=2, audio_output=3),
        ),
        (
            model(input_mtok=TieredPrices(base=0, tiers=[Tier(200, 2), Tier(100, 1)]), output_mtok=7),  # type: ignore[arg-type]
            Price(
                output=7,
                tiers=(PriceTier(100, Price(input=1, output=7)), PriceTier(200, Price(input=2, output=7))),
            ),
        ),
        (model(audio_hours=1), None),
        (model(), None),
    ],
)
def test_price(published: ModelPrice, price: Price | None) -> None:
    assert published_prices._price(published) == price


def test_price_of_the_time_of_day_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    night = TimeOfDateConstraint(start_time=datetime(2026, 1, 1, 0).time(), end_time=datetime(2026, 1, 1, 6).time())
    prices_of_day = [
        ConditionalPrice(prices=model(input_mtok=4)),
        ConditionalPrice(constraint=night, prices=model(input_mtok=1)),
    ]
    owl = ModelInfo(id="owl", match=Named(equals="owl"), prices=prices_of_day)
    provider = Provider(id="p", name="P", api_pattern="x", models=[owl])
    monkeypatch.setattr(published_prices, "_provider", lambda name: provider)
    times = iter([datetime(2026, 1, 1, 3, tzinfo=UTC), datetime(2026, 1, 1, 12, tzinfo=UTC)])
    ours = PublishedPrices("p", lambda: next(times))
    found = [ours.find("owl"), ours.find("owl")]
    assert [each.price for each in found if each is not None] == [Price(input=1), Price(input=4)]


def test_without_the_package_there_are_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices.data_snapshot", None)
    with pytest.raises(PricesNotInstalledError, match=r"janua\[prices\]"):
        check_published("openai")


def test_provider_that_an_old_package_lacks_is_told() -> None:
    with pytest.raises(PricesNotInstalledError, match="nobody"):
        check_published("nobody")


def test_a_node_loads_the_package_for_a_service_that_asks_for_it_and_not_before() -> None:
    program = """
import sys
import gateway.node
from janua.config.v1 import service_pb2
from gateway.compile.service import compile_service
plain = service_pb2.Service(name="s", proxy_service=service_pb2.ProxyService(provider="openai"))
compile_service(plain)
assert "genai_prices" not in sys.modules and "pydantic" not in sys.modules
plain.price_list = service_pb2.PRICE_LIST_PUBLISHED
compile_service(plain)
assert "genai_prices" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)
