"""Ids for calls that have none, matched with the results that come after them."""

from hypothesis import given
from hypothesis import strategies as st

from gateway.schemas.call_ids import CallIds


def test_id_that_a_call_has_is_kept() -> None:
    calls = CallIds()
    assert calls.begin("f", "c") == "c"
    assert calls.answer("f", None) == "c"


def test_result_with_an_id_leaves_the_other_calls_open() -> None:
    calls = CallIds()
    first, second = calls.begin("f", None), calls.begin("f", None)
    assert calls.answer("f", second) == second
    assert calls.answer("f", None) == first


def test_result_of_nothing_gets_an_id_of_its_own() -> None:
    calls = CallIds()
    called = calls.begin("f", None)
    assert calls.answer("g", None) != called
    assert calls.answer(None, None) == called
    assert calls.answer(None, None) not in (called, "")


@given(st.lists(st.sampled_from("fgh"), max_size=8), st.data())
def test_every_call_is_answered_once(names: list[str], data: st.DataObject) -> None:
    calls = CallIds()
    begun = [calls.begin(name, None) for name in names]
    assert len(set(begun)) == len(begun)
    order = data.draw(st.permutations(names))
    assert sorted(calls.answer(name, None) for name in order) == sorted(begun)
