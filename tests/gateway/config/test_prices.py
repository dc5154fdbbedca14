"""What a request has cost: each token once, at the price of its kind."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from gateway.config.prices import Price, PriceTier, cost
from gateway.types import Usage

COUNTS = st.integers(0, 10**7)
USAGES = st.builds(
    Usage,
    input_tokens=COUNTS,
    output_tokens=COUNTS,
    cached_input_tokens=COUNTS,
    cache_creation_tokens=COUNTS,
    reasoning_tokens=COUNTS,
    audio_input_tokens=COUNTS,
    audio_output_tokens=COUNTS,
)
DOLLARS = st.floats(0, 1000)
KINDS = st.none() | DOLLARS
PRICES = st.builds(
    Price,
    input=DOLLARS,
    cached_input=KINDS,
    cache_creation=KINDS,
    audio_input=KINDS,
    output=DOLLARS,
    reasoning=KINDS,
    audio_output=KINDS,
    request=DOLLARS,
)
EVERY_KIND = Price(
    input=1, cached_input=2, cache_creation=4, audio_input=8, output=16, reasoning=32, audio_output=64, request=0.5
)


@pytest.mark.parametrize(
    ("usage", "price", "dollars"),
    [
        (Usage(input_tokens=10**6), Price(input=2.5), 2.5),
        (Usage(output_tokens=500_000), Price(output=10), 5),
        (Usage(input_tokens=10**6, cached_input_tokens=400_000), Price(input=10), 10),
        (Usage(input_tokens=10**6, cached_input_tokens=400_000), Price(input=10, cached_input=1), 6.4),
        (Usage(input_tokens=10**6, cached_input_tokens=400_000), Price(input=10, cached_input=0), 6),
        (Usage(input_tokens=10**6, cache_creation_tokens=400_000), Price(input=10, cache_creation=12.5), 11),
        (Usage(output_tokens=10**6, reasoning_tokens=10**6), Price(output=10), 10),
        (Usage(output_tokens=10**6, reasoning_tokens=600_000), Price(output=10, reasoning=5), 7),
        (Usage(input_tokens=3), Price(request=0.25), 0.25),
        (Usage(), Price(), 0),
        (
            Usage(
                input_tokens=10**6,
                cached_input_tokens=100_000,
                cache_creation_tokens=200_000,
                audio_input_tokens=300_000,
                output_tokens=10**6,
                reasoning_tokens=400_000,
                audio_output_tokens=500_000,
            ),
            EVERY_KIND,
            0.4 + 0.2 + 0.8 + 2.4 + 1.6 + 12.8 + 32 + 0.5,
        ),
    ],
)
def test_cost(usage: Usage, price: Price, dollars: float) -> None:
    assert cost(usage, price) == pytest.approx(dollars)


def test_parts_that_are_more_than_their_whole_are_cut() -> None:
    usage = Usage(input_tokens=10, cached_input_tokens=8, cache_creation_tokens=8, audio_input_tokens=8)
    assert cost(usage, EVERY_KIND) == pytest.approx((8 * 2 + 2 * 4) / 1e6 + 0.5)
    usage = Usage(output_tokens=10, reasoning_tokens=20, audio_output_tokens=20)
    assert cost(usage, EVERY_KIND) == pytest.approx(10 * 32 / 1e6 + 0.5)


@pytest.mark.parametrize(
    ("tokens", "dollars"), [(200_000, 0.2), (200_001, 0.400002), (500_000, 1.0), (500_001, 2.000004)]
)
def test_longer_prompts_cost_more_from_their_first_token_on(tokens: int, dollars: float) -> None:
    tiers = (PriceTier(200_000, Price(input=2)), PriceTier(500_000, Price(input=4)))
    assert cost(Usage(input_tokens=tokens), Price(input=1, tiers=tiers)) == pytest.approx(dollars)


def test_without_a_usage_only_requests_have_a_price() -> None:
    assert cost(None, Price(request=0.5)) == 0.5
    assert cost(None, Price()) == 0
    assert cost(None, Price(request=0.5, output=1)) is None
    assert cost(Usage(), Price(request=0.5, output=1)) is None


@pytest.mark.parametrize(
    "price",
    [
        Price(input=1),
        Price(output=1),
        Price(cached_input=1),
        Price(cache_creation=1),
        Price(audio_input=1),
        Price(reasoning=1),
        Price(audio_output=1),
        Price(tiers=(PriceTier(1, Price(input=1)),)),
    ],
)
def test_any_price_of_tokens_needs_the_usage(price: Price) -> None:
    assert price.is_of_tokens
    assert cost(None, price) is None


@given(USAGES, PRICES)
def test_cost_is_between_all_tokens_at_the_lowest_and_at_the_highest_price(usage: Usage, price: Price) -> None:
    inputs = [price.input] + [each for each in (price.cached_input, price.cache_creation, price.audio_input) if each]
    outputs = [price.output] + [each for each in (price.reasoning, price.audio_output) if each]
    inputs += [0.0] * (0.0 in (price.cached_input, price.cache_creation, price.audio_input))
    outputs += [0.0] * (0.0 in (price.reasoning, price.audio_output))
    bounds = [
        (usage.input_tokens * of(inputs) + usage.output_tokens * of(outputs)) / 1e6 + price.request for of in (min, max)
    ]
    dollars = cost(usage, price)
    if dollars is None:
        assert usage.input_tokens + usage.output_tokens == 0
        return
    assert bounds[0] * (1 - 1e-9) <= dollars <= bounds[1] * (1 + 1e-9)


@given(USAGES, PRICES)
def test_parts_without_a_price_of_their_own_change_nothing(usage: Usage, price: Price) -> None:
    flat = Price(input=price.input, output=price.output, request=price.request)
    whole = Usage(input_tokens=usage.input_tokens, output_tokens=usage.output_tokens)
    assume(price.is_of_tokens and flat.is_of_tokens and (usage.input_tokens or usage.output_tokens))
    assert cost(usage, flat) == pytest.approx(cost(whole, flat))
    assert cost(whole, price) == pytest.approx(cost(whole, flat))
