"""The console as a part of the server: it listens from `start` to `stop`."""

import asyncio

from config_server.access.guard import Guard
from config_server.access.permissions import may_read
from config_server.console.app import ConsoleView, make_console_app
from config_server.console.overview import Overviews
from config_server.console.serve import bind, serve_console
from config_server.listen_address import ListenAddress
from config_server.metrics import Metrics


class Console:
    """`guard`: who may look; None: everybody who can connect. Raises ListenError."""

    def __init__(self, address: ListenAddress, *, overview: Overviews, metrics: Metrics, guard: Guard | None) -> None:
        self._guard = guard
        self._stop = asyncio.Event()
        self._listener = bind(address)
        self._address = address.with_port(self._listener.getsockname()[1])
        self._app = make_console_app(
            ConsoleView(
                overview=overview,
                metrics=metrics,
                is_ready=lambda: not self._stop.is_set(),
                admits=self._admits,
                is_known_host=self._is_known_host,
            )
        )

    def start(self, tasks: asyncio.TaskGroup) -> ListenAddress:
        """Returns the address with the port that was taken."""
        tasks.create_task(serve_console(self._app, self._listener, self._stop))
        return self._address

    def stop(self) -> None:
        self._stop.set()

    def _admits(self, token: str | None) -> bool:
        if self._guard is None:
            return True
        principal = self._guard.find(token)
        return principal is not None and may_read(principal.role)

    def _is_known_host(self, host: str) -> bool:
        """Any website can have its own name lead here, and then read with its visitor's browser what needs no token."""
        goes_by_any_name = self._guard is not None or not self._address.is_loopback
        return goes_by_any_name or ListenAddress(host, 0).is_loopback
