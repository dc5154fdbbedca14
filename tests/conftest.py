"""Fixtures for all tests: real processes, scripted upstreams, and what to do where a component is absent."""

pytest_plugins = [
    "tests.support.components",
    "tests.support.faulty_upstream",
    "tests.support.mlserver.server",
    "tests.support.processes",
    "tests.support.soak",
]
