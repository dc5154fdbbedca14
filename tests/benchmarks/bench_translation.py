"""Measures translation between dialects: CPU time of a request and of an event of a stream, for every pair.

Run as `python -m tests.benchmarks.bench_translation`. Pure code is measured, without a socket. The ratio is to
`json.loads` and `json.dumps` of the same bytes, so that machines can be compared. Exits with 1 if a target is missed.
"""

import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import click
from rich.console import Console
from rich.table import Table

from gateway.schemas.chat_dialect import ChatDialect
from gateway.schemas.table import (
    ANTHROPIC_MESSAGES,
    BEDROCK_CONVERSE,
    COHERE_CHAT,
    GEMINI,
    OLLAMA_CHAT,
    OPENAI_CHAT,
    OPENAI_RESPONSES,
)
from tests.benchmarks.translation_samples import MODEL, SETTINGS, request_body, stream_events

MOST_REQUEST_US = 60.0
MOST_EVENT_US = 15.0
MOST_RATIO = 4.0

CLIENTS: Sequence[ChatDialect] = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI, COHERE_CHAT, OLLAMA_CHAT)
BACKENDS: Sequence[ChatDialect] = (*CLIENTS, BEDROCK_CONVERSE)

_SHORTEST_ROUND_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One client before one backend: microseconds of a request there, and of an event back.

    `ratio` is what a request costs beside reading and writing its JSON with the standard library.
    """

    client: str
    backend: str
    request_us: float
    ratio: float
    event_us: float

    @property
    def is_met(self) -> bool:
        """Whether all targets are."""
        return self.request_us <= MOST_REQUEST_US and self.ratio <= MOST_RATIO and self.event_us <= MOST_EVENT_US


def least_us(action: Callable[[], object], rounds: int) -> float:
    """CPU time of one go, the least of a few rounds: what disturbs a measurement only adds to it."""
    goes, taken = 1, _seconds(action, 1)
    while taken < _SHORTEST_ROUND_S:
        goes *= 2
        taken = _seconds(action, goes)
    return min(_seconds(action, goes) for _ in range(rounds)) / goes * 1e6


def _seconds(action: Callable[[], object], goes: int) -> float:
    start = time.process_time()
    for _ in range(goes):
        action()
    return time.process_time() - start


def translate_request(client: ChatDialect, backend: ChatDialect, body: bytes) -> bytes:
    """A client's request as the backend's."""
    return backend.encode_request(client.decode_request(body, MODEL), MODEL, stream=True, drop_unsupported=True)


def translate_stream(client: ChatDialect, backend: ChatDialect, reads: Sequence[bytes]) -> bytes:
    """A backend's stream as the client's, each event in a read of its own."""
    parser, decoder, encoder = backend.framing.parser(), backend.event_decoder(), client.event_encoder(SETTINGS)
    written = []
    for read in reads:
        events = [each for event in parser.feed(read) for each in decoder.decode(event)]
        written.append(encoder.encode(events) if events else b"")
    return b"".join(written) + encoder.finish()


def measure_pair(client: ChatDialect, backend: ChatDialect, rounds: int) -> Pair:
    """One pair."""
    body, reads = request_body(client), stream_events(backend)
    request_us = least_us(lambda: translate_request(client, backend, body), rounds)
    json_us = least_us(lambda: json.dumps(json.loads(body)), rounds)
    stream_us = least_us(lambda: translate_stream(client, backend, reads), rounds)
    return Pair(
        client=client.name,
        backend=backend.name,
        request_us=request_us,
        ratio=request_us / json_us,
        event_us=stream_us / len(reads),
    )


def measure(rounds: int) -> list[Pair]:
    """All pairs of different dialects."""
    return [
        measure_pair(client, backend, rounds)
        for client in CLIENTS
        for backend in BACKENDS
        if client.name != backend.name
    ]


@click.command(context_settings={"show_default": True})
@click.option("--rounds", type=click.IntRange(min=1), default=20, help="Rounds, of which the quickest counts.")
def main(rounds: int) -> None:
    """Measure translation against its targets."""
    pairs = measure(rounds)
    table = Table("client", "backend", "request", "ratio", "event", "")
    for pair in pairs:
        verdict = "met" if pair.is_met else "MISSED"
        figures = (f"{pair.request_us:.1f} µs", f"{pair.ratio:.2f}", f"{pair.event_us:.1f} µs")
        table.add_row(pair.client, pair.backend, *figures, verdict)
    targets = (f"≤ {MOST_REQUEST_US:g} µs", f"≤ {MOST_RATIO:g}", f"≤ {MOST_EVENT_US:g} µs")
    table.add_row("target", "", *targets, "")
    Console().print(table)
    sys.exit(int(not all(pair.is_met for pair in pairs)))


if __name__ == "__main__":
    main()
