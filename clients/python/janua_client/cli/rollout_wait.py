"""Waiting until enough nodes have a revision: what `--wait` and `--timeout` of several commands do."""

from typing import Protocol

from janua_client.cli.failures import CommandError, ExitCode, one_line, usage_error
from janua_client.cli.rollout_report import rollout_error, shown_progress
from janua_client.config_client import ConfigClient
from janua_client.errors import JanuaError
from janua_client.rollout import RolloutProgress, WaitTarget, parse_wait_target


class Committed(Protocol):
    """What was written: an answer to an apply or a rollback."""

    @property
    def revision(self) -> int:
        """The revision it made."""

    @property
    def connected_nodes(self) -> int:
        """The nodes that were there then."""


def wait_target(text: str) -> WaitTarget | None:
    """Reads `--wait`; None if it is not given. Raises `CommandError`."""
    try:
        return parse_wait_target(text) if text else None
    except ValueError as error:
        raise usage_error(f"--wait: {error}") from error


async def wait(
    client: ConfigClient, committed: Committed, target: WaitTarget | None, timeout: str, seconds: float
) -> tuple[RolloutProgress | None, CommandError | None]:
    """How far the nodes have come in time, and the failure if that is not far enough. `timeout` is for people."""
    if target is None:
        return None, None
    try:
        with shown_progress() as on_progress:
            progress = await client.wait_for_rollout(
                committed.revision,
                connected_at_commit=committed.connected_nodes,
                target=target,
                timeout=seconds,
                on_progress=on_progress,
            )
    except JanuaError as error:
        message = (
            f"revision {committed.revision} is written, but not known to be on the nodes: {one_line(error.message)}"
        )
        return None, CommandError(message, code=ExitCode.NOT_SYNCED)
    return progress, rollout_error(progress, timeout)
