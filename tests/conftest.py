"""Fixtures for all tests: real processes, scripted upstreams, and what to do where a component is absent."""

import signal

from hypothesis import HealthCheck, settings

from tests.support.forked.popen import install

# Half of what a program costs at its start is imports, and tests start programs a thousand times.
install()

# A background job of a shell ignores SIGINT, and so would every process that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes depends on what else the machine does.
settings.register_profile(
    "any-machine", settings.get_profile("default"), deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
if settings.get_current_profile_name() == "default":
    settings.load_profile("any-machine")

pytest_plugins = [
    "tests.support.components",
    "tests.support.faulty_upstream",
    "tests.support.mlserver.server",
    "tests.support.postgres_server",
    "tests.support.processes",
    "tests.support.redis_server",
    "tests.support.small_disk",
    "tests.support.soak",
]
