"""How people choose nodes: `10%`, `cluster=edge`, `id=gateway-*`, or several of these with commas."""

from collections.abc import Iterator

from janua.config.v1.config_service_pb2 import NodeSelector

_FORM = "10%, cluster=NAME, id=NAME, or several of these with commas"


def parse_percent(text: str) -> int:
    """Reads a percentage of 0 to 100, such as `10%`. Raises `ValueError`."""
    digits = text.removesuffix("%")
    if not text.endswith("%") or not (digits.isascii() and digits.isdigit() and int(digits) <= 100):
        raise ValueError(f"{text!r} is not a percentage such as 10%, of at most 100%")
    return int(digits)


def parse_node_selector(text: str) -> NodeSelector:
    """Reads a choice of nodes. Several clusters, or several ids, are each enough; all else must hold.

    Raises `ValueError`.
    """
    selector = NodeSelector()
    for term in text.split(","):
        field, separator, value = term.strip().partition("=")
        if not separator and field.endswith("%"):
            if selector.percent:
                raise ValueError(f"{text!r} has two percentages")
            selector.percent = parse_percent(field)
            if not selector.percent:
                raise ValueError("0% of the nodes are none: give at least 1%")
        elif field == "cluster" and value:
            selector.clusters.append(value)
        elif field == "id" and value:
            selector.ids.append(value)
        else:
            raise ValueError(f"{term.strip()!r} chooses no nodes: give {_FORM}")
    return selector


def describe_nodes(selector: NodeSelector) -> str:
    """The choice in the form that it is read from."""
    return ",".join(_terms(selector))


def _terms(selector: NodeSelector) -> Iterator[str]:
    if selector.percent:
        yield f"{selector.percent}%"
    yield from (f"cluster={cluster}" for cluster in selector.clusters)
    yield from (f"id={node_id}" for node_id in selector.ids)
