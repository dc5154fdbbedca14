"""`janua demo` as a function: what it is given, what Ctrl-C does to it, and how it fails."""

import asyncio
import signal
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from janua_client.cli.failures import CommandError, ExitCode
from janua_client.demo.gemma_weights import ModelNotInstalledError
from janua_client.demo.stack import Listen, ModelKind
from janua_client.demo.tour import Tour
from janua_client.errors import JanuaError
from janua_client.processes import ChildError


async def run_demo(
    *,
    model: ModelKind,
    once: bool,
    http: str,
    grpc: str,
    admin: str,
    config_listen: str,
    data_dir: Path | None,
    console: Console,
) -> int:
    """Starts everything, asks, says what to try, and serves until Ctrl-C; with `once` it ends after the answers.

    Addresses are `host:port`; port 0 takes a free one. Without `data_dir` nothing is kept. Returns the exit code.
    Raises `CommandError` for whatever keeps an answer from coming. Must run in the main thread: it handles signals.
    """
    listen = Listen(http=http, grpc=grpc, admin=admin, config=config_listen)
    with ExitStack() as cleanup:
        directory = data_dir or Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="janua-demo-")))
        directory.mkdir(parents=True, exist_ok=True)
        tour = Tour(model, listen, directory, console)
        running = asyncio.create_task(tour.run(once=once))
        cleanup.enter_context(_interrupts(running, tour.kill))
        try:
            await running
        except asyncio.CancelledError:
            if not running.cancelled() or _is_cancelled():
                raise
            return ExitCode.DONE if tour.is_serving else ExitCode.INTERRUPTED
        except ChildError as error:
            raise CommandError(str(error), details=error.tail) from error
        except (JanuaError, ModelNotInstalledError) as error:
            raise CommandError(str(error)) from error
    return ExitCode.DONE


@contextmanager
def _interrupts(running: asyncio.Task[None], kill: Callable[[], None]) -> Iterator[None]:
    """The first signal ends the demo in order; one more, and nothing is waited for."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt() -> None:
        if not running.cancelling():
            running.cancel()
        else:
            kill()

    for number in signals:
        loop.add_signal_handler(number, interrupt)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)


def _is_cancelled() -> bool:
    """Whether it is our own task that somebody cancelled."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
