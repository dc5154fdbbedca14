"""What signals do to a command that serves: the first one ends it in order, the next one at once."""

import asyncio
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Interrupt:
    """The first call cancels the serving, so that everything drains; the next one kills."""

    def __init__(self, serving: asyncio.Task[None], kill: Callable[[], None]) -> None:
        self._serving = serving
        self._kill = kill
        self._is_first = True

    def __call__(self) -> None:
        if self._is_first:
            self._is_first = False
            self._serving.cancel()
        else:
            self._kill()


@contextmanager
def on_signals(handlers: Mapping[signal.Signals, Callable[[], None]]) -> Iterator[None]:
    """Handles the signals so within the context. Must be entered in the main thread's event loop."""
    loop = asyncio.get_running_loop()
    for number, handle in handlers.items():
        loop.add_signal_handler(number, handle)
    try:
        yield
    finally:
        for number in handlers:
            loop.remove_signal_handler(number)
