"""When it is clear who answers a route's requests: backends, or the route itself."""

from collections.abc import Iterator
from typing import Final

from janua.config.v1.route_pb2 import FALLBACK_ON_UNSPECIFIED, DirectResponse, Redirect, Route, RouteMatch

from janua_resources.addresses import check_host_header, parse_base_path
from janua_resources.headers import is_header_value
from janua_resources.surfaces import Surface, is_inference_service, surface_of
from janua_resources.violations import Problem, problem_of_parsing

# What only says something about backends.
_OF_BACKENDS: Final = ("retry_policy", "timeouts", "advertised_models", "fallback_on", "mirror", "rewrite")

# RFC 9110, sections 15.3.5, 15.3.6 and 15.4.5.
_WITHOUT_BODY: Final = frozenset({204, 205, 304})


def check_answer(route: Route) -> Iterator[Problem]:
    """What is wrong with who answers."""
    given_fields = {descriptor.name for descriptor, _ in route.ListFields()}
    own = [field for field in ("redirect", "direct_response") if field in given_fields]
    if len(own) > 1:
        yield Problem(field=own[1], message="is not together with redirect; give one of them")
    if not own:
        if not route.backends:
            yield Problem(field="backends", message="is empty; name a service, or give redirect or direct_response")
        yield from _check_backends(route)
        return
    if route.backends:
        yield Problem(field=own[0], message="is not together with backends, which would never be called")
    for field in (field for field in _OF_BACKENDS if field in given_fields):
        yield Problem(field=field, message=f"has no effect with {own[0]}; leave it out")
    if route.HasField("redirect"):
        yield from _check_redirect(route.redirect, route.match)
    if route.HasField("direct_response"):
        yield from _check_direct_response(route.direct_response)


def _check_backends(route: Route) -> Iterator[Problem]:
    for index, fallback_on in enumerate(route.fallback_on):
        if fallback_on == FALLBACK_ON_UNSPECIFIED:
            yield Problem(field=f"fallback_on[{index}]", message="FALLBACK_ON_UNSPECIFIED is not a failure")
    if route.HasField("rewrite"):
        yield from _check_rewrite(route)


def _check_rewrite(route: Route) -> Iterator[Problem]:
    rewrite, match = route.rewrite, route.match
    if not rewrite.host and not rewrite.HasField("path_prefix"):
        yield Problem(field="rewrite", message="changes nothing; give path_prefix or host, or leave it out")
    if rewrite.host:
        yield from problem_of_parsing(check_host_header, rewrite.host, "rewrite.host")
    if rewrite.HasField("path_prefix"):
        yield from problem_of_parsing(parse_base_path, rewrite.path_prefix, "rewrite.path_prefix")
    if _is_inference_alone(match):
        text = "is only for requests that are passed through; give a match.path or match.grpc that is not for inference"
        yield Problem(field="rewrite", message=text)
    elif rewrite.HasField("path_prefix") and match.path.WhichOneof("kind") == "regex":
        text = "needs match.path.prefix, match.path.exact or match.grpc, which it stands for"
        yield Problem(field="rewrite.path_prefix", message=text)


def _is_inference_alone(match: RouteMatch) -> bool:
    """Whether no request that is passed through can match."""
    if match.HasField("grpc"):
        return is_inference_service(match.grpc.service)
    if not match.HasField("path"):
        return True
    return match.path.HasField("exact") and surface_of(match.path.exact) is Surface.INFERENCE


def _check_redirect(redirect: Redirect, match: RouteMatch) -> Iterator[Problem]:
    stays = not redirect.scheme and not redirect.host
    if stays and not redirect.path:
        yield Problem(field="redirect", message="leads back to where it came from; give scheme, host or path")
    elif stays and redirect.path == match.path.exact:
        yield Problem(field="redirect.path", message="leads back to where it came from; give another path, or a host")
    if redirect.host:
        yield from problem_of_parsing(check_host_header, redirect.host, "redirect.host")


def _check_direct_response(answer: DirectResponse) -> Iterator[Problem]:
    if answer.body and answer.status in _WITHOUT_BODY:
        text = f"has no place in an answer with status {answer.status}; leave it out, or give another status"
        yield Problem(field="direct_response.body", message=text)
    if not is_header_value(answer.content_type):
        yield Problem(field="direct_response.content_type", message="has control characters")
