"""The configuration of the demo: `examples/quickstart.yaml`, with the addresses of the servers that were started."""

from collections.abc import Mapping
from importlib.resources import files

from janua_resources import documents
from janua_resources.kinds import ConfigMessage

from janua_client.changes import upsert
from janua_client.cli.failures import CommandError
from janua_client.config_client import ConfigClient
from janua_client.rollout import RolloutVerdict

API_KEY = "janua-demo-key"
"""The key whose hash stands in the example."""

SOURCE = "examples/quickstart.yaml"


def resources(model_addresses: tuple[str, ...], model: str) -> tuple[ConfigMessage, ...]:
    """The resources of the example for these servers and this model name."""
    text = files("janua_client.demo").joinpath("quickstart.yaml").read_text("utf-8")
    found = documents.parse(text, source=SOURCE, environ=environ(model_addresses, model)).resources
    return tuple(located.message for located in found)


def environ(model_addresses: tuple[str, ...], model: str) -> Mapping[str, str]:
    """The variables that the example names."""
    first, second = model_addresses
    return {"MODEL_1": first, "MODEL_2": second, "MODEL": model, "MODEL_NAME": model}


async def apply(config_server: str, messages: tuple[ConfigMessage, ...]) -> int:
    """Pushes the resources, waits until the node has them, and returns the revision.

    Raises `JanuaError` if the server refuses them, `CommandError` if the node does.
    """
    async with ConfigClient(config_server) as client:
        applied = await client.apply([upsert(message) for message in messages], author="janua demo")
        progress = await client.wait_for_rollout(applied.revision, connected_at_commit=applied.connected_nodes)
    if progress.verdict is not RolloutVerdict.SYNCED:
        refusals = [rejection.message for node in progress.rejecting for rejection in node.rejections]
        raise CommandError("the node does not take the configuration of the demo", details=refusals)
    return applied.revision
