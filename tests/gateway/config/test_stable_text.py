"""Text of configuration that is the same in every process."""

import subprocess
import sys
from dataclasses import replace

from gateway.config.snapshot import BackendConfig, Failure, RouteConfig, RouteMatch
from gateway.config.stable_text import stable_text

ROUTE = RouteConfig(
    name="chat",
    match=RouteMatch(models=("*",)),
    backends=(BackendConfig(service="llm"),),
    fallback_on=frozenset(Failure),
)

_PRINT = "from tests.gateway.config.test_stable_text import ROUTE, stable_text; print(stable_text(ROUTE))"


def test_it_is_the_same_in_every_process() -> None:
    texts = {
        subprocess.run(
            [sys.executable, "-c", _PRINT], env={"PYTHONHASHSEED": seed}, capture_output=True, check=True, text=True
        ).stdout
        for seed in ("1", "2")
    }
    assert texts == {stable_text(ROUTE) + "\n"}


def test_it_changes_with_every_value() -> None:
    others = [
        replace(ROUTE, name="faq"),
        replace(ROUTE, fallback_on=frozenset({Failure.RESET})),
        replace(ROUTE, match=RouteMatch(models=("*", "m"))),
        replace(ROUTE, match=RouteMatch(models=("*,m",))),
        replace(ROUTE, policies=("a",)),
        replace(ROUTE, policies=("a", "b")),
        replace(ROUTE, policies=("a,b",)),
    ]
    assert len({stable_text(each) for each in [ROUTE, *others]}) == len(others) + 1


def test_order_of_members_makes_no_difference() -> None:
    assert stable_text({"a": 1, "b": {"c"}}) == stable_text({"b": {"c"}, "a": 1})
