"""When it is clear who answers a route's requests: backends, or the route itself."""

from collections.abc import Iterator
from typing import Final

from janua.config.v1.route_pb2 import FALLBACK_ON_UNSPECIFIED, Redirect, Route

from janua_resources.addresses import check_host_header
from janua_resources.headers import is_header_value
from janua_resources.violations import Problem, problem_of_parsing

# What only says something about backends.
_OF_BACKENDS: Final = ("retry_policy", "timeouts", "fallback_on", "mirror", "rewrite")


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
        yield from _check_redirect(route.redirect)
    if not is_header_value(route.direct_response.content_type):
        yield Problem(field="direct_response.content_type", message="has control characters")


def _check_backends(route: Route) -> Iterator[Problem]:
    for index, fallback_on in enumerate(route.fallback_on):
        if fallback_on == FALLBACK_ON_UNSPECIFIED:
            yield Problem(field=f"fallback_on[{index}]", message="FALLBACK_ON_UNSPECIFIED is not a failure")
    if not route.HasField("rewrite"):
        return
    if route.rewrite.host:
        yield from problem_of_parsing(check_host_header, route.rewrite.host, "rewrite.host")
    kind = route.match.path.WhichOneof("kind")
    if kind is None:
        text = "is only for requests that are passed through; give match.path"
        yield Problem(field="rewrite", message=text)
    elif route.rewrite.HasField("path_prefix") and kind == "regex":
        text = "needs match.path.prefix or match.path.exact, which it stands for"
        yield Problem(field="rewrite.path_prefix", message=text)


def _check_redirect(redirect: Redirect) -> Iterator[Problem]:
    if not (redirect.scheme or redirect.host or redirect.path):
        yield Problem(field="redirect", message="leads back to where it came from; give scheme, host or path")
    if redirect.host:
        yield from problem_of_parsing(check_host_header, redirect.host, "redirect.host")
