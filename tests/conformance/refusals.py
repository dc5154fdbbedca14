"""What a node says of a configuration that it does not take."""

import signal

from tests.conformance.configuration import Configuration
from tests.conformance.gateway import Gateway, render
from tests.conformance.polling import eventually


async def refusals(gateway: Gateway, configuration: Configuration) -> str:
    """The line of the log that says why a configuration is not taken."""
    before = len(gateway.process.log)
    gateway.process.config_file.write_text(render(configuration, "refused"), "utf-8")
    gateway.process.send_signal(signal.SIGHUP)
    found: list[str] = []

    async def is_told() -> bool:
        lines = gateway.process.log[before:].splitlines()
        found[:] = [line for line in lines if "configuration file not taken" in line]
        return bool(found)

    await eventually(is_told, "the configuration is refused")
    return found[0]
