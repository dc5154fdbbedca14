"""Fixtures for all tests: real processes, scripted upstreams, and what to do where a component is absent."""

from hypothesis import settings

# How long an example takes depends on what else the machine does.
settings.register_profile("any-machine", settings.get_profile("default"), deadline=None)
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
