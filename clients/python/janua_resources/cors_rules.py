"""When a `cors` policy makes sense: its origins are some, and not all of them with credentials."""

from collections.abc import Iterator
from types import MappingProxyType
from typing import Final

from janua.config.v1.policy_pb2 import Cors

from janua_resources.addresses import parse_url
from janua_resources.quoting import quoted
from janua_resources.violations import Problem

_OWN_PORTS: Final = MappingProxyType({"http": ":80", "https": ":443"})


def check_cors(spec: Cors) -> Iterator[Problem]:
    """What is wrong with the meaning of the rule, seen alone."""
    for index, origin in enumerate(spec.allow_origins):
        if origin != "*" and (text := _fault(origin)) is not None:
            yield Problem(field=f"cors.allow_origins[{index}]", message=text)
    if spec.allow_credentials and "*" in spec.allow_origins:
        text = "cannot go with the origin *: pages of every origin would act as who is logged in; name the origins"
        yield Problem(field="cors.allow_credentials", message=text)
    if spec.max_age.nanos:
        yield Problem(field="cors.max_age", message="must be whole seconds")


def _fault(origin: str) -> str | None:
    """Why it is not an origin, if it is not: `scheme://host`, with a port if it is not the scheme's own."""
    scheme, _, authority = origin.partition("://")
    host = authority.removeprefix("*.")
    try:
        if scheme not in _OWN_PORTS or "/" in host:
            raise ValueError(origin)
        parse_url(f"{scheme}://{host}")
    except ValueError:
        return f"{quoted(origin)} is not an origin, such as https://app.example, https://*.app.example or *"
    if host.endswith(_OWN_PORTS[scheme]):
        return f"{quoted(origin)} names a port that browsers leave out"
    return None
