"""Answers of backends that are not what their dialect says."""

from gateway.errors import BadGatewayError


def malformed(fault: object) -> BadGatewayError:
    """The error for one; `fault` says what is wrong with it."""
    return BadGatewayError(f"the upstream's answer cannot be understood: {fault}", reason="UPSTREAM_MALFORMED")
