"""Names are looked up again and again; what was found last stays in use until something else is found."""

import asyncio
import socket
from collections.abc import Iterable, Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.upstream.resolver import NameResolver, is_host_name, resolve_host

Answer = Sequence[str] | OSError


class Highest(Random):
    """The most that chance can bring."""

    def uniform(self, a: float, b: float) -> float:
        return b


class Lookups:
    """Stands for the system's resolver: gives one answer after another, and what the resolver made of them."""

    def __init__(self, answers: Iterable[Answer]) -> None:
        self._answers = iter(answers)
        self.asked: list[tuple[str, int]] = []
        self.found: list[tuple[str, ...]] = []
        self.naps: list[float] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append((host, port))
        answer = next(self._answers, None)
        if answer is None:
            await asyncio.Event().wait()  # the test is over
            raise AssertionError
        if isinstance(answer, OSError):
            raise answer
        return answer

    async def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        await asyncio.sleep(0)


async def look_up(*answers: Answer, refresh_s: float = 30.0, random: Random | None = None) -> Lookups:
    """Runs a resolver over these answers."""
    lookups = Lookups(answers)
    resolver = NameResolver(
        "box.example",
        8080,
        refresh_s=refresh_s,
        on_addresses=lookups.found.append,
        random=random or Random(1),
        resolve=lookups.resolve,
        sleep=lookups.sleep,
    )
    running = asyncio.create_task(resolver.run())
    while len(lookups.asked) <= len(answers):
        assert not running.done(), running.exception()
        await asyncio.sleep(0)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert running.cancelled()
    return lookups


def failure(text: str = "name or service not known") -> OSError:
    return socket.gaierror(socket.EAI_NONAME, text)


async def test_the_name_is_looked_up_at_once_and_its_addresses_are_told_in_order() -> None:
    lookups = await look_up(["10.0.0.2", "10.0.0.1"])
    assert lookups.asked[0] == ("box.example", 8080)
    assert lookups.found == [("10.0.0.1", "10.0.0.2")]


async def test_an_address_that_is_found_twice_is_one() -> None:
    assert (await look_up(["::1", "10.0.0.1", "::1", "10.0.0.1"])).found == [("10.0.0.1", "::1")]


async def test_only_changes_are_told() -> None:
    lookups = await look_up(["a", "b"], ["b", "a"], ["b", "a", "c"], ["c"], ["c", "c"], ["d"])
    assert lookups.found == [("a", "b"), ("a", "b", "c"), ("c",), ("d",)]


@pytest.mark.parametrize("bad", [failure(), OSError("no resolver"), []])
async def test_a_lookup_that_fails_changes_nothing(bad: Answer) -> None:
    lookups = await look_up(["a"], bad, bad, ["a"], ["b"])
    assert lookups.found == [("a",), ("b",)]


async def test_a_name_that_could_not_be_looked_up_is_told_when_it_can() -> None:
    assert (await look_up(failure(), [], ["a"])).found == [("a",)]


async def test_a_failure_is_tried_again_soon_and_a_success_is_kept_for_the_interval() -> None:
    lookups = await look_up(["a"], failure(), failure(), ["a"], random=Highest())
    assert lookups.naps == pytest.approx([33, 1.1, 1.1, 33])


async def test_a_short_interval_is_not_lengthened_by_a_failure() -> None:
    lookups = await look_up(failure(), ["a"], refresh_s=0.2, random=Highest())
    assert lookups.naps == pytest.approx([0.22, 0.22])


async def test_nodes_that_began_together_do_not_stay_in_step() -> None:
    naps = (await look_up(*[["a"]] * 200)).naps
    assert all(30 <= nap <= 33 for nap in naps)
    assert max(naps) - min(naps) > 2.5


async def test_failures_are_logged_once_until_the_name_is_found_again(capsys: pytest.CaptureFixture[str]) -> None:
    await look_up(failure(), failure(), [], ["a"], failure("gone"), ["a"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "host name not resolved" in line]
    assert len(lines) == 2
    assert "name or service not known" in lines[0]
    assert "gone" in lines[1]
    assert all("box.example" in line for line in lines)


@pytest.mark.parametrize(
    ("host", "is_name"),
    [
        ("box.example", True),
        ("localhost", True),
        ("10.0.0.256", True),
        ("127.0.0.1", False),
        ("::1", False),
        ("::ffff:10.0.0.1", False),
    ],
)
def test_names_are_told_from_addresses(host: str, is_name: bool) -> None:
    assert is_host_name(host) is is_name


@given(st.ip_addresses())
def test_no_address_is_a_name(address: object) -> None:
    assert not is_host_name(str(address))


async def test_the_system_knows_this_machine() -> None:
    found = await resolve_host("localhost", 80)
    assert set(found) <= {"127.0.0.1", "::1"}
    assert found
