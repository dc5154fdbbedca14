"""When the address of a proxy on the way out makes sense."""

from collections.abc import Iterator

from janua_resources.addresses import parse_url
from janua_resources.violations import Problem


def check_egress_proxy(text: str, field: str) -> Iterator[Problem]:
    """What is wrong with the address, if there is one."""
    if not text:
        return
    try:
        address = parse_url(text)
    except ValueError as error:
        yield Problem(field=field, message=str(error))
        return
    if address.scheme != "http" or address.base_path:
        yield Problem(field=field, message="is not the address of a proxy: http://HOST:PORT")
