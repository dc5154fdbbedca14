"""Meters by key in bounded memory."""

from gateway.filters.limits.meter_table import MeterTable
from gateway.filters.limits.places import Places
from gateway.filters.limits.sliding_window import SlidingWindow


def test_each_key_has_its_own_meter() -> None:
    table = MeterTable(lambda _: SlidingWindow(1.0))
    assert table.get("a") is table.get("a")
    assert table.get("a") is not table.get("b")


def test_idle_meters_are_forgotten_as_new_keys_come() -> None:
    table = MeterTable(lambda _: SlidingWindow(1.0), capacity=100)
    for number in range(10_000):
        table.tidy(number / 10)
        table.get(str(number)).take(number / 10, 1, 10)
    assert len(table) < 30


def test_new_keys_share_a_meter_when_all_are_in_use_and_nobody_gets_round_the_limit() -> None:
    table = MeterTable(lambda _: SlidingWindow(60.0), capacity=10)
    taken = 0
    for number in range(1000):
        table.tidy(0.0)
        meter = table.get(str(number))
        if not meter.wait(0.0, 1, 5):
            meter.take(0.0, 1, 5)
            taken += 1
    assert len(table) == 10
    assert taken == 10 + 5
    assert table.get("3").read(0.0, 5).remaining == 4


def test_a_meter_that_holds_places_is_kept_however_long() -> None:
    table = MeterTable(lambda _: Places(), capacity=2)
    table.get("a").take(0.0, 1, 1)
    for number in range(100):
        table.tidy(1e9)
        table.get(str(number))
    assert table.get("a").wait(1e9, 1, 1) > 0
