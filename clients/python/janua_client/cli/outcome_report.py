"""What becomes of a request: sentences and a table for people, data for programs."""

from collections.abc import Sequence

from janua_client.cli.output import Json, print_table, stdout
from janua_client.route_outcome import Answered, BackendShare, Called, Redirected, RouteOutcome


def print_outcome(route: str, outcome: RouteOutcome, *, is_call: bool) -> None:
    """Says who answers, on stdout. `is_call`: it is a call over gRPC."""
    console = stdout()
    console.print()
    match outcome:
        case Redirected() if is_call:
            console.print(f"{route} ends the call with UNAVAILABLE: there are no redirects in gRPC.")
        case Redirected():
            console.print(f"{route} redirects with {outcome.status} to {outcome.location}.")
        case Answered() if is_call:
            console.print(f"{route} ends the call itself, with the gRPC status for {outcome.status}.")
        case Answered():
            console.print(f"{route} answers itself, with {outcome.status}.")
        case Called():
            rows = [_row(each) for each in outcome.backends]
            print_table(("TIER", "BACKEND", "SHARE", "MODEL"), rows, empty="there are no backends")
            for sentence in _sentences(outcome):
                console.print(sentence)


def _row(backend: BackendShare) -> Sequence[str]:
    return str(backend.priority), backend.service, f"{_number(backend.percent)} %", backend.model or "-"


def _sentences(called: Called) -> Sequence[str]:
    sentences = []
    if sum(bool(each.weight) for each in called.backends) > 1:
        sentences.append(f"After {_either(called.fallback_on)} the next backend is tried, tier by tier.")
    if called.path is not None:
        sentences.append(f"Backends see the path {called.path}.")
    if called.host is not None:
        sentences.append(f"Backends see the host {called.host}.")
    if called.mirror is not None:
        sentences.append(f"Copies of {_number(called.mirror.percent)} % of the requests go to {called.mirror.service}.")
    return sentences


def _either(names: Sequence[str]) -> str:
    *others, last = names
    return f"{', '.join(others)} or {last}" if others else last


def _number(percent: float) -> str:
    return f"{percent:.3g}"


def outcome_data(outcome: RouteOutcome) -> Json:
    """The same as data. The keys `backends`, `redirect` and `direct_response` exclude each other."""
    match outcome:
        case Redirected():
            return {"redirect": {"status": outcome.status, "location": outcome.location}}
        case Answered():
            return {"direct_response": {"status": outcome.status, "body": outcome.body}}
        case Called(mirror=mirror):
            return {
                "backends": [
                    {
                        "service": each.service,
                        "priority": each.priority,
                        "weight": each.weight,
                        "share_percent": round(each.percent, 3),
                        "model": each.model or None,
                    }
                    for each in outcome.backends
                ],
                "fallback_on": list(outcome.fallback_on),
                "path": outcome.path,
                "host": outcome.host,
                "mirror": {"service": mirror.service, "percent": mirror.percent} if mirror else None,
            }
