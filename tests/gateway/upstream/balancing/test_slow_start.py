"""Envoy's formula of slow start."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.config.upstream import SlowStartConfig
from gateway.upstream.balancing.slow_start import slow_start_factor

CONFIGS = st.builds(
    SlowStartConfig,
    window_s=st.floats(1e-6, 1e6),
    aggression=st.floats(1e-6, 100),
    min_weight_percent=st.floats(0, 100),
)


@pytest.mark.parametrize(
    ("aggression", "elapsed_s", "factor"),
    [
        (1.0, 30, 0.5),
        (1.0, 45, 0.75),
        (2.0, 15, 0.5),
        (2.0, 30, 0.5**0.5),
        (0.5, 30, 0.25),
        (1.0, 60, 1.0),
        (1.0, 600, 1.0),
    ],
)
def test_the_share_is_a_power_of_the_part_of_the_window(aggression: float, elapsed_s: float, factor: float) -> None:
    config = SlowStartConfig(window_s=60, aggression=aggression)
    assert slow_start_factor(config, elapsed_s) == pytest.approx(factor)


@pytest.mark.parametrize("elapsed_s", [0, 1, 11.9])
def test_the_share_begins_with_the_least(elapsed_s: float) -> None:
    assert slow_start_factor(SlowStartConfig(window_s=60, min_weight_percent=20), elapsed_s) == 0.2
    assert slow_start_factor(SlowStartConfig(window_s=60), 0) == 0.1


def test_the_first_moment_counts_as_a_millisecond() -> None:
    config = SlowStartConfig(window_s=1, min_weight_percent=0)
    assert slow_start_factor(config, 0) == slow_start_factor(config, 0.001) == pytest.approx(0.001)


@given(CONFIGS, st.floats(0, 2e6), st.floats(0, 2e6))
@settings(deadline=None)
def test_the_share_grows_from_more_than_nothing_to_all(config: SlowStartConfig, one: float, other: float) -> None:
    sooner, later = sorted((one, other))
    assert 0 < slow_start_factor(config, sooner) <= slow_start_factor(config, later) <= 1
    assert slow_start_factor(config, config.window_s) == 1
    # Weights are divided by.
    assert 1 / slow_start_factor(config, sooner) < 1e9
