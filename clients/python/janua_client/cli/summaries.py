"""One line about a resource, for lists that people read."""

from collections.abc import Iterable
from typing import assert_never

from janua.config.v1.consumer_pb2 import Consumer
from janua.config.v1.policy_pb2 import Policy
from janua.config.v1.route_pb2 import Route, RouteMatch
from janua.config.v1.secret_pb2 import Secret
from janua.config.v1.service_pb2 import Service
from janua.config.v1.upstream_pb2 import LoadBalancing, Upstream
from janua_resources.kinds import ConfigMessage


def summarize(message: ConfigMessage) -> str:
    """What matters most about the resource, in one line."""
    match message:
        case Route():
            return _route(message)
        case Service():
            return _service(message)
        case Upstream():
            return _upstream(message)
        case Policy():
            return (message.WhichOneof("spec") or "unknown").replace("_", " ")
        case Consumer():
            parts = [_count(len(message.api_keys), "key")]
            if message.jwt_subjects:
                parts.append(_count(len(message.jwt_subjects), "subject"))
            if message.certificate_names:
                parts.append(_count(len(message.certificate_names), "certificate name"))
            return ", ".join(parts)
        case Secret():
            match message.WhichOneof("source"):
                case "file":
                    return f"file {message.file}"
                case "env":
                    return f"env {message.env}"
            return "value"
        case _:
            assert_never(message)


def _route(route: Route) -> str:
    backends = [
        backend.service + (f" ×{backend.weight}" if backend.HasField("weight") else "")  # noqa: RUF001
        for backend in route.backends
    ]
    guards = f"; policies {_list(route.policies)}" if route.policies else "; open"
    return f"{_match(route.match)} → {_list(backends)}{guards}"


def _match(match: RouteMatch) -> str:
    path = match.path.WhichOneof("kind")
    parts = [
        *([f"hosts {_list(match.hosts)}"] if match.hosts else ()),
        *([f"path {path} {getattr(match.path, path)}"] if path else ()),
        *([f"methods {_list(match.methods)}"] if match.methods else ()),
        *([_count(len(match.headers), "header")] if match.headers else ()),
        *([_count(len(match.query_params), "query parameter")] if match.query_params else ()),
        *([f"models {_list(match.models)}"] if match.models else ()),
    ]
    return "; ".join(parts) or "every inference request"


def _service(service: Service) -> str:
    if service.HasField("upstream_service"):
        return f"upstream {service.upstream_service.upstream}"
    proxy = service.proxy_service
    return f"provider {proxy.provider} {proxy.base_url}".rstrip()


def _upstream(upstream: Upstream) -> str:
    policy = LoadBalancing.Policy.Name(upstream.load_balancing.policy).removeprefix("POLICY_")
    checks = _count(len(upstream.health_checks), "health check") if upstream.health_checks else "no health checks"
    addresses = [endpoint.address for endpoint in upstream.endpoints]
    balancing = "ROUND_ROBIN" if policy == "UNSPECIFIED" else policy
    return f"{_list(addresses)}; {balancing}; {checks}"


def _list(values: Iterable[str], most: int = 3) -> str:
    listed = list(values)
    more = f" and {len(listed) - most} more" if len(listed) > most else ""
    return ", ".join(listed[:most]) + more


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
