"""Child processes against real children: small Python programs."""

import asyncio
import os
import signal
import sys

import pytest
from janua_client.processes import Child, ChildExitedError, ChildNotReadyError, describe_exit, first_death, parse_ready

READY = 'print(\'{"event": "ready", "component": "toy", "http": "127.0.0.1:1"}\', flush=True)'
SLEEP = "import time; time.sleep(600)"
DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)"
LONG = 30.0


async def start(*lines: str, **options: object) -> Child:
    return await Child.start("toy", [sys.executable, "-c", "\n".join(lines)], **options)  # type: ignore[arg-type]  # passed on


def has_ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_ready_returns_the_values_of_the_ready_line() -> None:
    child = await start("print('loading'); print('[1, 2]'); print('{not json')", READY, SLEEP)
    try:
        assert await child.ready(LONG) == {"event": "ready", "component": "toy", "http": "127.0.0.1:1"}
        assert child.returncode is None
    finally:
        assert await child.stop() == -signal.SIGTERM
    assert has_ended(child.pid)


async def test_ready_line_counts_only_on_stdout() -> None:
    child = await start(READY.replace("flush=True", "flush=True, file=__import__('sys').stderr"), "raise SystemExit(3)")
    with pytest.raises(ChildExitedError, match="before it was ready"):
        await child.ready(LONG)
    await child.stop()


async def test_death_before_ready_says_exit_code_and_last_line() -> None:
    child = await start("import sys; print('one'); sys.exit('port 8080 is in use')")
    with pytest.raises(ChildExitedError) as caught:
        await child.ready(LONG)
    assert str(caught.value) == "toy ended before it was ready (exit code 1): port 8080 is in use"
    assert set(caught.value.tail) == {"one", "port 8080 is in use"}
    assert await child.stop() == 1


async def test_silent_death_says_that_nothing_was_said() -> None:
    child = await start("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with pytest.raises(ChildExitedError, match=r"toy ended before it was ready \(signal SIGKILL\), without a word"):
        await child.ready(LONG)
    await child.stop()


async def test_slow_child_is_not_ready() -> None:
    child = await start("print('still loading', flush=True)", SLEEP)
    with pytest.raises(ChildNotReadyError, match=r"toy was not ready within 0\.01 s"):
        await child.ready(0.01)
    await child.stop()


async def test_ready_can_be_asked_again_after_a_timeout() -> None:
    child = await start(DEAF, READY, SLEEP)
    with pytest.raises(ChildNotReadyError):
        await child.ready(0)
    assert (await child.ready(LONG))["component"] == "toy"
    await child.stop(grace=0)


async def test_missing_program_ends_with_its_name() -> None:
    child = await Child.start("toy", ["/nonexistent/program"])
    with pytest.raises(ChildExitedError, match="No such file or directory"):
        await child.ready(LONG)
    await child.stop()


async def test_stop_kills_what_does_not_listen() -> None:
    child = await start(DEAF, READY, SLEEP)
    await child.ready(LONG)
    assert await child.stop(grace=0.05) == -signal.SIGKILL


async def test_stop_twice_returns_the_same_code() -> None:
    child = await start("import signal, sys", "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))", READY, SLEEP)
    await child.ready(LONG)
    assert await child.stop() == 7
    assert await child.stop() == 7


async def test_cancelled_stop_still_ends_the_child() -> None:
    child = await start(DEAF, READY, SLEEP)
    await child.ready(LONG)
    stopping = asyncio.create_task(child.stop(grace=LONG))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert await child.wait() == -signal.SIGKILL
    await child.stop()


async def test_tail_is_bounded_and_output_never_blocks_the_child() -> None:
    child = await start("for i in range(100000): print('line', i)", "print('x' * 1000000)", READY, SLEEP)
    await child.ready(LONG)
    assert len(child.log_tail(1000)) == 200
    assert len(child.log_tail(3)) == 3
    await child.stop()


async def test_lines_are_handed_on_in_whole_even_without_a_last_newline() -> None:
    seen: list[str] = []
    child = await start(
        "import sys; sys.stdout.write('half'); sys.stdout.flush(); print(' whole'); sys.stdout.write('end')",
        on_line=seen.append,
    )
    assert await child.wait() == 0
    assert seen == ["half whole", "end"]
    await child.stop()


async def test_environment_is_added() -> None:
    seen: list[str] = []
    child = await start(
        "import os; print(os.environ['JANUA_TOY'], 'PATH' in os.environ)", env={"JANUA_TOY": "1"}, on_line=seen.append
    )
    await child.wait()
    assert seen == ["1 True"]
    await child.stop()


async def test_child_has_its_own_session_so_ctrl_c_does_not_reach_it() -> None:
    child = await start(READY, SLEEP)
    await child.ready(LONG)
    assert os.getsid(child.pid) == child.pid != os.getsid(0)
    await child.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_child_dies_with_its_parent() -> None:
    parent = await start(
        "import asyncio, os, sys",
        "from janua_client.processes import Child",
        "async def main():",
        f"    child = await Child.start('inner', [sys.executable, '-c', {READY + '; ' + SLEEP!r}])",
        "    await child.ready(30)",
        '    print(\'{"event": "ready", "inner": %d}\' % child.pid, flush=True)',
        "    await asyncio.sleep(600)",
        "asyncio.run(main())",
    )
    inner = (await parent.ready(LONG))["inner"]
    assert isinstance(inner, int)
    fd = os.pidfd_open(inner)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(fd, ended.set)
    parent.kill()
    await asyncio.wait_for(ended.wait(), LONG)
    asyncio.get_running_loop().remove_reader(fd)
    os.close(fd)
    await parent.stop()


async def test_first_death_names_the_child_that_died() -> None:
    lasting = await Child.start("lasting", [sys.executable, "-c", SLEEP])
    dying = await Child.start("dying", [sys.executable, "-c", "raise SystemExit('out of memory')"])
    error = await first_death([lasting, dying])
    assert str(error) == "dying ended unexpectedly (exit code 1): out of memory"
    assert lasting.returncode is None
    await lasting.stop()
    await dying.stop()


@pytest.mark.parametrize("line", ["", "ready", "{", '{"event": "started"}', '"ready"', '{"ready": true}'])
def test_other_lines_are_not_ready_lines(line: str) -> None:
    assert parse_ready(line) is None


@pytest.mark.parametrize(("code", "words"), [(0, "exit code 0"), (3, "exit code 3"), (-15, "signal SIGTERM")])
def test_exit_codes_in_words(code: int, words: str) -> None:
    assert describe_exit(code) == words
